"""How an attempt ends: lease completion, and delay before the next attempt.

A lease ends inside the transaction that stores the outcome of the delivery. The delay before the
next attempt doubles from the first value to a ceiling, so that a destination that is down for an
hour is tried often at first and rarely later. The delays of deliveries differ a little, so that a
backlog does not arrive at once when the destination is available again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.errors import KEY_UNAVAILABLE, NO_ADDRESS, GatewayError
from gateway.hub import Hub, RegisterSnapshot
from gateway.store import AttemptOutcome, DeliveryLease, InsufficientStorageError, delivery_leases

__all__ = [
    "LeaseLostError",
    "RetryPlan",
    "compute_retry_delay",
    "find_uncounted_wait",
    "make_lease_finisher",
]


_SPREAD = 0.2
#: Delay of a delivery that found no space in the database.
_NO_ROOM_WAIT: Final = timedelta(seconds=5)
#: A token may be unavailable for days, and every attempt leaves a row.
_NO_KEY_WAIT: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The retries after the first attempt, the first delay, and the ceiling of delays.

    `steady` means that all delays are equal, as ebMS 2.0 RetryInterval defines.
    """

    retries: int
    first: timedelta
    ceiling: timedelta = timedelta(hours=1)
    steady: bool = False


def compute_retry_delay(tries: int, plan: RetryPlan, key: str = "") -> timedelta | None:
    """Return the delay after attempt number `tries` (from 1), None when all retries are used up.

    `key` identifies the delivery: its delay has always the same place in the spread.
    """
    if tries > plan.retries:
        return None
    if plan.steady:
        return plan.first
    doubled: timedelta = plan.first * 2 ** min(tries - 1, 30)
    wait = min(doubled, plan.ceiling)
    part = int.from_bytes(hashlib.sha256(f"{key}/{tries}".encode()).digest()[:4], "big") / 2**32
    return wait * (1 + _SPREAD * part)


#: The settings are read again at each attempt, and every attempt leaves a row.
_NO_ADDRESS_PLAN: Final = RetryPlan(sys.maxsize, timedelta(seconds=5), timedelta(minutes=4))


class LeaseLostError(Exception):
    """Another worker has taken over the delivery; the transaction of this one is rolled back."""


def make_lease_finisher(
    lease: DeliveryLease,
    clock: Callable[[], datetime],
    outcome: AttemptOutcome | None = None,
    *,
    judged_by: tuple[Hub, RegisterSnapshot] | None = None,
) -> Callable[[Connection], None]:
    """Return a function that marks the delivery delivered; it raises when the lease is lost.

    With `judged_by` it raises StaleSnapshotError when the register is not that of the snapshot any more.
    """
    register = None if judged_by is None else judged_by[1].epoch

    def finish_lease(conn: Connection) -> None:
        came_to = outcome or AttemptOutcome()
        if delivery_leases.mark_delivered(conn, lease, clock(), came_to, register=register):
            return
        if judged_by is not None:
            judged_by[0].check_snapshot_current(conn, judged_by[1])
        raise LeaseLostError

    return finish_lease


def find_uncounted_wait(lease: DeliveryLease, problem: GatewayError) -> timedelta | None:
    """Return the wait after a problem that uses up no try: no space, no key, no address; else None."""
    if isinstance(problem, InsufficientStorageError):
        return _NO_ROOM_WAIT
    if problem.problem is KEY_UNAVAILABLE:
        return _NO_KEY_WAIT
    if problem.problem is NO_ADDRESS:
        return compute_retry_delay(lease.attempt, _NO_ADDRESS_PLAN, str(lease.id))
    return None
