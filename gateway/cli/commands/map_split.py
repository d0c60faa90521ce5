"""``gateway map split``: the requests made from a submission, and the fate of every leaf."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import ValidationFinding, read_submission, validate_document
from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import read_file
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import GatewayError
from gateway.harmonize import (
    DeclarationFinding,
    Diagnostic,
    Fate,
    MappingBundle,
    SplitResult,
    find_broken_rules,
    make_placeholder_numbers,
    split_submission,
)
from gateway.wire import (
    SUBMISSION,
    ElementLocations,
    XPathIndex,
    list_xpath_namespaces,
    load_shipped_schemas,
    parse_xml,
    serialize_element,
)

__all__ = ["describe_split_result", "split_submission_file"]

_LINE: Final = re.compile(r"line ([0-9]+)")


@verb
@click.argument("file", type=FILE, help="the submission; its signature is not verified")
@json_option("one JSON object")
@mapping_path_option()
def split_submission_file(arguments: Arguments) -> int:
    """Print the result of splitting a submission; return 1 when it has problems."""
    bundle = load_mappings(arguments.path)
    report = _split_file_content(read_file(arguments.file), bundle)
    if arguments.json:
        print_json(report)
    else:
        _print_split_report(report)
    return 1 if report["problems"] or report["unaccounted"] else 0


def _split_file_content(content: bytes, bundle: MappingBundle) -> dict[str, Any]:
    """Return the printed result; a file that is not a valid submission has problems only."""
    try:
        root = parse_xml(content)
    except GatewayError as error:
        line = _LINE.match(error.location)
        return _make_empty_split(_describe_problem(error, place=("", "", int(line[1]) if line else 0)))
    accepted, remarks = validate_document(root, load_shipped_schemas(SUBMISSION))
    if not accepted:
        return _make_empty_split(*(_describe_remark(remark) for remark in remarks), root=root)
    refusal = _find_whole_refusal(root)
    broken = find_broken_rules(root, bundle, datetime.now(UTC))
    try:
        result = split_submission(root, bundle, make_placeholder_numbers(root))
    except GatewayError as error:
        return _make_empty_split(_describe_problem(error), root=root)
    report = describe_split_result(result)
    if refusal is not None:
        # The hub refuses the whole submission for it, so no request would be sent.
        rest = [one for one in report["problems"] if one["pointer"] != refusal["pointer"]]
        report |= {"problems": [refusal, *rest], "requests": []}
    places = ElementLocations(root)
    wrong = [_describe_broken_rule(one, places) for one in broken if one.is_error]
    if wrong:
        report |= {"problems": [*wrong, *report["problems"]], "requests": []}
    return report | {"warnings": [_describe_broken_rule(one, places) for one in broken if not one.is_error]}


def _find_whole_refusal(root: etree._Element) -> dict[str, Any] | None:
    """Return the problem for which the hub refuses the whole submission: contradictory values."""
    try:
        read_submission(root)
    except GatewayError as error:
        places = ElementLocations(root)
        known = not error.location.startswith("/")
        pointer = error.location if known else ""
        xpath = places.find_xpath(pointer) if known else error.location
        return _describe_problem(error, place=(pointer, xpath, places.find_line_number(pointer)))
    return None


def describe_split_result(result: SplitResult) -> dict[str, Any]:
    """Return a split in the form that the verb prints."""
    ledger, unaccounted = [], []
    names, xpaths = result.accounts.documents, XPathIndex()
    for entry, pointer in result.accounts.list_entry_pointers(result.facts.root):
        leaf = entry.leaf
        xpath = xpaths.get_xpath(leaf.element) + (f"/@{leaf.attribute}" if leaf.attribute is not None else "")
        pairs = [(name, fate) for name, fate in zip(names, entry.fates, strict=True) if fate is not None]
        fates = [_describe_leaf_fate(name, fate) for name, fate in pairs]
        ledger.append({"pointer": pointer, "xpath": xpath, "value": leaf.value, "fates": fates})
        if None in entry.fates:
            unaccounted.append(pointer)
    requests = [
        {
            "organisation": request.organisation,
            "document": request.document,
            "application": request.application,
            "xml": serialize_element(request.xml).decode("utf-8"),
        }
        for request in result.requests
    ]
    places = ElementLocations(result.facts.root) if result.problems else None
    return {
        "requests": requests,
        "ledger": ledger,
        "unaccounted": unaccounted,
        "problems": [_describe_trouble(trouble, places) for trouble in result.problems if places is not None],
        "namespaces": list_xpath_namespaces(result.facts.root),
        "counts": result.accounts.count_fates(),
        "bundle": result.bundle,
    }


def _describe_trouble(trouble: Diagnostic, places: ElementLocations) -> dict[str, Any]:
    return {
        "id": trouble.problem.id,
        "title": trouble.problem.title,
        "message": trouble.detail,
        "pointer": trouble.pointer,
        "xpath": places.find_xpath(trouble.pointer),
        "line": places.find_line_number(trouble.pointer),
        "document": trouble.document,
        "application": trouble.application,
        "organisation": trouble.organisation or None,
        "rule": str(trouble.rule) if trouble.rule is not None else None,
    }


def _describe_remark(remark: ValidationFinding) -> dict[str, Any]:
    error = GatewayError(remark.problem, remark.message)
    return _describe_problem(error, place=(remark.pointer, remark.xpath, remark.line))


def _describe_problem(error: GatewayError, place: tuple[str, str, int] | None = None) -> dict[str, Any]:
    """Return a problem of the whole submission; `place` is pointer, XPath and line (0 when unknown)."""
    pointer, xpath, line = place or ("", error.location, 0)
    return {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "pointer": pointer,
        "xpath": xpath,
        "line": line,
        "document": None,
        "application": None,
        "organisation": None,
        "rule": None,
    }


def _make_empty_split(*problems: dict[str, Any], root: etree._Element | None = None) -> dict[str, Any]:
    namespaces = {} if root is None else list_xpath_namespaces(root)
    empty: dict[str, Any] = {"requests": [], "ledger": [], "unaccounted": [], "warnings": []}
    return empty | {"problems": list(problems), "namespaces": namespaces}


def _describe_broken_rule(finding: DeclarationFinding, places: ElementLocations) -> dict[str, Any]:
    """Return a broken rule of the declaration, which concerns the whole submission."""
    where = (
        finding.pointer,
        places.find_xpath(finding.pointer),
        places.find_line_number(finding.pointer),
    )
    described = _describe_problem(GatewayError(finding.problem, finding.detail), place=where)
    return described | {"rule": str(finding.rule.mark)}


def _describe_leaf_fate(document: str, fate: Fate) -> dict[str, Any]:
    return {
        "document": document,
        "fate": fate.fate,
        "target": fate.targets[0] if fate.targets else None,
        "targets": list(fate.targets),
        "rule": str(fate.rule),
    }


def _print_split_report(report: dict[str, Any]) -> None:
    for request in report["requests"]:
        print(f"{request['document']} for {request['organisation']} (application {request['application']})")
        print(request["xml"])
    warnings = [("warning ", one) for one in report["warnings"]]
    for kind, problem in [*(("", one) for one in report["problems"]), *warnings]:
        place = problem["pointer"] or problem["xpath"] or f"line {problem['line']}"
        rule = f" ({problem['rule']})" if problem["rule"] else ""
        line = f"{kind}{problem['id']} {problem['message']}{_format_concern(problem)} at {place}{rule}"
        print(line, file=sys.stdout if "counts" in report else sys.stderr)
    if "counts" in report:
        print(", ".join(f"{number} {fate}" for fate, number in report["counts"].items()))


def _format_concern(problem: dict[str, Any]) -> str:
    """Return the application, document and organisation that a problem concerns; empty for the whole."""
    if not problem["application"]:
        return ""
    recipient = f" of {problem['organisation']}" if problem["organisation"] else ""
    return f" (application {problem['application']}: {problem['document']}{recipient})"
