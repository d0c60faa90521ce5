"""Stores deliveries until they are delivered: queueing, queries, and changes by an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    false,
    func,
    select,
    update,
)

from gateway.state_machines import DELIVERY
from gateway.store import transitions
from gateway.store.prepared_statements import InsertIfAbsent, build_choice_condition, build_state_condition
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    LANE_TEXT,
    IndexedText,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_partial_index,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent

lanes = Table(
    "lanes",
    metadata,
    Column("name", LANE_TEXT, primary_key=True),
    Column("capacity", Integer),  # how many at once; NULL: as many as there are workers
    Column("open_until", Instant),  # a column of 0.1.0 that is always empty
    Column("last_problem", Text),  # of the last attempt that failed
    Column("held_at", Instant),  # an operator holds the lane: nothing is claimed until it is released
    Column("held_by", Text),
    Column("hold_reason", Text),
    Column("pulled", Boolean, nullable=False, server_default=false()),  # no worker claims from it
    # The first failed attempt after the last success, and the first that failed at the partner.
    Column("failing_since", Instant),
    Column("partner_failing_since", Instant),
    Column("last_failed_at", Instant),
    CheckConstraint("capacity > 0", name="capacity"),
)


class LaneRow(Protocol):
    """A row of the table `lanes`."""

    name: str
    capacity: int | None
    open_until: datetime | None
    last_problem: str | None
    held_at: datetime | None
    held_by: str | None
    hold_reason: str | None
    pulled: bool
    failing_since: datetime | None
    partner_failing_since: datetime | None
    last_failed_at: datetime | None


_queued = "state = 'QUEUED'"

_suspect = "state = 'QUEUED' AND lost > 0"

_leased = "state = 'ACTIVE'"

_awaiting = "state = 'AWAITING_RECEIPT'"

_is_delivered = "state = 'DELIVERED'"

_stopped = "state = 'HELD' OR state = 'FAILED' OR state = 'CANCELLED'"

deliveries = Table(
    "deliveries",
    metadata,
    make_identity_column(),
    make_required_column("agent"),
    make_required_column("destination"),
    make_required_column("lane", LANE_TEXT, ForeignKey("lanes.name")),
    make_required_column("subject_type"),
    make_required_column("subject_id"),
    Column("case_id", BigInteger, ForeignKey("cases.id")),
    Column("wire_id", ID_TEXT),  # the id at the destination: wsa:MessageID, eb:MessageId
    Column("payload_sha256", CODE_TEXT, ForeignKey("payloads.sha256")),
    make_required_column("parameters", Json),
    make_required_column("state", CODE_TEXT),
    make_required_column("attempt", Integer),  # only ever rises: the fencing token
    make_required_column("tries", Integer),  # since an operator last requeued it
    # Workers that died during it, one after another.
    Column("lost", Integer, nullable=False, server_default="0"),
    make_required_column("due_at", Instant),
    Column("expires_at", Instant),
    Column("leased_by", Text),
    Column("lease_until", Instant),
    Column("problem", Text),
    make_required_column("created_at", Instant),
    Column("finished_at", Instant),
    Column("follows", BigInteger, ForeignKey("deliveries.id")),  # waits for the end of this delivery
    make_required_column("dedupe_key", IndexedText(2048)),
    Column("last_sentence", Text),  # what we saw at the last attempt that failed
    UniqueConstraint("dedupe_key"),
    make_state_constraint(DELIVERY.states),
    PartialIndex("ix_deliveries_due", "lane", "due_at", "id", where=_queued),
    PartialIndex("ix_deliveries_suspect", "due_at", where=_suspect),
    PartialIndex("ix_deliveries_leased", "lane", "lease_until", where=_leased),
    PartialIndex("ix_deliveries_awaiting", "due_at", where=_awaiting),
    PartialIndex("ix_deliveries_stopped", "state", "id", where=_stopped),
    # The last good delivery of a lane, and how many there were in an hour.
    PartialIndex("ix_deliveries_done", "lane", "finished_at", where=_is_delivered),
    make_partial_index("ix_deliveries_wire_id", "wire_id"),
    make_partial_index("ix_deliveries_payload_sha256", "payload_sha256"),
    make_partial_index("ix_deliveries_case_id", "case_id"),
)


class DeliveryRow(Protocol):
    """A row of the table `deliveries`."""

    id: int
    agent: str
    destination: str
    lane: str
    subject_type: str
    subject_id: str
    case_id: int | None
    wire_id: str | None
    payload_sha256: str | None
    parameters: Any
    state: str
    attempt: int
    tries: int
    lost: int
    due_at: datetime
    expires_at: datetime | None
    leased_by: str | None
    lease_until: datetime | None
    problem: str | None
    created_at: datetime
    finished_at: datetime | None
    follows: int | None
    dedupe_key: str
    last_sentence: str | None


delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    make_required_column("started_at", Instant),
    Column("finished_at", Instant),
    Column("outcome", Text),
    Column("http_status", Integer),
    Column("problem", CODE_TEXT),
    Column("answer_sha256", CODE_TEXT, ForeignKey("payloads.sha256")),
    Column("sentence", Text),  # what we saw
    Column("theirs", Text),  # the partner's own words
    make_partial_index("ix_delivery_attempts_answer_sha256", "answer_sha256"),
    PartialIndex("ix_delivery_attempts_problem", "problem", "delivery", where="problem IS NOT NULL"),
)


class DeliveryAttemptRow(Protocol):
    """A row of the table `delivery_attempts`."""

    delivery: int
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    http_status: int | None
    problem: str | None
    answer_sha256: str | None
    sentence: str | None
    theirs: str | None


#: The states in which an operator may replace the content of a delivery: no worker has it.
REPLACEABLE: Final = ("QUEUED", "HELD", "FAILED")
_INSERT = InsertIfAbsent(deliveries, ("dedupe_key",), "id", "dedupe_key")
_GET = select(deliveries).where(deliveries.c.id == bindparam("wanted"))
_OF_CASE = select(deliveries).where(deliveries.c.case_id == bindparam("wanted")).order_by(deliveries.c.id)
_OUTLINES = (
    select(*(deliveries.c[name] for name in ("id", "agent", "destination", "state", "parameters")))
    .where(deliveries.c.case_id == bindparam("wanted"))
    .order_by(deliveries.c.id)
)
_ENDED = build_choice_condition(deliveries.c.state, DELIVERY.final_states)
_UNFINISHED = _OF_CASE.where(~_ENDED)
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
    claimed before the delivery `follows` (an id; None: no other delivery) is delivered or cancelled.
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
    if row["lane"] != LOCAL:
        ensure_lanes(conn, row["lane"])
    stored = _INSERT.insert_one(conn, row)
    if stored is None:
        return None
    return int(stored.id)


def enqueue_deliveries(conn: Connection, new: Sequence[NewDelivery], at: datetime) -> tuple[int | None, ...]:
    """Queue several deliveries together; return their ids, or None for keys that exist already."""
    rows = [_make_delivery_row(delivery, at) for delivery in new]
    if not rows:
        return ()
    ensure_lanes(conn, *(row["lane"] for row in rows if row["lane"] != LOCAL))
    stored = _INSERT.insert_keyed(conn, rows, "dedupe_key")
    inserted = (stored.get(delivery.dedupe_key) for delivery in new)
    return tuple(None if inserted_row is None else int(inserted_row.id) for inserted_row in inserted)


def _make_delivery_row(delivery: NewDelivery, at: datetime) -> dict[str, Any]:
    """Return the columns of a new delivery; it is due at once unless it has a time."""
    return collect_values(delivery) | {
        "lane": delivery.lane or delivery.destination,
        "parameters": dict(delivery.parameters),
        "state": DELIVERY.initial_state,
        "attempt": 0,
        "tries": 0,
        "lost": 0,
        "due_at": delivery.due_at or at,
        "created_at": at,
    }


def replace_content(
    conn: Connection, delivery: int, content_sha256: str | None, parameters: Mapping[str, Any]
) -> None:
    """Replace the parameters of a delivery and the digest of the octets that it sends (None: none)."""
    changed = update(deliveries).where(deliveries.c.id == delivery)
    conn.execute(changed.values(payload_sha256=content_sha256, parameters=dict(parameters)))


def replace_waiting_content(
    conn: Connection, delivery: int, former_sha256: str, content_sha256: str, parameters: Mapping[str, Any]
) -> bool:
    """Replace the content of a delivery that no worker sends now, if its content is still `former_sha256`.

    `former_sha256` and `content_sha256` are digests of octets. Return False, and change nothing, otherwise.
    """
    waits = deliveries.c.state.in_(REPLACEABLE), deliveries.c.payload_sha256 == former_sha256
    changed = update(deliveries).where(deliveries.c.id == delivery, *waits)
    result = conn.execute(changed.values(payload_sha256=content_sha256, parameters=dict(parameters)))
    return result.rowcount == 1


def find_by_id(conn: Connection, delivery: int) -> DeliveryRow | None:
    """Return the delivery of this row id."""
    return conn.execute(_GET, {"wanted": delivery}).first()


def find_by_wire_id(conn: Connection, wire_id: str) -> DeliveryRow | None:
    """Return the latest delivery that was sent with this id."""
    return conn.execute(_BY_WIRE_ID, {"wanted": wire_id}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[DeliveryRow]:
    """Return the deliveries of a case, oldest first."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()


class DeliveryOutlineRow(Protocol):
    """The outline of a delivery."""

    id: int
    agent: str
    destination: str
    state: str
    parameters: Any


def list_outlines(conn: Connection, case_id: int) -> Sequence[DeliveryOutlineRow]:
    """Return of each delivery of a case, oldest first: id, agent, destination, state and parameters."""
    return conn.execute(_OUTLINES, {"wanted": case_id}).all()


def list_unfinished(conn: Connection, case_id: int) -> Sequence[DeliveryRow]:
    """Return the deliveries of a case that are neither delivered nor cancelled, oldest first."""
    return conn.execute(_UNFINISHED, {"wanted": case_id}).all()


class DeliveredCallRow(Protocol):
    """A call that a service accepted."""

    id: int
    subject_type: str
    subject_id: str
    payload_sha256: str
    parameters: Any
    finished_at: datetime


def list_last_delivered(conn: Connection, destination: str, limit: int) -> Sequence[DeliveredCallRow]:
    """Return the last `limit` calls that a service accepted, latest first.

    Reads only columns that every schema version has.
    """
    d = deliveries.c
    names = (d.id, d.subject_type, d.subject_id, d.payload_sha256, d.parameters, d.finished_at)
    delivered = build_state_condition(deliveries, "DELIVERED"), d.lane == destination, d.agent == "soap"
    last: Select[Any] = select(*names).where(*delivered).order_by(d.finished_at.desc()).limit(limit)
    return conn.execute(last).all()


def list_by_request(conn: Connection, case_id: int, request: int) -> list[DeliveryRow]:
    """Return the calls about one request of a case, oldest first; the first of them is the application."""
    application_subject = ("soap", "request", str(request))
    return [
        row
        for row in list_by_case(conn, case_id)
        if (row.agent, row.subject_type, row.subject_id) == application_subject
    ]


def find_by_dedupe_key(conn: Connection, dedupe_key: str) -> DeliveryRow | None:
    """Return the delivery of this key."""
    return conn.execute(select(deliveries).where(deliveries.c.dedupe_key == dedupe_key)).first()


def list_deliveries(
    conn: Connection, *, limit: int = 50, before: int | None = None, **column_values: Any
) -> Sequence[DeliveryRow]:
    """Return deliveries, newest first, whose columns have these values, with an id below `before`."""
    query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
    for name, value in column_values.items():
        query = query.where(deliveries.c[name] == value)
    return conn.execute(query.where(deliveries.c.id < before) if before else query).all()


def is_queued(conn: Connection, lane: str, subject_type: str, subject_id: str) -> bool:
    """Return whether a delivery of a lane about a subject is queued."""
    d = deliveries.c
    subject = (d.lane == lane, d.subject_type == subject_type, d.subject_id == subject_id)
    query = select(d.id).where(build_state_condition(deliveries, "QUEUED"), *subject)
    return conn.execute(query.limit(1)).first() is not None


def count_queued(conn: Connection, lane: str, limit: int) -> int:
    """Return how many deliveries of a lane are queued, counted up to `limit`."""
    query = select(deliveries.c.id).where(
        build_state_condition(deliveries, "QUEUED"), deliveries.c.lane == lane
    )
    return conn.execute(select(func.count()).select_from(query.limit(limit).subquery())).scalar_one()


class FailedDeliveriesRow(Protocol):
    """The FAILED deliveries of a lane and problem: their number, the newest, and when the last one failed."""

    lane: str
    problem: str | None
    number: int
    newest: int
    last_at: datetime


def summarize_failed(conn: Connection) -> Sequence[FailedDeliveriesRow]:
    """Return the summary of the deliveries that are FAILED, for each lane and problem."""
    d = deliveries.c
    counts = func.count().label("number"), func.max(d.id).label("newest")
    query = select(d.lane, d.problem, *counts, func.max(d.finished_at).label("last_at"))
    failed = query.where(build_state_condition(deliveries, "FAILED")).group_by(d.lane, d.problem)
    return conn.execute(failed.order_by(d.lane, d.problem)).all()


class WaitingDeliveriesRow(Protocol):
    """The waiting deliveries of a lane and state: their number, the newest, and the time of the oldest."""

    lane: str
    state: str
    number: int
    newest: int
    oldest: datetime


def summarize_waiting(conn: Connection, before: datetime) -> Sequence[WaitingDeliveriesRow]:
    """Return, for each lane and state, how many deliveries have waited since a time before `before`.

    A row has the `number`, the `newest` delivery and the time of the `oldest`.
    """
    # Each state for itself: each has its own index.
    states = ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD")
    rows = [row for state in states for row in conn.execute(_build_waiting_summary(state, before))]
    return sorted(rows, key=lambda row: (row.lane, row.state))


def _build_waiting_summary(state: str, before: datetime) -> Select[Any]:
    """Return the query of deliveries in `state` that were created before `before`, counted by lane."""
    d = deliveries.c
    query = select(
        d.lane,
        d.state,
        func.count().label("number"),
        func.max(d.id).label("newest"),
        func.min(d.created_at).label("oldest"),
    )
    waiting = query.where(build_state_condition(deliveries, state), d.created_at < before)
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
    """Requeue a failed delivery with its full number of retries; the attempt numbers continue."""
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


def give_up_earlier_periods(conn: Connection, period_delivery: Any, at: datetime, actor: str) -> None:
    """Cancel the FAILED deliveries for earlier periods of a recurring task, which this one replaces.

    `period_delivery` is the row or the lease of a delivery that a schedule has queued.
    """
    failed = list_deliveries(
        conn,
        before=period_delivery.id,
        agent=period_delivery.agent,
        lane=period_delivery.lane,
        subject_type="turn",
        state="FAILED",
    )
    for row in failed:
        if row.destination == period_delivery.destination and row.parameters == dict(
            period_delivery.parameters
        ):
            give_up_delivery(conn, row.id, at, actor, "a later period replaces it")


def _apply_event(conn: Connection, delivery: int, event: StateEvent, **values: Any) -> None:
    transitions.apply_event(conn, deliveries, DELIVERY, delivery, event, **values)


# The lane of local tasks; the first migration creates it.
LOCAL: Final = "local"

_INSERT_LANE = InsertIfAbsent(lanes, ("name",))


def ensure_lanes(conn: Connection, *names: str, capacity: int | None = None, is_pulled: bool = False) -> None:
    """Insert the lanes that do not exist yet; with `is_pulled`, the partner fetches their messages."""
    rows = [{"name": name, "capacity": capacity, "pulled": is_pulled} for name in sorted(set(names))]
    _INSERT_LANE.insert_many(conn, rows)
