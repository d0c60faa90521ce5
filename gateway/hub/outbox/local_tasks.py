"""Work that the hub leaves to itself: a delivery to ourselves, repeated until it is done."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.store import deliveries, lanes
from gateway.store.deliveries import NewDelivery

__all__ = ["enqueue_task"]


def enqueue_task(
    conn: Connection,
    task: str,
    subject: tuple[str, int],
    key: str,
    now: datetime,
    *,
    case_id: int | None = None,
    **parameters: str,
) -> bool:
    """Queue `task` about a subject (type, id) under a key that is queued once; False when it was before."""
    queued = deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="local",
            destination=lanes.LOCAL,
            subject_type=subject[0],
            subject_id=str(subject[1]),
            dedupe_key=key,
            case_id=subject[1] if subject[0] == "case" else case_id,
            parameters={"task": task, **parameters},
        ),
        now,
    )
    return queued is not None
