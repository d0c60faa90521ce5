"""``gateway map use|list``: the mappings in force in a gateway, running or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.commands.map_check import find_static_problems
from gateway.cli.result_output import count_things, format_value, print_json, print_sentence, print_table
from gateway.cli.settings import read_database, write_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.harmonize import MappingBundle, compile_request_schemas
from gateway.hub import get_current_time as clock
from gateway.hub import (
    load_active_rules,
    load_rules,
    load_shipped_rules,
    pack_mapping_folder,
    unpack_mapping_archive,
)
from gateway.store import mapping_bundles

__all__ = ["list_mappings", "use_mappings"]


@verb
@click.argument("folder", type=FILE, required=False, help="the folder; its content is stored in the database")
@click.option("--shipped", is_flag=True, help="activate the mappings that are shipped with the program")
@home_options()
def use_mappings(arguments: Arguments) -> int:
    """Activate a folder of mappings, or the shipped ones; return 0 when done."""
    if (arguments.folder is None) != arguments.shipped:
        raise GatewayError(SETTINGS_WRONG, "give a folder or --shipped", "map use")
    bundle, octets = _check_mapping_folder(arguments.folder)
    now = clock()
    version = None if octets is None else bundle.digest
    with write_database(arguments) as conn:
        before = mapping_bundles.find_active_digest(conn)
        if octets is not None:
            mapping_bundles.store_bundle(conn, bundle.digest, octets, now)
        mapping_bundles.activate_bundle(conn, version, now, "operator")
        data = {"before": before, "documents": sorted(bundle.documents)}
        record_evidence(conn, "mappings", "bundle", bundle.digest, bundle.digest, data, now)
    said = {"bundle": bundle.digest, "before": before, "documents": sorted(bundle.documents)}
    if arguments.json:
        print_json(said)
    else:
        documents = count_things(len(bundle.documents), "document")
        print_sentence(f"In force from the next message on: {documents}, bundle {bundle.digest[:16]}.")
    return 0


def _check_mapping_folder(folder: Path | None) -> tuple[MappingBundle, bytes | None]:
    """Return the bundle of a folder, read as every process will read it, and its archive."""
    if folder is None:
        return load_shipped_rules().bundle, None
    if not folder.is_dir():
        raise GatewayError(SETTINGS_WRONG, f"there is no folder {folder}", "map use")
    octets = pack_mapping_folder(folder)
    bundle = load_rules(unpack_mapping_archive(octets)).bundle
    compile_request_schemas(bundle)
    for problem in find_static_problems(bundle):
        raise problem
    return bundle, octets


@verb
@home_options()
def list_mappings(arguments: Arguments) -> int:
    """Print the documents in force; with JSON also every earlier activation."""
    with read_database(arguments) as conn:
        rules = load_active_rules(conn, load_shipped_rules())
        past = mapping_bundles.list_activations(conn)
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
