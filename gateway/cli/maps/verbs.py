"""Verbs about mappings: what a submission becomes, the schemas made from them, sample submissions."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.cli.maps.check import add_verb as add_check
from gateway.cli.maps.check import check_mappings
from gateway.cli.maps.explain import add_explain, show_explanation
from gateway.cli.maps.importing import add_import, import_documents
from gateway.cli.maps.matrix import add_matrix, draw_matrix
from gateway.cli.maps.reading import add_read, sample_notice, show_notice
from gateway.cli.maps.split import show_split
from gateway.cli.maps.use import add_use
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import Bundle, load
from gateway.harmonize.building import build_all
from gateway.harmonize.sampling.samples import sample
from gateway.share import folder

__all__ = ["add_parser", "run"]

_MOST_ITEMS = 999


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb ``map`` with its own verbs."""
    parser = subparsers.add_parser("map", help="the mappings: check, split, build, sample, import")
    verbs = parser.add_subparsers(dest="map_verb", required=True)
    one = verbs.add_parser("split", help="show what a submission becomes for each agency")
    one.add_argument("file", type=Path)
    one.add_argument("--json", action="store_true", help="one JSON object")
    two = verbs.add_parser(
        "build", help="write what is made from the mappings: schemas, WSDLs, forms, labels"
    )
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--json", action="store_true", help="one JSON object")
    three = verbs.add_parser(
        "sample", help="print a valid random submission with one application, or a notice"
    )
    three.add_argument("document")
    three.add_argument("--seed", type=int, default=0)
    three.add_argument("--items", type=int, default=1)
    four = add_check(verbs)
    add_import(verbs).set_defaults(run=run)
    five = add_explain(verbs)
    for verb in (one, two, three, four, five, add_read(verbs), add_matrix(verbs)):
        verb.add_argument("--path", type=Path, help="a folder of mappings instead of the shipped ones")
        verb.set_defaults(run=run)
    add_use(verbs)


def run(args: argparse.Namespace) -> int:
    """Run a verb of ``map``; 0 good, 1 found wanting."""
    if args.map_verb == "import":
        return import_documents(args)
    if args.map_verb == "check":
        return check_mappings(args, _mappings(args.path))
    verbs = {
        "split": _split,
        "build": _build,
        "sample": _sample,
        "explain": show_explanation,
        "read": show_notice,
        "matrix": draw_matrix,
    }
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
    return show_split(args, bundle, _read(args.file))


def _build(args: argparse.Namespace, bundle: Bundle) -> int:
    template = folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    written = []
    for name, octets in build_all(bundle, template).items():
        target = args.out / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(octets)
        except OSError as error:
            raise GatewayError(
                SETTINGS_WRONG, f"{target} cannot be written: {error.strerror}", "--out"
            ) from None
        written.append(name)
    print(json.dumps({"written": written}) if args.json else "\n".join(written))
    return 0


def _sample(args: argparse.Namespace, bundle: Bundle) -> int:
    if args.document in bundle.notices.notices:
        sys.stdout.write(sample_notice(bundle, args.document, str(args.seed)))
        return 0
    document = bundle.documents.get(args.document)
    if document is None:
        known = ", ".join(bundle.documents)
        raise GatewayError(SETTINGS_WRONG, f"no document {args.document[:70]!r}; known: {known}", "DOCUMENT")
    if not 1 <= args.items <= _MOST_ITEMS:
        raise GatewayError(SETTINGS_WRONG, f"--items is between 1 and {_MOST_ITEMS}", "--items")
    sys.stdout.write(sample(bundle, document, str(args.seed), args.items).decode("utf-8"))
    return 0
