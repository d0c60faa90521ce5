"""``gateway party certificate …``: the certificates of a party and their periods of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import click
from sqlalchemy import Connection

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import USES, demand_usable_certificate, make_certificate_row
from gateway.cli.result_output import format_value, print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import FILE, MOMENT, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, PARTY_UNKNOWN, GatewayError
from gateway.hub import get_current_time as clock
from gateway.operations import describe_certificate, describe_party
from gateway.pki import Certificate
from gateway.store import list_usage_periods, parties

__all__ = ["add_certificate", "end_certificate", "list_certificates", "retire_certificate"]

_WHEN = "ISO 8601, UTC if it has no zone"
_CUT_WORDS = "end of the party's other certificates for this use (rollover)"
_VOUCHED_WORDS = "the certificate is not validated here: a vouching gateway states whether it is valid"
_COLUMNS = ("party", "use", "state", "from", "until", "days", "sha256")


@dataclass(frozen=True, slots=True)
class _Window:
    """The period of use, and the time when the earlier certificates end."""

    starts: datetime | None
    ends: datetime | None
    cut: datetime | None


@verb
@click.argument("party", help="the name of the party in the register")
@click.argument("file", type=FILE, help="the certificate, PEM or DER")
@click.option("--use", type=click.Choice(sorted(USES)), default="signing", help="the use of the certificate")
@click.option("--from", "start", type=MOMENT, metavar="TIME", help=f"start of its use ({_WHEN})")
@click.option("--until", type=MOMENT, metavar="TIME", help="end of its use")
@click.option("--cut", type=MOMENT, metavar="TIME", help=_CUT_WORDS)
@click.option("--vouched", is_flag=True, help=_VOUCHED_WORDS)
@change_options()
def add_certificate(arguments: Arguments) -> int:
    """Register a certificate for a party; raise the verdict on one that is not valid."""
    found = read_certificate_file(arguments.file)
    window = _Window(arguments.start, arguments.until, arguments.cut)
    _check_time_window(window, found)
    with change_database(arguments) as change:
        conn, party = change.conn, arguments.party
        before = describe_party(conn, party)
        if before is None:
            raise GatewayError(PARTY_UNKNOWN, f"no party is registered as {party[:80]}")
        if not arguments.vouched:
            moments = (change.at, window.starts or change.at)
            wanted = (found, arguments.use)
            demand_usable_certificate(change.settings, conn, wanted, moments, str(arguments.file))
        if window.cut is not None:
            _end_other_certificates(conn, arguments, found, window.cut)
        new = make_certificate_row(found, arguments.use, window.starts, window.ends)
        parties.add_certificate(conn, party, new, change.at)
        change.record_trust_change(f"party {party}", before=before, after=describe_party(conn, party))
    told = f"Party {party} may use certificate {found.sha256} for {arguments.use}"
    if window.starts is not None:
        told += f" from {format_value(window.starts)}"
    if window.cut is not None:
        told += f"; its others end at {format_value(window.cut)}"
    print_change(change, f"{told}.", as_json=arguments.json, party=party, certificate=found.sha256)
    return 0


def _check_time_window(window: _Window, found: Certificate) -> None:
    """Raise for a period in which the certificate is never valid, or not valid at the cut."""
    starts = max(window.starts or found.not_before, found.not_before)
    ends = min(window.ends or found.not_after, found.not_after)
    if starts >= ends:
        detail = f"the period is empty: from {format_value(starts)} until {format_value(ends)}"
        raise GatewayError(MISUSE, detail, "--from --until")
    if window.cut is not None and not starts <= window.cut < ends:
        period = f"{format_value(starts)} to {format_value(ends)}"
        detail = f"the cut is outside the period of the new certificate: {period}"
        raise GatewayError(MISUSE, detail, "--cut")


def _end_other_certificates(
    conn: Connection, arguments: Arguments, found: Certificate, cut: datetime
) -> None:
    """End the party's other certificates for the use; leave one that ends sooner unchanged."""
    for row in parties.list_certificates(conn, arguments.party, arguments.use):
        if row.sha256 != found.sha256 and (row.valid_until is None or row.valid_until > cut):
            parties.limit_certificate_use(conn, row.sha256, cut, row.use)


@verb
@click.argument("sha256", help="the SHA-256 of the certificate")
@click.option("--at", type=MOMENT, metavar="TIME", help=f"end of its use ({_WHEN}; default: now)")
@change_options()
def end_certificate(arguments: Arguments) -> int:
    """Limit the use of a certificate to a time; return 1 when there is no such certificate."""
    at = arguments.at or clock()
    return _change_certificate(
        arguments, f"ends at {format_value(at)}", partial(parties.limit_certificate_use, at=at)
    )


@verb
@click.argument("sha256", help="the SHA-256 of the certificate")
@change_options()
def retire_certificate(arguments: Arguments) -> int:
    """End a certificate of a party permanently; return 1 when there is no such certificate."""
    return _change_certificate(arguments, "is retired", parties.retire_certificate)


def _change_certificate(arguments: Arguments, told: str, function: Callable[[Connection, str], bool]) -> int:
    sha256 = arguments.sha256.lower()
    with change_database(arguments) as change:
        before = describe_certificate(change.conn, sha256)
        if not function(change.conn, sha256):
            change.leave_unchanged()
            return _report_missing_certificate()
        after = describe_certificate(change.conn, sha256)
        change.record_trust_change(f"certificate {sha256}", before=before, after=after)
    owners = ", ".join(dict.fromkeys(row["party_id"] for row in after))
    sentence = f"Certificate {sha256} of {owners} {told}."
    print_change(change, sentence, as_json=arguments.json, certificate=sha256)
    return 0


def _report_missing_certificate() -> int:
    return report_wrong_row("there is no such certificate")


@verb
@click.option("--party", help="only this party")
@home_options()
def list_certificates(arguments: Arguments) -> int:
    """Print certificates with their periods, sorted by end."""
    get_current_time = clock()
    with read_database(arguments) as conn:
        found = [one for one in list_usage_periods(conn) if arguments.party in (None, one.owner)]
    rows = [
        {
            "party": one.owner,
            "use": one.use,
            "state": one.state_at(get_current_time),
            "from": one.starts,
            "until": one.ends,
            "days": max(0, (one.ends - get_current_time).days),
            "sha256": one.sha256,
            "subject": one.subject,
        }
        for one in sorted(found, key=lambda one: one.ends)
    ]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0
