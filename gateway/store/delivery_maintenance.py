"""Changes deliveries without a worker: receipts, time-outs, lost leases, expiry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    exists,
    func,
    select,
    update,
)

from gateway.errors import ATTEMPTS_USED_UP, PUT_ASIDE, RECEIPT_MISSING
from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.attempt_outcomes import AttemptOutcome
from gateway.store.delivery_leases import finish_attempts, make_finish, settle_attempt
from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import Instant, deliveries, lanes
from gateway.store.transitions import StateEvent

__all__ = [
    "DueUpkeep",
    "await_final_receipt",
    "expire_delivery",
    "find_due_upkeep",
    "list_expired_deliveries",
    "list_poison_deliveries",
    "put_aside_delivery",
    "reclaim_lost_leases",
    "requeue_unreceipted",
    "settle_receipt",
]

_BATCH: Final = 200
_NO_RECEIPT: Final = "it accepted the message and sent no receipt in time"
#: Default number of workers that may die during one delivery.
_CRASHES: Final = 3
#: The events of a receipt and of an error, by the state of the delivery that they are about.
_SETTLING: Final = {
    "ACTIVE": ("delivered", "refuse"),
    "AWAITING_RECEIPT": ("receipt", "error"),
    "QUEUED": ("receipt", "error"),
}


def settle_receipt(
    conn: Connection, delivery: int, at: datetime, actor: str, outcome: AttemptOutcome | None = None
) -> bool:
    """Apply a receipt (or, with an outcome, an error) that arrived in a message of its own to its delivery.

    It may arrive before the worker has ended the attempt, and also after the time in which it was
    expected, while the next attempt is queued. Returns False when the delivery waits for no receipt.
    """
    found = select(deliveries.c.state, deliveries.c.attempt).where(deliveries.c.id == delivery)
    row = conn.execute(found.with_for_update(key_share=True)).first()
    if row is None or row.state not in _SETTLING or (row.state == "QUEUED" and not row.attempt):
        return False
    event = _SETTLING[row.state][outcome is not None]
    came_to = outcome or AttemptOutcome()
    after = get_next_state(DELIVERY, row.state, event)
    values = {
        "state": after,
        "problem": came_to.problem,
        "last_sentence": came_to.sentence,
        "finished_at": at,
        "leased_by": None,
        "lease_until": None,
    }
    if row.state == "QUEUED" or not row.attempt:
        # Its attempt has ended, with the outcome that it had; a response that was given in an HTTP answer
        # had none.
        conn.execute(update(deliveries).where(deliveries.c.id == delivery).values(**values))
    else:
        settle_attempt(conn, (delivery, row.attempt), values, make_finish(event, at, came_to))
    what = StateEvent(event, at, actor, came_to.detail or came_to.problem)
    transitions.record_transitions(conn, DELIVERY, [(delivery, row.state, after)], what)
    return True


def await_final_receipt(conn: Connection, delivery: int, at: datetime, until: datetime) -> bool:
    """Let a delivery wait for a receipt until a time, without another attempt before.

    The next handler has the message, and the To party has not acknowledged it yet. Returns False when
    the delivery waits for no receipt.
    """
    found = select(deliveries.c.state, deliveries.c.attempt).where(deliveries.c.id == delivery)
    row = conn.execute(found.with_for_update(key_share=True)).first()
    if row is None or row.state not in {"ACTIVE", "AWAITING_RECEIPT"}:
        return False
    values: dict[str, Any] = {"due_at": until}
    if row.state == "ACTIVE":
        after = get_next_state(DELIVERY, row.state, "sent")
        values |= {"state": after, "leased_by": None, "lease_until": None}
        finish_attempts(conn, [(delivery, row.attempt)], "sent", at, AttemptOutcome())
        what = StateEvent("sent", at, "receive")
        transitions.record_transitions(conn, DELIVERY, [(delivery, row.state, after)], what)
    conn.execute(update(deliveries).where(deliveries.c.id == delivery).values(**values))
    return True


@dataclass(frozen=True, slots=True)
class DueUpkeep:
    """Whether there are leases that ran out, receipts that did not come in time, deliveries that expired."""

    lost: bool
    late: bool
    expired: bool


def find_due_upkeep(conn: Connection, now: datetime) -> DueUpkeep:
    """Return what there is to do for the functions below; one statement, as mostly there is nothing."""
    row = conn.execute(_DUE, {"now": now}).one()
    return DueUpkeep(bool(row.lost), bool(row.late), bool(row.expired))


def reclaim_lost_leases(
    conn: Connection, now: datetime, actor: str, crashes: int = _CRASHES
) -> tuple[int, ...]:
    """Requeue deliveries whose leases ran out; return their ids.

    Deliveries that `crashes` workers did not finish are left for `list_poison_deliveries`.
    """
    lost = (*_build_lost_condition(now), deliveries.c.lost < crashes - 1)
    values = {"due_at": now, "leased_by": None, "lease_until": None, "lost": deliveries.c.lost + 1}
    rows = _apply_event_where(conn, lost, StateEvent("lease_lost", now, actor), **values)
    if rows:
        ended = [(row.id, row.attempt) for row in rows]
        finish_attempts(conn, ended, "lease_lost", now, AttemptOutcome())
    return tuple(row.id for row in rows)


def list_poison_deliveries(conn: Connection, now: datetime, crashes: int = _CRASHES) -> Sequence[Row[Any]]:
    """Return the deliveries that so many workers, one after another, leased and never finished."""
    return conn.execute(select(deliveries).where(*_build_poison_condition(now, crashes)).limit(_BATCH)).all()


def put_aside_delivery(
    conn: Connection, delivery: int, now: datetime, actor: str, crashes: int = _CRASHES
) -> Row[Any] | None:
    """Fail a poison delivery and return it as it is now; return None when it no longer is one."""
    one = (deliveries.c.id == delivery, *_build_poison_condition(now, crashes))
    words = f"{crashes} workers crashed during this delivery"
    values = {"problem": PUT_ASIDE.id, "last_sentence": words, "finished_at": now}
    values |= {"leased_by": None, "lease_until": None}
    what = StateEvent("put_aside", now, actor, words)
    rows = _apply_event_where(conn, one, what, **values, lost=deliveries.c.lost + 1)
    if not rows:
        return None
    outcome = AttemptOutcome(PUT_ASIDE.id, sentence=words)
    finish_attempts(conn, [(delivery, rows[0].attempt)], "put_aside", now, outcome)
    return rows[0]


def _build_late_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    return build_state_condition(deliveries, "AWAITING_RECEIPT"), deliveries.c.due_at <= now


def _build_lost_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    return build_state_condition(deliveries, "ACTIVE"), deliveries.c.lease_until <= now


def _build_poison_condition(now: datetime, crashes: int) -> tuple[ColumnElement[bool], ...]:
    return *_build_lost_condition(now), deliveries.c.lost >= crashes - 1


def requeue_unreceipted(conn: Connection, now: datetime, actor: str) -> tuple[int, ...]:
    """Requeue, with the same id, deliveries that were sent and not receipted in time; return their ids."""
    late = _build_late_condition(now)
    values = {"due_at": now, "problem": RECEIPT_MISSING.id, "last_sentence": _NO_RECEIPT}
    rows = _apply_event_where(conn, late, StateEvent("timeout", now, actor), **values)
    return tuple(row.id for row in rows)


def list_expired_deliveries(conn: Connection, now: datetime) -> Sequence[Row[Any]]:
    """Return the deliveries that are still queued after their expiry."""
    return conn.execute(select(deliveries).where(*_build_expired_condition(now)).limit(_BATCH)).all()


def expire_delivery(conn: Connection, delivery: int, now: datetime, actor: str) -> bool:
    """Fail a delivery that is still queued after its expiry; return False when it no longer is."""
    over = (deliveries.c.id == delivery, *_build_expired_condition(now))
    words = func.coalesce(deliveries.c.last_sentence, "its time was over before the first attempt")
    values = {"problem": ATTEMPTS_USED_UP.id, "last_sentence": words, "finished_at": now}
    return bool(_apply_event_where(conn, over, StateEvent("expire", now, actor), **values))


def _build_expired_condition(now: Any) -> tuple[ColumnElement[bool], ...]:
    # What an operator holds back does not expire meanwhile.
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
    conn: Connection, which: tuple[ColumnElement[bool], ...], what: StateEvent, **values: Any
) -> Sequence[Row[Any]]:
    found = select(deliveries.c.id, deliveries.c.state).where(*which).limit(_BATCH)
    rows = conn.execute(found.with_for_update(skip_locked=True, key_share=True)).all()
    if not rows:
        return ()
    before = rows[0].state
    after = get_next_state(DELIVERY, before, what.event)
    changed = conn.execute(
        update(deliveries)
        .where(deliveries.c.id.in_([row.id for row in rows]))
        .values(state=after, **values)
        .returning(deliveries)
    ).all()
    transitions.record_transitions(conn, DELIVERY, [(row.id, before, after) for row in changed], what)
    return changed
