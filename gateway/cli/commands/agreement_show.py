"""``gateway agreement show``: one agreement with its parties, P-Modes and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.agreements import (
    AgreementDocument,
    AgreementFinding,
    PMode,
    pmode_from_json,
    pmode_to_json,
    read_agreement,
)
from gateway.cli.result_output import format_facts, format_value, print_json, print_table
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import AGREEMENT_UNKNOWN, GatewayError
from gateway.hub import get_current_time
from gateway.message_model import PartyId
from gateway.operations import (
    finding_to_json,
    format_finding,
    judge_agreement,
    list_known_parties,
)
from gateway.store import agreements

__all__ = ["show_agreement"]

_FACTS: Final = ("id", "state", "valid_from", "valid_until", "loaded_at", "loaded_by", "sha256")
_PARTY_COLUMNS: Final = ("party", "status", "ids", "role", "endpoint")
_PMODE_COLUMNS: Final = ("id", "from", "to", "service", "action", "deliver_to", "receipt", "signed")
#: The name of the stored file in the places of findings.
_STORED: Final = "loaded file"


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@home_options()
def show_agreement(arguments: Arguments) -> int:
    """Print one agreement; raise GW301 when none is loaded under this name."""
    settings, now = read_verb_settings(arguments), get_current_time()
    with read_database(arguments) as conn:
        row = agreements.find_agreement(conn, arguments.agreement)
        if row is None:
            raise GatewayError(AGREEMENT_UNKNOWN, f"no agreement is loaded as {arguments.agreement[:80]}")
        document = _read_document(conn, row)
        findings = judge_agreement(conn, settings, document, now)
        owners = {one: party for party in list_known_parties(conn) for one in party.ids}
    known = {one: (party.name, party.status) for one, party in owners.items()}
    facts = {name: row._mapping[name] for name in _FACTS if name != "state"}
    facts |= {"kind": row.kind, "status": row.status, "state": _describe_state(row, now)}
    sides = _list_party_rows(document.pmodes, known)
    if arguments.json:
        told = {"parties": sides, "pmodes": [pmode_to_json(one) for one in document.pmodes]}
        print_json(facts | told | {"findings": [finding_to_json(one) for one in findings]})
    else:
        _print_sections(facts, sides, document.pmodes, findings)
    return 0


def _read_document(conn: Connection, row: Any) -> AgreementDocument:
    """Return the agreement as its file says it; as it is stored, where this version refuses the file."""
    try:
        return read_agreement(row.source, _STORED)
    except GatewayError:
        modes = agreements.list_agreement_pmodes(conn, row.id)
        return AgreementDocument(tuple(pmode_from_json(one.parameters) for one in modes), row.id)


def _describe_state(row: Any, at: datetime) -> str:
    """Return SUSPENDED or RETIRED, or for an active agreement: future, in force or over."""
    if row.status != "ACTIVE":
        return str(row.status)
    if row.valid_from is not None and at < row.valid_from:
        return "future"
    return "over" if row.valid_until is not None and at >= row.valid_until else "in force"


def _list_party_rows(
    pmodes: Sequence[PMode], known: Mapping[PartyId, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return a row for each side of the agreement, the sender of the first P-Mode first."""
    rows: dict[tuple[PartyId, ...], dict[str, Any]] = {}
    for pmode in pmodes:
        for ids, role, endpoint in (
            (pmode.from_party, pmode.from_role, pmode.reply_endpoint),
            (pmode.to_party, pmode.to_role, pmode.endpoint),
        ):
            name, status = next((known[one] for one in ids if one in known), (None, None))
            row = {"party": name, "status": status, "ids": [_format_id(one) for one in ids]}
            rows.setdefault(ids, row | {"role": role, "endpoint": endpoint})
    return list(rows.values())


def _format_id(one: PartyId) -> str:
    return f"{one.type}|{one.value}" if one.type is not None else one.value


def _print_sections(
    facts: Mapping[str, Any],
    sides: Sequence[dict[str, Any]],
    pmodes: Sequence[PMode],
    findings: Sequence[AgreementFinding],
) -> None:
    print(format_facts({name: format_value(facts[name]) for name in _FACTS}))
    print()
    rows = [row | {"ids": ", ".join(row["ids"])} for row in sides]
    print_table(rows, as_json=False, columns=_PARTY_COLUMNS)
    print()
    names = {tuple(row["ids"]): row["party"] or row["ids"][0] for row in sides}
    print_table([_make_pmode_row(one, names) for one in pmodes], as_json=False, columns=_PMODE_COLUMNS)
    print()
    for one in findings:
        print(format_finding(one))
    if not findings:
        print("nothing is wrong with it")


def _make_pmode_row(pmode: PMode, names: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    sender, receiver = (
        names[tuple(_format_id(one) for one in ids)] for ids in (pmode.from_party, pmode.to_party)
    )
    synchronous = pmode.sync_reply_mode not in ("none", "responseOnly")
    receipt = "in the answer" if synchronous else "by a POST"
    return {
        "id": pmode.id,
        "from": sender,
        "to": receiver,
        "service": pmode.service + (f" ({pmode.service_type})" if pmode.service_type else ""),
        "action": pmode.action,
        "deliver_to": pmode.deliver_to,
        "receipt": "none" if pmode.reliability.ack_requested == "never" else receipt,
        "signed": "yes" if pmode.security.sign else "no",
    }
