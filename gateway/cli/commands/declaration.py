"""``gateway declaration check`` and ``gateway form …``: declarations judged, and composed from forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import ValidationFinding, ValidationReport, unwrap_request, validate_declaration
from gateway.cli.named_files import (
    add_file_name_to_problem,
    load_mappings,
    mapping_path_option,
    read_file,
    replace_file,
)
from gateway.cli.result_output import (
    ReportedFailure,
    print_done,
    print_failure,
    print_json,
    print_table,
)
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import DOCUMENT_UNKNOWN, MISUSE, GatewayError
from gateway.harmonize import (
    MappingBundle,
    compose_form,
    compose_submission,
    describe_filing_form,
    find_broken_rules,
    parse_form_values,
    read_form_values,
    write_form_values,
)
from gateway.operations import format_count
from gateway.wire import DEFAULT_LIMITS, SUB, ElementLocations, parse_xml, serialize_element

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


@dataclass(frozen=True, slots=True)
class DeclarationJudgement:
    """The judgement of one file.

    `schema_report` is the verdict of the schema, with its problems and the codes that are in no list.
    `rule_errors` are the findings by rules that are errors, `rule_warnings` those by rules that are warnings.
    `are_rules_kept` is None if the schema refuses the file: then no rule is checked.
    """

    schema_report: ValidationReport
    are_rules_kept: bool | None = None
    rule_errors: tuple[ValidationFinding, ...] = ()
    rule_warnings: tuple[ValidationFinding, ...] = ()

    @property
    def is_good(self) -> bool:
        """Return whether the schema accepts the file and no rule that is an error is broken."""
        return self.schema_report.accepted and self.are_rules_kept is True

    @property
    def problems(self) -> tuple[ValidationFinding, ...]:
        """Return the problems by the schema and the broken rules."""
        return (*self.schema_report.problems, *self.rule_errors)

    @property
    def warnings(self) -> tuple[ValidationFinding, ...]:
        """Return the findings that are only warnings."""
        return (*self.schema_report.warnings, *self.rule_warnings)


@verb("declaration check")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    help="a declaration, with or without the request element around it",
)
@json_option("print JSON, one object a file")
def check_declarations(arguments: Arguments) -> int:
    """Validate each file; return 0 when all are good, 1 when some are not, 2 when one is unreadable."""
    status = 0
    for file in arguments.files:
        try:
            judgement = check_declaration_file(file)
        except GatewayError as missing:
            print_failure(ReportedFailure(missing.detail, missing.problem.id, help=_HELP))
            status = 2
            continue
        if not judgement.is_good:
            status = max(status, 1)
        if arguments.json:
            print(json.dumps(_describe_judgement(file, judgement)))
        else:
            print(_format_judgement(file, judgement))
    return status


def check_declaration_file(file: str) -> DeclarationJudgement:
    """Validate one file with any content; raise GW808 if it cannot be read, never for its content."""
    content = _read_file_start(file)
    try:
        root = parse_xml(_rename_ascii_encoding(content))
    except GatewayError as error:
        line = _LINE.match(error.location)
        return DeclarationJudgement(ValidationReport.make_unreadable(error, int(line[1]) if line else 0))
    if root.tag == f"{{{SUB}}}Submission":
        return DeclarationJudgement(ValidationReport(False, (_SUBMISSION_GIVEN,)))
    declaration = unwrap_request(root)
    report = validate_declaration(declaration)
    return _check_rules(report, declaration) if report.accepted else DeclarationJudgement(report)


def _check_rules(report: ValidationReport, declaration: etree._Element) -> DeclarationJudgement:
    """Return the judgement with the rules of the shipped mappings that a valid declaration breaks."""
    locations = ElementLocations(declaration)
    findings: dict[bool, list[ValidationFinding]] = {True: [], False: []}
    for violation in find_broken_rules(declaration, _load_shipped_mappings(), datetime.now(UTC)):
        xpath, line = locations.find_xpath(violation.pointer), locations.find_line_number(violation.pointer)
        findings[violation.is_error].append(
            ValidationFinding(violation.problem, violation.pointer, xpath or "", line, violation.detail)
        )
    return DeclarationJudgement(report, not findings[True], tuple(findings[True]), tuple(findings[False]))


@cache
def _load_shipped_mappings() -> MappingBundle:
    return load_mappings(None)


def _read_file_start(file: str) -> bytes:
    """Return the content of a file; raise GW808 if it cannot be read.

    At most one octet more than the limit of XML is read: then the parser reports the size.
    """
    try:
        with Path(file).open("rb") as stream:
            return stream.read(DEFAULT_LIMITS.xml + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name of the file is not possible"
        raise GatewayError(MISUSE, f"{file} cannot be read: {reason}") from None


def _rename_ascii_encoding(data: bytes) -> bytes:
    return _ASCII.sub(rb"\1\2UTF-8\2", data, count=1) if data.isascii() else data


def _describe_judgement(file: str, judgement: DeclarationJudgement) -> dict[str, Any]:
    """Return the validation of one file as plain values; `rules_kept` is None if the schema refuses it."""
    return {
        "file": file,
        "accepted": judgement.schema_report.accepted,
        "rules_kept": judgement.are_rules_kept,
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


def _format_judgement(file: str, judgement: DeclarationJudgement) -> str:
    """Return the validation of one declaration as lines of text: the verdict, the problems, the warnings."""
    verdict = "accepted" if judgement.schema_report.accepted else "refused"
    lines = [f"{file}: {verdict}{', rules broken' if judgement.are_rules_kept is False else ''}"]
    for kind, remarks in (("", judgement.problems), ("warning ", judgement.warnings)):
        for remark in remarks:
            location = remark.pointer or remark.xpath or "the file"
            lines.append(f"  {kind}{remark.problem.id} line {remark.line}, {location}: {remark.message}")
    return "\n".join(lines)


_COLUMNS = ("key", "type", "needed", "label")


@verb("form show")
@click.argument("documents", nargs=-1, required=True, help="the documents")
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", help="language of the labels")
@json_option("print one JSON object with labels, bounds, codes and rules of need")
@mapping_path_option()
def show_form(arguments: Arguments) -> None:
    """Print the form of some documents: the shared fields once, then the fields of each document."""
    bundle = load_mappings(arguments.path)
    form = describe_filing_form(compose_form(bundle, arguments.documents), bundle)
    if arguments.json:
        print_json(form)
        return
    rows = [
        row
        for section in form["sections"]
        for row in _list_rows(section["place"], section["fields"], arguments.language)
    ]
    print_table(rows, as_json=False, columns=_COLUMNS)


def _list_rows(
    parent_key: str, fields: Iterable[Mapping[str, Any]], language: str
) -> Iterable[dict[str, Any]]:
    """Yield a table row for each field of a form below `parent_key`, and for its inner fields, depth first.

    `#<n>` marks a field that may repeat; `needed` names the documents that always require it.
    """
    for field in fields:
        is_repeated = field.get("repeat", [0, 1])[1] > 1
        key = f"{parent_key}/{field['name']}" + ("#<n>" if is_repeated else "")
        needed = ", ".join(use["document"] for use in field["uses"] if use["required"] == "always")
        yield {"key": key, "type": field["type"], "needed": needed, "label": field["label"][language]}
        yield from _list_rows(key, field.get("fields", ()), language)


@verb("form compose")
@click.argument("file", type=FILE, help="the values of a form, as JSON")
@click.option("--out", type=FILE, required=True, help="the submission to write")
@json_option("print one JSON object")
@mapping_path_option()
def compose_file(arguments: Arguments) -> None:
    """Write the submission that the values of a form make; it has no signature yet."""
    bundle = load_mappings(arguments.path)
    with add_file_name_to_problem(arguments.file):
        values = parse_form_values(read_file(arguments.file))
        composed = compose_submission(compose_form(bundle, values.documents), values)
    replace_file(arguments.out, serialize_element(composed.root))
    number = len(values.applications)
    sentence = f"Composed {arguments.out}: {format_count(number, 'application')}, no signature yet."
    print_done(arguments, sentence, written=str(arguments.out))


@verb("form read")
@click.argument("file", type=FILE, help="a submission")
@click.option("--out", type=FILE, required=True, help="the JSON file to write")
@json_option("print one JSON object")
@mapping_path_option()
def read_submission_file(arguments: Arguments) -> int:
    """Write the values that a submission has in the form of its documents; return 1 when some are lost."""
    bundle = load_mappings(arguments.path)
    with add_file_name_to_problem(arguments.file):
        reading = read_form_values(bundle, parse_xml(read_file(arguments.file)))
    replace_file(arguments.out, (write_form_values(reading.values) + "\n").encode())
    number = len(reading.values.values)
    sentence = f"Read {arguments.file}: {format_count(number, 'value')} in {arguments.out}."
    lines = (f"  no place in the form: {pointer}" for pointer in reading.lost)
    print_done(arguments, sentence, *lines, written=str(arguments.out), lost=list(reading.lost))
    return 1 if reading.lost else 0
