"""``gateway party|route …``: parties with their certificates and mandates, and routes to other parties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from gateway.agreements import (
    HOP_ACKNOWLEDGMENTS,
    SYNC_REPLY_CHOICES,
    ForwardingRule,
    check_party_id_lengths,
    check_rule_lengths,
    find_endpoint_fault,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.list_options import (
    check_partner_names,
    list_options,
    print_page,
    read_clock,
    read_list_filter,
)
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import (
    USES,
    check_clear_name,
    demand_usable_certificate,
    make_certificate_row,
    read_party_id,
)
from gateway.cli.result_output import WrongRowError, print_json, print_table, require_row
from gateway.cli.shared_options import ACTOR, FILE, MOMENT, ROW_NUMBER, SEARCH_TEXT, changing_verb, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, PARTY_UNKNOWN, GatewayError
from gateway.hub import get_current_time as clock
from gateway.hub import make_rule_columns
from gateway.operations import (
    DatabaseChange,
    describe_certificate,
    describe_forwarding_rule,
    describe_mandate,
    describe_party,
    format_value,
)
from gateway.pki import Certificate
from gateway.store import agreements, list_searches, list_usage_periods, parties, read_columns

_STATES = ("ACTIVE", "SUSPENDED", "RETIRED")
_ROLES = ("applicant", "carrier", "customs", "agency", "hub", "voucher")
#: The role of a party that is registered without one.
_DEFAULT_ROLE = "applicant"
_ID_WORDS = "a party id; repeatable"
_CERTIFICATE_WORDS = "a valid signing certificate; repeatable"


@changing_verb("party add")
@click.argument("party", type=ACTOR, help="the name of the party in the register")
@click.option("--name", type=ACTOR, help="the name of the party in texts for people")
@click.option(
    "--role", type=click.Choice(_ROLES), help=f"the role of the party in the procedure ({_DEFAULT_ROLE})"
)
@click.option("--id", multiple=True, metavar="[TYPE|]VALUE", help=_ID_WORDS)
@click.option("--certificate", type=FILE, multiple=True, help=_CERTIFICATE_WORDS)
def add_party(arguments: Arguments) -> None:
    """Register a party, or add ids and certificates; register nothing when a certificate is refused."""
    party, ids = arguments.party, [read_party_id(text) for text in arguments.id]
    check_clear_name(party, ids)
    check_party_id_lengths(ids)
    with change_database(arguments) as change:
        before = describe_party(change.conn, party)
        _check_same_party(arguments, before)
        name, role = arguments.name or party, arguments.role or _DEFAULT_ROLE
        parties.register_party(change.conn, party, name, role, change.at, ids)
        for path in arguments.certificate:
            _add_valid_certificate(change, party, path)
        after = describe_party(change.conn, party)
        if before == after:
            change.leave_unchanged()
        else:
            change.record_trust_change(f"party {party}", before=before, after=after)
    print_change(change, _describe_registration(party, before, after), as_json=arguments.json, party=party)


def _check_same_party(arguments: Arguments, before: Mapping[str, Any] | None) -> None:
    """Raise GW808 for another name or role than the party is registered with."""
    for option in ("role", "name"):
        requested = getattr(arguments, option)
        if before is not None and requested and requested != before[option]:
            detail = (
                f"party {arguments.party[:80]} is registered already with the {option} {before[option]}, "
                f"which --{option} {requested[:80]} does not change"
            )
            raise GatewayError(MISUSE, detail, f"--{option}")


def _describe_registration(
    party: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> str:
    """Return a sentence on the new registrations: the party, its ids, its certificates."""
    registered, now = before or {"ids": [], "certificates": []}, after or {}
    ids = [identifier for identifier in now["ids"] if identifier not in registered["ids"]]
    added = [
        certificate["sha256"]
        for certificate in now["certificates"]
        if certificate not in registered["certificates"]
    ]
    additions = [f"known as {', '.join(ids)}"] if ids else []
    if added:
        additions.append(f"with certificate {', '.join(added)}")
    if before is None:
        return ", ".join((f"Registered party {party} as {now['role']}", *additions)) + "."
    if not additions:
        return f"Party {party} is registered already; nothing was changed."
    return f"Party {party} ({now['role']}) was registered already; it is now also {', '.join(additions)}."


def _add_valid_certificate(change: DatabaseChange, party: str, path: Path) -> None:
    """Register a signing certificate that is valid now."""
    certificate = read_certificate_file(path)
    demand_usable_certificate(change.settings, change.conn, certificate, "signing", str(path), change.at)
    parties.add_certificate(change.conn, party, make_certificate_row(certificate), change.at)


@changing_verb("party suspend")
@click.argument("party", type=SEARCH_TEXT, help="the name of the party in the register")
def suspend_party(arguments: Arguments) -> None:
    """Suspend a party: its messages are refused."""
    _change_party_status(arguments, "SUSPENDED")


@changing_verb("party resume")
@click.argument("party", type=SEARCH_TEXT, help="the name of the party in the register")
def resume_party(arguments: Arguments) -> None:
    """Accept messages of a suspended party again."""
    _change_party_status(arguments, "ACTIVE")


def _change_party_status(arguments: Arguments, status: str) -> None:
    from gateway.operations import set_party_status

    with change_database(arguments) as change:
        sentence = set_party_status(change, arguments.party, status)
    print_change(change, sentence, as_json=arguments.json, party=arguments.party)


@home_verb("party list")
@list_options(_STATES, timed=False)
@click.option("--role", type=click.Choice(_ROLES), help="only parties of this role")
def list_parties(arguments: Arguments) -> None:
    """Print the parties of the register that the options name, by id."""
    with read_database(arguments) as conn:
        role = [("role", arguments.role)] if arguments.role else []
        page = list_searches.search_parties(conn, read_list_filter(arguments, read_clock(), equal=role))
    print_page(page, as_json=arguments.json, columns=("id", "name", "role", "status"))


@home_verb("party show")
@click.argument("party", type=SEARCH_TEXT, help="the name of the party in the register")
def show_party(arguments: Arguments) -> None:
    """Print one party with its ids, certificates and mandates; exit with 1 when there is no such party."""
    with read_database(arguments) as conn:
        row = require_row(parties.find_party(conn, arguments.party), f"there is no party {arguments.party}")
        report = read_columns(row) | {
            "ids": [
                f"{identifier.type}|{identifier.value}" if identifier.type else identifier.value
                for identifier in parties.list_identifiers(conn, row.id)
            ],
            "certificates": [certificate.sha256 for certificate in parties.list_certificates(conn, row.id)],
            "mandates": [
                {
                    "id": mandate.id,
                    "holder": mandate.party_id,
                    "principal": mandate.on_behalf_of,
                    "revoked": bool(mandate.revoked_at),
                }
                for mandate in parties.list_mandates_of(conn, row.id)
            ],
        }
    print_json(report)


_WHEN = "ISO 8601, UTC if it has no zone"
_CUT_WORDS = "end of the party's other certificates for this use (rollover)"
_VOUCHED_WORDS = "the certificate is not validated here: a vouching gateway states whether it is valid"
_CERTIFICATE_COLUMNS = ("party", "use", "state", "from", "until", "days", "sha256")


@dataclass(frozen=True, slots=True)
class _UsePeriod:
    """The period of use, and the time when the earlier certificates end."""

    starts: datetime | None
    ends: datetime | None
    others_end_at: datetime | None


@changing_verb("party certificate add")
@click.argument("party", type=SEARCH_TEXT, help="the name of the party in the register")
@click.argument("file", type=FILE, help="the certificate, PEM or DER")
@click.option("--use", type=click.Choice(sorted(USES)), default="signing", help="the use of the certificate")
@click.option("--from", "start", type=MOMENT, metavar="TIME", help=f"start of its use ({_WHEN})")
@click.option("--until", type=MOMENT, metavar="TIME", help="end of its use")
@click.option("--cut", type=MOMENT, metavar="TIME", help=_CUT_WORDS)
@click.option("--vouched", is_flag=True, help=_VOUCHED_WORDS)
def add_certificate(arguments: Arguments) -> None:
    """Register a certificate for a party; raise the verdict on one that is not valid."""
    certificate = read_certificate_file(arguments.file)
    window = _UsePeriod(arguments.start, arguments.until, arguments.cut)
    _check_time_window(window, certificate)
    with change_database(arguments) as change:
        conn, party = change.conn, arguments.party
        before = describe_party(conn, party)
        if before is None:
            raise GatewayError(PARTY_UNKNOWN, f"no party is registered as {party[:80]}")
        if not arguments.vouched:
            use, file_name = arguments.use, str(arguments.file)
            demand_usable_certificate(
                change.settings, conn, certificate, use, file_name, change.at, window.starts
            )
        if window.others_end_at is not None:
            _end_other_certificates(conn, arguments, certificate, window.others_end_at)
        new = make_certificate_row(certificate, arguments.use, window.starts, window.ends)
        parties.add_certificate(conn, party, new, change.at)
        change.record_trust_change(f"party {party}", before=before, after=describe_party(conn, party))
    sentence = f"Party {party} may use certificate {certificate.sha256} for {arguments.use}"
    if window.starts is not None:
        sentence += f" from {format_value(window.starts)}"
    if window.others_end_at is not None:
        sentence += f"; its others end at {format_value(window.others_end_at)}"
    print_change(change, f"{sentence}.", as_json=arguments.json, party=party, certificate=certificate.sha256)


def _check_time_window(window: _UsePeriod, certificate: Certificate) -> None:
    """Raise GW808 for a period in which the certificate is never valid, or that does not contain the cut."""
    starts = max(window.starts or certificate.not_before, certificate.not_before)
    ends = min(window.ends or certificate.not_after, certificate.not_after)
    if starts >= ends:
        detail = f"the period is empty: from {format_value(starts)} until {format_value(ends)}"
        raise GatewayError(MISUSE, detail, "--from --until")
    if window.others_end_at is not None and not starts <= window.others_end_at < ends:
        period = f"{format_value(starts)} to {format_value(ends)}"
        detail = f"the cut is outside the period of the new certificate: {period}"
        raise GatewayError(MISUSE, detail, "--cut")


def _end_other_certificates(
    conn: Connection, arguments: Arguments, certificate: Certificate, cut: datetime
) -> None:
    """End the party's other certificates for the use; leave one that ends sooner unchanged."""
    for row in parties.list_certificates(conn, arguments.party, arguments.use):
        if row.sha256 != certificate.sha256 and (row.valid_until is None or row.valid_until > cut):
            parties.limit_certificate_use(conn, row.sha256, cut, row.use)


@changing_verb("party certificate end")
@click.argument("sha256", help="the SHA-256 of the certificate")
@click.option("--at", type=MOMENT, metavar="TIME", help=f"end of its use ({_WHEN}; default: now)")
def end_certificate(arguments: Arguments) -> None:
    """Limit the use of a certificate to a time; exit with 1 when there is no such certificate."""
    at = arguments.at or clock()
    _change_certificate(
        arguments, f"ends at {format_value(at)}", partial(parties.limit_certificate_use, at=at)
    )


@changing_verb("party certificate retire")
@click.argument("sha256", help="the SHA-256 of the certificate")
def retire_certificate(arguments: Arguments) -> None:
    """End a certificate of a party permanently; exit with 1 when there is no such certificate."""
    _change_certificate(arguments, "is retired", parties.retire_certificate)


def _change_certificate(
    arguments: Arguments, outcome: str, change_row: Callable[[Connection, str], bool]
) -> None:
    """Change a certificate by `change_row`, and print the change; raise WrongRowError if there is none.

    `outcome` ends the printed sentence.
    """
    sha256 = arguments.sha256.lower()
    with change_database(arguments) as change:
        before = describe_certificate(change.conn, sha256)
        if not change_row(change.conn, sha256):
            raise WrongRowError("there is no such certificate")
        after = describe_certificate(change.conn, sha256)
        change.record_trust_change(f"certificate {sha256}", before=before, after=after)
    owners = ", ".join(dict.fromkeys(row["party_id"] for row in after))
    sentence = f"Certificate {sha256} of {owners} {outcome}."
    print_change(change, sentence, as_json=arguments.json, certificate=sha256)


@home_verb("party certificate list")
@click.option("--party", type=SEARCH_TEXT, help="only this party")
def list_certificates(arguments: Arguments) -> None:
    """Print certificates with their periods, sorted by end."""
    now = clock()
    with read_database(arguments) as conn:
        periods = [period for period in list_usage_periods(conn) if arguments.party in (None, period.owner)]
    rows = [
        {
            "party": period.owner,
            "use": period.use,
            "state": period.state_at(now),
            "from": period.starts,
            "until": period.ends,
            "days": max(0, (period.ends - now).days),
            "sha256": period.sha256,
            "subject": period.subject,
        }
        for period in sorted(periods, key=lambda period: period.ends)
    ]
    print_table(rows, as_json=arguments.json, columns=_CERTIFICATE_COLUMNS)


_MANDATE_COLUMNS = ("id", "holder", "principal", "scope", "from", "until", "revoked")


@changing_verb("party mandate add")
@click.argument("holder", type=SEARCH_TEXT, help="the party that may file")
@click.argument("principal", type=SEARCH_TEXT, help="the party for which it may file")
@click.option("--from", "start", type=MOMENT, help="start of the mandate (ISO 8601; default: now)")
@click.option("--until", type=MOMENT, help="end of the mandate")
def add_mandate(arguments: Arguments) -> None:
    """Let one party file for another; exit with 1 when one of them is not registered."""
    with change_database(arguments) as change:
        for party in (arguments.holder, arguments.principal):
            require_row(parties.find_party(change.conn, party), f"there is no party {party}")
        start = arguments.start or change.at
        number = parties.insert_mandate(
            change.conn, arguments.holder, arguments.principal, start, arguments.until
        )
        change.record_trust_change(f"mandate {number}", after=describe_mandate(change.conn, number))
    until = f" until {format_value(arguments.until)}" if arguments.until else ""
    permission = f"{arguments.holder} may file for {arguments.principal}"
    sentence = f"Mandate {number}: {permission} from {format_value(start)}{until}."
    print_change(change, sentence, as_json=arguments.json, mandate=number)


@changing_verb("party mandate revoke")
@click.argument("mandate", type=ROW_NUMBER, help="the number of the mandate")
def revoke_mandate(arguments: Arguments) -> None:
    """End a mandate now; exit with 1 when none with that number is in force."""
    number = arguments.mandate
    with change_database(arguments) as change:
        before = describe_mandate(change.conn, number)
        if not parties.revoke_mandate(change.conn, number, change.at):
            raise WrongRowError(f"there is no mandate {number} in force")
        after = describe_mandate(change.conn, number)
        change.record_trust_change(f"mandate {number}", before=before, after=after)
    permission = f"{after['party_id']} may no longer file for {after['on_behalf_of']}" if after else ""
    print_change(
        change, f"Mandate {number} is revoked: {permission}.", as_json=arguments.json, mandate=number
    )


@home_verb("party mandate list")
@click.option("--party", type=SEARCH_TEXT, help="only mandates that this party holds or has given")
def list_mandates(arguments: Arguments) -> None:
    """Print the mandates with their periods, ended and future ones also."""
    with read_database(arguments) as conn:
        mandate_rows = (
            parties.list_mandates_of(conn, arguments.party)
            if arguments.party
            else parties.list_mandates(conn)
        )
        check_partner_names(conn, read_verb_settings(arguments), arguments, mandate_rows)
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
        for row in mandate_rows
    ]
    print_table(rows, as_json=arguments.json, columns=_MANDATE_COLUMNS)


_ROUTE_COLUMNS = (
    *("id", "to", "service", "action", "next", "endpoint", "senders", "acknowledgment", "sync_reply"),
    *("retries", "retry_interval"),
)


@changing_verb("route add")
@click.argument("to", help="PartyId of the To party: TYPE|VALUE, or a URI")
@click.argument("next_party", metavar="NEXT", help="the registered party of the next message handler")
@click.argument("endpoint", help="URL of the next message handler")
@click.option(
    "--from", "senders", multiple=True, required=True, help="a party that may send this way; repeatable"
)
@click.option("--service", help="only messages of this Service")
@click.option("--action", help="only messages of this Action of the Service")
@click.option(
    "--acknowledgment",
    type=click.Choice(HOP_ACKNOWLEDGMENTS),
    default="never",
    help="whether the next handler is asked for an Acknowledgment of its own",
)
@click.option(
    "--sync-reply",
    type=click.Choice(SYNC_REPLY_CHOICES),
    default="keep",
    help="what becomes of SyncReply, which is for the next handler",
)
@click.option("--retries", type=click.IntRange(0, 1000), default=5, help="how often a message is sent again")
@click.option(
    "--retry-interval", type=click.IntRange(1, 86_400), default=60, help="seconds between two attempts"
)
def add_route(arguments: Arguments) -> None:
    """Pass messages for a party on to another handler; exit with 1 when there is such a route already."""
    if fault := find_endpoint_fault(arguments.endpoint):
        raise GatewayError(MISUSE, f"the endpoint {fault}", "ENDPOINT")
    rule = ForwardingRule(
        to=read_party_id(arguments.to),
        next_party=arguments.next_party,
        endpoint=arguments.endpoint,
        senders=tuple(sorted(set(arguments.senders))),
        service=arguments.service,
        action=arguments.action,
        acknowledgment=arguments.acknowledgment,
        sync_reply=arguments.sync_reply,
        retries=arguments.retries,
        retry_interval=arguments.retry_interval,
    )
    check_rule_lengths(rule)
    with change_database(arguments) as change:
        for party in (rule.next_party, *rule.senders):
            require_row(parties.find_party(change.conn, party), f"there is no party {party}")
        number = agreements.insert_forwarding_rule(change.conn, make_rule_columns(rule), change.at)
        if number is None:
            raise WrongRowError(f"there is a route for these messages to {rule.to.value} already")
        change.record_trust_change(f"route {number}", after=describe_forwarding_rule(change.conn, number))
    sender_names = ", ".join(rule.senders)
    sentence = f"Route {number}: what {sender_names} may send to {rule.to.value} goes to {rule.next_party}."
    print_change(change, sentence, as_json=arguments.json, route=number)


@changing_verb("route remove")
@click.argument("route", type=ROW_NUMBER, help="the number of the route")
def remove_route(arguments: Arguments) -> None:
    """Pass no more messages on by a route; exit with 1 when there is none with that number."""
    number = arguments.route
    with change_database(arguments) as change:
        before = describe_forwarding_rule(change.conn, number)
        if before is None or not agreements.remove_forwarding_rule(change.conn, number):
            raise WrongRowError(f"there is no route {number}")
        change.record_trust_change(f"route {number}", before=before)
    sentence = f"Route {number} is removed: messages for {before['to_value']} go no further."
    print_change(change, sentence, as_json=arguments.json, route=number)


@home_verb("route list")
def list_routes(arguments: Arguments) -> None:
    """Print where messages for other message handlers go, and who may send them."""
    with read_database(arguments) as conn:
        rules = agreements.list_forwarding_rules(conn)
    rows = [
        {
            "id": row.id,
            "to": f"{row.to_type}|{row.to_value}" if row.to_type else row.to_value,
            "service": row.service,
            "action": row.action,
            "next": row.next_party,
            "endpoint": row.endpoint,
            "senders": list(row.senders) if arguments.json else ", ".join(row.senders),
            "acknowledgment": row.acknowledgment,
            "sync_reply": row.sync_reply,
            "retries": row.retries,
            "retry_interval": row.retry_interval,
        }
        for row in rules
    ]
    print_table(rows, as_json=arguments.json, columns=_ROUTE_COLUMNS)
