"""What an agency approves after its case was withdrawn: it is asked to cancel that, too.

The notice is stored in the transaction of `gateway.hub.reply`. When that has committed, the question
is open and a task is queued, which asks as the withdrawal itself does (`gateway.hub.withdraw`). The
case stays WITHDRAWN. Until the agency has said that it cancels nothing, what it approved is no
certificate that a declaration could use. What it has refused to cancel before stands meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import APPROVING, select_current_decisions
from gateway.evidence import record_evidence
from gateway.hub.completion import is_cancellation_open, make_standing_decisions
from gateway.hub.outbox import enqueue_task
from gateway.store import StateEvent, agency_requests, cases, decisions, requirement_quantities

__all__ = ["settle_late_notice"]

_ACTOR: Final = "reply"


def settle_late_notice(
    conn: Connection, case: Row[Any], request: int, notice: tuple[int, str], now: datetime
) -> None:
    """Apply a new notice about a request (row id) of a case that is withdrawn.

    `notice` is its row id and number. An agency that approves what was not approved before is asked to
    cancel, unless it is being asked.
    """
    stored, number = notice
    row = agency_requests.find_by_id(conn, request)
    if row is None or row.state == "CANCELLED":
        return
    said = decisions.list_by_request(conn, request)
    before = _list_approved(row, (one for one in said if one.notice_no != number))
    approved = _list_approved(row, said)
    if is_cancellation_open(row):
        _store_kept(conn, case, row.number, _list_kept(case, row.number) & approved)
        return
    if approved <= before:
        return
    _store_kept(conn, case, row.number, before & approved if row.cancellation == "REFUSED" else set())
    asked = StateEvent("ask_cancel", now, _ACTOR, number[:100])
    agency_requests.apply_event(conn, request, asked, cancellation="ASKED")
    enqueue_task(conn, "ask_cancel", ("notice", stored), f"ask_cancel:{stored}", now, case_id=case.id)
    data = {"agency": row.agency, "application": row.number, "number": number}
    record_evidence(conn, "late_approval", "case", case.id, None, data, now)


def _list_approved(request: Row[Any], said: Iterable[Row[Any]]) -> set[tuple[int, str]]:
    """Return each item and law of a request that the decisions in force approve."""
    current = select_current_decisions(make_standing_decisions(said, {request.id: request.number}))
    approved = (one.decision for one in current if one.decision.decision in APPROVING)
    return {(one.item, one.law) for one in approved}


def _list_kept(case: Row[Any], application: str) -> set[tuple[int, str]]:
    """Return each item and law that an agency has refused to cancel before it was asked again."""
    stored = (case.detail or {}).get(requirement_quantities.WITHDRAWN_KEPT, {})
    return {(item, law) for item, law in stored.get(application, ())}


def _store_kept(conn: Connection, case: Row[Any], application: str, kept: set[tuple[int, str]]) -> None:
    """Store what of an application stands while its agency is asked about the rest; what is gone stays so."""
    if kept == _list_kept(case, application):
        return
    detail = dict(case.detail or {})
    named = detail.get(requirement_quantities.WITHDRAWN_KEPT, {})
    detail[requirement_quantities.WITHDRAWN_KEPT] = named | {application: [list(one) for one in sorted(kept)]}
    cases.set_detail(conn, case.id, detail)
