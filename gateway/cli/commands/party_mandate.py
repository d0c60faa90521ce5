"""``gateway party mandate add|list|revoke``: which party may file for which other."""

from __future__ import annotations

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.partner_names import check_partner_names
from gateway.cli.result_output import format_value, print_table, report_wrong_row
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import MOMENT, ROW_NUMBER, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import describe_mandate
from gateway.store import mandates, parties

__all__ = ["add_mandate", "list_mandates", "revoke_mandate"]

_COLUMNS = ("id", "holder", "principal", "scope", "from", "until", "revoked")


@verb
@click.argument("holder", help="the party that may file")
@click.argument("principal", help="the party for which it may file")
@click.option("--from", "start", type=MOMENT, help="start of the mandate (ISO 8601; default: now)")
@click.option("--until", type=MOMENT, help="end of the mandate")
@change_options()
def add_mandate(arguments: Arguments) -> int:
    """Let one party file for another; return 1 when one of them is not registered."""
    with change_database(arguments) as change:
        for party in (arguments.holder, arguments.principal):
            if parties.find_party(change.conn, party) is None:
                change.leave_unchanged()
                return report_wrong_row(f"there is no party {party}")
        start = arguments.start or change.at
        number = mandates.insert_mandate(
            change.conn, arguments.holder, arguments.principal, start, arguments.until
        )
        change.record_trust_change(f"mandate {number}", after=describe_mandate(change.conn, number))
    until = f" until {format_value(arguments.until)}" if arguments.until else ""
    who = f"{arguments.holder} may file for {arguments.principal}"
    sentence = f"Mandate {number}: {who} from {format_value(start)}{until}."
    print_change(change, sentence, as_json=arguments.json, mandate=number)
    return 0


@verb
@click.argument("mandate", type=ROW_NUMBER, help="the number of the mandate")
@change_options()
def revoke_mandate(arguments: Arguments) -> int:
    """End a mandate now; return 1 when none with that number is in force."""
    number = arguments.mandate
    with change_database(arguments) as change:
        before = describe_mandate(change.conn, number)
        if not mandates.revoke_mandate(change.conn, number, change.at):
            change.leave_unchanged()
            return report_wrong_row(f"there is no mandate {number} in force")
        after = describe_mandate(change.conn, number)
        change.record_trust_change(f"mandate {number}", before=before, after=after)
    who = f"{after['party_id']} may no longer file for {after['on_behalf_of']}" if after else ""
    print_change(change, f"Mandate {number} is revoked: {who}.", as_json=arguments.json, mandate=number)
    return 0


@verb
@click.option("--party", help="only mandates that this party holds or has given")
@home_options()
def list_mandates(arguments: Arguments) -> int:
    """Print the mandates with their periods, ended and future ones also."""
    with read_database(arguments) as conn:
        found = (
            mandates.list_by_party(conn, arguments.party) if arguments.party else mandates.list_mandates(conn)
        )
        check_partner_names(conn, read_verb_settings(arguments), arguments, found)
    rows = [
        {
            "id": row.id,
            "holder": row.party_id,
            "principal": row.on_behalf_of,
            "scope": row.scope,
            "from": row.valid_from,
            "until": row.valid_until or "",
            "revoked": row.revoked_at or "",
        }
        for row in found
    ]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0
