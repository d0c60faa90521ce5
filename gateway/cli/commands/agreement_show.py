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
    pmode_to_json,
    read_overrides,
)
from gateway.cli.agreement_files import read_agreement_file
from gateway.cli.cpa_reception import judge_cpa_at_hub
from gateway.cli.loaded_agreements import (
    STORED_FILE,
    LoadedAgreement,
    collect_certificates,
    find_loaded_agreement,
    list_pins,
)
from gateway.cli.result_output import format_facts, format_value, print_json, print_table
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import get_current_time
from gateway.message_model import PartyId
from gateway.operations import (
    StatedFinding,
    finding_to_json,
    format_finding,
    judge_agreement,
    list_known_parties,
)
from gateway.store import parties

__all__ = ["show_agreement"]

_FACTS: Final = ("id", "state", "valid_from", "valid_until", "loaded_at", "loaded_by", "sha256")
_PARTY_COLUMNS: Final = ("party", "status", "ids", "role", "endpoint")
_PMODE_COLUMNS: Final = ("id", "from", "to", "service", "action", "deliver_to", "receipt", "signed")


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@home_options()
def show_agreement(arguments: Arguments) -> int:
    """Print one agreement; raise GW301 when none is loaded under this name."""
    settings, now = read_verb_settings(arguments), get_current_time()
    with read_database(arguments) as conn:
        loaded = find_loaded_agreement(conn, arguments.agreement)
        findings = _judge_loaded_agreement(conn, settings, loaded, now)
        owners = {one: party for party in list_known_parties(conn) for one in party.ids}
        certificates = _list_certificate_rows(conn, loaded)
    known = {one: (party.name, party.status) for one, party in owners.items()}
    facts = {name: loaded.row._mapping[name] for name in _FACTS if name != "state"}
    facts |= {"kind": loaded.row.kind, "status": loaded.row.status}
    facts["state"] = _describe_state(loaded.row, now)
    sides = _list_party_rows(loaded.pmodes, known)
    if arguments.json:
        told = {"parties": sides, "pmodes": [pmode_to_json(one) for one in loaded.pmodes]}
        told["overrides"] = loaded.row.overrides or []
        told["versions"] = _list_versions(loaded)
        told |= {"certificates": certificates, "findings": [finding_to_json(one) for one in findings]}
        print_json(facts | told)
    else:
        _print_sections(facts, sides, loaded.pmodes, findings)
        for version in _list_versions(loaded):
            print(f"from {version['valid_from']} on: a later version of {version['loaded_by']}")
        for one in read_overrides(loaded.row.overrides):
            where = f" of P-Mode {one.pmode}" if one.pmode is not None else ""
            print(f"override: {one.term}{where} {one.value}, by {one.by} at {one.at}: {one.reason}")
    return 0


def _judge_loaded_agreement(
    conn: Connection, settings: Settings, loaded: LoadedAgreement, at: datetime
) -> Sequence[AgreementFinding | StatedFinding]:
    """Return what is wrong with a loaded agreement now, at the places of its file."""
    if loaded.cpa is not None:
        return judge_cpa_at_hub(conn, settings, (loaded.row.source, STORED_FILE), at).findings
    try:
        document = read_agreement_file(loaded.row.source, STORED_FILE, at)
    except GatewayError:  # a rule of this version refuses what an older one took
        document = AgreementDocument(loaded.pmodes, loaded.row.id)
    return judge_agreement(conn, settings, document, at)


def _list_versions(loaded: LoadedAgreement) -> list[dict[str, Any]]:
    """Return the later versions of an agreement, without their files."""
    names = ("kind", "valid_from", "valid_until", "loaded_at", "loaded_by")
    return [{name: one[name] for name in names} for one in loaded.row.successors or ()]


def _list_certificate_rows(conn: Connection, loaded: LoadedAgreement) -> list[dict[str, Any]]:
    """Return the certificates that the P-Modes name: their uses, and which party of the register has them."""
    uses: dict[str, dict[str, None]] = {}
    for pin, use in list_pins(loaded.pmodes):
        uses.setdefault(pin, {})[use] = None
    known, found = collect_certificates(conn, loaded), []
    for pin, used in sorted(uses.items()):
        held = known.get(pin)
        rows = parties.list_certificate_rows(conn, pin)
        found.append(
            {
                "sha256": pin,
                "uses": list(used),
                "subject": held.subject if held is not None else None,
                "issuer": held.issuer if held is not None else None,
                "not_before": held.not_before if held is not None else None,
                "not_after": held.not_after if held is not None else None,
                "party": rows[0].party_id if rows else None,
            }
        )
    return found


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
    findings: Sequence[AgreementFinding | StatedFinding],
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
    receipt = "by a POST" if pmode.posts_signals else "in the answer"
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
