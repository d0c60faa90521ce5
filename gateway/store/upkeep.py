"""What befalls deliveries without a worker's word: receipts, time-outs, lost leases, expiry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Connection, Row, bindparam, literal_column, select, update

from gateway.errors import ATTEMPTS_USED_UP, PUT_ASIDE, RECEIPT_MISSING
from gateway.states import DELIVERY, step
from gateway.store import transitions
from gateway.store.claims import Outcome, finish_attempts
from gateway.store.lanes import MAY_FOLLOW
from gateway.store.statements import in_state
from gateway.store.tables import Instant, deliveries
from gateway.store.transitions import Step

__all__ = ["deadly", "expire", "overdue", "put_aside", "reclaim", "settle", "suspect_lanes", "time_out"]

_BATCH: Final = 200
_SUSPECT_LANES: Final = (
    select(deliveries.c.lane)
    .where(
        in_state(deliveries, "QUEUED"),
        # In the words of the index of suspects.
        literal_column("lost > 0", Boolean()),
        deliveries.c.due_at <= bindparam("now", type_=Instant()),
        MAY_FOLLOW,
    )
    .distinct()
    .order_by(deliveries.c.lane)
)
#: Workers that may die over one delivery, unless told.
_CRASHES: Final = 3


def settle(conn: Connection, delivery: int, at: datetime, actor: str, problem: str | None = None) -> bool:
    """Apply a receipt (or, with a problem, an error) that came by itself to its delivery.

    It may overtake the worker whose attempt it answers; False when nothing waits for it.
    """
    found = select(deliveries.c.state, deliveries.c.attempt).where(deliveries.c.id == delivery)
    row = conn.execute(found.with_for_update(key_share=True)).first()
    if row is None or row.state not in {"ACTIVE", "AWAITING_RECEIPT"}:
        return False
    events = {"AWAITING_RECEIPT": ("receipt", "error"), "ACTIVE": ("delivered", "refuse")}
    event = events[row.state][problem is not None]
    after = step(DELIVERY, row.state, event)
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(state=after, problem=problem, finished_at=at, leased_by=None, lease_until=None)
    )
    finish_attempts(conn, [(delivery, row.attempt)], event, at, Outcome(problem))
    transitions.record(conn, DELIVERY, [(delivery, row.state, after)], Step(event, at, actor, problem))
    return True


def reclaim(conn: Connection, now: datetime, actor: str, crashes: int = _CRASHES) -> tuple[int, ...]:
    """Put back what workers leased and never finished; return the deliveries.

    What `crashes` workers did not finish stays as it is: it is `deadly`.
    """
    lost = (*_lost(now), deliveries.c.lost < crashes - 1)
    values = {"due_at": now, "leased_by": None, "lease_until": None, "lost": deliveries.c.lost + 1}
    rows = _sweep(conn, lost, Step("lease_lost", now, actor), **values)
    if rows:
        ended = [(row.id, row.attempt) for row in rows]
        finish_attempts(conn, ended, "lease_lost", now, Outcome())
    return tuple(row.id for row in rows)


def deadly(conn: Connection, now: datetime, crashes: int = _CRASHES) -> Sequence[Row[Any]]:
    """Return what so many workers, one after another, leased and never finished."""
    return conn.execute(select(deliveries).where(*_deadly(now, crashes)).limit(_BATCH)).all()


def put_aside(
    conn: Connection, delivery: int, now: datetime, actor: str, crashes: int = _CRASHES
) -> Row[Any] | None:
    """Fail a delivery that is still deadly and return it as it is now; None when it no longer is."""
    one = (deliveries.c.id == delivery, *_deadly(now, crashes))
    values = {"problem": PUT_ASIDE.id, "finished_at": now, "leased_by": None, "lease_until": None}
    what = Step("put_aside", now, actor, f"{crashes} workers died over it")
    rows = _sweep(conn, one, what, **values, lost=deliveries.c.lost + 1)
    if not rows:
        return None
    finish_attempts(conn, [(delivery, rows[0].attempt)], "put_aside", now, Outcome(PUT_ASIDE.id))
    return rows[0]


def suspect_lanes(conn: Connection, now: datetime) -> Sequence[str]:
    """Return the lanes in which something is due over which a worker died."""
    return conn.execute(_SUSPECT_LANES, {"now": now}).scalars().all()


def _lost(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return in_state(deliveries, "ACTIVE"), deliveries.c.lease_until <= now


def _deadly(now: datetime, crashes: int) -> tuple[ColumnElement[bool], ...]:
    return *_lost(now), deliveries.c.lost >= crashes - 1


def time_out(conn: Connection, now: datetime, actor: str) -> tuple[int, ...]:
    """Queue again, under the same name, what was sent and never receipted; return the deliveries."""
    late = (in_state(deliveries, "AWAITING_RECEIPT"), deliveries.c.due_at <= now)
    rows = _sweep(conn, late, Step("timeout", now, actor), due_at=now, problem=RECEIPT_MISSING.id)
    return tuple(row.id for row in rows)


def overdue(conn: Connection, now: datetime) -> Sequence[Row[Any]]:
    """Return what is still queued after its time."""
    return conn.execute(select(deliveries).where(*_over(now)).limit(_BATCH)).all()


def expire(conn: Connection, delivery: int, now: datetime, actor: str) -> bool:
    """Fail a delivery that is still queued after its time; False when it no longer is."""
    over = (deliveries.c.id == delivery, *_over(now))
    values = {"problem": ATTEMPTS_USED_UP.id, "finished_at": now}
    return bool(_sweep(conn, over, Step("expire", now, actor), **values))


def _over(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return in_state(deliveries, "QUEUED"), deliveries.c.expires_at <= now


def _sweep(
    conn: Connection, which: tuple[ColumnElement[bool], ...], what: Step, **values: Any
) -> Sequence[Row[Any]]:
    found = select(deliveries.c.id, deliveries.c.state).where(*which).limit(_BATCH)
    rows = conn.execute(found.with_for_update(skip_locked=True, key_share=True)).all()
    if not rows:
        return ()
    before = rows[0].state
    after = step(DELIVERY, before, what.event)
    changed = conn.execute(
        update(deliveries)
        .where(deliveries.c.id.in_([row.id for row in rows]))
        .values(state=after, **values)
        .returning(deliveries)
    ).all()
    transitions.record(conn, DELIVERY, [(row.id, before, after) for row in changed], what)
    return changed
