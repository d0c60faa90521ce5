"""Decides whether a text is a date or a time: in one way for each format in which texts of others state one.

A pattern knows no calendar: 31 February has the format of a date. Rules, shapes and conversions ask here, so
that no document has a date that does not exist. The hour 24 and the second 60 are times of no format here; a
zone reaches from -14:00 to +14:00, as in XML Schema.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from gateway.wire.text_characters import quote_value
from gateway.wire.xml_instants import parse_day

#: The formats of `is_calendar_text`: 2026-01-31, 20260131, or a date that may have a time and its zone.
CalendarFormat = Literal["date", "day", "moment"]
_FORMAT_PATTERNS: Final = {
    "date": re.compile(r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"),
    "day": re.compile(r"(?P<date>[0-9]{8})"),
    "moment": re.compile(
        r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
        # Stated here: what Python makes of the hour 24 depends on its version.
        r"(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
        r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?)?"
    ),
}
_WCO_MOMENT: Final = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_TIME_PATTERN: Final = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?")


def is_calendar_text(text: str, calendar_format: CalendarFormat) -> bool:
    """Return whether a text is a date or a time of a format, and exists in the calendar."""
    match = _FORMAT_PATTERNS[calendar_format].fullmatch(text)
    if match is None:
        return False
    digits = match["date"].replace("-", "")
    return parse_day(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}") is not None


def convert_wco_moment(text: str) -> str:
    """Return a moment of the WCO Data Model (formats 102, 203 and 304) in ISO 8601; other text unchanged.

    A missing time stays missing and does not become midnight. Whether the result exists in the calendar says
    `is_calendar_text`.
    """
    match = _WCO_MOMENT.fullmatch(text.strip())
    if match is None:
        return text
    year, month, day, hour, minute, second, zone = match.groups()
    if hour is None:
        return f"{year}-{month}-{day}"
    if zone and zone != "Z" and ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:] or '00'}"
    return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{zone or ''}"


def describe_wrong_wco_moment(text: str) -> str | None:
    """Return why a text is no moment of the WCO Data Model, None where it is one.

    Its format code (UNTDID 2379) is not checked: a date alone is accepted even if the code is 304.
    """
    moment = convert_wco_moment(text)
    return None if is_calendar_text(moment, "moment") else describe_wrong_moment(moment, text)


def describe_wrong_moment(moment: str, original_text: str = "") -> str:
    """Return the error text for `moment`, which is no date or time in ISO 8601 by `is_calendar_text`.

    The error text quotes `original_text` instead of `moment`, if it is not empty.
    """
    quoted, (day, separator, time) = quote_value(original_text or moment), moment.partition("T")
    if not _FORMAT_PATTERNS["date"].fullmatch(day):
        return f"{quoted} is not allowed; expected is a date or, as 2026-01-31T12:00:00Z, a date with time"
    if not is_calendar_text(day, "date"):
        return f"{quoted} is not allowed: the calendar has no day {day}"
    if not separator or not _TIME_PATTERN.fullmatch(time):
        return f"{quoted} is not allowed; expected behind the day is a time as T12:00:00 or T12:00:00+09:00"
    return f"{quoted} is not allowed: no day has the time {time} (hours to 23, seconds to 59, zones to 14:00)"
