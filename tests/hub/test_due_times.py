"""What is due by the terms of a document is computed once a day, and is right for each moment of it."""

from __future__ import annotations

from datetime import UTC, date, datetime

from gateway.calendars import TermEdition, Timetable
from gateway.calendars.working_days import DocumentTerm
from gateway.cases import DeadlineKind
from gateway.hub.deadlines.due_times import StartedTerm, compute_due_times
from tests.calendars.test_working_days import SEOUL, make_edition

#: A Monday: the working hours begin at nine.
MONDAY = date(2026, 6, 1)


def make_timetable(decide: int) -> Timetable:
    terms = {"DOC": DocumentTerm("DOC", 1, decide, None, 1)}
    edition = TermEdition("made", "1", date(2026, 1, 1), None, terms, True, "", "")
    return Timetable((make_edition(),), (edition,))


def find_times(timetable: Timetable, hour: int, day: date = MONDAY, kind: str = "decide"):
    begun = datetime(day.year, day.month, day.day, hour, tzinfo=SEOUL).astimezone(UTC)
    found = compute_due_times(timetable, StartedTerm("X", "DOC", DeadlineKind(kind), begun))
    assert found is not None
    assert found.due_at is not None
    return found


def test_a_reminder_is_left_out_for_what_begins_after_it_alone():
    timetable = make_timetable(1)
    opening = datetime(2026, 6, 1, 9, tzinfo=SEOUL)
    assert [find_times(timetable, hour).remind_at for hour in (8, 9, 10, 8)] == [opening, None, None, opening]
    assert {find_times(timetable, hour).due_at for hour in (8, 10)} == {
        datetime(2026, 6, 2, 18, tzinfo=SEOUL)
    }


def test_each_day_kind_and_timetable_has_times_of_its_own():
    timetable, later = make_timetable(2), make_timetable(3)
    found = [
        find_times(timetable, 12),
        find_times(timetable, 12, date(2026, 6, 2)),
        find_times(timetable, 12, kind="acknowledge"),
        find_times(later, 12),
        find_times(timetable, 12),
    ]
    assert [one.due_at.astimezone(SEOUL).date().day for one in found] == [3, 4, 2, 4, 3]


def test_a_day_that_no_calendar_covers_is_no_less_unknown_the_second_time():
    timetable = make_timetable(5)
    for _ in range(2):
        term = StartedTerm("X", "DOC", DeadlineKind.DECIDE, datetime(2029, 12, 28, tzinfo=UTC))
        found = compute_due_times(timetable, term)
        assert found is not None
        assert (found.days, found.due_at) == (5, None)
        assert found.problem is not None
        assert found.problem.startswith("GW710")
