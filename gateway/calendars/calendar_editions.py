"""All editions of calendars and terms that are in force: which one counts for an organisation and a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

from gateway.calendars.calendar_reader import check_calendar, make_calendar
from gateway.calendars.dated_table import CalendarMistake, open_table
from gateway.calendars.term_reader import check_terms, make_terms
from gateway.calendars.working_calendar import EVERY, CalendarEdition, DocumentTerm, TermEdition
from gateway.calendars.working_days import WorkingCalendar

__all__ = ["Timetable", "check_calendar_file", "make_timetable"]

Edition = CalendarEdition | TermEdition


@dataclass(frozen=True, slots=True, eq=False)
class Timetable:
    """Editions in the order in which they count: those loaded last come first.

    A timetable is equal to itself alone, so that what follows from it can be kept by it.
    """

    calendars: tuple[CalendarEdition, ...]
    terms: tuple[TermEdition, ...]

    def get_calendar(self, organisation: str) -> WorkingCalendar:
        """Return that of an organisation: its own editions, and those for all before the first of them.

        Once an organisation has a calendar of its own, a day that this does not cover is not known: another
        calendar would be a guess.
        """
        return _make_working_calendar(self, organisation)

    def find_term(self, document: str, day: date) -> DocumentTerm | None:
        """Return the terms of a document for what begins on a day; None where none are stated.

        A row that names the document counts before a row for every one, in whatever edition it stands.
        """
        covering = [
            one
            for one in self.terms
            if one.valid_from <= day and (one.valid_until is None or day <= one.valid_until)
        ]
        for name in (document, EVERY):
            for edition in covering:
                if name in edition.terms:
                    return edition.terms[name]
        return None


@lru_cache(maxsize=256)
def _make_working_calendar(timetable: Timetable, organisation: str) -> WorkingCalendar:
    own = [one for one in timetable.calendars if organisation in one.organisations]
    every = [one for one in timetable.calendars if EVERY in one.organisations and one not in own]
    if own:
        last = min(one.valid_from for one in own) - timedelta(days=1)
        earlier = (one for one in every if one.valid_from <= last)
        every = [replace(one, valid_until=min(one.valid_until, last)) for one in earlier]
    return WorkingCalendar(organisation, (*own, *every))


def make_timetable(editions: Sequence[Edition]) -> Timetable:
    """Return the timetable of editions, given in the order in which they were loaded."""
    latest = tuple(reversed(editions))
    return Timetable(
        tuple(one for one in latest if isinstance(one, CalendarEdition)),
        tuple(one for one in latest if isinstance(one, TermEdition)),
    )


def check_calendar_file(
    octets: bytes, organisations: Iterable[str] | None = None, documents: Iterable[str] | None = None
) -> tuple[Edition | None, tuple[CalendarMistake, ...]]:
    """Return the edition in a file of a calendar or of terms, or every mistake (at most a hundred)."""
    table = open_table(octets)
    is_terms = "terms" in table.head
    if is_terms:
        check_terms(table, documents)
    elif not table.is_unreadable:
        check_calendar(table, organisations)
    if table.mistakes:
        return None, tuple(sorted(table.mistakes, key=lambda one: one.line))
    return (make_terms(table) if is_terms else make_calendar(table)), ()
