"""Counts working days and working time of one organisation.

A day that no edition of the calendar covers is neither a working day nor a rest day: it is GW710.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.calendars.working_calendar import CalendarEdition
from gateway.errors import CALENDAR_UNKNOWN, GatewayError

__all__ = ["WorkingCalendar"]

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """The working days of an organisation. The first edition that covers a day counts for it."""

    organisation: str
    editions: tuple[CalendarEdition, ...]

    def find_edition(self, day: date) -> CalendarEdition:
        """Return the edition that counts for a day; raise GW710 where there is none."""
        for one in self.editions:
            if one.valid_from <= day <= one.valid_until:
                return one
        known = ", ".join(f"{one.label} {one.valid_from} to {one.valid_until}" for one in self.editions)
        detail = (
            f"{self.organisation}: {day.isoformat()} is outside the calendar ({known or 'there is none'})"
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
            day = _move(self, day, _DAY)
        return day

    def add_working_days(self, day: date, count: int) -> date:
        """Return the working day that is `count` working days after a day, which is not counted itself.

        With 0 it is the day itself or the next working day; a negative count goes back. Raises GW710
        where a day on the way is not known.
        """
        if count == 0:
            return self.find_next_working_day(day)
        step, left = (_DAY if count > 0 else -_DAY), abs(count)
        while left:
            day = _move(self, day, step)
            left -= self.is_working_day(day)
        return day

    def count_working_days(self, start: date, end: date) -> int:
        """Return the number of working days after `start` up to `end`, negative where `end` is before it."""
        if end < start:
            return -self.count_working_days(end, start)
        return sum(self.is_working_day(day) for day in _list_days(start + _DAY, end))

    def get_local_day(self, moment: datetime) -> date:
        """Return the day of a moment in the zone of the organisation; raise GW710 where it is not known."""
        days = [self._localize(moment, one).date() for one in self.editions]
        for one, day in zip(self.editions, days, strict=True):
            if one.valid_from <= day <= one.valid_until:
                return day
        day = next(iter(days), moment.date())
        self.find_edition(day)
        return day

    def _localize(self, moment: datetime, edition: CalendarEdition) -> datetime:
        """Return a moment in the zone of an edition; raise GW710 before the first and after the last year."""
        try:
            return moment.astimezone(ZoneInfo(edition.zone))
        except OverflowError:
            detail = f"{self.organisation}: {moment.date().isoformat()} is outside the calendar"
            raise GatewayError(CALENDAR_UNKNOWN, detail, moment.date().isoformat()) from None

    def get_closing_time(self, day: date) -> datetime:
        """Return the end of the working hours of a day; raise GW710 for a day that is not known."""
        edition = self.find_edition(day)
        return datetime.combine(day, edition.closes, ZoneInfo(edition.zone))

    def compute_deadline(self, start: datetime, days: int) -> datetime:
        """Return the end of the last of `days` working days; the day of `start` is not counted."""
        return self.get_closing_time(self.add_working_days(self.get_local_day(start), days))

    def compute_reminder(self, due: datetime, days: int) -> datetime:
        """Return the beginning of the working hours `days` working days before something is due."""
        day = self.add_working_days(self.get_local_day(due), -days)
        edition = self.find_edition(day)
        return datetime.combine(day, edition.opens, ZoneInfo(edition.zone))

    def restate_midnight(self, written: datetime) -> datetime:
        """Return midnight, as it was written, as midnight of that day in the zone of the organisation.

        So it is known as padding when its offset is not known any more. Another time is returned as it is.
        """
        if written.time() != time.min:
            return written
        day = written.date()
        covering = (one for one in self.editions if one.valid_from <= day <= one.valid_until)
        found = next(covering, next(iter(self.editions), None))
        return written if found is None else datetime.combine(day, time.min, ZoneInfo(found.zone))

    def complete_due_time(self, stated: datetime) -> datetime:
        """Return when something is due whose time may be unknown: midnight is padding, not a time.

        Midnight in the zone of the organisation stands for the end of that working day, or of the next one
        where the organisation does not work on that day. Another time is taken as it is. Raises GW710 where
        the day is not known.
        """
        day = self.get_local_day(stated)
        begins = datetime.combine(day, time.min, ZoneInfo(self.find_edition(day).zone))
        # In UTC: there are days whose midnight is left out when the clock is changed.
        if begins.astimezone(UTC) != stated.astimezone(UTC):
            return stated
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
                # In UTC: the difference of two times of one zone leaves out that its clock is changed.
                total += max(closes.astimezone(UTC) - opens.astimezone(UTC), timedelta())
        return total


def _move(calendar: WorkingCalendar, day: date, step: timedelta) -> date:
    try:
        return day + step
    except OverflowError:
        detail = f"{calendar.organisation}: there is no day after {day.isoformat()}"
        raise GatewayError(CALENDAR_UNKNOWN, detail, day.isoformat()) from None


def _list_days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY
