"""``gateway map use|list``: which mappings are in force in a gateway, running or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.commands.map_check import find_static_problems
from gateway.cli.options import FILE, home_options
from gateway.cli.output import count_things, format_value, print_json, print_sentence, print_table
from gateway.cli.settings import read_database, write_database
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.evidence.log import record
from gateway.harmonize import Bundle, compile_requests, load
from gateway.hub.assembly import now as clock
from gateway.hub.mappings import pack, rules_in_force, shipped_rules, unpack
from gateway.store import mappings

__all__ = ["list_mappings", "use_mappings"]


@verb
@click.argument("folder", type=FILE, required=False, help="the folder; what it holds is kept in the database")
@click.option("--shipped", is_flag=True, help="go back to those that came with the program")
@home_options()
def use_mappings(arguments: Arguments) -> int:
    """Put a folder of mappings, or the shipped ones, in force; 0 when done."""
    if (arguments.folder is None) != arguments.shipped:
        raise GatewayError(SETTINGS_WRONG, "name a folder, or --shipped", "map use")
    bundle, octets = _check_mapping_folder(arguments.folder)
    now = clock()
    version = None if octets is None else bundle.digest
    with write_database(arguments) as conn:
        before = mappings.in_force(conn)
        if octets is not None:
            mappings.keep(conn, bundle.digest, octets, now)
        mappings.use(conn, version, now, "operator")
        data = {"before": before, "documents": sorted(bundle.documents)}
        record(conn, "mappings", "bundle", bundle.digest, bundle.digest, data, now)
    said = {"bundle": bundle.digest, "before": before, "documents": sorted(bundle.documents)}
    if arguments.json:
        print_json(said)
    else:
        documents = count_things(len(bundle.documents), "document")
        print_sentence(f"In force from the next message on: {documents}, bundle {bundle.digest[:16]}.")
    return 0


def _check_mapping_folder(folder: Path | None) -> tuple[Bundle, bytes | None]:
    """Return the bundle of a folder, read as every process will read it, and its archive."""
    if folder is None:
        return shipped_rules().bundle, None
    if not folder.is_dir():
        raise GatewayError(SETTINGS_WRONG, f"there is no folder {folder}", "map use")
    octets = pack(folder)
    bundle = load(unpack(octets))
    compile_requests(bundle)
    for problem in find_static_problems(bundle):
        raise problem
    return bundle, octets


@verb
@home_options()
def list_mappings(arguments: Arguments) -> int:
    """Print the documents in force, and every change of what was in force."""
    with read_database(arguments) as conn:
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
        uses = [{"bundle": row.digest, "at": format_value(row.at), "actor": row.actor} for row in past]
        print_json({"bundle": rules.bundle.digest, "documents": rows, "uses": uses})
        return 0
    print(f"bundle {rules.bundle.digest[:16]}" + ("" if rules.version else ", as it came with the program"))
    print_table(rows, as_json=False, columns=("document", "organisation", "direction", "status", "title"))
    return 0
