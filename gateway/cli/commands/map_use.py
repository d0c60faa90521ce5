"""``gateway map use|list``: the mappings in force in a gateway, running or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.audited_changes import change_database
from gateway.cli.result_output import (
    ReportedFailure,
    count_things,
    format_value,
    print_failure,
    print_json,
    print_sentence,
    print_table,
)
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import (
    MappingChanges,
    check_removed_documents,
    load_active_rules,
    load_shipped_rules,
)
from gateway.operations import (
    CheckedFolder,
    activate_folder,
    check_mapping_folder,
    compare_with_active,
    describe_mapping_changes,
    find_missing_addresses,
)
from gateway.store import mapping_bundles

__all__ = ["list_mappings", "use_mappings"]


@verb
@click.argument("folder", type=FILE, required=False, help="the folder; its content is stored in the database")
@click.option("--shipped", is_flag=True, help="activate the mappings that are shipped with the program")
@click.option(
    "--remove",
    multiple=True,
    metavar="ID",
    help="take this document out of force, which the folder does not contain (repeatable)",
)
@change_options()
def use_mappings(arguments: Arguments) -> int:
    """Activate a folder of mappings, or the shipped ones; return 0 when done.

    Raises GW507 where a document in force would go that no ``--remove`` names.
    """
    if (arguments.folder is None) != arguments.shipped:
        raise GatewayError(MISUSE, "give a folder or --shipped", "map use")
    folder = _check_folder(arguments.folder)
    with change_database(arguments) as change:
        changes, before = compare_with_active(change.conn, folder)
        said = describe_mapping_changes(changes, folder.bundle, before)
        said["warnings"] = list(find_missing_addresses(read_verb_settings(arguments), folder.bundle))
        if not arguments.json:
            _print_changes(said)
        _check_removals(changes, arguments)
        is_new = activate_folder(change, folder, said)
    documents = count_things(len(folder.bundle.documents), "document")
    words = "In force from the next message on" if is_new else "Already in force; nothing was changed"
    sentence = f"{words}: {documents}, bundle {folder.bundle.digest[:16]}."
    if arguments.json:
        print_json(change.describe_done(sentence, **said))
    else:
        for words in said["warnings"]:
            print(f"warning: {words}")
        print_sentence(sentence)
    return 0


def _check_folder(folder: Path | None) -> CheckedFolder:
    if folder is not None and not folder.is_dir():
        raise GatewayError(MISUSE, f"there is no folder {folder}", "map use")
    return check_mapping_folder(folder)


def _check_removals(changes: MappingChanges, arguments: Arguments) -> None:
    """Raise GW507 for what goes out of force and is not named; with JSON it has the changes with it."""
    try:
        check_removed_documents(changes, arguments.remove)
    except GatewayError as refused:
        if not arguments.json:
            raise
        told = {name: list(getattr(changes, name)) for name in ("added", "changed", "removed")}
        print_failure(ReportedFailure(refused.detail, refused.problem.id, more=told))
        # The end of the verb takes the transaction back.
        raise click.exceptions.Exit(1) from refused


def _print_changes(said: Mapping[str, Any]) -> None:
    """Print what a folder changes in what is in force: one line for each kind of change."""
    for title, key in (("added", "added"), ("changed", "changed"), ("removed", "removed"), ("", "files")):
        words = f"documents {title}" if title else "other files that differ"
        print_sentence(f"{words}: {', '.join(said[key]) or 'none'}")


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
