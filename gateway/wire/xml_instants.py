"""Instants in the form of XML Schema (``xs:dateTime``)."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["parse_instant"]


def parse_instant(text: str) -> datetime:
    """Return an instant in UTC; raise ValueError or OverflowError.

    A schema accepts the hour 24 and the year 0000, which raise here.
    """
    return datetime.fromisoformat(text).astimezone(UTC)
