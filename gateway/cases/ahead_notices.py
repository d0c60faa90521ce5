"""Finds from when a notice counts whose time of issue is ahead of the hub's clock.

Of two notices the later one counts. A notice with a time that has not come, such as a local time that is
marked as UTC, would hide every correction until that time. So it counts from its receipt: what is issued and
arrives after it comes after it. Notices of one clock that is ahead stay in their own order, also where they
arrive in another one. A day alone that has not begun here, as in another time zone, counts in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.notice_order import order_number

#: How far a clock may be ahead of the hub's without a word: as far as the Timestamp of a signed call may be.
_CLOCK_TOLERANCE: Final = timedelta(minutes=1)
#: Times of notices have milliseconds.
_STEP: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class AheadNotice:
    """A stored notice that states a time ahead of its receipt, and the time from which it counts."""

    number: str
    stated_at: datetime
    counts_at: datetime


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Return whether the time `moment` is later than a right clock can have it at `now`."""
    return moment > now + _CLOCK_TOLERANCE


def find_count_time(
    number: str,
    stated_at: datetime,
    now: datetime,
    ahead_notices: Iterable[AheadNotice],
    *,
    states_day: bool = False,
) -> datetime:
    """Return from when a notice counts that is received at `now`: mostly the time that it states.

    `ahead_notices` are the stored ones that it may be compared with, and that count from another time than
    they state. The notices of one day alone (`states_day`, `stated_at` is its first instant) stay in the
    order received, those of one time in the order of their numbers.
    """
    if stated_at <= now:
        return stated_at
    counts_at = stated_at
    if is_ahead(stated_at, now):
        counts_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    later_places = []
    for each in ahead_notices:
        is_later = each.stated_at > stated_at
        if each.stated_at == stated_at and not states_day:
            is_later = order_number(each.number) > order_number(number)
        if is_later:
            later_places.append(each.counts_at - _STEP)
        else:
            counts_at = max(counts_at, each.counts_at + _STEP)
    return min([counts_at, *later_places])
