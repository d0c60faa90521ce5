"""``gateway party …`` and ``gateway agreement …``: who takes part, and what was agreed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import pmode_to_json, read_pmodes
from gateway.agreements.pmode import PMode
from gateway.cli.pki.certificates import add_certificates, demand_usable, instant, new_certificate
from gateway.cli.settings import add_home, looking, print_rows, read_file, settings_of, writing
from gateway.hub.assembly import now as clock
from gateway.model import PartyId
from gateway.pki.certificates import read_certificate
from gateway.store import agreements, mandates, parties
from gateway.store.agreements import NewAgreement, NewPMode

__all__ = ["add_parser", "load_agreement", "read_party_id", "register_certificate"]

_ROLES = ("applicant", "carrier", "customs", "agency", "hub", "voucher")


def add_parser(verbs: Any) -> None:
    """Add ``party`` and ``agreement``."""
    party = verbs.add_parser("party", help="the register of parties").add_subparsers(
        metavar="WHAT", required=True
    )
    add = _verb(party, "add", "register a party, or give it more identifiers", _add)
    add.add_argument("party", help="its name in the register")
    add.add_argument("--name", help="its name for people")
    add.add_argument("--role", choices=_ROLES, default="applicant")
    add.add_argument(
        "--id", action="append", default=[], metavar="[TYPE|]VALUE", help="a party id; repeatable"
    )
    add.add_argument(
        "--certificate", action="append", default=[], type=Path, help="a good signing certificate; repeatable"
    )
    _named(_verb(party, "suspend", "take nothing more from a party", _status("SUSPENDED")))
    _named(_verb(party, "resume", "take messages of a suspended party again", _status("ACTIVE")))
    retire = _verb(party, "retire", "end a certificate of a party", _retire)
    retire.add_argument("sha256", help="the SHA-256 of the certificate")
    add_certificates(party)
    mandate = _verb(party, "mandate", "let one party file for another", _mandate)
    mandate.add_argument("holder")
    mandate.add_argument("principal")
    mandate.add_argument("--from", dest="start", type=instant, help="from when (ISO 8601, default now)")
    mandate.add_argument("--until", type=instant, help="until when")
    revoke = _verb(party, "revoke", "end a mandate", _revoke)
    revoke.add_argument("mandate", type=int)
    _verb(party, "list", "list the parties", _list)
    _named(_verb(party, "show", "show one party with ids, certificates, mandates", _show))
    agreed = verbs.add_parser("agreement", help="the agreements").add_subparsers(
        metavar="WHAT", required=True
    )
    _verb(agreed, "load", "put the P-Modes of a YAML file in force", _load).add_argument("file", type=Path)
    _verb(agreed, "list", "list the agreements", _agreements)
    _verb(agreed, "suspend", "end an agreement", _suspend).add_argument("agreement")


def _verb(
    group: Any, name: str, words: str, function: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=words)
    add_home(parser)
    parser.set_defaults(run=function)
    return parser


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("party")


def read_party_id(text: str) -> PartyId:
    """Return the party id that ``TYPE|VALUE``, or a bare value, names."""
    kind, bar, value = text.rpartition("|")
    return PartyId(value, kind if bar else None)


def _add(arguments: argparse.Namespace) -> int:
    now = clock()
    ids = [read_party_id(text) for text in arguments.id]
    with writing(arguments) as conn:
        parties.add(conn, arguments.party, arguments.name or arguments.party, arguments.role, now, ids)
        for path in arguments.certificate:
            found = read_certificate(read_file(path))
            demand_usable(settings_of(arguments), conn, (found, "signing"), (now, now), str(path))
            parties.add_certificate(conn, arguments.party, new_certificate(found), now)
    return 0


def register_certificate(conn: Connection, party: str, content: bytes, now: datetime) -> None:
    """Let a party sign with a certificate (PEM or DER), whatever it is worth: messages are judged."""
    parties.add_certificate(conn, party, new_certificate(read_certificate(content)), now)


def _status(status: str) -> Callable[[argparse.Namespace], int]:
    def change(arguments: argparse.Namespace) -> int:
        with writing(arguments) as conn:
            parties.set_status(conn, arguments.party, status)
        return 0

    return change


def _retire(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        return (
            0
            if parties.retire_certificate(conn, arguments.sha256.lower())
            else _nothing("no such certificate")
        )


def _mandate(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        for party in (arguments.holder, arguments.principal):
            if parties.get(conn, party) is None:
                return _nothing(f"no party {party}")
        start = arguments.start or clock()
        print(mandates.add(conn, arguments.holder, arguments.principal, start, arguments.until))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        return (
            0 if mandates.revoke(conn, arguments.mandate, clock()) else _nothing("no such mandate in force")
        )


def _list(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        rows = [dict(row._mapping) for row in parties.everyone(conn)]
    print_rows(rows, as_json=arguments.json, columns=("id", "name", "role", "status"))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        row = parties.get(conn, arguments.party)
        if row is None:
            return _nothing(f"no party {arguments.party}")
        shown = dict(row._mapping) | {
            "ids": [
                f"{one.type}|{one.value}" if one.type else one.value for one in parties.ids_of(conn, row.id)
            ],
            "certificates": [one.sha256 for one in parties.certificates_of(conn, row.id)],
            "mandates": [
                {
                    "id": one.id,
                    "holder": one.party_id,
                    "principal": one.on_behalf_of,
                    "revoked": bool(one.revoked_at),
                }
                for one in mandates.of_party(conn, row.id)
            ],
        }
    print_rows([shown], as_json=True, columns=())
    return 0


def _load(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        loaded = load_agreement(conn, read_file(arguments.file), arguments.file.name, clock())
    for pmode in loaded:
        print(pmode.id)
    return 0


def load_agreement(conn: Connection, source: bytes, name: str, now: datetime) -> tuple[PMode, ...]:
    """Put the P-Modes of a YAML file in force, in place of those loaded under their agreements before."""
    found = read_pmodes(source, name)
    for agreement in dict.fromkeys(pmode.agreement for pmode in found):
        modes = [pmode for pmode in found if pmode.agreement == agreement]
        starts, ends = min(mode.valid_from for mode in modes), max(mode.valid_until for mode in modes)
        new = NewAgreement(agreement, "pmode", source, starts, ends)
        agreements.load(conn, new, [_stored(mode) for mode in modes], now, "operator")
    return found


def _stored(pmode: PMode) -> NewPMode:
    return NewPMode(
        id=pmode.id,
        protocol=pmode.protocol,
        from_party=pmode.from_party[0].value,
        to_party=pmode.to_party[0].value,
        service=pmode.service,
        action=pmode.action,
        parameters=pmode_to_json(pmode),
        from_role=pmode.from_role,
        to_role=pmode.to_role,
    )


def _agreements(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        rows = [dict(row._mapping) for row in agreements.everyone(conn)]
    print_rows(rows, as_json=arguments.json, columns=("id", "kind", "status", "valid_from", "valid_until"))
    return 0


def _suspend(arguments: argparse.Namespace) -> int:
    with writing(arguments) as conn:
        agreements.set_status(conn, arguments.agreement, "SUSPENDED")
    return 0


def _nothing(words: str) -> int:
    sys.stderr.write(f"gateway: {words}\n")
    return 1
