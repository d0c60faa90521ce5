"""Queues local tasks: deliveries of the hub to itself, repeated until they are done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.store import AgencyRequestRow, NewDelivery, NoticeRow, agency_requests, deliveries, notices

#: Ends the lease of the delivery in the caller's transaction; raises when the lease is lost.
FinishLease = Callable[[Connection], None]
_Row = TypeVar("_Row")


def require_row(row: _Row | None, subject: str) -> _Row:
    """Return the row of the `subject` of a task, as it was found; raises GW901 where there is none."""
    if row is None:
        raise GatewayError(OUR_MISTAKE, f"{subject} is gone")
    return row


def find_notice(conn: Connection, notice_id: int) -> tuple[NoticeRow, AgencyRequestRow]:
    """Return a notice of an agency (row id) and the request that it is about; raises GW901 without them."""
    notice = require_row(notices.find_by_id(conn, notice_id), f"notice {notice_id}")
    found_request = agency_requests.find_by_id(conn, notice.request_id)
    return notice, require_row(found_request, f"the request of notice {notice_id}")


def enqueue_task(
    conn: Connection,
    task: str,
    subject_type: str,
    subject_id: int | str,
    dedupe_key: str,
    now: datetime,
    *,
    case_id: int | None = None,
    follows: int | None = None,
    due_at: datetime | None = None,
    **parameters: Any,
) -> bool:
    """Queue `task` for a subject; return False when its key was queued before.

    `follows` is a delivery that must be done first, `due_at` the time before which it is not begun.
    """
    queued = deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="local",
            destination=deliveries.LOCAL,
            subject_type=subject_type,
            subject_id=str(subject_id),
            dedupe_key=dedupe_key,
            case_id=int(subject_id) if subject_type == "case" else case_id,
            follows=follows,
            due_at=due_at,
            parameters={"task": task, **parameters},
        ),
        now,
    )
    return queued is not None


#: A transaction that was open when a case was checked is committed, or rolled back, after this time.
_SETTLED: Final = timedelta(minutes=1)


def enqueue_repeated_check(
    conn: Connection, task: str, subject_id: int, dedupe_key: str, now: datetime, subject_type: str = "case"
) -> None:
    """Queue the task that searches for the object that a case (row id) awaits: at once, and again later.

    `subject_type` is the type of the waiting object, if it is no case. The second check is needed because the
    awaited object may be stored by a transaction that is open now: that transaction does not know yet that
    the case waits, and the first check does not see the object. The case does not wait for the second check.
    """
    enqueue_task(conn, task, subject_type, subject_id, dedupe_key, now)
    enqueue_task(conn, task, "look", subject_id, f"{dedupe_key}:again", now, due_at=now + _SETTLED)
