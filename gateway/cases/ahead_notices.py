"""Finds from when a notice counts whose time of issue is ahead of the hub's clock.

Of two notices the later one counts. A notice with a time that has not come, such as a local time that is
marked as UTC, would hide every correction until that time. So the lead of its clock is taken away: it
counts from its receipt at the latest, and a notice that is issued after that comes after it.

A clock is ahead by the greatest difference between time of issue and receipt that its notices have had:
the one that was under way for the shortest time. So the notices of one clock stay in their own order, in
whatever order they arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: How far a clock may be ahead of the hub's without a word, as in the other rules on time.
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
#: Differences that are as near to each other are those of one clock: notices may be under way so long.
_LONGEST_WAY: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class AheadNotice:
    """A stored notice that states a time ahead of its receipt, and the time from which it counts."""

    stated_at: datetime
    counts_at: datetime


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Return whether the time `moment` is later than a right clock can have it at `now`."""
    return moment > now + _CLOCK_TOLERANCE


def find_count_time(
    stated_at: datetime, now: datetime, ahead_notices: Iterable[AheadNotice] = ()
) -> datetime:
    """Return from when a notice counts that is received at `now`: mostly the time that it states.

    `ahead_notices` are the stored ones that may be of the same clock: none for a notice of a day alone, whose
    first instant says nothing of a clock.
    """
    if not is_ahead(stated_at, now):
        return stated_at
    # Times of notices have milliseconds.
    ahead = stated_at - now.replace(microsecond=now.microsecond // 1000 * 1000)
    differences = [each.stated_at - each.counts_at for each in ahead_notices]
    of_clock = [each for each in differences if abs(each - ahead) <= _LONGEST_WAY]
    return stated_at - max([ahead, *of_clock])
