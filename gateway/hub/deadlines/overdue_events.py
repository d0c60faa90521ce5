"""Tells that something is due soon, or overdue: an event, evidence, and a task that tells the applicant."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import DEADLINE_HOLDERS, CustodyHolder, DeadlineKind
from gateway.evidence import record_evidence
from gateway.hub.outbox import enqueue_task
from gateway.store import StateEvent, agency_requests, cases, deadlines, events

__all__ = ["tell_overdue", "tell_reminder"]

_ACTOR: Final = "clockwork"


def tell_overdue(conn: Connection, case: Row[Any], about: tuple[Row[Any], Row[Any]], now: datetime) -> None:
    """Mark a deadline of a locked case as overdue, once; nothing is decided by that."""
    request, row = about
    deadlines.change_deadline(conn, row.id, {"state": "OVERDUE", "overdue_at": now, "next_at": None})
    words = f"{row.kind} {request.number} was due {row.due_at.isoformat()}"
    if case.state == "IN_PROGRESS":
        cases.apply_event(conn, case.id, StateEvent("deadline", now, _ACTOR, words[:100]))
    events.record_events(conn, "request", [(request.id, f"OVERDUE {row.kind}")], now)
    data = {"agency": request.agency, "kind": row.kind, "due": row.due_at.isoformat(), "cause": row.cause}
    record_evidence(conn, "overdue", "request", request.id, None, data, now)
    _tell_applicant(conn, row, "overdue", now)


def tell_reminder(conn: Connection, row: Row[Any], now: datetime) -> None:
    """Tell once that something is due soon: the applicant by a Notice, an agency by an event alone."""
    values: dict[str, Any] = {"reminded_at": now, "next_at": row.due_at}
    deadlines.change_deadline(conn, row.id, values)
    request = agency_requests.find_by_id(conn, row.request_id)
    events.record_events(conn, "request", [(row.request_id, f"REMINDED {row.kind}")], now)
    agency = "" if request is None else request.agency
    data = {"agency": agency, "kind": row.kind, "due": row.due_at.isoformat(), "cause": row.cause}
    record_evidence(conn, "reminded", "request", row.request_id, None, data, now)
    _tell_applicant(conn, row, "reminder", now)


def _tell_applicant(conn: Connection, row: Row[Any], what: str, now: datetime) -> None:
    """Queue the Notice to the applicant where the applicant has to act."""
    if DEADLINE_HOLDERS[DeadlineKind(row.kind)] is CustodyHolder.APPLICANT:
        key = f"remind:{row.id}:{what}"
        enqueue_task(conn, "remind", ("deadline", row.id), key, now, case_id=row.case_id, what=what)
