"""Changes deliveries without a worker: receipts, time-outs, lost leases, expiry, far waits.

A time far in the future was written by a clock that was fast, or the clock has been set back since: the clock
of the machine, or of another database server that has become the primary.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from gateway.errors import ATTEMPTS_USED_UP, PUT_ASIDE, RECEIPT_MISSING, REFUSED_FOR_GOOD, GatewayError
from gateway.state_machines import DELIVERY, get_next_state
from gateway.store.deliveries import LOCAL, DeliveryRow, deliveries, lanes
from gateway.store.delivery_leases import AttemptOutcome, finish_attempt
from gateway.store.lane_faults import end_fault, record_failed_attempt
from gateway.store.lanes import lock_lane
from gateway.store.prepared_statements import build_state_condition
from gateway.store.table_types import Instant
from gateway.store.transitions import StateEvent, record_transitions, transitions
from gateway.store.work_passes import DuePlace

_log = logging.getLogger(__name__)

_BATCH: Final = 200
_NO_RECEIPT: Final = "it accepted the message and sent no receipt in time"
#: Default number of workers that may die during one delivery.
_DEFAULT_MAX_CRASHES: Final = 3
#: The events of a receipt and of an error, by the state of the delivery that they are about.
_RECEIPT_EVENTS: Final = {
    "ACTIVE": ("delivered", "refuse"),
    "AWAITING_RECEIPT": ("receipt", "error"),
    "QUEUED": ("receipt", "error"),
}


def apply_receipt_or_error(
    conn: Connection, delivery: int, at: datetime, actor: str, outcome: AttemptOutcome | None = None
) -> bool:
    """Apply a receipt (or, with an outcome, an error) that arrived in a message of its own to its delivery.

    It may arrive before the worker has ended the attempt, and also after the time in which it was
    expected, while the next attempt is queued. Returns False when the delivery waits for no receipt.
    """
    is_answer = outcome is not None and outcome.problem == REFUSED_FOR_GOOD.id and bool(outcome.theirs)
    lane: str | None = None
    if is_answer:
        # Every act on a lane locks it before its deliveries: else two acts wait for each other.
        lane = conn.execute(select(deliveries.c.lane).where(deliveries.c.id == delivery)).scalar_one_or_none()
        lock_lane(conn, lane or "")
    query = select(deliveries.c.state, deliveries.c.attempt).where(deliveries.c.id == delivery)
    row = conn.execute(query.with_for_update(key_share=True)).first()
    if row is None or row.state not in _RECEIPT_EVENTS or (row.state == "QUEUED" and not row.attempt):
        return False
    event = _RECEIPT_EVENTS[row.state][outcome is not None]
    attempt_outcome = outcome or AttemptOutcome()
    after = get_next_state(DELIVERY, row.state, event)
    values = {
        "state": after,
        "problem": attempt_outcome.problem,
        "last_sentence": attempt_outcome.sentence,
        "finished_at": at,
        "leased_by": None,
        "lease_until": None,
    }
    conn.execute(update(deliveries).where(deliveries.c.id == delivery).values(**values))
    # The attempt of a queued one has ended, with the outcome that it had.
    if row.state != "QUEUED":
        finish_attempt(conn, delivery, row.attempt, event, at, attempt_outcome)
    state_event = StateEvent(event, at, actor, attempt_outcome.detail or attempt_outcome.problem)
    record_transitions(conn, DELIVERY, [(delivery, row.state, after)], state_event)
    if lane is not None:
        end_fault(conn, lane)
    return True


def await_final_receipt(conn: Connection, delivery: int, at: datetime, until: datetime) -> bool:
    """Let a delivery wait for its receipt until `until`, without another attempt before that time.

    For a message that the next MSH has received and the To party has not acknowledged yet. Returns False
    if the delivery waits for no receipt.
    """
    query = select(deliveries.c.state, deliveries.c.attempt).where(deliveries.c.id == delivery)
    row = conn.execute(query.with_for_update(key_share=True)).first()
    if row is None or row.state not in {"ACTIVE", "AWAITING_RECEIPT"}:
        return False
    values: dict[str, Any] = {"due_at": until}
    if row.state == "ACTIVE":
        after = get_next_state(DELIVERY, row.state, "sent")
        values |= {"state": after, "leased_by": None, "lease_until": None}
        finish_attempt(conn, delivery, row.attempt, "sent", at, AttemptOutcome())
        state_event = StateEvent("sent", at, "receive")
        record_transitions(conn, DELIVERY, [(delivery, row.state, after)], state_event)
    conn.execute(update(deliveries).where(deliveries.c.id == delivery).values(**values))
    return True


@dataclass(frozen=True, slots=True)
class DueUpkeep:
    """Which upkeep is due: `lost` leases that ran out, `late` receipts, deliveries that have `expired`."""

    has_lost_leases: bool
    has_late_receipts: bool
    has_expired_deliveries: bool


def find_due_upkeep(conn: Connection, now: datetime) -> DueUpkeep:
    """Return which kinds of deliveries need upkeep at `now`; one statement, as mostly none does."""
    row = conn.execute(_DUE, {"now": now}).one()
    return DueUpkeep(bool(row.lost), bool(row.late), bool(row.expired))


def reclaim_lost_leases(
    conn: Connection, now: datetime, actor: str, max_crashes: int = _DEFAULT_MAX_CRASHES
) -> tuple[int, ...]:
    """Requeue deliveries whose leases ran out; return their ids.

    Count one dead worker more in the column `lost_conditions`. Deliveries that `max_crashes` workers did not
    finish are left for `list_poison_deliveries`. Log each delivery that is then one crash below that limit:
    only a worker that has run for at least the time of the setting delivery.steady attempts it again.
    """
    lost_conditions = (*_build_lost_condition(now), deliveries.c.lost < max_crashes - 1)
    values = {"due_at": now, "leased_by": None, "lease_until": None, "lost": deliveries.c.lost + 1}
    requeued_rows = _apply_event_where(conn, lost_conditions, StateEvent("lease_lost", now, actor), **values)
    for row in requeued_rows:
        if row.lost == max_crashes - 1:
            _log.warning(
                "the delivery was under way when %d workers ended: one that has run for delivery.steady "
                "tries it again",
                row.lost,
                extra={"delivery": row.id},
            )
        finish_attempt(conn, row.id, row.attempt, "lease_lost", now, AttemptOutcome())
    return tuple(row.id for row in requeued_rows)


def hold_due_tasks(conn: Connection, now: datetime, actor: str, why: str) -> tuple[int, ...]:
    """Hold the hub's own tasks that are due, including those in progress; return their ids."""
    is_local = deliveries.c.agent == LOCAL
    active = (build_state_condition(deliveries, "ACTIVE"), is_local)
    loss = StateEvent("lease_lost", now, actor, why)
    while rows := _apply_event_where(conn, active, loss, due_at=now, leased_by=None, lease_until=None):
        for row in rows:
            finish_attempt(conn, row.id, row.attempt, "lease_lost", now, AttemptOutcome())
    due = (build_state_condition(deliveries, "QUEUED"), is_local, deliveries.c.due_at <= now)
    held: list[int] = []
    while rows := _apply_event_where(conn, due, StateEvent("hold", now, actor, why)):
        held += [row.id for row in rows]
    return tuple(sorted(held))


def list_poison_deliveries(
    conn: Connection,
    now: datetime,
    max_crashes: int = _DEFAULT_MAX_CRASHES,
    *,
    after: DuePlace | None = None,
    limit: int = _BATCH,
) -> Sequence[DeliveryRow]:
    """Return the deliveries that `max_crashes` workers, one after another, have leased and never finished.

    They are ordered by the end of their lease; with `after`, only those behind this place.
    """
    conditions = _build_poison_condition(now, max_crashes)
    return _list_by_time(conn, deliveries.c.lease_until, conditions, after, limit)


def put_aside_delivery(
    conn: Connection, delivery: int, now: datetime, actor: str, max_crashes: int = _DEFAULT_MAX_CRASHES
) -> DeliveryRow | None:
    """Fail a poison delivery and return its changed row; return None when it no longer is poison."""
    conditions = (deliveries.c.id == delivery, *_build_poison_condition(now, max_crashes))
    sentence = f"{max_crashes} workers crashed during this delivery"
    values = {"problem": PUT_ASIDE.id, "last_sentence": sentence, "finished_at": now}
    values |= {"leased_by": None, "lease_until": None}
    event = StateEvent("put_aside", now, actor, sentence)
    rows = _apply_event_where(conn, conditions, event, **values, lost=deliveries.c.lost + 1)
    if not rows:
        return None
    outcome = AttemptOutcome(PUT_ASIDE.id, sentence=sentence)
    finish_attempt(conn, delivery, rows[0].attempt, "put_aside", now, outcome)
    return rows[0]


def _build_late_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    return build_state_condition(deliveries, "AWAITING_RECEIPT"), deliveries.c.due_at <= now


def _build_lost_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    return build_state_condition(deliveries, "ACTIVE"), deliveries.c.lease_until <= now


def _build_poison_condition(now: datetime, max_crashes: int) -> tuple[ColumnElement[bool], ...]:
    return *_build_lost_condition(now), deliveries.c.lost >= max_crashes - 1


def requeue_unreceipted(conn: Connection, now: datetime, actor: str) -> tuple[int, ...]:
    """Requeue, with the same id, deliveries that were sent and not receipted in time; return their ids."""
    late = _build_late_condition(now)
    values = {"due_at": now, "problem": RECEIPT_MISSING.id, "last_sentence": _NO_RECEIPT}
    rows = _apply_event_where(conn, late, StateEvent("timeout", now, actor), **values)
    # In a fixed order, so that two processes do not lock the lanes in different orders.
    for lane in sorted({row.lane for row in rows}):
        record_failed_attempt(conn, lane, GatewayError(RECEIPT_MISSING), now)
    return tuple(row.id for row in rows)


def list_expired_deliveries(
    conn: Connection, now: datetime, *, after: DuePlace | None = None, limit: int = _BATCH
) -> Sequence[DeliveryRow]:
    """Return the deliveries that are still queued after their expiry, ordered by it.

    With `after`, only those behind this place.
    """
    return _list_by_time(conn, deliveries.c.expires_at, _build_expired_condition(now), after, limit)


def _list_by_time(
    conn: Connection,
    time_column: ColumnElement[Any],
    conditions: tuple[ColumnElement[bool], ...],
    after: DuePlace | None,
    limit: int,
) -> Sequence[DeliveryRow]:
    """Return deliveries that meet `conditions`, ordered by a column of times and by id."""
    query = select(deliveries).where(*conditions).order_by(time_column, deliveries.c.id).limit(limit)
    if after is not None:
        place_behind = tuple_(
            literal(after.at, type_=time_column.type), literal(after.row_id, type_=deliveries.c.id.type)
        )
        query = query.where(tuple_(time_column, deliveries.c.id) > place_behind)
    return conn.execute(query).all()


def expire_delivery(conn: Connection, delivery: int, now: datetime, actor: str) -> bool:
    """Fail a delivery that is still queued after its expiry; return False when it no longer is."""
    over = (deliveries.c.id == delivery, *_build_expired_condition(now))
    sentence = func.coalesce(deliveries.c.last_sentence, "its time was over before the first attempt")
    values = {"problem": ATTEMPTS_USED_UP.id, "last_sentence": sentence, "finished_at": now}
    return bool(_apply_event_where(conn, over, StateEvent("expire", now, actor), **values))


def _build_expired_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    # A delivery in a lane that an operator holds does not expire meanwhile.
    held = select(lanes.c.name).where(lanes.c.held_at.is_not(None))
    over = (deliveries.c.expires_at <= now, deliveries.c.lane.not_in(held))
    return build_state_condition(deliveries, "QUEUED"), *over


_NOW: Final = bindparam("now", type_=Instant())
_DUE: Final = select(
    exists().where(*_build_lost_condition(_NOW)).label("lost"),
    exists().where(*_build_late_condition(_NOW)).label("late"),
    exists().where(*_build_expired_condition(_NOW)).label("expired"),
)


def _apply_event_where(
    conn: Connection, conditions: tuple[ColumnElement[bool], ...], event: StateEvent, **values: Any
) -> Sequence[DeliveryRow]:
    """Apply `event` to at most `_BATCH` deliveries that meet `conditions` and that nobody has locked.

    All must be in the same state. Set also the columns `values`; return the changed rows.
    """
    query = select(deliveries.c.id, deliveries.c.state).where(*conditions).limit(_BATCH)
    rows = conn.execute(query.with_for_update(skip_locked=True, key_share=True)).all()
    if not rows:
        return ()
    before = rows[0].state
    after = get_next_state(DELIVERY, before, event.event)
    changed = conn.execute(
        update(deliveries)
        .where(deliveries.c.id.in_([row.id for row in rows]))
        .values(state=after, **values)
        .returning(deliveries)
    ).all()
    record_transitions(conn, DELIVERY, [(row.id, before, after) for row in changed], event)
    return changed


#: A time that is less far ahead is left as it is: clocks of machines differ a little.
FAR: Final = timedelta(minutes=5)
_FAR_BATCH: Final = 500
_IS_WAITING: Final = or_(
    build_state_condition(deliveries, "QUEUED"), build_state_condition(deliveries, "AWAITING_RECEIPT")
)


def list_far_waits(conn: Connection, now: datetime, after: int = 0) -> Sequence[DeliveryRow]:
    """Return deliveries with ids above `after` that wait for a time far after `now`, ordered by id."""
    d = deliveries.c
    wait_query = select(deliveries).where(_IS_WAITING, d.due_at > now + FAR, d.id > after)
    return conn.execute(wait_query.order_by(d.id).limit(_FAR_BATCH)).all()


def shorten_wait(conn: Connection, delivery: DeliveryRow, due_at: datetime) -> bool:
    """Set the waiting time of a delivery to `due_at`; return False if the delivery has changed meanwhile."""
    d = deliveries.c
    unchanged = (d.id == delivery.id, d.state == delivery.state, d.due_at == delivery.due_at)
    return bool(conn.execute(update(deliveries).where(*unchanged).values(due_at=due_at)).rowcount)


def count_far_leases(conn: Connection, until: datetime) -> int:
    """Return how many leases end far after `until`."""
    counted = select(func.count()).select_from(deliveries).where(*_build_far_lease(until))
    return int(conn.execute(counted).scalar_one())


def shorten_far_leases(conn: Connection, until: datetime) -> int:
    """Shorten the leases that end far after `until` to that time; return how many were shortened."""
    return conn.execute(update(deliveries).where(*_build_far_lease(until)).values(lease_until=until)).rowcount


def _build_far_lease(until: datetime) -> tuple[ColumnElement[bool], ...]:
    return build_state_condition(deliveries, "ACTIVE"), deliveries.c.lease_until > until + FAR


def free_period_keys(conn: Connection, now: datetime) -> int:
    """Free the dedupe keys of recurring tasks that were queued at a time far after `now`; return how many.

    The task of each such period can then be queued again. Otherwise it would not recur until that time.
    """
    d = deliveries.c
    far_periods = select(d.id, d.dedupe_key).where(
        d.subject_type == "turn", d.dedupe_key.startswith("turn:"), d.created_at > now + FAR
    )
    rows = conn.execute(far_periods).all()
    for row in rows:
        key = f"stepped:{row.id}:{row.dedupe_key}"
        conn.execute(update(deliveries).where(d.id == row.id).values(dedupe_key=key))
    return len(rows)


def count_far_waits(conn: Connection, now: datetime) -> int:
    """Return how many deliveries wait for a time far after `now`, including planned ones."""
    counted = select(func.count()).select_from(deliveries).where(_IS_WAITING, deliveries.c.due_at > now + FAR)
    return int(conn.execute(counted).scalar_one())


def find_newest_time(conn: Connection) -> datetime | None:
    """Return the latest of: the last state transition, the last recurring task, the waiting deliveries.

    If it is later than now, the clock was fast, or was set back. Transitions may have been stored since, but
    recurring tasks are not queued until that time. None if nothing is stored.
    """
    last = select(transitions.c.at).order_by(transitions.c.id.desc()).limit(1)
    period_times = select(deliveries.c.created_at).where(deliveries.c.subject_type == "turn")
    queued = select(func.max(deliveries.c.created_at)).where(_IS_WAITING)
    statements = (last, period_times.order_by(deliveries.c.id.desc()).limit(1), queued)
    times = (conn.execute(statement).scalar_one_or_none() for statement in statements)
    return max((time for time in times if time is not None), default=None)
