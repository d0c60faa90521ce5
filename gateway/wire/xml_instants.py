"""Moments as XML Schema writes them (``xs:dateTime``)."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["parse_instant"]


def parse_instant(text: str) -> datetime:
    """Return a moment, in UTC; raises ValueError or OverflowError.

    A schema takes the hour 24 and the year 0000, which are no instants here.
    """
    return datetime.fromisoformat(text).astimezone(UTC)
