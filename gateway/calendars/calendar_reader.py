"""Reads editions from CSV: of a calendar (week, hours, days that differ), and of the terms of documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from gateway.calendars.dated_table import DatedTable, open_table
from gateway.calendars.working_days import EVERY, CalendarEdition, DocumentTerm, SpecialDay, TermEdition
from gateway.wire import parse_day

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
#: The years in which a calendar may begin: their instants can be converted to every time zone.
_YEARS: Final = range(1900, 3000)


def read_calendar(
    octets: bytes, location: str, organisations: Iterable[str] | None = None
) -> CalendarEdition:
    """Return the edition of a file; raise GW709 with the line of the first mistake."""
    table = open_table(octets)
    check_calendar(table, organisations)
    table.raise_first_mistake(location)
    return make_calendar(table)


def check_calendar(table: DatedTable, organisations: Iterable[str] | None = None) -> None:
    """Note every mistake of a calendar; `organisations` are those that it may name, None for any.

    A file that cannot be read as text has the mistake of its reader alone.
    """
    if table.is_unreadable:
        return
    table.check_head("calendar", _KEYS, _REQUIRED)
    first, last = table.read_day("valid_from"), table.read_day("valid_until")
    _check_period(table, first, last)
    _check_week(table)
    _check_zone(table)
    _check_organisations(table, None if organisations is None else frozenset(organisations))
    if table.check_columns(_COLUMNS):
        _check_special_days(table, first, last)


def _check_period(table: DatedTable, first_day: date | None, last_day: date | None) -> None:
    """Add a mistake to `table` for a year that is not allowed, or a period that is reversed or too long."""
    if first_day and first_day.year not in _YEARS:
        table.add_mistake(
            table.get_value("valid_from")[0], f"valid_from: expected a year from {_YEARS[0]} to {_YEARS[-1]}"
        )
    if (
        first_day
        and last_day
        and not (first_day <= last_day and last_day.year - first_day.year < _MOST_YEARS)
    ):
        table.add_mistake(table.get_value("valid_until")[0], "valid_until: expected within a hundred years")


def _check_week(table: DatedTable) -> None:
    """Add a mistake to `table` for `rest_days` or `hours` of a wrong form; a week needs one working day."""
    line, text = table.get_value("rest_days")
    wrong = [day for day in text.split() if day not in (*_WEEK, "none")]
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


def _check_organisations(table: DatedTable, allowed_organisations: frozenset[str] | None) -> None:
    """Add a mistake to the table for each organisation of its head that is not known; None: any is known."""
    line, text = table.get_value("organisations")
    for name in text.split():
        if name == EVERY:
            continue
        if not _ORGANISATION.fullmatch(name) or (
            allowed_organisations is not None and name not in allowed_organisations
        ):
            table.add_mistake(line, f"organisations: {name[:40]!r} is not known")


def _check_special_days(table: DatedTable, first_day: date | None, last_day: date | None) -> None:
    """Add a mistake to `table` for each day that is malformed, repeated or outside, or of unknown kind."""
    line_by_day: dict[date, int] = {}
    for line, row in table.rows:
        day = parse_day(row["day"])
        if day is None:
            table.add_mistake(line, f"day: expected a day as 2027-01-31, not {row['day'][:40]!r}")
        elif day in line_by_day:
            table.add_mistake(line, f"{day} stands in line {line_by_day[day]} already")
        elif (first_day and day < first_day) or (last_day and day > last_day):
            table.add_mistake(line, f"{day} is outside valid_from and valid_until")
        else:
            line_by_day[day] = line
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
        rest_days=frozenset(_WEEK.index(day) for day in rest if day != "none"),
        opens=hours[0],
        closes=hours[1],
        special=_make_days(table),
        is_test=table.get_value("test")[1] == "yes",
        source=table.get_value("source")[1],
        sha256=hashlib.sha256(table.octets).hexdigest(),
    )


def _make_days(table: DatedTable) -> Mapping[date, SpecialDay]:
    """Return the special days of a table by date; rows with a malformed day are left out."""
    return {
        day: SpecialDay(row["kind"], row["name"])
        for _, row in table.rows
        if (day := parse_day(row["day"])) is not None
    }


def _parse_hours(text: str) -> tuple[time, time] | None:
    """Return opening and closing time of a text such as `09:00-18:00`; None if malformed or reversed."""
    match = _HOURS.fullmatch(text)
    if match is None:
        return None
    try:
        opens, closes = time.fromisoformat(match[1]), time.fromisoformat(match[2])
    except ValueError:
        return None
    return (opens, closes) if opens < closes else None


_TERM_KEYS: Final = ("terms", "edition", "valid_from", "valid_until", "test", "source")
_TERM_REQUIRED: Final = ("terms", "edition", "valid_from")
_NUMBERS: Final = ("acknowledge", "decide", "answer", "remind")
_TERM_COLUMNS: Final = ("document", *_NUMBERS)
_DOCUMENT: Final = re.compile(r"[A-Z][A-Z0-9-]{0,49}")
_DAYS: Final = re.compile(r"[1-9][0-9]{0,2}|")


def read_terms(octets: bytes, location: str, documents: Iterable[str] | None = None) -> TermEdition:
    """Return the edition of a file; raise GW709 with the line of the first mistake."""
    table = open_table(octets)
    check_terms(table, documents)
    table.raise_first_mistake(location)
    return make_terms(table)


def check_terms(table: DatedTable, documents: Iterable[str] | None = None) -> None:
    """Note every mistake of a file of terms; `documents` are those that it may name, None for any.

    A file that cannot be read as text has the mistake of its reader alone.
    """
    if table.is_unreadable:
        return
    table.check_head("terms", _TERM_KEYS, _TERM_REQUIRED)
    first, last = table.read_day("valid_from"), table.read_day("valid_until")
    if first and last and last < first:
        table.add_mistake(table.get_value("valid_until")[0], "valid_until is before valid_from")
    if table.check_columns(_TERM_COLUMNS):
        _check_rows(table, None if documents is None else frozenset(documents))


def _check_rows(table: DatedTable, allowed_documents: frozenset[str] | None) -> None:
    """Add a mistake to `table` for each unknown or repeated document and each wrong number of working days.

    With `allowed_documents` None, every document id of the right form is accepted.
    """
    line_by_document: dict[str, int] = {}
    for line, row in table.rows:
        document = row["document"]
        if document != EVERY and (
            not _DOCUMENT.fullmatch(document)
            or (allowed_documents is not None and document not in allowed_documents)
        ):
            table.add_mistake(line, f"document: {document[:40]!r} is not known")
        elif document in line_by_document:
            table.add_mistake(line, f"{document} stands in line {line_by_document[document]} already")
        line_by_document.setdefault(document, line)
        for column in _NUMBERS:
            if not _DAYS.fullmatch(row[column]):
                table.add_mistake(line, f"{column}: expected 1 to 999 working days, or nothing")


def make_terms(table: DatedTable) -> TermEdition:
    """Return the edition of a file without mistakes."""
    first = table.read_day("valid_from")
    assert first is not None
    return TermEdition(
        name=table.get_value("terms")[1],
        edition=table.get_value("edition")[1],
        valid_from=first,
        valid_until=table.read_day("valid_until"),
        terms=_make_terms(table),
        is_test=table.get_value("test")[1] == "yes",
        source=table.get_value("source")[1],
        sha256=hashlib.sha256(table.octets).hexdigest(),
    )


def _make_terms(table: DatedTable) -> Mapping[str, DocumentTerm]:
    """Return the terms in working days by document; an empty column is None."""
    term_by_document = {}
    for _, row in table.rows:
        numbers = [int(row[column]) if row[column] else None for column in _NUMBERS]
        term_by_document[row["document"]] = DocumentTerm(row["document"], *numbers)
    return term_by_document
