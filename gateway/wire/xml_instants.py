"""Instants in the form of XML Schema (``xs:dateTime``)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = ["parse_instant"]

#: A time in the first or the last year that can be written may have none in another zone.
_YEARS: Final = range(2, 9999)


def parse_instant(text: str) -> datetime:
    """Return an instant in UTC; raise ValueError or OverflowError.

    A schema accepts the hour 24 and the year 0000, which raise here. So do the years 0001 and 9999,
    which some write for no limit: such a time cannot be told in every zone.
    """
    moment = datetime.fromisoformat(text).astimezone(UTC)
    if moment.year not in _YEARS:
        raise ValueError(f"a time in the year {moment.year:04}: a year from 0002 to 9998 is expected")
    return moment
