"""``gateway party …``: the registered parties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import list_options, print_page, read_clock, read_list_filter
from gateway.cli.named_files import read_certificate_file
from gateway.cli.result_output import print_json, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.operations import DatabaseChange, describe_party
from gateway.store import mandates, parties, register_searches

__all__ = [
    "add_party",
    "list_parties",
    "resume_party",
    "show_party",
    "suspend_party",
]

_STATES = ("ACTIVE", "SUSPENDED", "RETIRED")
_ROLES = ("applicant", "carrier", "customs", "agency", "hub", "voucher")
#: The role of a party that is registered without one.
_ROLE = "applicant"
_ID_WORDS = "a party id; repeatable"
_CERTIFICATE_WORDS = "a valid signing certificate; repeatable"


@verb
@click.argument("party", help="the name of the party in the register")
@click.option("--name", help="the name of the party in texts for people")
@click.option("--role", type=click.Choice(_ROLES), help=f"the role of the party in the procedure ({_ROLE})")
@click.option("--id", multiple=True, metavar="[TYPE|]VALUE", help=_ID_WORDS)
@click.option("--certificate", type=FILE, multiple=True, help=_CERTIFICATE_WORDS)
@change_options()
def add_party(arguments: Arguments) -> int:
    """Register a party, or add ids and certificates; register nothing when a certificate is refused."""
    from gateway.cli.registration import read_party_id

    party, ids = arguments.party, [read_party_id(text) for text in arguments.id]
    with change_database(arguments) as change:
        before = describe_party(change.conn, party)
        _check_same_party(arguments, before)
        name, role = arguments.name or party, arguments.role or _ROLE
        parties.register_party(change.conn, party, name, role, change.at, ids)
        for path in arguments.certificate:
            _add_valid_certificate(change, party, path)
        after = describe_party(change.conn, party)
        if before == after:
            change.leave_unchanged()
        else:
            change.record_trust_change(f"party {party}", before=before, after=after)
    print_change(change, _describe_added(party, before, after), as_json=arguments.json, party=party)
    return 0


def _check_same_party(arguments: Arguments, before: Mapping[str, Any] | None) -> None:
    """Raise GW808 for another name or role than the party is registered with."""
    for one in ("role", "name"):
        wanted = getattr(arguments, one)
        if before is not None and wanted and wanted != before[one]:
            detail = (
                f"party {arguments.party[:80]} is registered already with the {one} {before[one]}, "
                f"which --{one} {wanted[:80]} does not change"
            )
            raise GatewayError(MISUSE, detail, f"--{one}")


def _describe_added(party: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Return what is registered now that was not: the party, its ids, its certificates."""
    known, now = before or {"ids": [], "certificates": []}, after or {}
    ids = [one for one in now["ids"] if one not in known["ids"]]
    added = [one["sha256"] for one in now["certificates"] if one not in known["certificates"]]
    told = [f"known as {', '.join(ids)}"] if ids else []
    if added:
        told.append(f"with certificate {', '.join(added)}")
    if before is None:
        return ", ".join((f"Registered party {party} as {now['role']}", *told)) + "."
    if not told:
        return f"Party {party} is registered already; nothing was changed."
    return f"Party {party} ({now['role']}) was registered already; it is now also {', '.join(told)}."


def _add_valid_certificate(change: DatabaseChange, party: str, path: Path) -> None:
    """Register a signing certificate that is valid now."""
    from gateway.cli.registration import demand_usable_certificate, make_certificate_row

    found, moments = read_certificate_file(path), (change.at, change.at)
    demand_usable_certificate(change.settings, change.conn, (found, "signing"), moments, str(path))
    parties.add_certificate(change.conn, party, make_certificate_row(found), change.at)


@verb
@click.argument("party", help="the name of the party in the register")
@change_options()
def suspend_party(arguments: Arguments) -> int:
    """Suspend a party: its messages are refused."""
    return _change_party_status(arguments, "SUSPENDED")


@verb
@click.argument("party", help="the name of the party in the register")
@change_options()
def resume_party(arguments: Arguments) -> int:
    """Accept messages of a suspended party again."""
    return _change_party_status(arguments, "ACTIVE")


def _change_party_status(arguments: Arguments, status: str) -> int:
    from gateway.operations import set_party_status

    with change_database(arguments) as change:
        told = set_party_status(change, arguments.party, status)
    print_change(change, told, as_json=arguments.json, party=arguments.party)
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
            return report_wrong_row(f"there is no party {arguments.party}")
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
