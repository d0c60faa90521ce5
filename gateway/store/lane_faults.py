"""Keeps since when the attempts of a lane fail, and why.

Only a failed attempt writes, so a success costs nothing. A fault is over when a later delivery of the lane is
done, and when no delivery is left that was there when an attempt failed: an operator has given them up.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, exists, func, select, update

from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.store.deliveries import LaneRow, deliveries, lanes
from gateway.store.lanes import lock_lane
from gateway.store.prepared_statements import build_state_condition

#: The states of deliveries that are not done, in the order in which they are looked for.
_OPEN_STATES: Final = ("QUEUED", "ACTIVE", "FAILED", "HELD", "AWAITING_RECEIPT")


def record_failed_attempt(conn: Connection, lane: str, problem: GatewayError, at: datetime) -> None:
    """Store that an attempt in a lane failed because of `problem`, which is that of the attempt alone.

    A partner that refuses a delivery for good, in its own words, has answered: the fault is over.
    """
    if problem.problem is REFUSED_FOR_GOOD and problem.theirs:
        end_fault(conn, lane)
        return
    row = lock_lane(conn, lane)
    if row is None:
        return
    failing_since, partner_failing_since = row.failing_since, row.partner_failing_since
    if not is_failing(conn, row):
        failing_since, partner_failing_since = at, None
    if not problem.problem.ours:
        partner_failing_since = partner_failing_since or at
    values = {
        "failing_since": failing_since,
        "partner_failing_since": partner_failing_since,
        "last_failed_at": at,
        "last_problem": problem.problem.id,
    }
    conn.execute(update(lanes).where(lanes.c.name == lane).values(**values))


def end_fault(conn: Connection, lane: str) -> None:
    """Store that the partner of a lane has answered."""
    values = dict.fromkeys(("failing_since", "partner_failing_since", "last_failed_at", "last_problem"))
    conn.execute(update(lanes).where(lanes.c.name == lane).values(**values))


def is_failing(conn: Connection, lane_row: LaneRow) -> bool:
    """Return whether the fault of a lane is not over."""
    failing_since, last_failed_at = lane_row.failing_since, lane_row.last_failed_at
    if failing_since is None or last_failed_at is None:
        return False
    last_success = find_last_delivered(conn, lane_row.name)
    if last_success is not None and failing_since <= last_success:
        return False
    return has_open_deliveries(conn, lane_row.name, last_failed_at)


def find_last_delivered(conn: Connection, lane: str) -> datetime | None:
    """Return when the last delivery of a lane was done."""
    query = select(func.max(deliveries.c.finished_at)).where(
        deliveries.c.lane == lane, build_state_condition(deliveries, "DELIVERED")
    )
    last_at: datetime | None = conn.execute(query).scalar_one()
    return last_at


def has_open_deliveries(conn: Connection, lane: str, created_until: datetime) -> bool:
    """Return whether a delivery that was queued until a time is neither delivered nor cancelled."""
    d = deliveries.c
    # Each state for itself: each has its own index.
    return any(
        conn.execute(
            select(
                exists().where(
                    d.lane == lane, build_state_condition(deliveries, state), d.created_at <= created_until
                )
            )
        ).scalar_one()
        for state in _OPEN_STATES
    )
