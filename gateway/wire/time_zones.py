"""Instants and days in a time zone, for the whole calendar: the years 1 to 9999.

Some certificates and agreements end at 9999-12-31T23:59:59Z, which stands for no end. East of Greenwich that
instant lies in the year 10000, which no datetime can have; the first hours of the year 1 lie in the year 0
west of it. All conversions are here, so that each has an answer for them.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import MINYEAR, UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_FIRST_INSTANT: Final = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)


def convert_to_utc(moment: datetime) -> datetime:
    """Return a time with a zone in UTC; raise ValueError where UTC has it outside of the years 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time outside of the years 1 to 9999 in UTC") from None


def limit_to_utc(moment: datetime) -> datetime:
    """Return a time with a zone in UTC: the first or the last instant of UTC for one before or after them."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST_INSTANT if moment.year == MINYEAR else _LAST_INSTANT


def convert_to_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a time in a zone; in UTC where the zone has no such time, and unchanged where UTC has none.

    The time is also returned in UTC if the offset of the zone then has seconds, as before standard time:
    RFC 3339 and XML Schema cannot write such an offset.
    """
    for candidate in (zone, UTC):
        with suppress(OverflowError):
            local_moment = moment.astimezone(candidate)
            if not (local_moment.utcoffset() or timedelta()) % _MINUTE:
                return local_moment
    return moment


def find_day(moment: datetime, zone: tzinfo) -> date:
    """Return the day of a time in a zone; the day that it states where the zone has no such time."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return moment.date()


def begin_day(day: date, zone: tzinfo) -> datetime:
    """Return the instant in UTC at which a day begins in a zone, and not before the first one of UTC."""
    return limit_to_utc(datetime.combine(day, time.min, zone))


def end_day(day: date, zone: tzinfo) -> datetime:
    """Return the instant in UTC at which the next day begins in a zone, and not after the last one of UTC."""
    return _LAST_INSTANT if day == date.max else begin_day(day + timedelta(days=1), zone)
