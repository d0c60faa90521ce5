"""Says whether a PullRequest, or the login in it, is of now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.errors import PULL_REPEATED, GatewayError

__all__ = ["check_request_time"]

#: How old a PullRequest may be, and how far its clock may be ahead.
_AGE: Final = timedelta(minutes=5)
_AHEAD: Final = timedelta(minutes=1)


def check_request_time(at: datetime, now: datetime, location: str) -> None:
    """Raise GW341 for a time that is too old, or too far ahead of ours."""
    if not now - _AGE <= at <= now + _AHEAD:
        raise GatewayError(PULL_REPEATED, f"its time is {at.isoformat(timespec='seconds')}", location)
