"""``gateway map explain|split``: where a value comes from and goes, and the requests of a submission."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click
from lxml import etree

from gateway.cases import ValidationFinding, read_submission, validate_document
from gateway.cli.named_files import find_document, load_mappings, mapping_path_option, read_file
from gateway.cli.result_output import print_json, print_report
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    Condition,
    DeclarationFinding,
    Diagnostic,
    DocumentUse,
    Fate,
    FieldFinder,
    FieldStory,
    LeafOutcome,
    LeafStory,
    MappingBundle,
    MappingLine,
    RequestPlace,
    SplitResult,
    SubmissionExplainer,
    SubmissionSpot,
    WrittenValue,
    describe_condition,
    find_broken_rules,
    get_line_loss,
    list_error_places,
    list_transforms,
    make_placeholder_numbers,
    read_notice,
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

_POINTER_WORDS = "a pointer or XPath into the submission, or the name of a field or meaning"


@verb("map explain")
@click.argument("pointer", required=False, help=_POINTER_WORDS)
@click.option("--request", metavar="PLACE", help="a path in a request instead, as an agency writes it")
@click.option("--notice", type=FILE, help="an error notice of an agency")
@click.option("--submission", type=FILE, help="the submission; if not given, only the mappings are explained")
@click.option("--document", default="", help="only this document")
@click.option("--application", default="", help="only the application of this id")
@json_option("one JSON object")
@mapping_path_option()
def explain_place(arguments: Arguments) -> int:
    """Print the explanation; return 0 when there is one, 1 when nothing is known about the place."""
    bundle = load_mappings(arguments.path)
    if sum(option is not None for option in (arguments.pointer, arguments.request, arguments.notice)) != 1:
        raise GatewayError(MISUSE, "give one of POINTER, --request and --notice", "map explain")
    if arguments.document:
        find_document(bundle, arguments.document, "--document")
    explanation = _explain_asked_place(arguments, bundle)
    if arguments.json:
        print_json(explanation)
    else:
        print("\n".join(_format_explanation(explanation)))
    return 0 if explanation["leaves"] or explanation["requests"] or explanation["declared"] else 1


def _explain_asked_place(arguments: Arguments, bundle: MappingBundle) -> dict[str, Any]:
    """Return the explanation of a pointer, of a place in a request, or of the places that a notice names.

    Without a submission, or if it has nothing there, `declared` has the fields of the mappings instead.
    """
    explanation: dict[str, Any] = {
        "asked": arguments.pointer or arguments.request or str(arguments.notice),
        "bundle": bundle.digest,
        "submission": None if arguments.submission is None else str(arguments.submission),
        "leaves": [],
        "requests": [],
        "declared": [],
        "problems": [],
    }
    if arguments.submission is not None:
        data = read_file(arguments.submission)
        root = parse_xml(data)
        split = split_submission(root, bundle, make_placeholder_numbers(root))
        explainer = SubmissionExplainer(bundle, data, split)
        explanation["problems"] = _list_split_problems(split, arguments)
        if arguments.pointer is not None:
            stories = explainer.explain_leaves(arguments.pointer, arguments.document, arguments.application)
            explanation["leaves"] = [_describe_leaf_story(story) for story in stories]
        else:
            explanation["requests"] = [
                _describe_written_value(written_value)
                for written_value in _find_written_values(arguments, bundle, explainer)
            ]
    if not explanation["leaves"] and not explanation["requests"]:
        explanation["declared"] = [
            _describe_field_story(story) for story in _find_declared_fields(arguments, bundle)
        ]
    return explanation


def _find_written_values(
    arguments: Arguments, bundle: MappingBundle, explainer: SubmissionExplainer
) -> list[WrittenValue]:
    """Return the request values at the place `--request`, or at the places that a notice names."""
    if arguments.notice is None:
        return list(explainer.find_written(arguments.request, arguments.document, arguments.application))
    written_values: list[WrittenValue] = []
    for request_place in _find_notice_places(arguments, bundle):
        written_values += explainer.find_at_place(request_place, arguments.document, arguments.application)
    return written_values


def _find_notice_places(arguments: Arguments, bundle: MappingBundle) -> list[RequestPlace]:
    """Return the places that the errors of a notice refer to; raise unless the document is named."""
    document = bundle.documents.get(arguments.document)
    if document is None or bundle.notices is None:
        raise GatewayError(MISUSE, "--notice needs --document", "--notice")
    facts = read_notice(parse_xml(read_file(arguments.notice)), bundle.notices, document)
    return [request_place for _, request_place in list_error_places(facts)]


def _find_declared_fields(arguments: Arguments, bundle: MappingBundle) -> tuple[FieldStory, ...]:
    """Return the meanings and fields at the pointer, or behind the places of a request, by the mappings."""
    finder = FieldFinder(bundle)
    if arguments.pointer is not None:
        return finder.find_by_location(arguments.pointer, arguments.document)
    if arguments.request is not None:
        return finder.find_in_request(arguments.request, arguments.document)
    places = [request_place.path for request_place in _find_notice_places(arguments, bundle)]
    return tuple(story for path in places for story in finder.find_in_request(path, arguments.document))


def _list_split_problems(split: SplitResult, arguments: Arguments) -> list[dict[str, Any]]:
    """Return the problems of a split as plain values; with `--document`, only those of this document."""
    return [
        {
            "id": problem.problem.id,
            "message": problem.detail,
            "pointer": problem.pointer,
            "document": problem.document,
        }
        for problem in split.problems
        if arguments.document in ("", problem.document)
    ]


def _describe_file_spot(spot: SubmissionSpot) -> dict[str, Any]:
    """Return a place in the submission as plain values; `bytes` is its range in the file."""
    return {
        "pointer": spot.pointer,
        "xpath": spot.xpath,
        "line": spot.line,
        "value": spot.value,
        "bytes": {"start": spot.start, "end": spot.end},
    }


def _describe_written_value(written_value: WrittenValue) -> dict[str, Any]:
    lists = [
        {"name": each.name, "version": each.version, "direction": each.direction, "source": each.source}
        for each in written_value.lists
    ]
    return {
        "organisation": written_value.organisation,
        "document": written_value.document,
        "application": written_value.application,
        "path": written_value.path,
        "value": written_value.value,
        "source": written_value.source,
        "rule": written_value.rule,
        "transforms": list(written_value.transforms),
        "lists": lists,
        "loss": written_value.loss,
        "from": [_describe_file_spot(spot) for spot in written_value.spots],
    }


def _describe_outcome(outcome: LeafOutcome) -> dict[str, Any]:
    """Return the fate of a leaf for one document as plain values; `read_as` has uses that do not write it."""
    return {
        "organisation": outcome.organisation,
        "document": outcome.document,
        "fate": outcome.fate,
        "rule": outcome.rule,
        "written": [_describe_written_value(written_value) for written_value in outcome.written],
        "read_as": [{"what": reading, "rule": rule} for reading, rule in outcome.reasons],
    }


def _describe_leaf_story(story: LeafStory) -> dict[str, Any]:
    names = [{"name": name, "ko": ko, "en": en} for name, ko, en in story.names]
    return {
        **_describe_file_spot(story.spot),
        "names": names,
        "fates": [_describe_outcome(outcome) for outcome in story.outcomes],
    }


def _list_conditions(line: MappingLine) -> Iterator[Condition]:
    """Yield every condition that decides whether a line is written, those of its repetitions too."""
    for element in line.elements:
        if element.when is not None:
            yield element.when
        if element.repetition is not None and element.repetition.when is not None:
            yield element.repetition.when


def _describe_document_use(use: DocumentUse) -> dict[str, Any]:
    """Return the use of a field by one document as plain values, with each mapping line that writes it."""
    lines = [
        {
            "path": line.path,
            "attribute": line.read_attribute or None,
            "transforms": list(list_transforms(line)),
            "loss": get_line_loss(line),
            "when": [describe_condition(condition) for condition in _list_conditions(line)],
            "each": [repetition.group for repetition in line.repetitions],
            "rule": str(line.mark),
        }
        for line in use.lines
    ]
    return {
        "organisation": use.organisation,
        "document": use.document,
        "needed": use.needed,
        "rule": str(use.needed_rule),
        "lines": lines,
        "read_as": [{"what": reading, "rule": str(rule)} for reading, rule in use.reasons],
    }


def _describe_field_story(story: FieldStory) -> dict[str, Any]:
    return {
        "name": story.name,
        "kind": story.kind,
        "ko": story.ko,
        "en": story.en,
        "means": story.means,
        "place": story.location,
        "rule": str(story.rule),
        "documents": [_describe_document_use(use) for use in story.documents],
    }


def _format_explanation(explanation: dict[str, Any]) -> list[str]:
    """Return an explanation as lines of readable text."""
    lines: list[str] = []
    for leaf in explanation["leaves"]:
        lines += _format_leaf_story(leaf)
    for written_value in explanation["requests"]:
        lines += _format_written_value(written_value, "")
    for story in explanation["declared"]:
        lines += _format_field_story(story)
    if not lines:
        return [f"nothing is known of {explanation['asked']}"]
    lines += [
        f"{problem['id']} {problem['message']} at {problem['pointer']}" for problem in explanation["problems"]
    ]
    return [*lines, f"bundle {explanation['bundle']}"]


def _format_leaf_story(leaf: dict[str, Any]) -> list[str]:
    """Return the lines for one leaf, given as the values of `_describe_leaf_story`; the last is empty."""
    names = ", ".join(f"{name['en']} ({name['ko']}), {name['name']}" for name in leaf["names"])
    lines = [f"{leaf['pointer']}  {names or 'no common meaning'}", *_format_file_spot(leaf, "  ")]
    for outcome in leaf["fates"]:
        lines.append(f"  {outcome['document']}: {outcome['fate']} by {outcome['rule']}")
        for written_value in outcome["written"]:
            lines += [f"    {line}" for line in _format_written_value(written_value, "", is_leaf_shown=True)]
        lines += [f"    {reading['what']} ({reading['rule']})" for reading in outcome["read_as"]]
    return [*lines, ""]


def _format_file_spot(spot: dict[str, Any], indent: str) -> list[str]:
    """Return the lines for a place in the submission, given as the values of `_describe_file_spot`."""
    octets = f"octets {spot['bytes']['start']} to {spot['bytes']['end']}, line {spot['line']}"
    if spot["value"] is None:
        return [
            f"{indent}there is no value at {spot['pointer']}; its place is {spot['xpath']}",
            f"{indent}({octets})",
        ]
    return [f"{indent}value {spot['value']!r}", f"{indent}{octets}, {spot['xpath']}"]


def _format_written_value(
    written_value: dict[str, Any], indent: str, *, is_leaf_shown: bool = False
) -> list[str]:
    """Return the lines for a value of a request, given as the values of `_describe_written_value`.

    With `is_leaf_shown`, its document and its leaves are left out: they are printed already.
    """
    value = "nothing" if written_value["value"] is None else repr(written_value["value"])
    transforms = ", ".join(written_value["transforms"]) or "as it stands"
    lines = [f"{indent}{written_value['path']} = {value}"]
    if not is_leaf_shown:
        lines[0] = (
            f"{indent}{written_value['document']}, application {written_value['application']}: "
            f"{written_value['path']} = {value}"
        )
    lines.append(
        f"{indent}  {written_value['source']}, {transforms}; {written_value['loss']}; {written_value['rule']}"
    )
    for each in written_value["lists"]:
        lines.append(
            f"{indent}  list {each['name']} {each['version']} ({each['source']}), {each['direction']}"
        )
    for spot in () if is_leaf_shown else written_value["from"]:
        lines.append(f"{indent}  from {spot['pointer']}")
        lines += _format_file_spot(spot, f"{indent}    ")
    return lines if is_leaf_shown else [*lines, ""]


def _format_field_story(story: dict[str, Any]) -> list[str]:
    """Return the lines for a field, given as the values of `_describe_field_story`; the last is empty."""
    lines = [
        f"{story['name']}  {story['en']} ({story['ko']}), {story['kind']}; {story['rule']}",
        f"  is at {story['place']}",
    ]
    if not story["documents"]:
        lines.append("  no document uses it")
    for use in story["documents"]:
        lines.append(f"  {use['document']} ({use['organisation']}): {use['needed']}; {use['rule']}")
        for line in use["lines"]:
            transforms = ", ".join(line["transforms"]) or "as it stands"
            attribute = f"its {line['attribute']} " if line["attribute"] else ""
            lines.append(f"    {attribute}to {line['path']}, {transforms}; {line['loss']}; {line['rule']}")
            lines += [f"      where {condition}" for condition in line["when"]]
        lines += [f"    {reading['what']} ({reading['rule']})" for reading in use["read_as"]]
    return [*lines, ""]


_LINE: Final = re.compile(r"line ([0-9]+)")


@verb("map split")
@click.argument("file", type=FILE, help="the submission; its signature is not verified")
@json_option("one JSON object")
@mapping_path_option()
def split_submission_file(arguments: Arguments) -> int:
    """Print the result of splitting a submission; return 1 when it has problems, or leaves without a fate."""
    bundle = load_mappings(arguments.path)
    report = _split_file_content(read_file(arguments.file), bundle)
    print_report(report, as_json=arguments.json, as_text=_print_split_report)
    return 1 if report["problems"] or report["unaccounted"] else 0


def _split_file_content(content: bytes, bundle: MappingBundle) -> dict[str, Any]:
    """Return the printed result; a file that is not a valid submission has problems only."""
    try:
        root = parse_xml(content)
    except GatewayError as error:
        line = _LINE.match(error.location)
        location = _SourceLocation("", "", int(line[1]) if line else 0)
        return _make_empty_split(_describe_problem(error, location))
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
        rest = [problem for problem in report["problems"] if problem["pointer"] != refusal["pointer"]]
        report |= {"problems": [refusal, *rest], "requests": []}
    locations = ElementLocations(root)
    wrong = [_describe_broken_rule(finding, locations) for finding in broken if finding.is_error]
    if wrong:
        report |= {"problems": [*wrong, *report["problems"]], "requests": []}
    return report | {
        "warnings": [_describe_broken_rule(finding, locations) for finding in broken if not finding.is_error]
    }


def _find_whole_refusal(root: etree._Element) -> dict[str, Any] | None:
    """Return the problem for which the hub refuses the whole submission: contradictory values."""
    try:
        read_submission(root)
    except GatewayError as error:
        locations = ElementLocations(root)
        is_pointer = not error.location.startswith("/")
        pointer = error.location if is_pointer else ""
        xpath = locations.find_xpath(pointer) if is_pointer else error.location
        return _describe_problem(error, _SourceLocation(pointer, xpath, locations.find_line_number(pointer)))
    return None


def describe_split_result(result: SplitResult) -> dict[str, Any]:
    """Return a split in the form that the verb prints."""
    ledger, unaccounted = [], []
    names, xpaths = result.ledger.documents, XPathIndex()
    for entry, pointer in result.ledger.list_entry_pointers(result.submission_index.root):
        leaf = entry.leaf
        xpath = xpaths.get_xpath(leaf.element) + (f"/@{leaf.attribute}" if leaf.attribute is not None else "")
        pairs = [(name, fate) for name, fate in zip(names, entry.fates, strict=True) if fate is not None]
        fates = [_describe_leaf_fate(name, fate) for name, fate in pairs]
        line = {"pointer": pointer, "xpath": xpath, "value": leaf.value, "fates": fates}
        ledger.append(line if leaf.normalized is None else line | {"normalized": leaf.normalized})
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
    locations = ElementLocations(result.submission_index.root) if result.problems else None
    return {
        "requests": requests,
        "ledger": ledger,
        "unaccounted": unaccounted,
        "problems": [
            _describe_diagnostic(trouble, locations) for trouble in result.problems if locations is not None
        ],
        "namespaces": list_xpath_namespaces(result.submission_index.root),
        "counts": result.ledger.count_fates(),
        "bundle": result.bundle,
    }


def _describe_diagnostic(diagnostic: Diagnostic, locations: ElementLocations) -> dict[str, Any]:
    """Return a problem of a submission as plain values, with its XPath and line from `locations`."""
    return {
        "id": diagnostic.problem.id,
        "title": diagnostic.problem.title,
        "message": diagnostic.detail,
        "pointer": diagnostic.pointer,
        "xpath": locations.find_xpath(diagnostic.pointer),
        "line": locations.find_line_number(diagnostic.pointer),
        "document": diagnostic.document,
        "application": diagnostic.application,
        "organisation": diagnostic.organisation or None,
        "rule": str(diagnostic.rule) if diagnostic.rule is not None else None,
    }


def _describe_remark(remark: ValidationFinding) -> dict[str, Any]:
    error = GatewayError(remark.problem, remark.message)
    return _describe_problem(error, _SourceLocation(remark.pointer, remark.xpath, remark.line))


@dataclass(frozen=True, slots=True)
class _SourceLocation:
    """Where in a submission: pointer and XPath of the element, and its line (0 when unknown)."""

    pointer: str
    xpath: str
    line: int


def _describe_problem(error: GatewayError, location: _SourceLocation | None = None) -> dict[str, Any]:
    """Return a problem of the whole submission; without `location` the problem says where it is."""
    location = location or _SourceLocation("", error.location, 0)
    return {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "pointer": location.pointer,
        "xpath": location.xpath,
        "line": location.line,
        "document": None,
        "application": None,
        "organisation": None,
        "rule": None,
    }


def _make_empty_split(*problems: dict[str, Any], root: etree._Element | None = None) -> dict[str, Any]:
    namespaces = {} if root is None else list_xpath_namespaces(root)
    empty: dict[str, Any] = {"requests": [], "ledger": [], "unaccounted": [], "warnings": []}
    return empty | {"problems": list(problems), "namespaces": namespaces}


def _describe_broken_rule(finding: DeclarationFinding, locations: ElementLocations) -> dict[str, Any]:
    """Return a broken rule of the declaration, which concerns the whole submission."""
    location = _SourceLocation(
        finding.pointer,
        locations.find_xpath(finding.pointer),
        locations.find_line_number(finding.pointer),
    )
    described = _describe_problem(GatewayError(finding.problem, finding.detail), location)
    return described if finding.rule is None else described | {"rule": str(finding.rule.mark)}


def _describe_leaf_fate(document: str, fate: Fate) -> dict[str, Any]:
    """Return the fate of a leaf for a document as plain values; `target` is the first of `targets`."""
    return {
        "document": document,
        "fate": fate.fate,
        "target": fate.targets[0] if fate.targets else None,
        "targets": list(fate.targets),
        "rule": str(fate.rule),
    }


def _print_split_report(report: dict[str, Any]) -> None:
    """Print the requests, the problems and the counts of fates; `report` has no counts if nothing was split.

    The problems then go to standard error.
    """
    for request in report["requests"]:
        print(f"{request['document']} for {request['organisation']} (application {request['application']})")
        # A reader of XML knows a reference to a character, but not our escapes.
        encoding = sys.stdout.encoding or "utf-8"
        print(request["xml"].encode(encoding, "xmlcharrefreplace").decode(encoding))
    warnings = [("warning ", problem) for problem in report["warnings"]]
    for kind, problem in [*(("", problem) for problem in report["problems"]), *warnings]:
        location = problem["pointer"] or problem["xpath"] or f"line {problem['line']}"
        rule = f" ({problem['rule']})" if problem["rule"] else ""
        line = f"{kind}{problem['id']} {problem['message']}{_format_concern(problem)} at {location}{rule}"
        print(line, file=sys.stdout if "counts" in report else sys.stderr)
    if "counts" in report:
        print(", ".join(f"{number} {fate}" for fate, number in report["counts"].items()))


def _format_concern(problem: dict[str, Any]) -> str:
    """Return the application, document and organisation that a problem concerns; empty for the whole."""
    if not problem["application"]:
        return ""
    recipient = f" of {problem['organisation']}" if problem["organisation"] else ""
    return f" (application {problem['application']}: {problem['document']}{recipient})"
