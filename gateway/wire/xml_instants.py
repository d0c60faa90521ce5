"""Reads and writes instants in the form of XML Schema (``xs:dateTime``), and reads days and those of JSON."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, tzinfo
from typing import Final, Literal

from gateway.wire.time_zones import convert_to_utc

_DATETIME_PATTERN: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?P<hour>[0-9]{2}):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    # The zones of the schema reach from -14:00 to +14:00.
    r"(?P<zone>Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)
_DAY_PATTERN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_CHARACTERS: Final = 128
_XML_SPACE: Final = " \t\r\n"
#: A time in the first or the last year that can be written may have none in another zone.
_ALLOWED_YEARS: Final = range(2, 9999)


def parse_datetime(text: str, *, default_zone: tzinfo | None = None) -> datetime:
    """Return the time in UTC of an ``xs:dateTime``, which may have white space around it.

    `default_zone` is the zone of a time that names none. If it is None, such a time is refused: its instant
    would depend on the machine that reads it. Fractions of a microsecond are cut off. Raises ValueError, also
    for values that the schema accepts and that no datetime can have: the hour 24, the year 0000.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"a date and time may have at most {_MAX_CHARACTERS} characters")
    match = _DATETIME_PATTERN.fullmatch(text.strip(_XML_SPACE))
    if match is None:
        raise ValueError("not a date and time of XML Schema")
    if match["zone"] is None and default_zone is None:
        raise ValueError("a date and time without a zone: Z or an offset, as +09:00, is expected")
    try:
        if match["hour"] == "24":
            # Newer versions of Python read it as the next day.
            raise ValueError("the hour 24")
        moment = datetime.fromisoformat(match[0])  # bounded: measured and matched before
        return convert_to_utc(moment.replace(tzinfo=default_zone) if moment.tzinfo is None else moment)
    except ValueError:
        raise ValueError("no such date and time") from None


def parse_day(text: str) -> date | None:
    """Return the day of a text as 2027-01-31; None for another text."""
    if not _DAY_PATTERN.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)  # bounded: measured and matched before
    except ValueError:
        return None


def parse_instant(text: str) -> datetime:
    """Return the time in UTC of an ``xs:dateTime`` with a zone; raise ValueError.

    The years 0001 and 9999, which some write for no limit, are refused: such a time does not exist in every
    time zone.
    """
    return _check_year(parse_datetime(text))


def parse_iso_datetime(text: str) -> datetime:
    """Return the date and time of a text of ISO 8601, with its zone if it names one; raise ValueError.

    Between day and time any sign of ASCII may stand. A digit of another script may not, which Python takes
    there, too.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"a date and time may have at most {_MAX_CHARACTERS} characters")
    if not text.isascii():
        raise ValueError("not a date and time of ISO 8601")
    return datetime.fromisoformat(text)  # bounded: measured before


def parse_iso_instant(text: str) -> datetime:
    """Return the time in UTC of a text of ISO 8601 with a zone, in any form of it; raise ValueError.

    For JSON: its writers leave out seconds that are zero, or the colon of an offset. The years are those of
    `parse_instant`.
    """
    moment = parse_iso_datetime(text)
    if moment.tzinfo is None:
        raise ValueError("a date and time without a zone: Z or an offset, as +09:00, is expected")
    return _check_year(convert_to_utc(moment))


def _check_year(moment: datetime) -> datetime:
    if moment.year not in _ALLOWED_YEARS:
        raise ValueError(f"a time in the year {moment.year:04}: a year from 0002 to 9998 is expected")
    return moment


def format_instant(
    moment: datetime, precision: Literal["auto", "seconds", "milliseconds", "microseconds"] = "milliseconds"
) -> str:
    """Return a time with a zone as an ``xs:dateTime`` in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
