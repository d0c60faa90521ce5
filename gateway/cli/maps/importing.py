"""``gateway map import``: turns an inventory of documents into a folder of mappings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.harmonize import load
from gateway.harmonize.importing import Imported, import_inventory, merge
from gateway.share import Held, folder

__all__ = ["add_import", "import_documents"]

_BASE = ("codelists.yaml", "common.yaml", "organisations.yaml")


def add_import(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb ``map import``."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "import", help="turn an inventory of documents into a folder of mappings"
    )
    parser.add_argument("inventory", type=Path, help="a YAML file in the form of a field inventory")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--documents", help="only these documents, their ids divided by commas")
    parser.add_argument(
        "--replace", action="store_true", help="put entries and documents in the place of unlike ones"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def import_documents(args: argparse.Namespace) -> int:
    """Write the mappings of an inventory; nothing is written that does not load."""
    try:
        content = args.inventory.read_bytes()
    except OSError as error:
        reason = f"{args.inventory} cannot be read: {error.strerror}"
        raise GatewayError(SETTINGS_WRONG, reason, str(args.inventory)) from None
    wanted = [name.strip() for name in (args.documents or "").split(",") if name.strip()]
    there = _mappings(args.out)
    into = None if there is None else Held(there)
    imported = import_inventory(content, args.inventory.name, folder("mappings"), wanted, into)
    if there is None:
        files = imported.files
        load(Held(files))
        _refuse_others(args.out, files, replace=args.replace)
    else:
        files = merge(imported.added, there, replace=args.replace)
        load(Held({**there, **files}))
    _write(args.out, files)
    shown = as_json(imported, files)
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        _print(shown)
    return 0


def as_json(imported: Imported, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the verb prints: files, counts by document, and what a person must finish."""
    findings = [
        {"document": one.document, "field": one.field, "kind": one.kind, "text": one.text}
        for one in imported.findings
    ]
    documents = [{"document": name, **counts} for name, counts in imported.counts.items()]
    return {"written": sorted(files), "documents": documents, "to_finish": findings}


def _mappings(out: Path) -> dict[str, bytes] | None:
    """Return the files of a folder of mappings that is there, None where `out` is none."""
    if not all((out / name).is_file() for name in _BASE):
        return None
    files = {}
    try:
        for path in sorted(out.rglob("*")):
            name = path.relative_to(out)
            if path.is_file() and not any(part.startswith((".", "__")) for part in name.parts):
                files[name.as_posix()] = path.read_bytes()
    except OSError as error:
        reason = f"{error.filename or out} cannot be read: {error.strerror}"
        raise GatewayError(SETTINGS_WRONG, reason, "--out") from None
    return files


def _refuse_others(out: Path, files: Mapping[str, bytes], *, replace: bool) -> None:
    """Refuse to write over a file that says something else; a folder of mappings is merged instead."""
    try:
        others = [name for name, content in files.items() if _differs(out / name, content)]
    except OSError as error:
        reason = f"{error.filename or out} cannot be read: {error.strerror}"
        raise GatewayError(SETTINGS_WRONG, reason, "--out") from None
    if others and not replace:
        reason = f"{out / others[0]} says something else; --replace writes over it"
        raise GatewayError(SETTINGS_WRONG, reason, "--out")


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files below `out`, each whole: all beside their places first, then all into them."""
    beside: list[tuple[Path, Path]] = []
    try:
        for name, content in files.items():
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            beside.append((new, target))
            new.write_bytes(content)
        for new, target in beside:
            new.replace(target)
    except OSError as error:
        for new, _ in beside:
            with suppress(OSError):
                new.unlink(missing_ok=True)
        reason = f"{error.filename or out} cannot be written: {error.strerror}"
        raise GatewayError(SETTINGS_WRONG, reason, "--out") from None


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def _print(shown: Mapping[str, Any]) -> None:
    for counts in shown["documents"]:
        numbers = ", ".join(
            f"{number} {key}" for key, number in counts.items() if key != "document" and number
        )
        print(f"{counts['document']}: {numbers.replace('_', ' ')}")
    for one in shown["to_finish"]:
        place = " ".join(part for part in (one["document"], one["field"]) if part)
        print(f"to finish: {place}: {one['text']}")
    print(f"{len(shown['written'])} files written")
