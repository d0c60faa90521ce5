"""Stores deliveries until they are delivered: queueing, queries, and changes by an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, case, func, null, select, update

from gateway.state_machines import DELIVERY
from gateway.store import lanes, transitions
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.state_rollup import sum_states
from gateway.store.tables import cases, deliveries
from gateway.store.transaction_rows import note_due_lane
from gateway.store.transitions import StateEvent

__all__ = [
    "NewDelivery",
    "cancel_delivery",
    "count_by_state",
    "count_queued",
    "enqueue_deliveries",
    "enqueue_delivery",
    "find_by_dedupe_key",
    "find_by_id",
    "find_by_wire_id",
    "find_remainder",
    "give_up_delivery",
    "hold_delivery",
    "list_by_case",
    "list_by_request",
    "list_deliveries",
    "list_outlines",
    "list_unfinished",
    "release_delivery",
    "replace_content",
    "requeue_delivery",
    "summarize_failed",
    "summarize_waiting",
    "try_delivery",
]

_INSERT = InsertIfAbsent(deliveries, ("dedupe_key",), "id", "dedupe_key")
_GET = select(deliveries).where(deliveries.c.id == bindparam("wanted"))
_OF_CASE = select(deliveries).where(deliveries.c.case_id == bindparam("wanted")).order_by(deliveries.c.id)
_OUTLINES = (
    select(*(deliveries.c[name] for name in ("id", "agent", "destination", "state", "parameters")))
    .where(deliveries.c.case_id == bindparam("wanted"))
    .order_by(deliveries.c.id)
)
_UNFINISHED = _OF_CASE.where(deliveries.c.state.not_in(sorted(DELIVERY.final)))
_LEFT = select(deliveries.c.id).where(deliveries.c.case_id == bindparam("wanted"))
_UNDONE = _LEFT.where(deliveries.c.state.not_in(sorted({*DELIVERY.final, "FAILED"}))).exists()
# Asked where nothing is undone: what has not ended has failed. SQLite would prepare a statement anew for
# each value that it compares with the state, which an index names.
_FAILED = _LEFT.where(deliveries.c.state.not_in(sorted(DELIVERY.final))).exists()
# What comes later is asked only where it counts: most cases are not decided yet, or have something left.
_REMAINDER = select(
    case((cases.c.state != "DECIDED", null()), (_UNDONE, null()), else_=_FAILED).label("failed")
).where(cases.c.id == bindparam("wanted"))
_BY_WIRE_ID = (
    select(deliveries)
    .where(deliveries.c.wire_id == bindparam("wanted"))
    .order_by(deliveries.c.id.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be queued; a second one with the same `dedupe_key` is ignored.

    `wire_id` identifies it at the destination and is the same on every repeat. The delivery is not
    claimed before the one that it `follows` is delivered or cancelled.
    """

    agent: str
    destination: str
    subject_type: str
    subject_id: str
    dedupe_key: str
    lane: str = ""
    case_id: int | None = None
    wire_id: str | None = None
    payload_sha256: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None
    expires_at: datetime | None = None
    follows: int | None = None


def enqueue_delivery(conn: Connection, delivery: NewDelivery, at: datetime) -> int | None:
    """Queue the delivery; return its id, or None when its key exists already."""
    row = _make_delivery_row(delivery, at)
    if row["lane"] != lanes.LOCAL:
        lanes.ensure_lanes(conn, row["lane"])
    stored = _INSERT.insert_one(conn, row)
    if stored is None:
        return None
    _note_if_due(conn, row, at)
    return int(stored.id)


def enqueue_deliveries(conn: Connection, new: Sequence[NewDelivery], at: datetime) -> tuple[int | None, ...]:
    """Queue several deliveries together; return their ids, or None for keys that exist already."""
    rows = [_make_delivery_row(delivery, at) for delivery in new]
    if not rows:
        return ()
    lanes.ensure_lanes(conn, *(row["lane"] for row in rows if row["lane"] != lanes.LOCAL))
    stored = _INSERT.insert_keyed(conn, rows, "dedupe_key")
    for row in rows:
        if row["dedupe_key"] in stored:
            _note_if_due(conn, row, at)
    found = (stored.get(delivery.dedupe_key) for delivery in new)
    return tuple(None if one is None else int(one.id) for one in found)


def _note_if_due(conn: Connection, row: Mapping[str, Any], at: datetime) -> None:
    if row["due_at"] <= at:
        note_due_lane(conn, row["lane"])


def _make_delivery_row(delivery: NewDelivery, at: datetime) -> dict[str, Any]:
    return {
        "agent": delivery.agent,
        "destination": delivery.destination,
        "lane": delivery.lane or delivery.destination,
        "subject_type": delivery.subject_type,
        "subject_id": delivery.subject_id,
        "case_id": delivery.case_id,
        "wire_id": delivery.wire_id,
        "payload_sha256": delivery.payload_sha256,
        "parameters": dict(delivery.parameters),
        "state": DELIVERY.initial,
        "attempt": 0,
        "tries": 0,
        "lost": 0,
        "due_at": delivery.due_at or at,
        "expires_at": delivery.expires_at,
        "created_at": at,
        "follows": delivery.follows,
        "dedupe_key": delivery.dedupe_key,
    }


def replace_content(
    conn: Connection, delivery: int, content: str | None, parameters: Mapping[str, Any]
) -> None:
    """Replace what a delivery sends (the digest of its octets, if it has any), and its parameters."""
    changed = update(deliveries).where(deliveries.c.id == delivery)
    conn.execute(changed.values(payload_sha256=content, parameters=dict(parameters)))


def find_by_id(conn: Connection, delivery: int) -> Row[Any] | None:
    """Return the delivery."""
    return conn.execute(_GET, {"wanted": delivery}).first()


def find_by_wire_id(conn: Connection, wire_id: str) -> Row[Any] | None:
    """Return the latest delivery that was sent with this id."""
    return conn.execute(_BY_WIRE_ID, {"wanted": wire_id}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the deliveries of a case, oldest first."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()


def list_outlines(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return of each delivery of a case, oldest first: id, agent, destination, state and parameters."""
    return conn.execute(_OUTLINES, {"wanted": case_id}).all()


def list_unfinished(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the deliveries of a case that are neither delivered nor cancelled, oldest first."""
    return conn.execute(_UNFINISHED, {"wanted": case_id}).all()


def find_remainder(conn: Connection, case_id: int) -> bool | None:
    """Return whether a delivery of a case has failed; None while it is not decided, or one may yet end."""
    row = conn.execute(_REMAINDER, {"wanted": case_id}).first()
    return None if row is None or row.failed is None else bool(row.failed)


def list_by_request(conn: Connection, case_id: int, request: int) -> list[Row[Any]]:
    """Return the calls about one request of a case, oldest first; the first of them is the application."""
    about = ("soap", "request", str(request))
    return [
        row for row in list_by_case(conn, case_id) if (row.agent, row.subject_type, row.subject_id) == about
    ]


def find_by_dedupe_key(conn: Connection, dedupe_key: str) -> Row[Any] | None:
    """Return the delivery of this key."""
    return conn.execute(select(deliveries).where(deliveries.c.dedupe_key == dedupe_key)).first()


def list_deliveries(
    conn: Connection, *, limit: int = 50, before: int | None = None, **equal: Any
) -> Sequence[Row[Any]]:
    """Return deliveries, newest first, whose columns have these values, with an id below `before`."""
    found = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(deliveries.c[name] == value)
    return conn.execute(found.where(deliveries.c.id < before) if before else found).all()


def count_queued(conn: Connection, lane: str, most: int) -> int:
    """Return how many deliveries of a lane are queued, counted up to `most`."""
    found = select(deliveries.c.id).where(
        build_state_condition(deliveries, "QUEUED"), deliveries.c.lane == lane
    )
    return conn.execute(select(func.count()).select_from(found.limit(most).subquery())).scalar_one()


def count_by_state(conn: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    found = dict.fromkeys(DELIVERY.states, 0)
    for row in sum_states(conn):
        if row.measure == "deliveries":
            found[row.state] += int(row.number)
    return found


def summarize_failed(conn: Connection) -> Sequence[Row[Any]]:
    """Return, for each lane and problem, how many deliveries are FAILED (`number`) and the `newest`."""
    d = deliveries.c
    found = select(d.lane, d.problem, func.count().label("number"), func.max(d.id).label("newest"))
    failed = found.where(build_state_condition(deliveries, "FAILED")).group_by(d.lane, d.problem)
    return conn.execute(failed.order_by(d.lane, d.problem)).all()


def summarize_waiting(conn: Connection, before: datetime) -> Sequence[Row[Any]]:
    """Return, for each lane and state, how many deliveries have waited since a time before `before`.

    A row has the `number`, the `newest` delivery and the time of the `oldest`.
    """
    # Each state for itself: each has its own index.
    states = ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD")
    rows = [row for state in states for row in conn.execute(_build_waiting_summary(state, before))]
    return sorted(rows, key=lambda row: (row.lane, row.state))


def _build_waiting_summary(state: str, before: datetime) -> Select[Any]:
    d = deliveries.c
    found = select(
        d.lane,
        d.state,
        func.count().label("number"),
        func.max(d.id).label("newest"),
        func.min(d.created_at).label("oldest"),
    )
    waiting = found.where(build_state_condition(deliveries, state), d.created_at < before)
    return waiting.group_by(d.lane, d.state)


def hold_delivery(conn: Connection, delivery: int, at: datetime, actor: str, why: str | None = None) -> None:
    """Hold a queued delivery until it is released."""
    _apply_event(conn, delivery, StateEvent("hold", at, actor, why))


def try_delivery(conn: Connection, delivery: int, at: datetime, actor: str, why: str | None = None) -> None:
    """Make a queued delivery due now; raises GW705 when it is not queued, or a worker has just claimed it."""
    _apply_event(conn, delivery, StateEvent("try", at, actor, why), due_at=at)


def release_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, why: str | None = None
) -> None:
    """Release a held delivery at once."""
    _apply_event(conn, delivery, StateEvent("release", at, actor, why), due_at=at)


def requeue_delivery(
    conn: Connection,
    delivery: int,
    at: datetime,
    actor: str,
    expires_at: datetime | None = None,
    why: str | None = None,
) -> None:
    """Requeue a failed delivery with all its tries; the attempt numbers continue."""
    values = {
        "due_at": at,
        "tries": 0,
        "lost": 0,
        "problem": None,
        "last_sentence": None,
        "finished_at": None,
    }
    _apply_event(conn, delivery, StateEvent("requeue", at, actor, why), **values, expires_at=expires_at)


def cancel_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, why: str | None = None
) -> None:
    """Cancel a queued or held delivery."""
    _apply_event(conn, delivery, StateEvent("cancel", at, actor, why), finished_at=at)


def give_up_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, why: str | None = None
) -> None:
    """Cancel a failed delivery."""
    _apply_event(conn, delivery, StateEvent("give_up", at, actor, why), finished_at=at)


def _apply_event(conn: Connection, delivery: int, what: StateEvent, **values: Any) -> None:
    transitions.apply_event(conn, deliveries, DELIVERY, delivery, what, **values)
