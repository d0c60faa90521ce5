"""All editions of calendars and terms that are in force: which one counts for an organisation and a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

from gateway.calendars.calendar_reader import check_calendar, check_terms, make_calendar, make_terms
from gateway.calendars.dated_table import CalendarMistake, open_table
from gateway.calendars.working_days import EVERY, CalendarEdition, DocumentTerm, TermEdition, WorkingCalendar

Edition = CalendarEdition | TermEdition


@dataclass(frozen=True, slots=True, eq=False)
class Timetable:
    """Editions in the order in which they count: those loaded last come first.

    A timetable is equal only to itself, so that values computed from it can be cached by it.
    """

    calendars: tuple[CalendarEdition, ...]
    terms: tuple[TermEdition, ...]

    def get_calendar(self, organisation: str) -> WorkingCalendar:
        """Return the calendar of an organisation: its own editions, and before them the general editions.

        Once an organisation has a calendar of its own, a day that this does not cover is not known: another
        calendar would be a guess.
        """
        return _make_working_calendar(self, organisation)

    def find_term(self, document: str, day: date) -> DocumentTerm | None:
        """Return the terms of a document that begin on a day; None if no edition states them.

        A row that names the document takes precedence over a row for every document, even one loaded later.
        """
        covering = [
            candidate
            for candidate in self.terms
            if candidate.valid_from <= day and (candidate.valid_until is None or day <= candidate.valid_until)
        ]
        for name in (document, EVERY):
            for edition in covering:
                if name in edition.terms:
                    return edition.terms[name]
        return None


@lru_cache(maxsize=256)
def _make_working_calendar(timetable: Timetable, organisation: str) -> WorkingCalendar:
    """Return the calendar of `organisation`: its own editions, and before the first of them the general ones.

    General editions name every organisation (`*`); their last day is the day before the first own edition.
    """
    specific = [calendar for calendar in timetable.calendars if organisation in calendar.organisations]
    general = [
        calendar
        for calendar in timetable.calendars
        if EVERY in calendar.organisations and calendar not in specific
    ]
    if specific:
        last_general_day = min(calendar.valid_from for calendar in specific) - timedelta(days=1)
        earlier = (calendar for calendar in general if calendar.valid_from <= last_general_day)
        general = [
            replace(calendar, valid_until=min(calendar.valid_until, last_general_day)) for calendar in earlier
        ]
    return WorkingCalendar(organisation, (*specific, *general))


def make_timetable(editions: Sequence[Edition]) -> Timetable:
    """Return the timetable of editions, given in the order in which they were loaded."""
    latest = tuple(reversed(editions))
    return Timetable(
        tuple(edition for edition in latest if isinstance(edition, CalendarEdition)),
        tuple(edition for edition in latest if isinstance(edition, TermEdition)),
    )


def check_calendar_file(
    octets: bytes, organisations: Iterable[str] | None = None, documents: Iterable[str] | None = None
) -> tuple[Edition | None, tuple[CalendarMistake, ...]]:
    """Return the edition in a file of a calendar or of terms, or every mistake (at most a hundred)."""
    table = open_table(octets)
    is_terms = "terms" in table.head
    if is_terms:
        check_terms(table, documents)
    else:
        check_calendar(table, organisations)
    if table.mistakes:
        return None, tuple(sorted(table.mistakes, key=lambda one: one.line))
    return (make_terms(table) if is_terms else make_calendar(table)), ()
