"""When to try again; a pure function of how often it has been tried.

The wait doubles from the first to a ceiling, so that a destination that is down for an
hour is asked often at first and rarely later; each delivery waits a little differently,
so that all that piled up does not arrive at once when the destination comes back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["RetryPlan", "compute_retry_delay"]

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
