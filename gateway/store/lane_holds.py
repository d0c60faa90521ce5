"""Holds and releases lanes: nothing is claimed from a held lane, whenever it was queued.

A hold waits until claims that have begun are committed, and a claim that begins later sees it. So no
delivery starts after a hold. Deliveries that were claimed before it end as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, literal, select, update

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.state_machines import DELIVERY
from gateway.store import transitions
from gateway.store.lanes import ensure_lanes
from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import Instant, deliveries, lanes
from gateway.store.transitions import StateEvent

__all__ = [
    "LaneBacklog",
    "close_lane_circuit",
    "hold_lane",
    "list_held_lanes",
    "read_lane_backlog",
    "release_lane",
    "try_lane",
]


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """What a lane contains: deliveries that wait, when the oldest was queued, and those under way."""

    waiting: int
    oldest: datetime | None
    active: int


def hold_lane(conn: Connection, name: str, at: datetime, actor: str, reason: str) -> None:
    """Hold a lane with a reason, also one without deliveries yet; raises GW705 when it is held already."""
    ensure_lanes(conn, name)
    row = _lock_lane(conn, name)
    if row is not None and row.held_at is not None:
        detail = f"lane {name[:80]} is held by {row.held_by} since {_format_utc(row.held_at)}"
        raise GatewayError(TRANSITION_REFUSED, f"{detail}: {row.hold_reason}", "lane")
    values = {"held_at": at, "held_by": actor, "hold_reason": reason}
    conn.execute(update(lanes).where(lanes.c.name == name).values(values))


def release_lane(conn: Connection, name: str, at: datetime) -> Row[Any]:
    """Release a held lane and return how it was held; raises GW705 when it is not held.

    A delivery does not expire while its lane is held: its time limit moves by the time it was held back.
    """
    row = _lock_lane(conn, name)
    if row is None or row.held_at is None:
        raise GatewayError(TRANSITION_REFUSED, f"lane {name[:80]} is not held", "lane")
    nothing = {"held_at": None, "held_by": None, "hold_reason": None}
    conn.execute(update(lanes).where(lanes.c.name == name).values(nothing))
    _extend_time_limits(conn, name, row.held_at, at)
    return row


def _lock_lane(conn: Connection, name: str) -> Row[Any] | None:
    # FOR NO KEY UPDATE conflicts with the lock of a claim, and not with that of a new delivery.
    found = select(lanes).where(lanes.c.name == name)
    return conn.execute(found.with_for_update(key_share=True)).first()


def _format_utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _extend_time_limits(conn: Connection, name: str, held_at: datetime, at: datetime) -> None:
    """Move each time limit by the time since `held_at`, or since the delivery was queued if that is later.

    No message carries its limit in its octets: the hub seals no TimeToLive.
    """
    d = deliveries.c
    waiting = (d.lane == name, build_state_condition(deliveries, "QUEUED"), d.expires_at.is_not(None))
    _lock_deliveries(conn, *waiting)
    since = case((d.created_at > held_at, d.created_at), else_=literal(held_at, Instant()))
    more = literal(at, Instant()).op("-")(since)
    extended = update(deliveries).where(*waiting, since < at)
    conn.execute(extended.values(expires_at=d.expires_at.op("+")(more)))


def _lock_deliveries(conn: Connection, *which: ColumnElement[bool]) -> None:
    """Lock deliveries in the order of their numbers, as every act on several deliveries does."""
    found = select(deliveries.c.id).where(*which).order_by(deliveries.c.id)
    conn.execute(found.with_for_update(key_share=True)).all()


def list_held_lanes(conn: Connection) -> Sequence[Row[Any]]:
    """Return the lanes that are held, by name."""
    return conn.execute(select(lanes).where(lanes.c.held_at.is_not(None)).order_by(lanes.c.name)).all()


def read_lane_backlog(conn: Connection, name: str) -> LaneBacklog:
    """Return what a lane contains now."""
    d = deliveries.c
    queued = select(func.count(), func.min(d.created_at)).where(
        d.lane == name, build_state_condition(deliveries, "QUEUED")
    )
    active = select(func.count()).where(d.lane == name, build_state_condition(deliveries, "ACTIVE"))
    waiting, oldest = conn.execute(queued).one()
    return LaneBacklog(waiting, oldest, conn.execute(active).scalar_one())


def close_lane_circuit(conn: Connection, name: str) -> None:
    """Let workers claim from a lane at once that was left alone for a while; raises GW705 when it is held."""
    row = _lock_lane(conn, name)
    if row is not None and row.held_at is not None:
        raise GatewayError(TRANSITION_REFUSED, f"lane {name[:80]} is held: release it first", "lane")
    conn.execute(update(lanes).where(lanes.c.name == name).values(open_until=None))


def try_lane(conn: Connection, name: str, at: datetime, actor: str) -> tuple[int, ...]:
    """Make the waiting deliveries of a lane due now and close its circuit; return those that had to wait.

    A delivery that a worker claims at the same time is left as it is. Raises GW705 for a held lane.
    """
    close_lane_circuit(conn, name)
    waiting = (
        deliveries.c.lane == name,
        build_state_condition(deliveries, "QUEUED"),
        deliveries.c.due_at > at,
    )
    _lock_deliveries(conn, *waiting)
    changed = update(deliveries).where(*waiting).values(due_at=at).returning(deliveries.c.id)
    tried = tuple(sorted(conn.execute(changed).scalars()))
    steps = [(number, "QUEUED", "QUEUED") for number in tried]
    transitions.record_transitions(conn, DELIVERY, steps, StateEvent("try", at, actor))
    return tried
