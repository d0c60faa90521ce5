"""``gateway agreement load|list|suspend``: agreements with partners."""

from __future__ import annotations

import click

from gateway.cli.named_files import read_file
from gateway.cli.result_output import count_things, print_sentence, print_table
from gateway.cli.settings import read_database, write_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.store import agreements

__all__ = ["list_agreements", "load_file", "suspend_agreement"]

_COLUMNS = ("id", "kind", "status", "valid_from", "valid_until")


@verb
@click.argument("file", type=FILE, help="the agreement, in YAML")
@home_options()
def load_file(arguments: Arguments) -> int:
    """Activate the P-Modes of a file and print their ids."""
    from gateway.cli.registration import load_agreement
    from gateway.hub import get_current_time

    with write_database(arguments) as conn:
        loaded = load_agreement(conn, read_file(arguments.file), arguments.file.name, get_current_time())
    if arguments.json:
        for pmode in loaded:
            print(pmode.id)
        return 0
    names = ", ".join(dict.fromkeys(pmode.agreement for pmode in loaded))
    modes = ", ".join(pmode.id for pmode in loaded)
    print_sentence(f"Agreement {names} is in force with {count_things(len(loaded), 'P-Mode')}: {modes}.")
    return 0


@verb
@home_options()
def list_agreements(arguments: Arguments) -> int:
    """Print the agreements with their validity periods."""
    with read_database(arguments) as conn:
        rows = [dict(row._mapping) for row in agreements.list_agreements(conn)]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@home_options()
def suspend_agreement(arguments: Arguments) -> int:
    """Suspend an agreement; raise the problem of the register for an unknown one."""
    with write_database(arguments) as conn:
        agreements.set_agreement_status(conn, arguments.agreement, "SUSPENDED")
    print_sentence(
        f"Agreement {arguments.agreement} is suspended: its messages are refused.", as_json=arguments.json
    )
    return 0
