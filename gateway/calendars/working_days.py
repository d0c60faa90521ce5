"""Editions of calendars and of terms, and the working days and working time of one organisation.

An edition says nothing about days outside its period. A day that no edition of the calendar covers is neither
a working day nor a rest day: it is GW710.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.errors import CALENDAR_UNKNOWN, GatewayError
from gateway.wire import find_day

#: The organisations, or documents, that no other row names.
EVERY = "*"


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A day that differs from its weekday: `holiday`, `substitute` (a holiday too), or `working`."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class CalendarEdition:
    """The working days of organisations from `valid_from` to `valid_until`, both included.

    `rest_days` are the days of the week without work, Monday is 0. A working day lasts from `opens`
    to `closes` in the time zone `zone`.
    """

    name: str
    edition: str
    organisations: frozenset[str]
    zone: str
    valid_from: date
    valid_until: date
    rest_days: frozenset[int]
    opens: time
    closes: time
    special: Mapping[date, SpecialDay]
    is_test: bool
    source: str
    sha256: str

    @property
    def label(self) -> str:
        """Return name and edition."""
        return f"{self.name}@{self.edition}"


@dataclass(frozen=True, slots=True)
class DocumentTerm:
    """The working days that a document gives: to acknowledge, to decide, to answer; None is no limit.

    `remind` is the number of working days from the reminder to the end of the term; None is no reminder.
    """

    document: str
    acknowledge: int | None
    decide: int | None
    answer: int | None
    remind: int | None


@dataclass(frozen=True, slots=True)
class TermEdition:
    """The terms of documents that begin from `valid_from` to `valid_until` (None: without end)."""

    name: str
    edition: str
    valid_from: date
    valid_until: date | None
    terms: Mapping[str, DocumentTerm]
    is_test: bool
    source: str
    sha256: str

    @property
    def label(self) -> str:
        """Return name and edition."""
        return f"{self.name}@{self.edition}"


_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """The working days of an organisation. The first edition that covers a day counts for it."""

    organisation: str
    editions: tuple[CalendarEdition, ...]

    def find_edition(self, day: date) -> CalendarEdition:
        """Return the edition that counts for a day; raise GW710 where there is none."""
        for edition in self.editions:
            if edition.valid_from <= day <= edition.valid_until:
                return edition
        periods = ", ".join(
            f"{edition.label} {edition.valid_from} to {edition.valid_until}" for edition in self.editions
        )
        detail = (
            f"{self.organisation}: {day.isoformat()} is outside the calendar ({periods or 'there is none'})"
        )
        raise GatewayError(CALENDAR_UNKNOWN, detail, day.isoformat())

    def is_working_day(self, day: date) -> bool:
        """Return whether the organisation works on a day; raise GW710 for a day that is not known."""
        edition = self.find_edition(day)
        special = edition.special.get(day)
        if special is not None:
            return special.kind == "working"
        return day.weekday() not in edition.rest_days

    def find_next_working_day(self, day: date) -> date:
        """Return the day itself where it is a working day, else the next one; raise GW710 beyond the end."""
        while not self.is_working_day(day):
            day = _add_to_day(self, day, _DAY)
        return day

    def add_working_days(self, day: date, count: int) -> date:
        """Return the working day that is `count` working days after a day, which is not counted itself.

        With 0 it is the day itself or the next working day; a negative count goes back. Raises GW710
        where a day on the way is not known.
        """
        if count == 0:
            return self.find_next_working_day(day)
        step, remaining = (_DAY if count > 0 else -_DAY), abs(count)
        while remaining:
            day = _add_to_day(self, day, step)
            remaining -= self.is_working_day(day)
        return day

    def count_working_days(self, start: date, end: date) -> int:
        """Return the number of working days after `start` up to `end`, negative where `end` is before it."""
        if end < start:
            return -self.count_working_days(end, start)
        return sum(self.is_working_day(day) for day in _list_days(start + _DAY, end))

    def get_local_day(self, moment: datetime) -> date:
        """Return the day of a moment in the zone of the organisation; raise GW710 where it is not known."""
        days = [find_day(moment, ZoneInfo(edition.zone)) for edition in self.editions]
        for edition, day in zip(self.editions, days, strict=True):
            if edition.valid_from <= day <= edition.valid_until:
                return day
        day = next(iter(days), moment.date())
        self.find_edition(day)
        return day

    def get_closing_time(self, day: date) -> datetime:
        """Return the end of the working hours of a day; raise GW710 for a day that is not known."""
        edition = self.find_edition(day)
        return datetime.combine(day, edition.closes, ZoneInfo(edition.zone))

    def compute_deadline(self, start: datetime, days: int) -> datetime:
        """Return the end of the last of `days` working days; the day of `start` is not counted."""
        return self.get_closing_time(self.add_working_days(self.get_local_day(start), days))

    def compute_reminder(self, due: datetime, days: int) -> datetime:
        """Return the beginning of the working hours `days` working days before the time `due`."""
        day = self.add_working_days(self.get_local_day(due), -days)
        edition = self.find_edition(day)
        return datetime.combine(day, edition.opens, ZoneInfo(edition.zone))

    def restate_midnight(self, written: datetime) -> datetime:
        """Return midnight of any offset as midnight of the same day in the zone of the organisation.

        Midnight stands for a day without a time of day (`complete_due_time`). Any other time is returned
        unchanged.
        """
        if written.time() != time.min:
            return written
        day = written.date()
        covering = (
            candidate for candidate in self.editions if candidate.valid_from <= day <= candidate.valid_until
        )
        edition = next(covering, next(iter(self.editions), None))
        return written if edition is None else datetime.combine(day, time.min, ZoneInfo(edition.zone))

    def complete_due_time(self, due: datetime) -> datetime:
        """Return a due time with its time of day: midnight means that the time is not known.

        Midnight in the zone of the organisation means the end of that working day, or of the next one where
        the organisation does not work on that day. Another time is returned unchanged. Raises GW710 where the
        day is not known.
        """
        day = self.get_local_day(due)
        begins = datetime.combine(day, time.min, ZoneInfo(self.find_edition(day).zone))
        # Compared in UTC, because a change of the clock may leave out midnight of a day.
        if begins.astimezone(UTC) != due.astimezone(UTC):
            return due
        return self.get_closing_time(self.find_next_working_day(day))

    def measure_working_time(self, start: datetime, end: datetime) -> timedelta:
        """Return the working time from `start` to `end`; raise GW710 where a day is not known."""
        total = timedelta()
        if end <= start:
            return total
        for day in _list_days(self.get_local_day(start), self.get_local_day(end)):
            if self.is_working_day(day):
                edition = self.find_edition(day)
                zone = ZoneInfo(edition.zone)
                opens = max(start, datetime.combine(day, edition.opens, zone))
                closes = min(end, datetime.combine(day, edition.closes, zone))
                # In UTC, because Python ignores a change of the clock between two times of one zone.
                total += max(closes.astimezone(UTC) - opens.astimezone(UTC), timedelta())
        return total


def _add_to_day(calendar: WorkingCalendar, day: date, step: timedelta) -> date:
    """Return `day` plus `step`; raise GW710 beyond the last day that Python knows."""
    try:
        return day + step
    except OverflowError:
        detail = f"{calendar.organisation}: there is no day after {day.isoformat()}"
        raise GatewayError(CALENDAR_UNKNOWN, detail, day.isoformat()) from None


def _list_days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY
