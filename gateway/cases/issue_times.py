"""Times that others state of what they did: what is far off is a mistake of theirs, and is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.errors import ISSUE_TIME_WRONG, GatewayError

__all__ = ["check_issue_time", "check_issued_since", "is_far_ahead"]

#: A clock, or a booking, may have the day of another time zone.
_SKEW: Final = timedelta(days=1)


def is_far_ahead(stated: datetime, now: datetime) -> bool:
    """Return whether a stated time is more than a day ahead."""
    return stated > now + _SKEW


def check_issue_time(issued_at: datetime, now: datetime) -> None:
    """Raise GW719 for a notice whose time of issue is more than a day ahead.

    Of two notices the one that was issued later counts: it would hide every correction until that day.
    """
    if is_far_ahead(issued_at, now):
        detail = f"it was issued at {issued_at.isoformat(timespec='seconds')}, which is more than a day ahead"
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")


def check_issued_since(issued_at: datetime, opened_at: datetime) -> None:
    """Raise GW719 for a notice that was issued more than a day before the case that it is about was opened.

    Every other notice counts before it: what it says would never be in force. A clock that is slow, and
    the first instant of a day that a document states without a time, are no mistake.
    """
    if issued_at < opened_at - _SKEW:
        issued, opened = (one.isoformat(timespec="seconds") for one in (issued_at, opened_at))
        detail = f"it was issued at {issued}, which is more than a day before its case was opened ({opened})"
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")
