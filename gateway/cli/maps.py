"""Verbs about mappings: what a submission becomes, the schemas made from them, sample submissions."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gateway.errors import DOCUMENT_UNKNOWN, SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle, Fate, Split, build, load, placeholder_numbers, split
from gateway.harmonize.samples import sample
from gateway.share import folder
from gateway.wire.schemas import SchemaSet
from gateway.wire.xml import parse_xml, serialize, xpath_of

__all__ = ["add_parser", "run"]

_MOST_ITEMS = 999


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb ``map`` with its own verbs."""
    parser = subparsers.add_parser("map", help="the mappings: split, build, sample")
    verbs = parser.add_subparsers(dest="map_verb", required=True)
    one = verbs.add_parser("split", help="show what a submission becomes for each agency")
    one.add_argument("file", type=Path)
    one.add_argument("--json", action="store_true", help="one JSON object")
    two = verbs.add_parser("build", help="write the schemas made from the mappings")
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--json", action="store_true", help="one JSON object")
    three = verbs.add_parser("sample", help="print a valid random submission with one application")
    three.add_argument("document")
    three.add_argument("--seed", default="0")
    three.add_argument("--items", type=int, default=1)
    for verb in (one, two, three):
        verb.add_argument("--path", type=Path, help="a folder of mappings instead of the shipped ones")
        verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a verb of ``map``; 0 good, 1 found wanting."""
    verbs = {"split": _split, "build": _build, "sample": _sample}
    return verbs[args.map_verb](args, load(_mappings(args.path)))


def _mappings(path: Path | None) -> Traversable:
    if path is None:
        return folder("mappings")
    if not path.is_dir():
        raise GatewayError(SETTINGS_WRONG, f"there is no folder {path}", str(path))
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", str(path)) from None


def _split(args: argparse.Namespace, bundle: Bundle) -> int:
    content = _read(args.file)
    try:
        root = parse_xml(content)
        SchemaSet.load(folder("xsd"), "hub/submission.xsd").check(root)
        result = split(root, bundle, placeholder_numbers(root))
    except GatewayError as error:
        if not args.json:
            raise
        print(json.dumps(_refused(error), ensure_ascii=False))
        return 1
    shown = as_json(result)
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        _print(shown, result)
    return 1 if result.problems or result.unaccounted else 0


def as_json(result: Split) -> dict[str, Any]:
    """Return a split as the verb prints it."""
    ledger, unaccounted = [], []
    names = result.accounts.documents
    for entry, pointer in result.accounts.pointers(result.facts.root):
        leaf = entry.leaf
        xpath = xpath_of(leaf.element) + (f"/@{leaf.attribute}" if leaf.attribute is not None else "")
        pairs = [(name, fate) for name, fate in zip(names, entry.fates, strict=True) if fate is not None]
        fates = [_fate(name, fate) for name, fate in pairs]
        ledger.append({"pointer": pointer, "xpath": xpath, "value": leaf.value, "fates": fates})
        if None in entry.fates:
            unaccounted.append(pointer)
    requests = [
        {
            "organisation": request.organisation,
            "document": request.document,
            "application": request.application,
            "xml": serialize(request.xml).decode("utf-8"),
        }
        for request in result.requests
    ]
    problems = [
        {
            "id": trouble.problem.id,
            "title": trouble.problem.title,
            "message": trouble.detail,
            "pointer": trouble.pointer,
            "document": trouble.document,
            "application": trouble.application,
            "rule": str(trouble.rule) if trouble.rule is not None else None,
        }
        for trouble in result.problems
    ]
    return {
        "requests": requests,
        "ledger": ledger,
        "unaccounted": unaccounted,
        "problems": problems,
        "counts": result.accounts.count(),
        "bundle": result.bundle,
    }


def _refused(error: GatewayError) -> dict[str, Any]:
    """Return what the verb prints for a file that is no valid submission."""
    problem = {
        "id": error.problem.id,
        "title": error.problem.title,
        "message": error.detail,
        "pointer": error.location,
        "document": None,
        "application": None,
        "rule": None,
    }
    return {"requests": [], "ledger": [], "unaccounted": [], "problems": [problem]}


def _fate(document: str, fate: Fate) -> dict[str, Any]:
    return {
        "document": document,
        "fate": fate.fate,
        "target": fate.targets[0] if fate.targets else None,
        "targets": list(fate.targets),
        "rule": str(fate.rule),
    }


def _print(shown: dict[str, Any], result: Split) -> None:
    for request in shown["requests"]:
        print(f"{request['document']} for {request['organisation']} (application {request['application']})")
        print(request["xml"])
    for problem in shown["problems"]:
        print(f"{problem['id']} {problem['message']} at {problem['pointer']} ({problem['rule']})")
    counts = result.accounts.count()
    print(", ".join(f"{number} {fate}" for fate, number in counts.items()))


def _build(args: argparse.Namespace, bundle: Bundle) -> int:
    written = []
    for name, text in build(bundle).items():
        target = args.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(name)
    print(json.dumps({"written": written}) if args.json else "\n".join(written))
    return 0


def _sample(args: argparse.Namespace, bundle: Bundle) -> int:
    document = bundle.documents.get(args.document)
    if document is None:
        known = ", ".join(bundle.documents)
        raise GatewayError(
            DOCUMENT_UNKNOWN, f"no document {args.document[:70]!r}; known: {known}", args.document[:70]
        )
    if not 1 <= args.items <= _MOST_ITEMS:
        raise GatewayError(SETTINGS_WRONG, f"--items is between 1 and {_MOST_ITEMS}", "--items")
    sys.stdout.write(sample(bundle, document, str(args.seed), args.items).decode("utf-8"))
    return 0
