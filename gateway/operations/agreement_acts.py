"""Puts an agreement into force after it has been judged by the register of the hub."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import AgreementDocument, AgreementFinding, PMode, pmode_to_json, read_pmodes
from gateway.errors import GatewayError
from gateway.operations.agreement_judgment import find_load_problem, judge_agreement
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.register_views import describe_agreements
from gateway.store import NewAgreement, NewPMode, agreements

__all__ = ["activate_pmodes", "load_agreement", "load_judged_agreement", "suspend_agreement"]


def load_judged_agreement(
    change: DatabaseChange, document: AgreementDocument, source: bytes, name: str, *, accepted: bool
) -> tuple[tuple[AgreementFinding, ...], GatewayError | None]:
    """Activate the P-Modes of a document unless its findings refuse it; return findings and problem.

    `accepted` says that warnings do not refuse it.
    """
    ids = tuple(dict.fromkeys(pmode.agreement for pmode in document.pmodes))
    findings = judge_agreement(change.conn, change.settings, document, change.at)
    problem = find_load_problem(findings, name, accepted=accepted)
    if problem is not None:
        change.leave_unchanged()
        return findings, problem
    before = describe_agreements(change.conn, ids)
    _activate_agreements(change.conn, document.pmodes, source, change.at, change.by)
    after = describe_agreements(change.conn, ids)
    change.record_trust_change(f"agreement {', '.join(ids)}", before=before, after=after)
    return findings, None


def suspend_agreement(change: DatabaseChange, name: str) -> str:
    """Suspend an agreement; return what is so now as a sentence. Raises GW301 for an unknown one."""
    before = describe_agreements(change.conn, (name,))
    agreements.set_agreement_status(change.conn, name, "SUSPENDED")
    after = describe_agreements(change.conn, (name,))
    change.record_trust_change(f"agreement {name}", before=before, after=after)
    return f"Agreement {name} is suspended: its messages are refused."


def load_agreement(
    conn: Connection, source: bytes, name: str, now: datetime, by: str = "operator"
) -> tuple[PMode, ...]:
    """Activate the P-Modes of a YAML file unjudged; they replace those of the same agreements."""
    found = read_pmodes(source, name)
    _activate_agreements(conn, found, source, now, by)
    return found


def _activate_agreements(
    conn: Connection, found: Sequence[PMode], source: bytes, now: datetime, by: str
) -> None:
    for agreement in dict.fromkeys(pmode.agreement for pmode in found):
        modes = [pmode for pmode in found if pmode.agreement == agreement]
        activate_pmodes(conn, modes, ("pmode", source), now, by)


def activate_pmodes(
    conn: Connection, modes: Sequence[PMode], source: tuple[str, bytes], at: datetime, by: str
) -> None:
    """Activate the P-Modes of one agreement. `source` is kind and file.

    A version that begins later, while the agreement is in force, succeeds the present one at its
    begin; any other replaces the agreement, with the later versions that it had.
    """
    starts, ends = min(mode.valid_from for mode in modes), max(mode.valid_until for mode in modes)
    row = agreements.find_agreement(conn, modes[0].agreement)
    if row is not None and _is_succeeded(row, starts, at):
        kept = [one for one in row.successors or () if datetime.fromisoformat(one["valid_from"]) < starts]
        version = {
            "kind": source[0],
            "source": base64.b64encode(source[1]).decode("ascii"),
            "valid_from": starts.isoformat(),
            "valid_until": ends.isoformat(),
            "loaded_at": at.isoformat(),
            "loaded_by": by,
            "pmodes": [pmode_to_json(mode) for mode in modes],
        }
        agreements.set_successors(conn, row.id, [*kept, version])
        return
    if row is not None and row.successors:
        agreements.set_successors(conn, row.id, ())
    new = NewAgreement(modes[0].agreement, *source, starts, ends)
    agreements.activate_agreement(conn, new, [_make_pmode_row(mode) for mode in modes], at, by)


def _is_succeeded(row: Any, starts: datetime, at: datetime) -> bool:
    """Return whether a version that `starts` later follows the agreement of a row without a gap."""
    if row.status != "ACTIVE" or row.valid_from is None or row.valid_until is None:
        return False
    ends = [row.valid_until, *(datetime.fromisoformat(one["valid_until"]) for one in row.successors or ())]
    begun = row.valid_from <= at < max(ends)
    return bool(begun and max(at, row.valid_from) < starts <= max(ends))


def _make_pmode_row(pmode: PMode) -> NewPMode:
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
