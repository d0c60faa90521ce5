"""Reads lanes and sets how they are worked off; holds and releases them.

Nothing is claimed from a held lane, whenever it was queued. A hold waits until claims that have begun are
committed, and a claim that begins later sees it. So no delivery starts after a hold. Deliveries that were
claimed before it end as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.state_machines import DELIVERY
from gateway.store import transitions
from gateway.store.deliveries import LaneRow, deliveries, ensure_lanes, lanes
from gateway.store.prepared_statements import build_choice_condition, build_state_condition
from gateway.store.table_types import Instant
from gateway.store.transitions import StateEvent


def _build_follow_condition() -> ColumnElement[bool]:
    """Return the condition that a delivery follows none, or one that was delivered or cancelled."""
    earlier = deliveries.alias("earlier")
    ended = exists().where(
        earlier.c.id == deliveries.c.follows,
        build_choice_condition(earlier.c.state, ("DELIVERED", "CANCELLED")),
    )
    return or_(deliveries.c.follows.is_(None), ended)


#: The condition that the delivery which another one follows is delivered or cancelled.
MAY_FOLLOW: Final = _build_follow_condition()
_NOW: Final = bindparam("now", type_=Instant())
#: A lane that is neither held nor pulled.
MAY_CLAIM: Final = and_(lanes.c.held_at.is_(None), lanes.c.pulled.is_(False))
# The same literal text as in the index of suspects.
_IS_SUSPECT: Final = literal_column("lost > 0", Boolean())


def _build_due(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the lanes with a due delivery for which these conditions hold, too."""
    waiting = (
        deliveries.c.lane == lanes.c.name,
        build_state_condition(deliveries, "QUEUED"),
        *conditions,
        deliveries.c.due_at <= _NOW,
        MAY_FOLLOW,
    )
    return (
        select(lanes.c.name, lanes.c.capacity, exists().where(*waiting, _IS_SUSPECT).label("suspected"))
        .where(
            MAY_CLAIM,
            exists().where(*waiting),
        )
        .order_by(lanes.c.name)
    )


# Built once, as every frequent statement: building it takes longer than executing it.
_DUE: Final = _build_due()
_DUE_BELOW: Final = _build_due(deliveries.c.lost < bindparam("below", type_=Integer()))


def set_lane_capacity(conn: Connection, name: str, capacity: int | None) -> None:
    """Set how many deliveries of the lane may run at once; None: as many as there are workers."""
    ensure_lanes(conn, name)
    conn.execute(update(lanes).where(lanes.c.name == name).values(capacity=capacity))


@dataclass(frozen=True, slots=True)
class DueLane:
    """A lane with a due delivery: its capacity, and whether a worker died during such a delivery."""

    name: str
    capacity: int | None
    suspected: bool


def list_due_lanes(conn: Connection, now: datetime, max_lost: int | None = None) -> tuple[DueLane, ...]:
    """Return the lanes with a due delivery that are neither held nor pulled.

    A delivery during which as many workers died as `max_lost`, or more, does not count.
    """
    if max_lost is None:
        return tuple(DueLane(*row) for row in conn.execute(_DUE, {"now": now}))
    return tuple(DueLane(*row) for row in conn.execute(_DUE_BELOW, {"now": now, "below": max_lost}))


class LaneSummaryRow(LaneRow, Protocol):
    """A lane, with the numbers of its deliveries, and the delivery queued for the longest time."""

    queued: int
    active: int
    awaiting_receipt: int
    held: int
    failed: int
    oldest: int | None


def summarize_lanes(conn: Connection) -> Sequence[LaneSummaryRow]:
    """Return every lane with its number of queued, active, awaiting, held and failed deliveries.

    `oldest` is the number of the delivery that has been queued for the longest time.
    """
    # Each state for itself: deliveries that are not done are few, and have an index for each state.
    counts_by_state = {
        state: _count_by_lane(state) for state in ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD", "FAILED")
    }
    source: FromClause = lanes
    for lane_counts in counts_by_state.values():
        source = source.outerjoin(lane_counts, lane_counts.c.lane == lanes.c.name)
    numbers = (
        func.coalesce(lane_count.c.number, 0).label(state.lower())
        for state, lane_count in counts_by_state.items()
    )
    oldest = counts_by_state["QUEUED"].c.oldest.label("oldest")
    return conn.execute(select(lanes, *numbers, oldest).select_from(source).order_by(lanes.c.name)).all()


def _count_by_lane(state: str) -> Subquery:
    d = deliveries.c
    query = select(d.lane, func.count().label("number"), func.min(d.id).label("oldest"))
    return query.where(build_state_condition(deliveries, state)).group_by(d.lane).subquery(state.lower())


def find_lanes(conn: Connection, names: Sequence[str]) -> dict[str, LaneRow]:
    """Return the lanes of these names that exist."""
    rows = conn.execute(select(lanes).where(lanes.c.name.in_(names)))
    return {row.name: row for row in rows}


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The number of waiting deliveries of a lane, the time of the oldest, and the number under way."""

    waiting: int
    oldest: datetime | None
    active: int


def hold_lane(conn: Connection, name: str, at: datetime, actor: str, reason: str) -> None:
    """Hold a lane with a reason, also one without deliveries yet; raises GW705 when it is held already."""
    ensure_lanes(conn, name)
    row = lock_lane(conn, name)
    if row is not None and row.held_at is not None:
        detail = f"lane {name[:80]} is held by {row.held_by} since {_format_utc(row.held_at)}"
        raise GatewayError(TRANSITION_REFUSED, f"{detail}: {row.hold_reason}", "lane")
    values = {"held_at": at, "held_by": actor, "hold_reason": reason}
    conn.execute(update(lanes).where(lanes.c.name == name).values(values))


def release_lane(conn: Connection, name: str, at: datetime) -> LaneRow:
    """Release a held lane and return how it was held; raises GW705 when it is not held.

    A delivery does not expire while its lane is held: its time limit moves by the time it was held back.
    """
    row = lock_lane(conn, name)
    if row is None or row.held_at is None:
        raise GatewayError(TRANSITION_REFUSED, f"lane {name[:80]} is not held", "lane")
    released_values = {"held_at": None, "held_by": None, "hold_reason": None}
    conn.execute(update(lanes).where(lanes.c.name == name).values(released_values))
    _extend_time_limits(conn, name, row.held_at, at)
    return row


def lock_lane(conn: Connection, name: str) -> LaneRow | None:
    """Return a lane, locked against claims and other acts on it, but not against new deliveries."""
    # FOR NO KEY UPDATE conflicts with the lock of a claim, and not with that of a new delivery.
    query = select(lanes).where(lanes.c.name == name)
    return conn.execute(query.with_for_update(key_share=True)).first()


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
    extension = literal(at, Instant()).op("-")(since)
    extended = update(deliveries).where(*waiting, since < at)
    conn.execute(extended.values(expires_at=d.expires_at.op("+")(extension)))


def _lock_deliveries(conn: Connection, *conditions: ColumnElement[bool]) -> None:
    """Lock deliveries in the order of their numbers, as every act on several deliveries does."""
    query = select(deliveries.c.id).where(*conditions).order_by(deliveries.c.id)
    conn.execute(query.with_for_update(key_share=True)).all()


def list_held_lanes(conn: Connection) -> Sequence[LaneRow]:
    """Return the lanes that are held, by name."""
    return conn.execute(select(lanes).where(lanes.c.held_at.is_not(None)).order_by(lanes.c.name)).all()


def read_lane_backlog(conn: Connection, name: str) -> LaneBacklog:
    """Return the present backlog of a lane."""
    d = deliveries.c
    queued = select(func.count(), func.min(d.created_at)).where(
        d.lane == name, build_state_condition(deliveries, "QUEUED")
    )
    active = select(func.count()).where(d.lane == name, build_state_condition(deliveries, "ACTIVE"))
    waiting, oldest = conn.execute(queued).one()
    return LaneBacklog(waiting, oldest, conn.execute(active).scalar_one())


def lock_unheld_lane(conn: Connection, name: str) -> None:
    """Lock a lane before its deliveries are changed; raises GW705 when it is held."""
    row = lock_lane(conn, name)
    if row is not None and row.held_at is not None:
        raise GatewayError(TRANSITION_REFUSED, f"lane {name[:80]} is held: release it first", "lane")


def make_lane_due(conn: Connection, name: str, at: datetime, actor: str) -> tuple[int, ...]:
    """Make the waiting deliveries of a lane due now; return those that had to wait.

    A delivery that a worker claims at the same time is not changed. Raises GW705 for a held lane.
    """
    lock_unheld_lane(conn, name)
    waiting = (
        deliveries.c.lane == name,
        build_state_condition(deliveries, "QUEUED"),
        deliveries.c.due_at > at,
    )
    _lock_deliveries(conn, *waiting)
    changed = update(deliveries).where(*waiting).values(due_at=at).returning(deliveries.c.id)
    delivery_ids = tuple(sorted(conn.execute(changed).scalars()))
    steps = [(number, "QUEUED", "QUEUED") for number in delivery_ids]
    transitions.record_transitions(conn, DELIVERY, steps, StateEvent("try", at, actor))
    return delivery_ids
