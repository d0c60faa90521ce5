"""``gateway map read``: what a notice of an agency says, fact by fact, each with its place and its rule."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.itemids import type_code
from gateway.harmonize.replies.answering import NoticeFact, NoticeFacts, document_of, read_notice
from gateway.harmonize.replies.errorplaces import error_places
from gateway.harmonize.replies.noticesamples import draw_notice
from gateway.wire.xml import parse_xml

__all__ = ["add_read", "sample_notice", "show_notice"]


def add_read(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the verb ``map read`` and return its parser."""
    parser = verbs.add_parser("read", help="say what a notice of an agency means")
    parser.add_argument("file", type=Path)
    parser.add_argument("--document")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def show_notice(args: argparse.Namespace, bundle: Bundle) -> int:
    """Print the facts of the notice in ``args.file``; 1 when it is not understood."""
    try:
        content = args.file.read_bytes()
    except OSError as error:
        raise GatewayError(
            SETTINGS_WRONG, f"{args.file} cannot be read: {error.strerror}", str(args.file)
        ) from None
    document = _document(args.document, bundle)
    try:
        facts = _read(content, bundle, document)
    except GatewayError as error:
        if not args.json:
            raise
        print(json.dumps(_refused(error), ensure_ascii=False))
        return 1
    shown = _as_json(facts)
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        _print(facts, shown)
    return 0


def _document(name: str | None, bundle: Bundle) -> Document | None:
    if name is None:
        return None
    if name not in bundle.documents:
        known = ", ".join(bundle.documents)
        raise GatewayError(SETTINGS_WRONG, f"no document {name[:70]!r}; known: {known}", "--document")
    return bundle.documents[name]


def _read(content: bytes, bundle: Bundle, document: Document | None) -> NoticeFacts:
    """Read a notice; without a document it is read for the one that it names itself, if it does."""
    root = parse_xml(content)
    facts = read_notice(root, bundle.notices, document)
    if document is None:
        named = document_of(facts.value("document_type"), bundle.documents.values())
        if named is not None:
            return read_notice(root, bundle.notices, named)
    return facts


def sample_notice(bundle: Bundle, name: str, seed: str) -> str:
    """Return a valid random notice, about an application for a document that it may answer."""
    notice = bundle.notices.notices[name]
    answered = [one for one in bundle.documents.values() if one.answers.reads(notice)]
    document = next((one for one in answered if type_code(one) is not None), None)
    root, _ = draw_notice(notice, bundle.notices, seed, document)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _as_json(facts: NoticeFacts) -> dict[str, Any]:
    return {
        "notice": facts.notice.id,
        "role": facts.notice.role,
        "from": facts.notice.sender,
        "document": facts.document.id if facts.document is not None else None,
        "item": facts.item,
        "facts": [_fact(fact) for fact in facts.facts],
        "places": [
            {
                "about": next(
                    f"{n.rpartition('.')[0]} {f.value}" for n, f in said.items() if n.endswith(".number")
                ),
                "path": place.path,
                "item": place.item,
                "exact": place.exact,
                "rule": str(place.target.mark),
            }
            for said, place in error_places(facts)
        ],
        "problems": [],
    }


def _fact(fact: NoticeFact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "value": fact.value,
        "unit": fact.unit or None,
        "item": fact.item,
        "at": [f"{name}[{number}]" for name, number in fact.at],
        "place": fact.place or None,
        "xpath": fact.xpath,
        "rule": str(fact.rule),
        "transforms": list(fact.transforms),
    }


def _refused(error: GatewayError) -> dict[str, Any]:
    problem = {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "xpath": error.location,
    }
    return {"notice": None, "document": None, "facts": [], "places": [], "problems": [problem]}


def _print(facts: NoticeFacts, shown: dict[str, Any]) -> None:
    about = f" about {facts.document.id}" if facts.document is not None else ""
    print(f"{facts.notice.id} {facts.notice.en} ({facts.notice.ko}){about}")
    for fact in facts.facts:
        name = f"{fact.name} {fact.place}".strip()
        item = f" [item {fact.item}]" if fact.item is not None else ""
        steps = "".join(f", {step}" for step in fact.transforms)
        unit = f" {fact.unit}" if fact.unit else ""
        print(f"{name}{item}: {fact.value}{unit}  ({fact.xpath}, {fact.rule}{steps})")
    for place in shown["places"]:
        about = f" of item {place['item']}" if place["item"] is not None else ""
        word = "at" if place["exact"] else "within"
        print(f"{place['about']}: {word} {place['path']}{about} ({place['rule']})")
