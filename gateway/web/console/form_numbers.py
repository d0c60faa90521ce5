"""Quantities, days and times that a person or a link has written: bounded before anything is made of them."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["read_day", "read_moment", "read_quantity"]

_LONGEST: Final = 40
#: Years outside of these have no meaning here, and near the ends of the calendar no zone can be applied.
_FIRST_YEAR, _LAST_YEAR = 1971, 2998
_QUANTITY: Final = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")


def read_quantity(text: str) -> Decimal | None:
    """Return a decimal number without sign and exponent; None for any other text."""
    return Decimal(text) if _QUANTITY.fullmatch(text) else None


def read_day(text: str) -> date | None:
    """Return a day of ISO 8601 from 1971 to 2998; None for any other text."""
    moment = _read_iso(text)
    return None if moment is None else moment.date()


def read_moment(text: str, zone: ZoneInfo) -> datetime | None:
    """Return a time of ISO 8601 from 1971 to 2998, in the zone where it names none; None for other text."""
    moment = _read_iso(text)
    if moment is None:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _read_iso(text: str) -> datetime | None:
    if len(text) > _LONGEST:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None
