"""The time at which a notice was issued: of two notices, the one that was issued later counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.errors import ISSUED_AHEAD, GatewayError

__all__ = ["check_issue_time"]

#: A clock may show the time of another zone. What is later would hide every correction until that day.
_AHEAD: Final = timedelta(days=1)


def check_issue_time(issued_at: datetime, now: datetime) -> None:
    """Raise GW719 for a notice whose time of issue is more than a day ahead."""
    if issued_at > now + _AHEAD:
        detail = f"it was issued at {issued_at.isoformat(timespec='seconds')}, which is more than a day ahead"
        raise GatewayError(ISSUED_AHEAD, detail, "IssuedAt")
