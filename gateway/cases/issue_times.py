"""Times that others state of what they did: what is far ahead is a mistake of theirs, and is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.errors import ISSUED_AHEAD, GatewayError

__all__ = ["check_issue_time", "is_far_ahead"]

#: A clock, or a booking, may have the day of another time zone.
_AHEAD: Final = timedelta(days=1)


def is_far_ahead(stated: datetime, now: datetime) -> bool:
    """Return whether a stated time is more than a day ahead."""
    return stated > now + _AHEAD


def check_issue_time(issued_at: datetime, now: datetime) -> None:
    """Raise GW719 for a notice whose time of issue is more than a day ahead.

    Of two notices the one that was issued later counts: it would hide every correction until that day.
    """
    if is_far_ahead(issued_at, now):
        detail = f"it was issued at {issued_at.isoformat(timespec='seconds')}, which is more than a day ahead"
        raise GatewayError(ISSUED_AHEAD, detail, "IssuedAt")
