"""``gateway party …``: the registered parties, and the mandates between them."""

from __future__ import annotations

import click

from gateway.cli.list_options import list_options, print_page, read_clock, read_list_filter
from gateway.cli.named_files import read_file
from gateway.cli.result_output import format_value, print_json, print_problem, print_sentence
from gateway.cli.settings import read_database, read_verb_settings, write_database
from gateway.cli.shared_options import FILE, MOMENT, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.store import mandates, parties, register_searches

__all__ = [
    "add_mandate",
    "add_party",
    "list_parties",
    "resume_party",
    "revoke_mandate",
    "show_party",
    "suspend_party",
]

_STATES = ("ACTIVE", "SUSPENDED", "RETIRED")
_ROLES = ("applicant", "carrier", "customs", "agency", "hub", "voucher")
_ID_WORDS = "a party id; repeatable"
_CERTIFICATE_WORDS = "a valid signing certificate; repeatable"


@verb
@click.argument("party", help="the name of the party in the register")
@click.option("--name", help="the name of the party in texts for people")
@click.option(
    "--role", type=click.Choice(_ROLES), default="applicant", help="the role of the party in the procedure"
)
@click.option("--id", multiple=True, metavar="[TYPE|]VALUE", help=_ID_WORDS)
@click.option("--certificate", type=FILE, multiple=True, help=_CERTIFICATE_WORDS)
@home_options()
def add_party(arguments: Arguments) -> int:
    """Register a party with its ids and certificates; register nothing when a certificate is refused."""
    from gateway.cli.registration import demand_usable_certificate, make_certificate_row, read_party_id
    from gateway.hub import get_current_time as clock
    from gateway.pki import read_certificate

    get_current_time = clock()
    ids = [read_party_id(text) for text in arguments.id]
    added = []
    with write_database(arguments) as conn:
        parties.register_party(
            conn, arguments.party, arguments.name or arguments.party, arguments.role, get_current_time, ids
        )
        for path in arguments.certificate:
            found = read_certificate(read_file(path))
            demand_usable_certificate(
                read_verb_settings(arguments),
                conn,
                (found, "signing"),
                (get_current_time, get_current_time),
                str(path),
            )
            parties.add_certificate(conn, arguments.party, make_certificate_row(found), get_current_time)
            added.append(found.sha256)
    told = f"Registered party {arguments.party} as {arguments.role}"
    if ids:
        told += f", known as {', '.join(arguments.id)}"
    if added:
        told += f", with certificate {', '.join(added)}"
    print_sentence(f"{told}.", as_json=arguments.json)
    return 0


@verb
@click.argument("party", help="the name of the party in the register")
@home_options()
def suspend_party(arguments: Arguments) -> int:
    """Suspend a party: its messages are refused."""
    _set_party_status(arguments, "SUSPENDED")
    print_sentence(f"Party {arguments.party} is suspended: its messages are refused.", as_json=arguments.json)
    return 0


@verb
@click.argument("party", help="the name of the party in the register")
@home_options()
def resume_party(arguments: Arguments) -> int:
    """Accept messages of a suspended party again."""
    _set_party_status(arguments, "ACTIVE")
    print_sentence(f"Party {arguments.party} is active: its messages are accepted.", as_json=arguments.json)
    return 0


def _set_party_status(arguments: Arguments, status: str) -> None:
    with write_database(arguments) as conn:
        parties.set_party_status(conn, arguments.party, status)


@verb
@click.argument("holder", help="the party that may file")
@click.argument("principal", help="the party for which it may file")
@click.option("--from", "start", type=MOMENT, help="start of the mandate (ISO 8601; default: now)")
@click.option("--until", type=MOMENT, help="end of the mandate")
@home_options()
def add_mandate(arguments: Arguments) -> int:
    """Let one party file for another; return 1 when one of them is not registered."""
    from gateway.hub import get_current_time

    with write_database(arguments) as conn:
        for party in (arguments.holder, arguments.principal):
            if parties.find_party(conn, party) is None:
                return _report_missing_row(f"no party {party}")
        start = arguments.start or get_current_time()
        number = mandates.insert_mandate(conn, arguments.holder, arguments.principal, start, arguments.until)
    if arguments.json:
        print(number)
        return 0
    until = f" until {format_value(arguments.until)}" if arguments.until else ""
    who = f"{arguments.holder} may file for {arguments.principal}"
    print_sentence(f"Mandate {number}: {who} from {format_value(start)}{until}.")
    return 0


@verb
@click.argument("mandate", type=int, help="the number of the mandate")
@home_options()
def revoke_mandate(arguments: Arguments) -> int:
    """End a mandate now; return 1 when none with that number is in force."""
    from gateway.hub import get_current_time

    with write_database(arguments) as conn:
        if not mandates.revoke_mandate(conn, arguments.mandate, get_current_time()):
            return _report_missing_row("there is no such mandate in force")
    print_sentence(f"Mandate {arguments.mandate} is revoked.", as_json=arguments.json)
    return 0


@verb
@list_options(_STATES, timed=False)
@click.option("--role", type=click.Choice(_ROLES), help="only parties of this role")
@home_options()
def list_parties(arguments: Arguments) -> int:
    """Print the parties of the register that the options name, by id."""
    with read_database(arguments) as conn:
        role = [("role", arguments.role)] if arguments.role else []
        page = register_searches.search_parties(conn, read_list_filter(arguments, read_clock(), equal=role))
    print_page(page, as_json=arguments.json, columns=("id", "name", "role", "status"))
    return 0


@verb
@click.argument("party", help="the name of the party in the register")
@home_options()
def show_party(arguments: Arguments) -> int:
    """Print one party with its ids, certificates and mandates; return 1 when there is no such party."""
    with read_database(arguments) as conn:
        row = parties.find_party(conn, arguments.party)
        if row is None:
            return _report_missing_row(f"no party {arguments.party}")
        report = dict(row._mapping) | {
            "ids": [
                f"{one.type}|{one.value}" if one.type else one.value
                for one in parties.list_identifiers(conn, row.id)
            ],
            "certificates": [one.sha256 for one in parties.list_certificates(conn, row.id)],
            "mandates": [
                {
                    "id": one.id,
                    "holder": one.party_id,
                    "principal": one.on_behalf_of,
                    "revoked": bool(one.revoked_at),
                }
                for one in mandates.list_by_party(conn, row.id)
            ],
        }
    print_json(report)
    return 0


def _report_missing_row(words: str) -> int:
    print_problem(words)
    return 1
