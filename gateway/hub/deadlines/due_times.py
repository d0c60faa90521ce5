"""Computes when something is due about a request: by the notice, else by the terms of its document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import DeadlineKind
from gateway.errors import CALENDAR_UNKNOWN, GatewayError
from gateway.hub.deadlines.held_times import HeldTimes
from gateway.hub.hub import Hub

__all__ = ["DueTimes", "StartedTerm", "compute_due_times", "extend_due_times", "restate_deadline"]


@dataclass(frozen=True, slots=True)
class StartedTerm:
    """What begins for a document of an organisation: what is owed, since when, and until when if stated."""

    organisation: str
    document: str
    kind: DeadlineKind
    started_at: datetime
    stated: datetime | None = None


@dataclass(frozen=True, slots=True)
class DueTimes:
    """When something is due and when it is reminded of; `problem` says why that is not known."""

    days: int | None
    due_at: datetime | None
    remind_at: datetime | None
    edition: str | None
    problem: str | None = None

    @property
    def next_at(self) -> datetime | None:
        """Return when the clockwork has to look at it first."""
        return self.remind_at or self.due_at

    def describe_state(self) -> dict[str, Any]:
        """Return the columns of a deadline that has these times, and runs."""
        return {
            "state": "UNKNOWN" if self.problem else "OPEN",
            "due_at": self.due_at,
            "remind_at": self.remind_at,
            "next_at": self.next_at,
            "edition": self.edition,
            "problem": self.problem,
        }


def compute_due_times(timetable: Timetable, term: StartedTerm) -> DueTimes | None:
    """Return when something is due; None where nobody gives it a time."""
    if term.stated is None:
        return _compute_by_terms(timetable, term)
    calendar = timetable.get_calendar(term.organisation)
    days = None
    try:
        days, remind = _find_days(timetable, calendar, term)
        found = _make_times(calendar, None, calendar.complete_due_time(term.stated), remind)
        return _leave_out_past_reminder(found, term.started_at)
    except GatewayError as error:
        return _make_unknown(error, days)


def _compute_by_terms(timetable: Timetable, term: StartedTerm) -> DueTimes | None:
    """Return when something is due by the terms of its document; without terms no calendar is asked."""
    if not timetable.terms:
        return None
    try:
        day = timetable.get_calendar(term.organisation).get_local_day(term.started_at)
    except GatewayError as error:
        return _make_unknown(error, None)
    found = _find_end_of_term(timetable, term.organisation, term.document, term.kind, day)
    return None if found is None else _leave_out_past_reminder(found, term.started_at)


@lru_cache(maxsize=1024)
def _find_end_of_term(
    timetable: Timetable, organisation: str, document: str, kind: DeadlineKind, day: date
) -> DueTimes | None:
    """Return the times of a term that begins on a local day: they are those of every term of that day."""
    calendar = timetable.get_calendar(organisation)
    days, remind = _read_term(timetable, document, kind, day)
    if days is None:
        return None
    try:
        due = calendar.get_closing_time(calendar.add_working_days(day, days))
        return _make_times(calendar, days, due, remind)
    except GatewayError as error:
        return _make_unknown(error, days)


def extend_due_times(timetable: Timetable, term: StartedTerm, held: HeldTimes) -> DueTimes | None:
    """Return the times of a deadline that was held: as many working days later as it was held.

    Where the time without that is not known, it is computed from its beginning. While the deadline is held,
    it has that time. None where nobody gives it a time.
    """
    calendar = timetable.get_calendar(term.organisation)
    days = None
    try:
        days, remind = _find_days(timetable, calendar, term)
        due = held.due_at
        if due is None:
            if days is None:
                return None
            due = calendar.compute_deadline(term.started_at, days)
        more = 0 if held.open else held.count_days(calendar)
        if more:
            due = calendar.get_closing_time(calendar.add_working_days(calendar.get_local_day(due), more))
        since = max((end for _, end in held.over), default=term.started_at)
        return _leave_out_past_reminder(_make_times(calendar, days, due, remind), since)
    except GatewayError as error:
        return _make_unknown(error, days)


def restate_deadline(
    conn: Connection, hub: Hub, organisation: str, written: datetime | None
) -> datetime | None:
    """Return the time that an organisation states, with midnight as it was written in its own zone.

    What is stored has no offset: nine o'clock in Seoul is midnight in UTC, and is no padding.
    """
    if written is None or written.time() != time.min:
        return written
    return hub.timetable.read_timetable(conn).get_calendar(organisation).restate_midnight(written)


def _find_days(
    timetable: Timetable, calendar: WorkingCalendar, term: StartedTerm
) -> tuple[int | None, int | None]:
    """Return how many days the terms give, and how many before the end a reminder goes out.

    Without terms nobody gives any, and no calendar is asked.
    """
    if not timetable.terms:
        return None, None
    return _read_term(timetable, term.document, term.kind, calendar.get_local_day(term.started_at))


def _read_term(
    timetable: Timetable, document: str, kind: DeadlineKind, day: date
) -> tuple[int | None, int | None]:
    found = timetable.find_term(document, day)
    if found is None:
        return None, None
    given = {
        DeadlineKind.ACKNOWLEDGE: found.acknowledge,
        DeadlineKind.DECIDE: found.decide,
        DeadlineKind.ANSWER: found.answer,
    }
    return given.get(kind), found.remind


def _make_times(calendar: WorkingCalendar, days: int | None, due: datetime, remind: int | None) -> DueTimes:
    remind_at = None
    if remind is not None:
        try:
            remind_at = calendar.compute_reminder(due, remind)
        except GatewayError:
            # Before the first day of the calendar; nothing was owed then.
            remind_at = None
    if remind_at is not None and remind_at >= due:
        remind_at = None
    edition = calendar.find_edition(calendar.get_local_day(due)).label
    return DueTimes(days, due, remind_at, edition)


def _leave_out_past_reminder(found: DueTimes, began_at: datetime) -> DueTimes:
    """Return the times without a reminder that would go out before the term, or what is left of it, began."""
    is_past = found.remind_at is not None and found.remind_at <= began_at
    return replace(found, remind_at=None) if is_past else found


def _make_unknown(error: GatewayError, days: int | None) -> DueTimes:
    if error.problem is not CALENDAR_UNKNOWN:
        raise error
    return DueTimes(days, None, None, None, f"{error.problem.id} {error.detail}")
