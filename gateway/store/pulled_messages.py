"""Hands out messages that wait for their partner to pull them, the oldest first, and notes what asked.

A message that was handed out waits for its receipt as one that was posted. When none comes in time it
is there again, the same octets. After the last try its time ends with the time of that receipt.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.lanes import MAY_FOLLOW
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.pull_tables import pull_requests
from gateway.store.tables import Instant, deliveries, delivery_attempts, lanes
from gateway.store.transitions import StateEvent

__all__ = ["find_waiting_message", "hand_out_message", "note_pull_request"]

_INSERT = InsertIfAbsent(pull_requests, ("digest",), "digest")
_NOW: Final = bindparam("now", type_=Instant())
_ACTIVE: Final = get_next_state(DELIVERY, "QUEUED", "lease")
_AWAITING: Final = get_next_state(DELIVERY, _ACTIVE, "sent")
_HELD: Final = select(lanes.c.held_at).where(lanes.c.name == bindparam("in_lane"))
_OLDEST: Final = (
    select(deliveries)
    .where(
        build_state_condition(deliveries, "QUEUED"),
        deliveries.c.lane == bindparam("in_lane"),
        deliveries.c.due_at <= _NOW,
        or_(deliveries.c.expires_at.is_(None), deliveries.c.expires_at > _NOW),
        MAY_FOLLOW,
    )
    .order_by(deliveries.c.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)


def note_pull_request(conn: Connection, digest: str, at: datetime, forget: datetime) -> bool:
    """Store that a request came; return False when it came before. Those seen before `forget` are removed."""
    conn.execute(delete(pull_requests).where(pull_requests.c.seen_at < forget))
    return _INSERT.insert_one(conn, {"digest": digest, "seen_at": at}) is not None


def find_waiting_message(conn: Connection, lane: str, at: datetime) -> Row[Any] | None:
    """Lock and return the oldest message of a lane that waits; None without one.

    A lane that an operator holds hands out nothing.
    """
    if conn.execute(_HELD, {"in_lane": lane}).scalar() is not None:
        return None
    return conn.execute(_OLDEST, {"in_lane": lane, "now": at}).first()


def hand_out_message(conn: Connection, row: Row[Any], at: datetime, actor: str) -> None:
    """Store that a locked message is handed out, and let it wait for its receipt."""
    receipt_due = at + timedelta(seconds=int(row.parameters["retry_interval"]))
    last = row.tries >= int(row.parameters["retries"])
    values = {
        "state": _AWAITING,
        "attempt": row.attempt + 1,
        "tries": row.tries + 1,
        "due_at": receipt_due,
        "expires_at": receipt_due if last else row.expires_at,
    }
    conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
    tried = {"delivery": row.id, "attempt": row.attempt + 1, "started_at": at}
    conn.execute(insert(delivery_attempts).values(**tried, finished_at=at, outcome="sent"))
    for event, before, after in (("lease", "QUEUED", _ACTIVE), ("sent", _ACTIVE, _AWAITING)):
        transitions.record_transitions(
            conn, DELIVERY, [(row.id, before, after)], StateEvent(event, at, actor)
        )
