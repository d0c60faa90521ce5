"""Stores lanes: one for each destination, with a capacity of simultaneous deliveries.

A worker claims lane by lane, so that an unavailable destination fills no batch but its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Subquery,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.tables import Instant, deliveries, delivery_attempts, lanes
from gateway.store.transaction_rows import list_committed_lanes, note_ensured_lanes

__all__ = [
    "LOCAL",
    "MAY_FOLLOW",
    "DueLane",
    "ensure_lanes",
    "find_lanes",
    "find_waiting_since",
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
_SUSPECTED: Final = exists().where(
    deliveries.c.lane == lanes.c.name,
    build_state_condition(deliveries, "QUEUED"),
    # The same literal text as in the index of suspects.
    literal_column("lost > 0", Boolean()),
    deliveries.c.due_at <= _NOW,
    MAY_FOLLOW,
)
# Built once, as every frequent statement: building it takes longer than executing it.
_DUE: Final = (
    select(lanes.c.name, lanes.c.capacity, _SUSPECTED.label("suspected"))
    .where(
        lanes.c.held_at.is_(None),
        lanes.c.pulled.is_(False),
        or_(lanes.c.open_until.is_(None), lanes.c.open_until <= _NOW),
        _WAITING,
    )
    .order_by(lanes.c.name)
)


def ensure_lanes(conn: Connection, *names: str, capacity: int | None = None, pulled: bool = False) -> None:
    """Insert the lanes that do not exist yet; the messages of a `pulled` one are fetched by the partner."""
    known = list_committed_lanes(conn)
    new = [name for name in dict.fromkeys(names) if name not in known]
    _INSERT.insert_many(conn, [{"name": name, "capacity": capacity, "pulled": pulled} for name in new])
    note_ensured_lanes(conn, new)


def set_lane_capacity(conn: Connection, name: str, capacity: int | None) -> None:
    """Set how many deliveries of the lane may run at once; None: as many as there are workers."""
    ensure_lanes(conn, name)
    conn.execute(update(lanes).where(lanes.c.name == name).values(capacity=capacity))


def set_lane_circuit(conn: Connection, name: str, open_until: datetime | None, problem: str | None) -> None:
    """Claim nothing from the lane before `open_until`; None closes the circuit."""
    conn.execute(
        update(lanes).where(lanes.c.name == name).values(open_until=open_until, last_problem=problem)
    )


@dataclass(frozen=True, slots=True)
class DueLane:
    """A lane with a due delivery: its capacity, and whether a worker died during such a delivery."""

    name: str
    capacity: int | None
    suspected: bool


def list_due_lanes(conn: Connection, now: datetime) -> tuple[DueLane, ...]:
    """Return the lanes with a due delivery that are not held nor pulled, and whose circuit is closed."""
    return tuple(DueLane(*row) for row in conn.execute(_DUE, {"now": now}))


def summarize_lanes(conn: Connection) -> Sequence[Row[Any]]:
    """Return every lane with its number of queued, active, awaiting, held and failed deliveries.

    `oldest` is the number of the delivery that has been queued for the longest time.
    """
    # Each state for itself: deliveries that are not done are few, and have an index for each state.
    counted = {
        state: _count_by_lane(state) for state in ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD", "FAILED")
    }
    source: FromClause = lanes
    for found in counted.values():
        source = source.outerjoin(found, found.c.lane == lanes.c.name)
    numbers = (func.coalesce(one.c.number, 0).label(state.lower()) for state, one in counted.items())
    oldest = counted["QUEUED"].c.oldest.label("oldest")
    return conn.execute(select(lanes, *numbers, oldest).select_from(source).order_by(lanes.c.name)).all()


def _count_by_lane(state: str) -> Subquery:
    d = deliveries.c
    found = select(d.lane, func.count().label("number"), func.min(d.id).label("oldest"))
    return found.where(build_state_condition(deliveries, state)).group_by(d.lane).subquery(state.lower())


def find_lanes(conn: Connection, names: Sequence[str]) -> dict[str, Row[Any]]:
    """Return the lanes of these names that exist."""
    found = conn.execute(select(lanes).where(lanes.c.name.in_(names)))
    return {row.name: row for row in found}


def find_waiting_since(conn: Connection, name: str) -> datetime | None:
    """Return when the first attempt was made at the deliveries of a lane that wait after a failed one."""
    waiting = (deliveries.c.lane == name, build_state_condition(deliveries, "QUEUED"), deliveries.c.tries > 0)
    oldest = select(deliveries.c.id).where(*waiting).order_by(deliveries.c.due_at).limit(20).subquery()
    first = select(func.min(delivery_attempts.c.started_at)).where(
        delivery_attempts.c.delivery.in_(select(oldest.c.id))
    )
    return conn.execute(first).scalar_one_or_none()
