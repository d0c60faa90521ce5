"""What ``gateway map use`` and ``map list`` do; loaded when they are used: it brings the database along."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gateway.cli.maps.check import static_problems
from gateway.cli.settings import looking, print_rows, shown, writing
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.evidence.log import record
from gateway.harmonize import Bundle, compile_requests, load
from gateway.hub.assembly import now as clock
from gateway.hub.mappings import pack, rules_in_force, shipped_rules, unpack
from gateway.store import mappings

__all__ = ["show_list", "use"]


def use(arguments: argparse.Namespace) -> int:
    """Put a folder of mappings, or the shipped ones, in force; 0 when done."""
    if (arguments.folder is None) != arguments.shipped:
        raise GatewayError(SETTINGS_WRONG, "name a folder, or --shipped", "map use")
    bundle, octets = _checked(arguments.folder)
    now = clock()
    version = None if octets is None else bundle.digest
    with writing(arguments) as conn:
        before = mappings.in_force(conn)
        if octets is not None:
            mappings.keep(conn, bundle.digest, octets, now)
        mappings.use(conn, version, now, "operator")
        data = {"before": before, "documents": sorted(bundle.documents)}
        record(conn, "mappings", "bundle", bundle.digest, bundle.digest, data, now)
    said = {"bundle": bundle.digest, "before": before, "documents": sorted(bundle.documents)}
    if arguments.json:
        print(json.dumps(said, ensure_ascii=False))
    else:
        print(f"in force from the next message on: {len(bundle.documents)} documents, {bundle.digest[:16]}")
    return 0


def _checked(folder: Path | None) -> tuple[Bundle, bytes | None]:
    """Return the bundle of a folder, read as every process will read it, and its archive."""
    if folder is None:
        return shipped_rules().bundle, None
    if not folder.is_dir():
        raise GatewayError(SETTINGS_WRONG, f"there is no folder {folder}", "map use")
    octets = pack(folder)
    bundle = load(unpack(octets))
    compile_requests(bundle)
    for problem in static_problems(bundle):
        raise problem
    return bundle, octets


def show_list(arguments: argparse.Namespace) -> int:
    """Print the documents in force, and every change of what was in force."""
    with looking(arguments) as conn:
        rules = rules_in_force(conn, shipped_rules())
        past = mappings.history(conn)
    rows: list[dict[str, Any]] = [
        {
            "document": document.id,
            "organisation": document.organisation,
            "direction": document.direction,
            "status": document.status,
            "title": f"{document.en} ({document.ko})",
        }
        for document in rules.bundle.documents.values()
    ]
    if arguments.json:
        uses = [{"bundle": row.digest, "at": shown(row.at), "actor": row.actor} for row in past]
        print(
            json.dumps({"bundle": rules.bundle.digest, "documents": rows, "uses": uses}, ensure_ascii=False)
        )
        return 0
    print(f"bundle {rules.bundle.digest[:16]}" + ("" if rules.version else ", as it came with the program"))
    print_rows(rows, as_json=False, columns=("document", "organisation", "direction", "status", "title"))
    return 0
