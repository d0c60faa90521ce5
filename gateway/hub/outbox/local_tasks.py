"""Queues local tasks: deliveries of the hub to itself, repeated until they are done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.store import NewDelivery, deliveries, lanes

__all__ = ["FinishLease", "enqueue_look", "enqueue_task"]

#: Ends the lease of the delivery in the caller's transaction; raises when the lease is lost.
FinishLease = Callable[[Connection], None]


def enqueue_task(
    conn: Connection,
    task: str,
    subject: tuple[str, int | str],
    key: str,
    now: datetime,
    *,
    case_id: int | None = None,
    follows: int | None = None,
    due_at: datetime | None = None,
    **parameters: Any,
) -> bool:
    """Queue `task` for a subject (type, id); return False when its key was queued before.

    `follows` is a delivery that must be done first, `due_at` the time before which it is not begun.
    """
    queued = deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="local",
            destination=lanes.LOCAL,
            subject_type=subject[0],
            subject_id=str(subject[1]),
            dedupe_key=key,
            case_id=int(subject[1]) if subject[0] == "case" else case_id,
            follows=follows,
            due_at=due_at,
            parameters={"task": task, **parameters},
        ),
        now,
    )
    return queued is not None


#: A transaction that was open when a case was looked at is committed, or rolled back, so much later.
_SETTLED: Final = timedelta(minutes=1)


def enqueue_look(
    conn: Connection, task: str, subject: int, key: str, now: datetime, kind: str = "case"
) -> None:
    """Queue the task that looks whether a case (row id) has what it waits for: at once, and once more later.

    So may an object of another `kind`.

    What comes from others may be in a transaction that is open now: it does not know yet that the case
    waits, and the first look does not see it. The case does not wait for the second look.
    """
    enqueue_task(conn, task, (kind, subject), key, now)
    enqueue_task(conn, task, ("look", subject), f"{key}:again", now, due_at=now + _SETTLED)
