"""``gateway party certificate …``: which certificates a party uses, from when and until when."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gateway.cli.settings import add_home, looking, print_rows, read_file, settings_of, writing
from gateway.config import Settings
from gateway.errors import PARTY_UNKNOWN, SETTINGS_WRONG, GatewayError
from gateway.hub.assembly import now as clock
from gateway.hub.assembly import terms_of, trust_of
from gateway.hub.knowledge import load_knowledge
from gateway.hub.trust.in_hand import InHand
from gateway.hub.trust.recognition import Recognizer
from gateway.hub.trust.registering import demand_good
from gateway.pki.certificates import Certificate, CertificateRules, read_certificate
from gateway.pki.revocation import Revocations
from gateway.pki.trust import Judge, Use
from gateway.store import parties
from gateway.store.coverage import spans
from gateway.store.parties import NewCertificate

__all__ = ["add_certificates", "demand_usable", "instant", "new_certificate"]

_USES = {"signing": Use.SIGNING, "encryption": Use.ENCRYPTION, "tls": Use.TLS_CLIENT}
_WHEN = "ISO 8601, without zone it is UTC"


@dataclass(frozen=True, slots=True)
class _Window:
    """From when, until when; and when the certificates before it end."""

    starts: datetime | None
    ends: datetime | None
    cut: datetime | None


def add_certificates(party: Any) -> None:
    """Add ``certificate`` to the verbs of ``party``."""
    parser = party.add_parser("certificate", help="the certificates of a party, and when each counts")
    group = parser.add_subparsers(metavar="WHAT", required=True)
    add = group.add_parser("add", help="let a party use a certificate that is good by our trust")
    add.add_argument("party", help="its name in the register")
    add.add_argument("file", type=Path, help="the certificate, PEM or DER")
    add.add_argument("--use", choices=sorted(_USES), default="signing", help="what for")
    add.add_argument("--from", dest="start", type=instant, metavar="TIME", help=f"not before ({_WHEN})")
    add.add_argument("--until", type=instant, metavar="TIME", help="no longer than until then")
    add.add_argument(
        "--cut", type=instant, metavar="TIME", help="the party's others for this use end then: a rollover"
    )
    add.add_argument(
        "--vouched",
        action="store_true",
        help="a gateway is to vouch for it: whether it is good, that one says",
    )
    end = group.add_parser("end", help="take a certificate until a moment only")
    end.add_argument("sha256", help="the SHA-256 of the certificate")
    end.add_argument("--at", type=instant, metavar="TIME", help=f"when ({_WHEN}; default now)")
    listed = group.add_parser("list", help="list certificates with their times, the soonest end first")
    listed.add_argument("--party", help="of this party only")
    for verb, function in ((add, _add), (end, _end), (listed, _list)):
        add_home(verb)
        verb.set_defaults(run=function)


def instant(text: str) -> datetime:
    """Read a moment; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def new_certificate(
    found: Certificate, use: str = "signing", starts: datetime | None = None, ends: datetime | None = None
) -> NewCertificate:
    """Return a certificate as the register takes it."""
    return NewCertificate(
        sha256=found.sha256,
        use=use,
        subject=found.subject,
        issuer=found.issuer,
        serial=str(found.serial),
        not_before=found.not_before,
        not_after=found.not_after,
        der=found.der,
        valid_from=starts,
        valid_until=ends,
    )


def _add(arguments: argparse.Namespace) -> int:
    now, settings = clock(), settings_of(arguments)
    found = read_certificate(read_file(arguments.file))
    window = _Window(arguments.start, arguments.until, arguments.cut)
    _check_window(window, found)
    with writing(arguments) as conn:
        if parties.get(conn, arguments.party) is None:
            raise GatewayError(PARTY_UNKNOWN, f"no party is registered as {arguments.party[:80]}")
        moments = (now, window.starts or now)
        if not arguments.vouched:
            demand_usable(settings, conn, (found, arguments.use), moments, str(arguments.file))
        if window.cut is not None:
            _cut(conn, arguments, found, window.cut)
        new = new_certificate(found, arguments.use, window.starts, window.ends)
        parties.add_certificate(conn, arguments.party, new, now)
    print(found.sha256)
    return 0


def demand_usable(
    settings: Settings,
    conn: Connection,
    wanted: tuple[Certificate, str],
    moments: tuple[datetime, datetime],
    location: str,
) -> None:
    """Raise the verdict on a certificate for a use unless it is good now, and when that use begins."""
    found, use = wanted
    trust = trust_of(settings)
    recognizer = Recognizer(terms_of(settings))
    recognizer.renew(conn)
    lists = _lists(settings, conn, trust.policy.certificates)
    believed = (Judge(trust, lists, examine=recognizer), trust)
    demand_good(found, _USES[use], believed, moments, location, recognizer)


def _check_window(window: _Window, found: Certificate) -> None:
    starts = max(window.starts or found.not_before, found.not_before)
    ends = min(window.ends or found.not_after, found.not_after)
    if starts >= ends:
        detail = f"it would count from {starts.isoformat()} until {ends.isoformat()}: never"
        raise GatewayError(SETTINGS_WRONG, detail, "--from --until")
    if window.cut is not None and not starts <= window.cut < ends:
        detail = f"at the cut the new certificate does not count: {starts.isoformat()} to {ends.isoformat()}"
        raise GatewayError(SETTINGS_WRONG, detail, "--cut")


def _cut(conn: Connection, arguments: argparse.Namespace, found: Certificate, cut: datetime) -> None:
    """End the party's other certificates for the use; one that ends sooner is left as it is."""
    for row in parties.certificates_of(conn, arguments.party, arguments.use):
        if row.sha256 != found.sha256 and (row.valid_until is None or row.valid_until > cut):
            parties.end_certificate(conn, row.sha256, cut, row.use)


def _lists(settings: Settings, conn: Connection, rules: CertificateRules) -> Revocations:
    """Return what a hub has in hand: of the settings, loaded by operators, fetched."""
    files = tuple(path.read_bytes() for path in settings.pki.crls if path.is_file())
    known = load_knowledge(conn)
    return InHand().renewed(conn, (*files, *known.crls), known.fetched, rules)


def _end(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        if parties.end_certificate(conn, arguments.sha256.lower(), arguments.at or clock()):
            return 0
    sys.stderr.write("gateway: no such certificate\n")
    return 1


def _list(arguments: argparse.Namespace) -> int:
    now = clock()
    with looking(arguments) as conn:
        found = [one for one in spans(conn) if arguments.party in (None, one.owner)]
    rows = [
        {
            "party": one.owner,
            "use": one.use,
            "state": one.state(now),
            "from": one.starts,
            "until": one.ends,
            "days": max(0, (one.ends - now).days),
            "sha256": one.sha256,
            "subject": one.subject,
        }
        for one in sorted(found, key=lambda one: one.ends)
    ]
    columns = ("party", "use", "state", "from", "until", "days", "sha256")
    print_rows(rows, as_json=arguments.json, columns=columns)
    return 0
