"""How an attempt ends: the lease that ends with it, the problem it leaves, the wait before the next one.

A lease ends inside the transaction that stores what the delivery came to.  The wait before the next
attempt doubles from the first to a ceiling, so that a destination that is down for an hour is asked
often at first and rarely later.  Each delivery waits a little differently, so that all that piled up
does not arrive at once when the destination comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.store import AttemptOutcome, DeliveryLease, delivery_leases

__all__ = [
    "LeaseLostError",
    "RetryPlan",
    "compute_retry_delay",
    "make_attempt_outcome",
    "make_lease_finisher",
]


_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How often and how soon: `retries` after the first try, `first` wait, `ceiling` of waits.

    `steady` waits always the same, as ebMS 2.0 RetryInterval does.
    """

    retries: int
    first: timedelta
    ceiling: timedelta = timedelta(hours=1)
    steady: bool = False


def compute_retry_delay(tries: int, plan: RetryPlan, key: str = "") -> timedelta | None:
    """Return the wait after try number `tries` (from 1), None when all are used up.

    `key` names the delivery: it decides, always alike, where in the spread its wait lies.
    """
    if tries > plan.retries:
        return None
    if plan.steady:
        return plan.first
    doubled: timedelta = plan.first * 2 ** min(tries - 1, 30)
    wait = min(doubled, plan.ceiling)
    part = int.from_bytes(hashlib.sha256(f"{key}/{tries}".encode()).digest()[:4], "big") / 2**32
    return wait * (1 + _SPREAD * part)


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
