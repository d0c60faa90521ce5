"""Limits of failed sign-ins: guessing is slow, and nobody can lock out another person.

A limit counts for a pair of sign-in name and network, and for a network. An attacker in one network
cannot make a person in another network wait. A name that is attacked from many networks at once is
limited as a whole, but a network from which this name has signed in before is not counted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["WINDOW", "FailedSignIns", "compute_sign_in_wait"]

#: Failures are counted over this time.
WINDOW: Final = timedelta(minutes=15)
_OF_PAIR: Final = 5
_OF_NETWORK: Final = 50
_OF_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class FailedSignIns:
    """Failures within the window: of this name from this network, of the network, and of the name."""

    pair: int
    network: int
    name: int
    #: Whether this name has signed in from this network before.
    familiar: bool = False


def compute_sign_in_wait(failed: FailedSignIns) -> timedelta | None:
    """Return how long the next sign-in must wait; None when it may be tried now."""
    over = failed.pair >= _OF_PAIR or failed.network >= _OF_NETWORK
    over = over or (failed.name >= _OF_NAME and not failed.familiar)
    return WINDOW if over else None
