"""Stores lanes: one for each destination, with a capacity of simultaneous deliveries.

A worker claims lane by lane, so that an unavailable destination fills no batch but its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, exists, func, or_, select, update

from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.tables import Instant, deliveries, lanes

__all__ = [
    "LOCAL",
    "MAY_FOLLOW",
    "ensure_lanes",
    "list_due_lanes",
    "set_lane_capacity",
    "set_lane_circuit",
    "summarize_lanes",
]

# The lane of local tasks; the first migration creates it.
LOCAL: Final = "local"

_INSERT = InsertIfAbsent(lanes, ("name",))


def _build_follow_condition() -> ColumnElement[bool]:
    earlier = deliveries.alias("earlier")
    ended = exists().where(
        earlier.c.id == deliveries.c.follows, earlier.c.state.in_(("DELIVERED", "CANCELLED"))
    )
    return or_(deliveries.c.follows.is_(None), ended)


#: The condition that the delivery which another one follows is delivered or cancelled.
MAY_FOLLOW: Final = _build_follow_condition()
_NOW: Final = bindparam("now", type_=Instant())
_WAITING: Final = exists().where(
    deliveries.c.lane == lanes.c.name,
    build_state_condition(deliveries, "QUEUED"),
    deliveries.c.due_at <= _NOW,
    MAY_FOLLOW,
)
# Built once, as every frequent statement: building it takes longer than executing it.
_DUE: Final = (
    select(lanes.c.name)
    .where(lanes.c.held_at.is_(None), or_(lanes.c.open_until.is_(None), lanes.c.open_until <= _NOW), _WAITING)
    .order_by(lanes.c.name)
)


def ensure_lanes(conn: Connection, *names: str, capacity: int | None = None) -> None:
    """Insert the lanes that do not exist yet."""
    _INSERT.insert_many(conn, [{"name": name, "capacity": capacity} for name in names])


def set_lane_capacity(conn: Connection, name: str, capacity: int | None) -> None:
    """Set how many deliveries of the lane may run at once; None: as many as there are workers."""
    ensure_lanes(conn, name)
    conn.execute(update(lanes).where(lanes.c.name == name).values(capacity=capacity))


def set_lane_circuit(conn: Connection, name: str, open_until: datetime | None, problem: str | None) -> None:
    """Claim nothing from the lane before `open_until`; None closes the circuit."""
    conn.execute(
        update(lanes).where(lanes.c.name == name).values(open_until=open_until, last_problem=problem)
    )


def list_due_lanes(conn: Connection, now: datetime) -> tuple[str, ...]:
    """Return the lanes that have a due delivery, are not held, and whose circuit is closed."""
    return tuple(conn.execute(_DUE, {"now": now}).scalars())


def summarize_lanes(conn: Connection) -> Sequence[Row[Any]]:
    """Return every lane with its number of queued, active, awaiting, held and failed deliveries."""
    counted = (
        func.count(deliveries.c.id).filter(deliveries.c.state == state).label(state.lower())
        for state in ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD", "FAILED")
    )
    joined = lanes.outerjoin(
        deliveries,
        and_(deliveries.c.lane == lanes.c.name, deliveries.c.state.not_in(("DELIVERED", "CANCELLED"))),
    )
    return conn.execute(
        select(lanes, *counted).select_from(joined).group_by(lanes.c.name).order_by(lanes.c.name)
    ).all()
