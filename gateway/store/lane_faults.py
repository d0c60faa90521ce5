"""Keeps since when the attempts of a lane fail, and why.

Only a failed attempt writes, so a success costs nothing: it is the last delivery of the lane that was done. A
fault before it is over.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, exists, func, select, update

from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.store.deliveries import deliveries, lanes
from gateway.store.prepared_statements import build_state_condition

#: The states of deliveries that are not done, in the order in which they are looked for.
_OPEN_STATES: Final = ("QUEUED", "ACTIVE", "FAILED", "HELD")


def record_failed_attempt(conn: Connection, lane: str, problem: GatewayError, at: datetime) -> None:
    """Store that an attempt in a lane failed because of `problem`, which is that of the attempt alone.

    A partner that refuses a delivery for good, in its own words, has answered: the fault is over.
    """
    if problem.problem is REFUSED_FOR_GOOD and problem.theirs:
        end_fault(conn, lane)
        return
    query = select(lanes.c.failing_since, lanes.c.partner_failing_since).where(lanes.c.name == lane)
    row = conn.execute(query.with_for_update(key_share=True)).first()
    if row is None:
        return
    last_success = find_last_delivered(conn, lane)
    failing_since, partner_failing_since = row.failing_since, row.partner_failing_since
    if failing_since is None or (last_success is not None and failing_since <= last_success):
        failing_since, partner_failing_since = at, None
    if not problem.problem.ours:
        partner_failing_since = partner_failing_since or at
    _set_fault(conn, lane, failing_since, partner_failing_since, problem.problem.id)


def end_fault(conn: Connection, lane: str) -> None:
    """Store that the partner of a lane has answered."""
    _set_fault(conn, lane, None, None, None)


def _set_fault(
    conn: Connection,
    lane: str,
    failing_since: datetime | None,
    partner_failing_since: datetime | None,
    problem: str | None,
) -> None:
    values: dict[str, Any] = {
        "failing_since": failing_since,
        "partner_failing_since": partner_failing_since,
        "last_problem": problem,
    }
    conn.execute(update(lanes).where(lanes.c.name == lane).values(**values))


def find_last_delivered(conn: Connection, lane: str) -> datetime | None:
    """Return when the last delivery of a lane was done."""
    query = select(func.max(deliveries.c.finished_at)).where(
        deliveries.c.lane == lane, build_state_condition(deliveries, "DELIVERED")
    )
    last_at: datetime | None = conn.execute(query).scalar_one()
    return last_at


def has_open_deliveries(conn: Connection, lane: str) -> bool:
    """Return whether a delivery of a lane is queued, under way, held or failed."""
    # Each state for itself: each has its own index.
    return any(
        conn.execute(
            select(exists().where(deliveries.c.lane == lane, build_state_condition(deliveries, state)))
        ).scalar_one()
        for state in _OPEN_STATES
    )
