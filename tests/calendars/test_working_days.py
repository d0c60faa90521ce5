"""Working days: property tests over random calendars, and days of Korea that are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calendars import CalendarEdition, SpecialDay, WorkingCalendar
from gateway.errors import CALENDAR_UNKNOWN, GatewayError
from gateway.hub import load_shipped_timetable

SEOUL = ZoneInfo("Asia/Seoul")
FIRST, LAST = date(2026, 1, 1), date(2029, 12, 31)
DAYS = st.dates(date(2026, 6, 1), date(2027, 6, 1))
KOREA = load_shipped_timetable().get_calendar("KFDA")


def make_edition(first: date = FIRST, last: date = LAST, **other: object) -> CalendarEdition:
    values: dict[str, object] = {
        "rest_days": frozenset({5, 6}),
        "special": {},
        "zone": "Asia/Seoul",
    } | other
    return CalendarEdition(
        name="made",
        edition="1",
        organisations=frozenset("*"),
        valid_from=first,
        valid_until=last,
        opens=time(9),
        closes=time(18),
        is_test=True,
        source="",
        sha256="",
        **values,  # type: ignore[arg-type]
    )


@st.composite
def calendars(draw: st.DrawFn) -> WorkingCalendar:
    rest = draw(st.frozensets(st.integers(0, 6), max_size=4))
    kinds = st.sampled_from(["holiday", "substitute", "working"])
    special = draw(st.dictionaries(DAYS, kinds, max_size=30))
    days = {day: SpecialDay(kind, "") for day, kind in special.items()}
    return WorkingCalendar("X", (make_edition(rest_days=rest, special=days),))


@pytest.mark.night
@given(calendars(), DAYS, st.integers(1, 60))
def test_the_days_that_are_added_are_counted_back(calendar: WorkingCalendar, day: date, count: int) -> None:
    end = calendar.add_working_days(day, count)
    assert calendar.is_working_day(end)
    assert calendar.count_working_days(day, end) == count
    back = calendar.add_working_days(end, -count)
    assert calendar.count_working_days(back, end) == count
    assert back <= day or not calendar.is_working_day(day)


@pytest.mark.night
@given(calendars(), DAYS, DAYS, st.integers(0, 40), st.integers(0, 40))
def test_later_days_and_more_days_end_later(
    calendar: WorkingCalendar, one: date, other: date, few: int, more: int
) -> None:
    first, last = sorted((one, other))
    assert calendar.add_working_days(first, few) <= calendar.add_working_days(last, few)
    start = calendar.find_next_working_day(one)
    assert calendar.add_working_days(start, few) < calendar.add_working_days(start, few + 1 + more)
    assert calendar.count_working_days(first, last) == -calendar.count_working_days(last, first)


@pytest.mark.night
@given(calendars(), DAYS, st.integers(0, 20), st.integers(0, 20))
def test_days_are_added_in_two_steps_as_in_one(
    calendar: WorkingCalendar, day: date, one: int, other: int
) -> None:
    start = calendar.find_next_working_day(day)
    twice = calendar.add_working_days(calendar.add_working_days(start, one), other)
    assert twice == calendar.add_working_days(start, one + other)


MOMENTS = st.tuples(*[st.datetimes(datetime(2026, 6, 1), datetime(2026, 9, 1), timezones=st.just(SEOUL))] * 3)


@pytest.mark.night
@given(calendars(), MOMENTS)
def test_working_time_is_the_sum_of_its_parts(
    calendar: WorkingCalendar, moments: tuple[datetime, ...]
) -> None:
    start, middle, end = sorted(moments)
    whole = calendar.measure_working_time(start, end)
    parts = calendar.measure_working_time(start, middle) + calendar.measure_working_time(middle, end)
    assert whole == parts
    assert timedelta() <= whole <= end - start


@pytest.mark.parametrize(
    ("start", "days", "due"),
    [
        # Chuseok 2026: Thursday to Saturday, so the week has three working days.
        ("2026-09-21T10:00:00+09:00", 3, "2026-09-28T18:00:00+09:00"),
        # Lunar New Year 2027 falls on a Sunday: Tuesday is the substitute.
        ("2027-02-05T10:00:00+09:00", 1, "2027-02-10T18:00:00+09:00"),
        # 23:00 in UTC is the next day in Seoul.
        ("2026-11-23T23:00:00+00:00", 1, "2026-11-25T18:00:00+09:00"),
        # What begins at rest is counted from the first working day.
        ("2026-11-21T10:00:00+09:00", 1, "2026-11-23T18:00:00+09:00"),
    ],
)
def test_a_deadline_ends_with_the_working_hours_of_a_known_day(start: str, days: int, due: str) -> None:
    assert KOREA.compute_deadline(datetime.fromisoformat(start), days) == datetime.fromisoformat(due)


@pytest.mark.parametrize("day", [date(2025, 12, 31), date(2028, 1, 1)])
def test_a_day_outside_the_calendar_is_no_working_day_and_no_holiday(day: date) -> None:
    with pytest.raises(GatewayError) as caught:
        KOREA.is_working_day(day)
    assert caught.value.problem is CALENDAR_UNKNOWN
    assert "kr-public-offices@2026-2027 2026-01-01 to 2027-12-31" in caught.value.detail


def test_a_deadline_that_leaves_the_calendar_is_not_guessed() -> None:
    start = datetime(2027, 12, 29, 10, tzinfo=SEOUL)
    assert KOREA.compute_deadline(start, 2).date() == date(2027, 12, 31)
    for wrong in (3, 999):
        with pytest.raises(GatewayError, match="outside the calendar"):
            KOREA.compute_deadline(start, wrong)
    with pytest.raises(GatewayError, match="there is none"):
        WorkingCalendar("X", ()).compute_deadline(start, 1)


def test_the_first_edition_that_covers_a_day_counts() -> None:
    newer = make_edition(date(2027, 1, 1), date(2027, 12, 31), rest_days=frozenset())
    calendar = WorkingCalendar("X", (newer, make_edition()))
    saturdays = [date(2026, 12, 26), date(2027, 1, 2), date(2028, 1, 1)]
    assert [calendar.is_working_day(day) for day in saturdays] == [False, True, False]


def test_a_working_day_at_rest_and_a_holiday_on_a_weekday() -> None:
    days = {date(2026, 11, 21): SpecialDay("working", ""), date(2026, 11, 23): SpecialDay("substitute", "")}
    calendar = WorkingCalendar("X", (make_edition(special=days),))
    assert calendar.add_working_days(date(2026, 11, 20), 1) == date(2026, 11, 21)
    assert calendar.add_working_days(date(2026, 11, 20), 2) == date(2026, 11, 24)


@pytest.mark.parametrize(
    ("stated", "due"),
    [
        # As it was written, and in the zone of the organisation.
        ("2026-11-24T00:00:00+09:00", "2026-11-24T18:00:00+09:00"),
        ("2026-11-24T00:00:00+00:00", "2026-11-24T18:00:00+09:00"),
        ("2026-11-23T15:00:00+00:00", "2026-11-24T18:00:00+09:00"),
        # A day of rest: the end of the next working day.
        ("2026-11-21T00:00:00+09:00", "2026-11-23T18:00:00+09:00"),
        # A time that is known is kept, at rest as well.
        ("2026-11-21T12:00:00+09:00", "2026-11-21T12:00:00+09:00"),
        ("2026-11-24T00:00:01+09:00", "2026-11-24T00:00:01+09:00"),
        # Midnight in UTC is none as it was written.
        ("2026-11-24T09:00:00+09:00", "2026-11-24T09:00:00+09:00"),
    ],
)
def test_midnight_stands_for_a_time_that_is_unknown(stated: str, due: str) -> None:
    kept = KOREA.restate_midnight(datetime.fromisoformat(stated)).astimezone(UTC)
    assert KOREA.complete_due_time(kept) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/Havana", "2026-03-08"), ("Asia/Beirut", "2026-03-29"), ("Africa/Cairo", "2026-04-24")],
)
def test_a_day_without_midnight_begins_an_hour_later(zone: str, day: str) -> None:
    """There the clock is put on at midnight."""
    calendar = WorkingCalendar("X", (make_edition(zone=zone, rest_days=frozenset()),))
    kept = calendar.restate_midnight(datetime.fromisoformat(f"{day}T00:00:00+00:00")).astimezone(UTC)
    closes = datetime.combine(date.fromisoformat(day), time(18), ZoneInfo(zone))
    assert calendar.complete_due_time(kept) == closes
    early = kept + timedelta(minutes=1)
    assert calendar.complete_due_time(early) == early


def test_working_time_is_that_of_the_clock_on_the_wall_that_goes_on() -> None:
    """An office that is open at night works an hour less, or more, when the clock is changed."""
    edition = make_edition(zone="Europe/Berlin", rest_days=frozenset())
    calendar = WorkingCalendar("X", (replace(edition, opens=time(0), closes=time(6)),))
    for day, hours in (("2026-03-29", 5), ("2026-03-30", 6), ("2026-10-25", 7)):
        start = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
        assert calendar.measure_working_time(start, start + timedelta(hours=12)) == timedelta(hours=hours)


def test_a_reminder_goes_out_when_the_work_begins() -> None:
    due = datetime(2026, 9, 28, 18, tzinfo=SEOUL)
    assert KOREA.compute_reminder(due, 2) == datetime(2026, 9, 22, 9, tzinfo=SEOUL)


def test_working_time_counts_hours_of_working_days_alone() -> None:
    start, end = datetime(2026, 11, 20, 17, tzinfo=SEOUL), datetime(2026, 11, 23, 10, tzinfo=SEOUL)
    assert KOREA.measure_working_time(start, end) == timedelta(hours=2)
    assert KOREA.measure_working_time(end, start) == timedelta()


def test_a_day_on_which_the_clock_is_changed_has_its_hours() -> None:
    edition = make_edition(zone="Europe/Berlin", rest_days=frozenset())
    calendar = WorkingCalendar("X", (edition,))
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 24, 12, tzinfo=berlin)
    assert calendar.measure_working_time(start, start + timedelta(days=2)) == timedelta(hours=18)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_its_zone_does_not_have_is_not_known(moment: str) -> None:
    for ask in (KOREA.get_local_day, KOREA.complete_due_time, lambda at: KOREA.compute_deadline(at, 3)):
        with pytest.raises(GatewayError) as caught:
            ask(datetime.fromisoformat(moment))
        assert caught.value.problem is CALENDAR_UNKNOWN
