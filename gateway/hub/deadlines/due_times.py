"""Computes the due times of a request: by the notice, else by the terms of its document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import DeadlineKind, list_agency_deadline_kinds
from gateway.errors import CALENDAR_UNKNOWN, GatewayError
from gateway.hub.hub import Hub
from gateway.state_machines import REQUEST
from gateway.store import NewDeadline, deadlines


@dataclass(frozen=True, slots=True)
class HeldTimes:
    """The periods in which a deadline is held: the `open` ones, by their causes, and those that are `over`.

    `open_since_by_cause` maps each cause (an obligation of the applicant) to its beginning. `due_at` is the
    end of the term without these periods; None if it must be computed from the beginning of the term.
    """

    open_since_by_cause: Mapping[str, datetime] = field(default_factory=dict)
    past_periods: tuple[tuple[datetime, datetime], ...] = ()
    due_at: datetime | None = None

    def __bool__(self) -> bool:
        """Return whether there is any period."""
        return bool(self.open_since_by_cause or self.past_periods)

    @property
    def started_at(self) -> datetime:
        """Return when the first period began."""
        return min((*self.open_since_by_cause.values(), *(start for start, _ in self.past_periods)))

    def update_open_causes(
        self, causes: Iterable[str], now: datetime, find_end: Callable[[str], datetime]
    ) -> HeldTimes:
        """Return the periods when the applicant owes `causes` at `now`.

        A cause that is not in `causes` any more becomes a period that is over; `find_end` returns its end.
        """
        open_periods = {cause: self.open_since_by_cause.get(cause, now) for cause in sorted(causes)}
        ended = [
            (at, max(at, find_end(cause)))
            for cause, at in self.open_since_by_cause.items()
            if cause not in open_periods
        ]
        return HeldTimes(open_periods, (*self.past_periods, *ended), self.due_at)

    def count_days(self, calendar: WorkingCalendar) -> int:
        """Return the working days in the periods that are over, each counted once.

        The day on which a period begins is not counted, as in a term. Raises GW710 if the calendar does not
        know a day.
        """
        total, counted = 0, None
        for start, end in sorted(self.past_periods):
            first, last = calendar.get_local_day(start), calendar.get_local_day(end)
            first = first if counted is None else max(first, counted)
            if last > first:
                total += calendar.count_working_days(first, last)
                counted = last
        return total

    def describe(self) -> dict[str, Any]:
        """Return the periods as plain values for JSON."""
        return {
            "open": {cause: _write_time(at) for cause, at in self.open_since_by_cause.items()},
            "over": [[_write_time(start), _write_time(end)] for start, end in self.past_periods],
            "due_at": None if self.due_at is None else _write_time(self.due_at),
        }

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> HeldTimes:
        """Return the periods from `described`, the values that `describe` has returned."""
        read, due = datetime.fromisoformat, described["due_at"]
        return cls(
            {cause: read(at) for cause, at in described["open"].items()},
            tuple((read(start), read(end)) for start, end in described["over"]),
            None if due is None else read(due),
        )


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class StartedTerm:
    """A term for a document of an organisation: its kind, its beginning, and its end if one is stated."""

    organisation: str
    document: str
    kind: DeadlineKind
    started_at: datetime
    stated_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The due time and the time of the reminder; `problem` says why they are not known."""

    days: int | None
    due_at: datetime | None
    remind_at: datetime | None
    edition: str | None
    problem: str | None = None

    @property
    def next_at(self) -> datetime | None:
        """Return when the clockwork has to check it first."""
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
    """Return the due times of a term; None if neither the timetable nor a notice gives it a time.

    If the calendar does not know a day (GW710), the due times state this problem instead of a time.
    """
    if term.stated_end is None:
        return _compute_by_timetable(timetable, term)
    calendar = timetable.get_calendar(term.organisation)
    days = None
    try:
        days, reminder_days = _find_days(timetable, calendar, term)
        # No number of days is given: the end is stated.
        times = _make_times(calendar, None, calendar.complete_due_time(term.stated_end), reminder_days)
        return _leave_out_past_reminder(times, term.started_at)
    except GatewayError as error:
        return _make_unknown(error, days)


def _compute_by_timetable(timetable: Timetable, term: StartedTerm) -> DueTimes | None:
    """Return the due times by the terms of a document; without terms no calendar is read."""
    if not timetable.terms:
        return None
    try:
        day = timetable.get_calendar(term.organisation).get_local_day(term.started_at)
    except GatewayError as error:
        return _make_unknown(error, None)
    times = _find_end_of_term(timetable, term.organisation, term.document, term.kind, day)
    return None if times is None else _leave_out_past_reminder(times, term.started_at)


@lru_cache(maxsize=1024)
def _find_end_of_term(
    timetable: Timetable, organisation: str, document: str, kind: DeadlineKind, day: date
) -> DueTimes | None:
    """Return the times of a term that begins on a local day: they are those of every term of that day."""
    calendar = timetable.get_calendar(organisation)
    days, reminder_days = _read_term(timetable, document, kind, day)
    if days is None:
        return None
    try:
        due = calendar.get_closing_time(calendar.add_working_days(day, days))
        return _make_times(calendar, days, due, reminder_days)
    except GatewayError as error:
        return _make_unknown(error, days)


def extend_due_times(timetable: Timetable, term: StartedTerm, held_times: HeldTimes) -> DueTimes | None:
    """Return the times of a deadline that was held: later by the number of working days that it was held.

    If its due time without the periods of holding is not known, this time is computed from the beginning of
    the deadline. While the deadline is held, it keeps this time. None if neither the timetable nor a notice
    gives it a time.
    """
    calendar = timetable.get_calendar(term.organisation)
    days = None
    try:
        days, reminder_days = _find_days(timetable, calendar, term)
        due = held_times.due_at
        if due is None:
            if days is None:
                return None
            due = calendar.compute_deadline(term.started_at, days)
        held_days = 0 if held_times.open_since_by_cause else held_times.count_days(calendar)
        if held_days:
            due = calendar.get_closing_time(calendar.add_working_days(calendar.get_local_day(due), held_days))
        since = max((end for _, end in held_times.past_periods), default=term.started_at)
        return _leave_out_past_reminder(_make_times(calendar, days, due, reminder_days), since)
    except GatewayError as error:
        return _make_unknown(error, days)


def restate_deadline(
    conn: Connection, hub: Hub, organisation: str, written: datetime | None
) -> datetime | None:
    """Return the time that an organisation states, with its midnight as midnight in the organisation's zone.

    A stored time has no offset: nine o'clock in Seoul is midnight in UTC, and would be taken for a day
    without a time. Other times, and None, are returned unchanged.
    """
    if written is None or written.time() != time.min:
        return written
    return hub.timetable.read_timetable(conn).get_calendar(organisation).restate_midnight(written)


def _find_days(
    timetable: Timetable, calendar: WorkingCalendar, term: StartedTerm
) -> tuple[int | None, int | None]:
    """Return the working days of a term, and how many days before its end a reminder is sent.

    Both are None if there are no terms; the calendar is then not read.
    """
    if not timetable.terms:
        return None, None
    return _read_term(timetable, term.document, term.kind, calendar.get_local_day(term.started_at))


def _read_term(
    timetable: Timetable, document: str, kind: DeadlineKind, day: date
) -> tuple[int | None, int | None]:
    """Return the working days of a term that begins on `day`, and how many days before its end to remind.

    Both are None if the timetable has no term for the document; the first one if it has none of this kind.
    """
    term = timetable.find_term(document, day)
    if term is None:
        return None, None
    days_by_kind = {
        DeadlineKind.ACKNOWLEDGE: term.acknowledge,
        DeadlineKind.DECIDE: term.decide,
        DeadlineKind.ANSWER: term.answer,
    }
    return days_by_kind.get(kind), term.remind


def _make_times(
    calendar: WorkingCalendar, days: int | None, due: datetime, reminder_days: int | None
) -> DueTimes:
    """Return the times of a term of `days` working days that ends at `due`.

    `reminder_days` is how many working days before the end a reminder is sent; None for none. There is none
    either if it would be before the first day of the calendar, or not before the end.
    """
    remind_at = None
    if reminder_days is not None:
        try:
            remind_at = calendar.compute_reminder(due, reminder_days)
        except GatewayError:
            # Before the first day of the calendar; nothing was owed then.
            remind_at = None
    if remind_at is not None and remind_at >= due:
        remind_at = None
    edition = calendar.find_edition(calendar.get_local_day(due)).label
    return DueTimes(days, due, remind_at, edition)


def _leave_out_past_reminder(times: DueTimes, began_at: datetime) -> DueTimes:
    """Return the times without a reminder that would be sent before the rest of the term began.

    `began_at` is the beginning of the term, or of its remaining part.
    """
    is_past = times.remind_at is not None and times.remind_at <= began_at
    return replace(times, remind_at=None) if is_past else times


def _make_unknown(error: GatewayError, days: int | None) -> DueTimes:
    """Return due times that are not known, for an unknown calendar (GW710); raise any other error again."""
    if error.problem is not CALENDAR_UNKNOWN:
        raise error
    return DueTimes(days, None, None, None, f"{error.problem.id} {error.detail}")


#: The kinds of deadlines of an agency for an application that it has not received yet, sorted by name.
_FIRST_KINDS: Final = tuple(sorted(list_agency_deadline_kinds(REQUEST.initial_state, is_acknowledged=False)))


@dataclass(frozen=True, slots=True)
class FirstDeadlines:
    """The obligations of an agency about a new application, each with its due times."""

    obligations: Sequence[tuple[StartedTerm, DueTimes]]

    @property
    def due_at(self) -> datetime | None:
        """Return the earliest due time of the agency; None if no deadline has a time."""
        return min((times.due_at for _, times in self.obligations if times.due_at is not None), default=None)


def compute_first_deadlines(
    conn: Connection, hub: Hub, documents: Sequence[tuple[str, str]], now: datetime
) -> list[FirstDeadlines]:
    """Return the deadlines of new applications, each given by its organisation and document."""
    if not documents:
        return []
    timetable = hub.timetable.read_timetable(conn)
    return [_compute_first(timetable, *document, now) for document in documents]


def _compute_first(timetable: Timetable, organisation: str, document: str, now: datetime) -> FirstDeadlines:
    terms = [StartedTerm(organisation, document, kind, now) for kind in _FIRST_KINDS]
    term_times = [(term, compute_due_times(timetable, term)) for term in terms]
    return FirstDeadlines([(term, times) for term, times in term_times if times is not None])


def insert_first_deadlines(
    conn: Connection, case_id: int, first_deadlines: Iterable[tuple[int, FirstDeadlines]]
) -> None:
    """Store the first deadlines of new applications (row ids) of a locked case."""
    new = [
        NewDeadline(
            case_id=case_id,
            request_id=request,
            kind=term.kind.value,
            cause="",
            started_at=term.started_at,
            days=times.days,
            **times.describe_state(),
        )
        for request, first in first_deadlines
        for term, times in first.obligations
    ]
    deadlines.insert_deadlines(conn, new)
