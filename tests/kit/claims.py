"""Claims of due deliveries of one lane, for tests that stand where a worker does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.store.delivery_leases import DeliveryClaim, DeliveryLease
from gateway.store.lanes import DueLane


def claim_deliveries(
    conn: Connection,
    lane: str,
    me: str,
    now: datetime,
    until: datetime,
    *,
    limit: int = 1,
    suspects: bool = False,
    known: DueLane | None = None,
) -> tuple[DeliveryLease, ...]:
    """Lease up to `limit` due deliveries of one lane, as `DeliveryClaim` does."""
    claim = DeliveryClaim(conn, me, now, until)
    claim.claim_lane(lane, limit=limit, suspects=suspects, known=known)
    return claim.store_leases()
