"""``gateway map explain``: where a value came from and where it went, for a person or as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle, Split, placeholder_numbers, split
from gateway.harmonize.provenance.declared import DocumentUse, FieldStory, fields_at, fields_in_request
from gateway.harmonize.provenance.explaining import Explainer, LeafStory, Outcome, Spot, Written
from gateway.harmonize.provenance.uses import condition_words
from gateway.harmonize.replies.answering import read_notice
from gateway.harmonize.replies.errorplaces import RequestPlace, error_places
from gateway.wire.xml import parse_xml

__all__ = ["add_explain", "show_explanation"]


def add_explain(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb ``map explain`` and return its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "explain", help="tell where a value comes from and where it goes"
    )
    parser.add_argument(
        "pointer",
        nargs="?",
        help="a pointer or XPath into the submission, or the name of a field or meaning",
    )
    parser.add_argument(
        "--request", metavar="PLACE", help="a path in a request instead, as an agency names it"
    )
    parser.add_argument("--notice", type=Path, help="an error notice of an agency")
    parser.add_argument("--submission", type=Path, help="the submission; without it the mappings alone speak")
    parser.add_argument("--document", default="", help="only this document")
    parser.add_argument("--application", default="", help="only the application of this id")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def show_explanation(args: argparse.Namespace, bundle: Bundle) -> int:
    """Print the explanation; 0 when there is one, 1 when nothing is known of the place."""
    if sum(given is not None for given in (args.pointer, args.request, args.notice)) != 1:
        raise GatewayError(SETTINGS_WRONG, "one of POINTER, --request and --notice is wanted", "map explain")
    if args.document and args.document not in bundle.documents:
        known = ", ".join(bundle.documents)
        raise GatewayError(
            SETTINGS_WRONG, f"no document {args.document[:70]!r}; known: {known}", "--document"
        )
    shown = _explained(args, bundle)
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print("\n".join(_page(shown)))
    return 0 if shown["leaves"] or shown["requests"] or shown["declared"] else 1


def _explained(args: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "asked": args.pointer or args.request or str(args.notice),
        "bundle": bundle.digest,
        "submission": None if args.submission is None else str(args.submission),
        "leaves": [],
        "requests": [],
        "declared": [],
        "problems": [],
    }
    if args.submission is not None:
        data = _read(args.submission)
        root = parse_xml(data)
        done = split(root, bundle, placeholder_numbers(root))
        explainer = Explainer(bundle, data, done)
        shown["problems"] = _problems(done, args)
        if args.pointer is not None:
            stories = explainer.leaves(args.pointer, args.document, args.application)
            shown["leaves"] = [_leaf(story) for story in stories]
        else:
            shown["requests"] = [_written(one) for one in _backwards(args, bundle, explainer)]
    if not shown["leaves"] and not shown["requests"]:
        shown["declared"] = [_declared(story) for story in _static(args, bundle)]
    return shown


def _backwards(args: argparse.Namespace, bundle: Bundle, explainer: Explainer) -> list[Written]:
    if args.notice is None:
        return list(explainer.written(args.request, args.document, args.application))
    found: list[Written] = []
    for place in _notice_places(args, bundle):
        found += explainer.at_place(place, args.document, args.application)
    return found


def _notice_places(args: argparse.Namespace, bundle: Bundle) -> list[RequestPlace]:
    """Return the places that the errors of a notice are about; the document must be named."""
    document = bundle.documents.get(args.document)
    if document is None or bundle.notices is None:
        raise GatewayError(
            SETTINGS_WRONG, "a notice is read for one document: --document is wanted", "--notice"
        )
    facts = read_notice(parse_xml(_read(args.notice)), bundle.notices, document)
    return [place for _, place in error_places(facts)]


def _static(args: argparse.Namespace, bundle: Bundle) -> tuple[FieldStory, ...]:
    if args.pointer is not None:
        return fields_at(bundle, args.pointer, args.document)
    if args.request is not None:
        return fields_in_request(bundle, args.request, args.document)
    places = [place.path for place in _notice_places(args, bundle)]
    return tuple(story for path in places for story in fields_in_request(bundle, path, args.document))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", str(path)) from None


def _problems(done: Split, args: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        {"id": one.problem.id, "message": one.detail, "pointer": one.pointer, "document": one.document}
        for one in done.problems
        if args.document in ("", one.document)
    ]


def _spot(spot: Spot) -> dict[str, Any]:
    return {
        "pointer": spot.pointer,
        "xpath": spot.xpath,
        "line": spot.line,
        "value": spot.value,
        "bytes": {"start": spot.start, "end": spot.end},
    }


def _written(one: Written) -> dict[str, Any]:
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
        "from": [_spot(spot) for spot in one.spots],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "organisation": outcome.organisation,
        "document": outcome.document,
        "fate": outcome.fate,
        "rule": outcome.rule,
        "written": [_written(one) for one in outcome.written],
        "read_as": [{"what": words, "rule": rule} for words, rule in outcome.reasons],
    }


def _leaf(story: LeafStory) -> dict[str, Any]:
    names = [{"name": name, "ko": ko, "en": en} for name, ko, en in story.names]
    return {**_spot(story.spot), "names": names, "fates": [_outcome(one) for one in story.outcomes]}


def _use(use: DocumentUse) -> dict[str, Any]:
    lines = [
        {
            "path": line.path,
            "attribute": line.attribute or None,
            "transforms": list(line.transforms),
            "loss": line.loss,
            "when": [condition_words(condition) for condition in line.when],
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


def _declared(story: FieldStory) -> dict[str, Any]:
    return {
        "name": story.name,
        "kind": story.kind,
        "ko": story.ko,
        "en": story.en,
        "means": story.means,
        "place": story.place,
        "rule": str(story.rule),
        "documents": [_use(use) for use in story.documents],
    }


def _page(shown: dict[str, Any]) -> list[str]:
    """Return an explanation as lines for a person."""
    lines: list[str] = []
    for leaf in shown["leaves"]:
        lines += _leaf_lines(leaf)
    for one in shown["requests"]:
        lines += _written_lines(one, "")
    for story in shown["declared"]:
        lines += _declared_lines(story)
    if not lines:
        return [f"nothing is known of {shown['asked']}"]
    lines += [f"{one['id']} {one['message']} at {one['pointer']}" for one in shown["problems"]]
    return [*lines, f"bundle {shown['bundle']}"]


def _leaf_lines(leaf: dict[str, Any]) -> list[str]:
    names = ", ".join(f"{one['en']} ({one['ko']}), {one['name']}" for one in leaf["names"])
    lines = [f"{leaf['pointer']}  {names or 'no common meaning'}", *_spot_lines(leaf, "  ")]
    for outcome in leaf["fates"]:
        lines.append(f"  {outcome['document']}: {outcome['fate']} by {outcome['rule']}")
        for one in outcome["written"]:
            lines += [f"    {line}" for line in _written_lines(one, "", told=True)]
        lines += [f"    {one['what']} ({one['rule']})" for one in outcome["read_as"]]
    return [*lines, ""]


def _spot_lines(spot: dict[str, Any], indent: str) -> list[str]:
    octets = f"octets {spot['bytes']['start']} to {spot['bytes']['end']}, line {spot['line']}"
    if spot["value"] is None:
        return [
            f"{indent}nothing stands at {spot['pointer']}; it belongs into {spot['xpath']}",
            f"{indent}({octets})",
        ]
    return [f"{indent}value {spot['value']!r}", f"{indent}{octets}, {spot['xpath']}"]


def _written_lines(one: dict[str, Any], indent: str, *, told: bool = False) -> list[str]:
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
        lines += _spot_lines(spot, f"{indent}    ")
    return lines if told else [*lines, ""]


def _declared_lines(story: dict[str, Any]) -> list[str]:
    lines = [
        f"{story['name']}  {story['en']} ({story['ko']}), {story['kind']}; {story['rule']}",
        f"  stands at {story['place']}",
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
