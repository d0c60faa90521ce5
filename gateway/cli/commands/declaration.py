"""``gateway declaration check``: validates declarations against the schema and reports the findings."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import ValidationFinding, ValidationReport, unwrap_request, validate_declaration
from gateway.cli.mapping_folder import load_mappings
from gateway.cli.result_output import ReportedFailure, print_failure
from gateway.cli.shared_options import json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import DOCUMENT_UNKNOWN, MISUSE, GatewayError
from gateway.harmonize import MappingBundle, find_broken_rules
from gateway.wire import DEFAULT_LIMITS, SUB, ElementLocations, parse_xml

__all__ = ["check_declarations", "judge_declaration_file"]

# Many tools declare ASCII by default; ASCII octets are also valid UTF-8.
_ASCII: Final = re.compile(rb"""\A(<\?xml [^<>]{0,60}encoding\s*=\s*)(["'])(?:US-)?ASCII\2""", re.IGNORECASE)
_SUBMISSION_GIVEN: Final = ValidationFinding(
    DOCUMENT_UNKNOWN,
    "",
    "/*",
    1,
    "this is a submission, not a declaration: `gateway submission check FILE` judges it as a whole",
)
_HELP: Final = "gateway declaration check --help"
_LINE: Final = re.compile(r"line ([0-9]+)")


@verb
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    help="a declaration, with or without the request element around it",
)
@json_option("print JSON, one object a file")
def check_declarations(arguments: Arguments) -> int:
    """Validate each file; return 0 when all are accepted, 1 when some are not, 2 when one is unreadable."""
    status = 0
    for file in arguments.files:
        try:
            judgement = judge_declaration_file(file)
        except GatewayError as missing:
            print_failure(ReportedFailure(missing.detail, missing.problem.id, help=_HELP))
            status = 2
            continue
        if not judgement.accepted:
            status = max(status, 1)
        if arguments.json:
            print(json.dumps(_describe_judgement(file, judgement)))
        else:
            print(_format_judgement(file, judgement))
    return status


def judge_declaration_file(file: str) -> ValidationReport:
    """Validate one file with any content; raise GW808 if it cannot be read, never for its content."""
    content = _read_file_start(file)
    try:
        root = parse_xml(_rename_ascii_encoding(content))
    except GatewayError as error:
        line = _LINE.match(error.location)
        return ValidationReport.make_unreadable(error, int(line[1]) if line else 0)
    if root.tag == f"{{{SUB}}}Submission":
        return ValidationReport(False, (_SUBMISSION_GIVEN,))
    declaration = unwrap_request(root)
    report = validate_declaration(declaration)
    return _add_broken_rules(report, declaration) if report.accepted else report


def _add_broken_rules(report: ValidationReport, declaration: etree._Element) -> ValidationReport:
    """Return the report with the rules of the shipped mappings that a valid declaration breaks."""
    places = ElementLocations(declaration)
    told: dict[bool, list[ValidationFinding]] = {True: [], False: []}
    for one in find_broken_rules(declaration, _load_shipped_mappings(), datetime.now(UTC)):
        xpath, line = places.find_xpath(one.pointer), places.find_line_number(one.pointer)
        told[one.is_error].append(ValidationFinding(one.problem, one.pointer, xpath or "", line, one.detail))
    return ValidationReport(not told[True], tuple(told[True]), (*report.warnings, *told[False]))


@cache
def _load_shipped_mappings() -> MappingBundle:
    return load_mappings(None)


def _read_file_start(file: str) -> bytes:
    """Return the content, or one octet more than the pre-scan allows, which then reports the size."""
    try:
        with Path(file).open("rb") as stream:
            return stream.read(DEFAULT_LIMITS.xml + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name of the file is not possible"
        raise GatewayError(MISUSE, f"{file} cannot be read: {reason}") from None


def _rename_ascii_encoding(data: bytes) -> bytes:
    return _ASCII.sub(rb"\1\2UTF-8\2", data, count=1) if data.isascii() else data


def _describe_judgement(file: str, judgement: ValidationReport) -> dict[str, Any]:
    return {
        "file": file,
        "accepted": judgement.accepted,
        "problems": [_describe_remark(remark) for remark in judgement.problems],
        "warnings": [_describe_remark(remark) for remark in judgement.warnings],
    }


def _describe_remark(remark: ValidationFinding) -> dict[str, str | int]:
    return {
        "id": remark.problem.id,
        "pointer": remark.pointer,
        "xpath": remark.xpath,
        "line": remark.line,
        "message": remark.message,
    }


def _format_judgement(file: str, judgement: ValidationReport) -> str:
    lines = [f"{file}: {'accepted' if judgement.accepted else 'refused'}"]
    for kind, remarks in (("", judgement.problems), ("warning ", judgement.warnings)):
        for remark in remarks:
            place = remark.pointer or remark.xpath or "the file"
            lines.append(f"  {kind}{remark.problem.id} line {remark.line}, {place}: {remark.message}")
    text = "\n".join(lines)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
