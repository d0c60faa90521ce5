"""How agents end a lease: inside the transaction that stores what the delivery came to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.store import delivery_leases
from gateway.store.delivery_leases import AttemptOutcome, DeliveryLease

__all__ = ["LeaseLostError", "make_attempt_outcome", "make_lease_finisher"]


class LeaseLostError(Exception):
    """Another worker has taken the delivery over: what was done here is undone."""


def make_lease_finisher(
    lease: DeliveryLease, clock: Callable[[], datetime], outcome: AttemptOutcome | None = None
) -> Callable[[Connection], None]:
    """Return what marks the delivery delivered, and undoes everything when the lease is lost."""

    def finish_lease(conn: Connection) -> None:
        if not delivery_leases.mark_delivered(conn, lease, clock(), outcome or AttemptOutcome()):
            raise LeaseLostError

    return finish_lease


def make_attempt_outcome(problem: GatewayError) -> AttemptOutcome:
    """Return a problem as the outcome of an attempt.

    Words of the far side may stand in it; nothing of theirs moves an operator's cursor.
    """
    words = "".join(char if char.isprintable() else " " for char in str(problem)[:500])
    return AttemptOutcome(problem=problem.problem.id, detail=words)
