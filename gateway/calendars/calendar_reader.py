"""Reads one edition of a calendar from CSV: the week, the hours, and the days that differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from gateway.calendars.dated_table import DatedTable, open_table, parse_day
from gateway.calendars.working_calendar import EVERY, CalendarEdition, SpecialDay

__all__ = ["check_calendar", "make_calendar", "read_calendar"]

_KEYS: Final = (
    *("calendar", "edition", "organisations", "zone", "valid_from", "valid_until"),
    *("rest_days", "hours", "test", "source"),
)
_REQUIRED: Final = ("calendar", "edition", "organisations", "valid_from", "valid_until", "rest_days", "hours")
_COLUMNS: Final = ("day", "kind", "name")
_KINDS: Final = ("holiday", "substitute", "working")
_WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ZONE: Final = "Asia/Seoul"
_ORGANISATION: Final = re.compile(r"[A-Z][A-Z0-9-]{0,19}")
_HOURS: Final = re.compile(r"([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})")
_MOST_YEARS: Final = 100
#: Nobody works outside these years, and every time zone has each of their moments.
_YEARS: Final = range(1900, 3000)


def read_calendar(octets: bytes, place: str, organisations: Iterable[str] | None = None) -> CalendarEdition:
    """Return the edition of a file; raise GW709 with the line of the first mistake."""
    table = open_table(octets)
    check_calendar(table, organisations)
    table.raise_first(place)
    return make_calendar(table)


def check_calendar(table: DatedTable, organisations: Iterable[str] | None = None) -> None:
    """Note every mistake of a calendar; `organisations` are those that it may name, None for any."""
    table.check_head("calendar", _KEYS, _REQUIRED)
    first, last = table.read_day("valid_from"), table.read_day("valid_until")
    _check_period(table, first, last)
    _check_week(table)
    _check_zone(table)
    _check_organisations(table, None if organisations is None else frozenset(organisations))
    if table.check_columns(_COLUMNS):
        _check_days(table, first, last)


def _check_period(table: DatedTable, first: date | None, last: date | None) -> None:
    if first and first.year not in _YEARS:
        table.add_mistake(
            table.get_value("valid_from")[0], f"valid_from: expected a year from {_YEARS[0]} to {_YEARS[-1]}"
        )
    if first and last and not (first <= last and last.year - first.year < _MOST_YEARS):
        table.add_mistake(table.get_value("valid_until")[0], "valid_until: expected within a hundred years")


def _check_week(table: DatedTable) -> None:
    line, text = table.get_value("rest_days")
    wrong = [one for one in text.split() if one not in (*_WEEK, "none")]
    alone = "none" not in text.split() or text == "none"
    if wrong or not alone or set(text.split()) >= set(_WEEK):
        table.add_mistake(line, f"rest_days: expected days as saturday sunday, or none, not {text[:60]!r}")
    line, text = table.get_value("hours")
    if text and _parse_hours(text) is None:
        table.add_mistake(line, f"hours: expected as 09:00-18:00, not {text[:40]!r}")


def _check_zone(table: DatedTable) -> None:
    line, text = table.get_value("zone", _ZONE)
    try:
        ZoneInfo(text)
    except (KeyError, OSError, ValueError):
        table.add_mistake(line, f"zone: expected a time zone as {_ZONE}, not {text[:40]!r}")


def _check_organisations(table: DatedTable, known: frozenset[str] | None) -> None:
    line, text = table.get_value("organisations")
    for name in text.split():
        if name == EVERY:
            continue
        if not _ORGANISATION.fullmatch(name) or (known is not None and name not in known):
            table.add_mistake(line, f"organisations: {name[:40]!r} is not known")


def _check_days(table: DatedTable, first: date | None, last: date | None) -> None:
    seen: dict[date, int] = {}
    for line, row in table.rows:
        day = parse_day(row["day"])
        if day is None:
            table.add_mistake(line, f"day: expected a day as 2027-01-31, not {row['day'][:40]!r}")
        elif day in seen:
            table.add_mistake(line, f"{day} stands in line {seen[day]} already")
        elif (first and day < first) or (last and day > last):
            table.add_mistake(line, f"{day} is outside valid_from and valid_until")
        else:
            seen[day] = line
        if row["kind"] not in _KINDS:
            table.add_mistake(line, f"kind: expected {', '.join(_KINDS)}, not {row['kind'][:40]!r}")


def make_calendar(table: DatedTable) -> CalendarEdition:
    """Return the edition of a file without mistakes."""
    first, last = table.read_day("valid_from"), table.read_day("valid_until")
    hours = _parse_hours(table.get_value("hours")[1])
    assert first is not None
    assert last is not None
    assert hours is not None
    rest = table.get_value("rest_days")[1].split()
    return CalendarEdition(
        name=table.get_value("calendar")[1],
        edition=table.get_value("edition")[1],
        organisations=frozenset(table.get_value("organisations")[1].split()),
        zone=table.get_value("zone", _ZONE)[1],
        valid_from=first,
        valid_until=last,
        rest_days=frozenset(_WEEK.index(one) for one in rest if one != "none"),
        opens=hours[0],
        closes=hours[1],
        special=_make_days(table),
        is_test=table.get_value("test")[1] == "yes",
        source=table.get_value("source")[1],
        sha256=hashlib.sha256(table.octets).hexdigest(),
    )


def _make_days(table: DatedTable) -> Mapping[date, SpecialDay]:
    return {
        day: SpecialDay(row["kind"], row["name"])
        for _, row in table.rows
        if (day := parse_day(row["day"])) is not None
    }


def _parse_hours(text: str) -> tuple[time, time] | None:
    match = _HOURS.fullmatch(text)
    if match is None:
        return None
    try:
        opens, closes = time.fromisoformat(match[1]), time.fromisoformat(match[2])
    except ValueError:
        return None
    return (opens, closes) if opens < closes else None
