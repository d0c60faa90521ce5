"""Records that an agency decides after clearance.

A decision, a correction or a cancellation that comes when customs has cleared the goods changes nothing
about clearance. It is recorded as every notice is, the case goes on as it would, and it is an event of
its own. Customs is told (`gateway.hub.customs.late_reports`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.evidence import record_evidence
from gateway.hub.outbox import enqueue_task
from gateway.store import agency_requests, customs_notices, decisions, notices

__all__ = ["record_decisions_since", "record_late_decision"]

_CLEARED: Final = "CLEARED"


def record_late_decision(
    conn: Connection, case: Row[Any], request: Row[Any], notice: int, number: str, now: datetime
) -> None:
    """Record that a notice (row id) decides a request of a locked case that is cleared; else do nothing."""
    if customs_notices.find_state(conn, case.id) == _CLEARED:
        _record_notice(conn, case.id, request, (notice, number), now)


def record_decisions_since(conn: Connection, case: Row[Any], cleared_at: datetime, now: datetime) -> None:
    """Record the decisions that agencies issued after a clearance of which the hub hears only now."""
    for request in agency_requests.list_by_case(conn, case.id):
        deciding = {row.notice_no for row in decisions.list_by_request(conn, request.id)}
        for row in notices.list_by_request(conn, request.id):
            if row.number in deciding and row.issued_at > cleared_at:
                _record_notice(conn, case.id, request, (row.id, row.number), now)


def _record_notice(
    conn: Connection, case: int, request: Row[Any], notice: tuple[int, str], now: datetime
) -> None:
    stored, number = notice
    subject = ("notice", stored)
    if not enqueue_task(conn, "late_decision", subject, f"late_decision:{stored}", now, case_id=case):
        return
    customs_notices.record_case_event(conn, case, "LATE_DECISION", now)
    data = {"agency": request.agency, "application": request.number, "number": number}
    record_evidence(conn, "late_decision", "case", case, None, data, now)
