"""Records that an agency decides after clearance.

A decision, a correction or a cancellation that comes when customs has cleared the goods changes nothing
about clearance. It is recorded as every notice is, the case goes on as it would, and it is an event of
its own. Customs is told (`gateway.hub.customs.late_reports`). What is decided about an item of a case
is late for each child declaration with the item, too, that customs has cleared. What an agency says under
a number of its own is in `gateway.hub.customs.late_results`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import read_subjects
from gateway.evidence import record_evidence
from gateway.hub.completion import list_requests_above, select_inherited_subjects
from gateway.hub.outbox import enqueue_task
from gateway.state_machines import REQUEST
from gateway.store import (
    agency_requests,
    customs_notices,
    decisions,
    item_releases,
    notices,
    transitions,
)

__all__ = [
    "is_cleared",
    "list_late_subjects",
    "queue_children",
    "record_decisions_since",
    "record_inherited_decision",
    "record_late_decision",
    "record_late_news",
]

_CLEARED: Final = "CLEARED"
_INHERITED: Final = "late_inherited"


def record_late_decision(
    conn: Connection, case: Row[Any], request: Any, notice: int, number: str, now: datetime
) -> None:
    """Record that a notice (row id) decides a request of a locked case that is cleared; else do nothing.

    Each child looks for itself when this is committed.
    """
    if request.clearance == _CLEARED:
        _record_notice(conn, case.id, request, (notice, number), now)
    if request.released:
        queue_children(conn, case.id, ("notice", notice), now)


def queue_children(
    conn: Connection, case: int, said: tuple[str, int], now: datetime, task: str = _INHERITED
) -> None:
    """Let each child of a case look whether a notice (its type and row id) is late for it."""
    for child in item_releases.list_children(conn, case):
        enqueue_task(conn, task, said, f"{task}:{said[1]}:{child}", now, case_id=child)


def is_cleared(conn: Connection, case: int) -> bool:
    """Return whether customs has cleared a case (row id)."""
    return customs_notices.find_state(conn, case) == _CLEARED


def record_inherited_decision(
    conn: Connection, case: int, request: Row[Any], notice: Row[Any], now: datetime
) -> None:
    """Record for a locked child that a notice on a request above it decides what it has; else do nothing."""
    if is_cleared(conn, case) and list_late_subjects(conn, case, request, notice):
        _record_notice(conn, case, request, (notice.id, notice.number), now)


def list_late_subjects(
    conn: Connection, case: int, request: Row[Any], notice: Row[Any]
) -> set[tuple[int, str]]:
    """Return the items and laws of a case (row id) that a notice on a request of it, or above it, is about.

    One without decisions cancels the request: it is about all of it.
    """
    said = {
        (int(row.item), str(row.law)) for row in decisions.list_by_notice(conn, request.id, notice.number)
    }
    about = said or set(read_subjects(request.required))
    return select_inherited_subjects(conn, case, request.case_id, about)


def record_decisions_since(conn: Connection, case: Row[Any], cleared_at: datetime, now: datetime) -> None:
    """Record the decisions that agencies issued after a clearance of which the hub hears only now."""
    for request in (*agency_requests.list_by_case(conn, case.id), *list_requests_above(conn, case.id)):
        ending = _list_ending_notices(conn, request.id)
        for row in notices.list_by_request(conn, request.id):
            late = row.number in ending and row.issued_at > cleared_at
            if late and list_late_subjects(conn, case.id, request, row):
                _record_notice(conn, case.id, request, (row.id, row.number), now)


def _list_ending_notices(conn: Connection, request: int) -> set[str]:
    """Return the numbers of the notices that decide a request, or by which its agency cancels it."""
    deciding = {row.notice_no for row in decisions.list_by_request(conn, request)}
    steps = transitions.list_transitions(conn, REQUEST, request)
    return deciding | {str(row.detail) for row in steps if row.event == "cancel"}


def _record_notice(
    conn: Connection, case: int, request: Row[Any], notice: tuple[int, str], now: datetime
) -> None:
    stored, number = notice
    key = f"late_decision:{stored}" if case == request.case_id else f"late_decision:{stored}:{case}"
    data = {"agency": request.agency, "application": request.number, "number": number}
    record_late_news(conn, case, ("late_decision", ("notice", stored), key), data, now)


def record_late_news(
    conn: Connection,
    case: int,
    task: tuple[str, tuple[str, int], str],
    data: Mapping[str, str],
    now: datetime,
) -> None:
    """Record once for a locked case (row id) what is late.

    `task` is that which tells customs: its name, subject and key.
    """
    name, said, key = task
    if not enqueue_task(conn, name, said, key, now, case_id=case):
        return
    customs_notices.record_case_event(conn, case, "LATE_DECISION", now)
    record_evidence(conn, "late_decision", "case", case, None, dict(data), now)
