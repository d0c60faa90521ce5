"""Summarizes the attempts at the deliveries of a lane that are not done: how they ended, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Connection, Select, Text, bindparam, func, select, union_all

from gateway.store.deliveries import deliveries, delivery_attempts
from gateway.store.prepared_statements import build_state_condition
from gateway.store.table_types import Instant

#: How many deliveries of each state are read: attempts at the others ended in the same ways.
_MAX_DELIVERIES: Final = 20
_LANE: Final = bindparam("of_lane", type_=Text())
_AFTER: Final = bindparam("after", type_=Instant())


class AttemptSummaryRow(Protocol):
    """The attempts of a lane that ended in one way: the begin of the first, the end of the last.

    `outcome` is the event that ended them, ``sent`` for a message without a receipt. `is_answered` says
    whether the partner's own words are stored.
    """

    outcome: str
    problem: str | None
    is_answered: bool
    first_at: datetime
    last_at: datetime


def _choose_deliveries(state: str, *order: ColumnElement[Any]) -> Select[Any]:
    """Return the query of the ids of deliveries of a lane in `state` that were attempted."""
    d = deliveries.c
    query = select(d.id).where(d.lane == _LANE, build_state_condition(deliveries, state), d.attempt > 0)
    return select(query.order_by(*order).limit(_MAX_DELIVERIES).subquery().c.id)


def _build_summary() -> Select[Any]:
    """Return the query of the ends of attempts of a lane after a time."""
    d, a = deliveries.c, delivery_attempts.c
    # Each state for itself, and each end of the failed ones: each has its index.
    failed = build_state_condition(deliveries, "FAILED"), d.lane == _LANE, d.finished_at > _AFTER
    chosen = union_all(
        # Those that failed most often are due last.
        _choose_deliveries("QUEUED", d.due_at.desc()),
        _choose_deliveries("ACTIVE", d.lease_until),
        _choose_deliveries("HELD", d.id),
        *(
            select(select(d.id).where(*failed).order_by(order).limit(_MAX_DELIVERIES).subquery().c.id)
            for order in (d.finished_at, d.finished_at.desc())
        ),
    ).subquery()
    is_answered = a.theirs.is_not(None)
    ways = (a.outcome, a.problem, is_answered)
    return (
        select(
            a.outcome,
            a.problem,
            is_answered.label("is_answered"),
            func.min(a.started_at).label("first_at"),
            func.max(a.finished_at).label("last_at"),
        )
        .where(a.delivery.in_(select(chosen.c.id)), a.finished_at > _AFTER)
        .group_by(*ways)
    )


_SUMMARY: Final = _build_summary()
_LAST_DELIVERED: Final = select(func.max(deliveries.c.finished_at)).where(
    deliveries.c.lane == _LANE, build_state_condition(deliveries, "DELIVERED")
)


def find_last_delivered(conn: Connection, lane: str) -> datetime | None:
    """Return when the last delivery of a lane was done."""
    last_at: datetime | None = conn.execute(_LAST_DELIVERED, {"of_lane": lane}).scalar_one()
    return last_at


def summarize_attempts(conn: Connection, lane: str, after: datetime) -> Sequence[AttemptSummaryRow]:
    """Return how the attempts ended after a time that were made at deliveries of a lane that are not done.

    Deliveries that were sent and wait for their receipt are left out, and cancelled ones.
    """
    return conn.execute(_SUMMARY, {"of_lane": lane, "after": after}).all()
