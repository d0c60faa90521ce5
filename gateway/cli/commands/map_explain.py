"""``gateway map explain``: the source and the targets of a value, as text or as JSON."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.mapping_folder import load_mappings, mapping_path_option
from gateway.cli.named_files import read_file
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.harmonize import (
    DocumentUse,
    FieldFinder,
    FieldStory,
    LeafOutcome,
    LeafStory,
    MappingBundle,
    RequestPlace,
    SplitResult,
    SubmissionExplainer,
    SubmissionSpot,
    WrittenValue,
    describe_condition,
    list_error_places,
    make_placeholder_numbers,
    read_notice,
    split_submission,
)
from gateway.wire import parse_xml

__all__ = ["explain_place"]

_POINTER_WORDS = "a pointer or XPath into the submission, or the name of a field or meaning"


@verb
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
    if sum(given is not None for given in (arguments.pointer, arguments.request, arguments.notice)) != 1:
        raise GatewayError(MISUSE, "give one of POINTER, --request and --notice", "map explain")
    if arguments.document and arguments.document not in bundle.documents:
        known = ", ".join(bundle.documents)
        raise GatewayError(MISUSE, f"no document {arguments.document[:70]!r}; known: {known}", "--document")
    facts = _explain_asked_place(arguments, bundle)
    if arguments.json:
        print_json(facts)
    else:
        print("\n".join(_format_whole_page(facts)))
    return 0 if facts["leaves"] or facts["requests"] or facts["declared"] else 1


def _explain_asked_place(arguments: Arguments, bundle: MappingBundle) -> dict[str, Any]:
    facts: dict[str, Any] = {
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
        done = split_submission(root, bundle, make_placeholder_numbers(root))
        explainer = SubmissionExplainer(bundle, data, done)
        facts["problems"] = _list_split_problems(done, arguments)
        if arguments.pointer is not None:
            stories = explainer.explain_leaves(arguments.pointer, arguments.document, arguments.application)
            facts["leaves"] = [_describe_leaf_story(story) for story in stories]
        else:
            facts["requests"] = [
                _describe_written_value(one) for one in _find_written_values(arguments, bundle, explainer)
            ]
    if not facts["leaves"] and not facts["requests"]:
        facts["declared"] = [
            _describe_field_story(story) for story in _find_declared_fields(arguments, bundle)
        ]
    return facts


def _find_written_values(
    arguments: Arguments, bundle: MappingBundle, explainer: SubmissionExplainer
) -> list[WrittenValue]:
    if arguments.notice is None:
        return list(explainer.find_written(arguments.request, arguments.document, arguments.application))
    found: list[WrittenValue] = []
    for place in _find_notice_places(arguments, bundle):
        found += explainer.find_at_place(place, arguments.document, arguments.application)
    return found


def _find_notice_places(arguments: Arguments, bundle: MappingBundle) -> list[RequestPlace]:
    """Return the places that the errors of a notice refer to; raise unless the document is named."""
    document = bundle.documents.get(arguments.document)
    if document is None or bundle.notices is None:
        raise GatewayError(MISUSE, "--notice needs --document", "--notice")
    facts = read_notice(parse_xml(read_file(arguments.notice)), bundle.notices, document)
    return [place for _, place in list_error_places(facts)]


def _find_declared_fields(arguments: Arguments, bundle: MappingBundle) -> tuple[FieldStory, ...]:
    finder = FieldFinder(bundle)
    if arguments.pointer is not None:
        return finder.find_at(arguments.pointer, arguments.document)
    if arguments.request is not None:
        return finder.find_in_request(arguments.request, arguments.document)
    places = [place.path for place in _find_notice_places(arguments, bundle)]
    return tuple(story for path in places for story in finder.find_in_request(path, arguments.document))


def _list_split_problems(done: SplitResult, arguments: Arguments) -> list[dict[str, Any]]:
    return [
        {"id": one.problem.id, "message": one.detail, "pointer": one.pointer, "document": one.document}
        for one in done.problems
        if arguments.document in ("", one.document)
    ]


def _describe_file_spot(spot: SubmissionSpot) -> dict[str, Any]:
    return {
        "pointer": spot.pointer,
        "xpath": spot.xpath,
        "line": spot.line,
        "value": spot.value,
        "bytes": {"start": spot.start, "end": spot.end},
    }


def _describe_written_value(one: WrittenValue) -> dict[str, Any]:
    lists = [
        {"name": each.name, "version": each.version, "direction": each.direction, "source": each.source}
        for each in one.lists
    ]
    return {
        "organisation": one.organisation,
        "document": one.document,
        "application": one.application,
        "path": one.path,
        "value": one.value,
        "source": one.source,
        "rule": one.rule,
        "transforms": list(one.transforms),
        "lists": lists,
        "loss": one.loss,
        "from": [_describe_file_spot(spot) for spot in one.spots],
    }


def _describe_outcome(outcome: LeafOutcome) -> dict[str, Any]:
    return {
        "organisation": outcome.organisation,
        "document": outcome.document,
        "fate": outcome.fate,
        "rule": outcome.rule,
        "written": [_describe_written_value(one) for one in outcome.written],
        "read_as": [{"what": words, "rule": rule} for words, rule in outcome.reasons],
    }


def _describe_leaf_story(story: LeafStory) -> dict[str, Any]:
    names = [{"name": name, "ko": ko, "en": en} for name, ko, en in story.names]
    return {
        **_describe_file_spot(story.spot),
        "names": names,
        "fates": [_describe_outcome(one) for one in story.outcomes],
    }


def _describe_document_use(use: DocumentUse) -> dict[str, Any]:
    lines = [
        {
            "path": line.path,
            "attribute": line.read_attribute or None,
            "transforms": list(line.transform_words),
            "loss": line.loss,
            "when": [describe_condition(condition) for condition in line.when],
            "each": list(line.each),
            "rule": str(line.rule),
        }
        for line in use.lines
    ]
    return {
        "organisation": use.organisation,
        "document": use.document,
        "needed": use.needed,
        "rule": str(use.needed_rule),
        "lines": lines,
        "read_as": [{"what": words, "rule": str(rule)} for words, rule in use.reasons],
    }


def _describe_field_story(story: FieldStory) -> dict[str, Any]:
    return {
        "name": story.name,
        "kind": story.kind,
        "ko": story.ko,
        "en": story.en,
        "means": story.means,
        "place": story.place,
        "rule": str(story.rule),
        "documents": [_describe_document_use(use) for use in story.documents],
    }


def _format_whole_page(facts: dict[str, Any]) -> list[str]:
    """Return an explanation as lines of readable text."""
    lines: list[str] = []
    for leaf in facts["leaves"]:
        lines += _format_leaf_story(leaf)
    for one in facts["requests"]:
        lines += _format_written_value(one, "")
    for story in facts["declared"]:
        lines += _format_field_story(story)
    if not lines:
        return [f"nothing is known of {facts['asked']}"]
    lines += [f"{one['id']} {one['message']} at {one['pointer']}" for one in facts["problems"]]
    return [*lines, f"bundle {facts['bundle']}"]


def _format_leaf_story(leaf: dict[str, Any]) -> list[str]:
    names = ", ".join(f"{one['en']} ({one['ko']}), {one['name']}" for one in leaf["names"])
    lines = [f"{leaf['pointer']}  {names or 'no common meaning'}", *_format_file_spot(leaf, "  ")]
    for outcome in leaf["fates"]:
        lines.append(f"  {outcome['document']}: {outcome['fate']} by {outcome['rule']}")
        for one in outcome["written"]:
            lines += [f"    {line}" for line in _format_written_value(one, "", told=True)]
        lines += [f"    {one['what']} ({one['rule']})" for one in outcome["read_as"]]
    return [*lines, ""]


def _format_file_spot(spot: dict[str, Any], indent: str) -> list[str]:
    octets = f"octets {spot['bytes']['start']} to {spot['bytes']['end']}, line {spot['line']}"
    if spot["value"] is None:
        return [
            f"{indent}there is no value at {spot['pointer']}; its place is {spot['xpath']}",
            f"{indent}({octets})",
        ]
    return [f"{indent}value {spot['value']!r}", f"{indent}{octets}, {spot['xpath']}"]


def _format_written_value(one: dict[str, Any], indent: str, *, told: bool = False) -> list[str]:
    value = "nothing" if one["value"] is None else repr(one["value"])
    done = ", ".join(one["transforms"]) or "as it stands"
    lines = [f"{indent}{one['path']} = {value}"]
    if not told:
        lines[0] = f"{indent}{one['document']}, application {one['application']}: {one['path']} = {value}"
    lines.append(f"{indent}  {one['source']}, {done}; {one['loss']}; {one['rule']}")
    for each in one["lists"]:
        lines.append(
            f"{indent}  list {each['name']} {each['version']} ({each['source']}), {each['direction']}"
        )
    for spot in () if told else one["from"]:
        lines.append(f"{indent}  from {spot['pointer']}")
        lines += _format_file_spot(spot, f"{indent}    ")
    return lines if told else [*lines, ""]


def _format_field_story(story: dict[str, Any]) -> list[str]:
    lines = [
        f"{story['name']}  {story['en']} ({story['ko']}), {story['kind']}; {story['rule']}",
        f"  is at {story['place']}",
    ]
    if not story["documents"]:
        lines.append("  no document uses it")
    for use in story["documents"]:
        lines.append(f"  {use['document']} ({use['organisation']}): {use['needed']}; {use['rule']}")
        for line in use["lines"]:
            done = ", ".join(line["transforms"]) or "as it stands"
            what = f"its {line['attribute']} " if line["attribute"] else ""
            lines.append(f"    {what}to {line['path']}, {done}; {line['loss']}; {line['rule']}")
            lines += [f"      where {words}" for words in line["when"]]
        lines += [f"    {one['what']} ({one['rule']})" for one in use["read_as"]]
    return [*lines, ""]
