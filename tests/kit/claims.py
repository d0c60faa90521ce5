"""Claims of due deliveries of one lane, for tests that stand where a worker does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.store import DeliveryLease, delivery_leases, lanes
from gateway.store.lanes import DueLane

#: More workers than ever die during one delivery.
MANY = 1_000_000


def claim_deliveries(
    conn: Connection,
    lane: str,
    worker: str,
    now: datetime,
    until: datetime,
    *,
    limit: int = 1,
    suspects: bool = False,
    due_lane: DueLane | None = None,
) -> tuple[DeliveryLease, ...]:
    """Lease up to `limit` due deliveries of a lane, which was found as `due_lane` says, or is as now."""
    row = lanes.find_lanes(conn, [lane]).get(lane)
    leases = delivery_leases.claim_lane(
        conn,
        due_lane or DueLane(lane, None if row is None else row.capacity, suspects),
        now,
        worker=worker,
        lease_until=until,
        limit=limit,
        suspects_below=MANY if suspects else None,
    )
    delivery_leases.record_begun_attempts(conn, leases, now, worker)
    return tuple(leases)
