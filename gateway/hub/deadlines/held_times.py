"""The times in which the time to decide does not run: while the applicant has to answer, or to pay.

Each thing that the applicant owes stands on its own, from when it was asked for until it was done. So the
end of the time to decide follows from these periods alone, and not from when the hub heard that one of them
was over, nor from when a calendar was loaded that knows their days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.calendars import WorkingCalendar

__all__ = ["HeldTimes"]


@dataclass(frozen=True, slots=True)
class HeldTimes:
    """What the applicant owes by its name, each since when, and the periods that are `over`.

    The time that is known without these periods is `due_at`; None where it is computed from its beginning.
    """

    open: Mapping[str, datetime] = field(default_factory=dict)
    over: tuple[tuple[datetime, datetime], ...] = ()
    due_at: datetime | None = None

    def __bool__(self) -> bool:
        """Return whether there is any period."""
        return bool(self.open or self.over)

    @property
    def started_at(self) -> datetime:
        """Return when the first period began."""
        return min((*self.open.values(), *(start for start, _ in self.over)))

    def follow(self, owed: Iterable[str], now: datetime, done: Callable[[str], datetime]) -> HeldTimes:
        """Return the periods when what is named is owed now; `done` says when something else was done."""
        kept = {cause: self.open.get(cause, now) for cause in sorted(owed)}
        ended = [(at, max(at, done(cause))) for cause, at in self.open.items() if cause not in kept]
        return HeldTimes(kept, (*self.over, *ended), self.due_at)

    def count_days(self, calendar: WorkingCalendar) -> int:
        """Return the working days in the periods that are over, each once; raise GW710 where one is unknown.

        As of a term, the day on which a period begins is not counted.
        """
        total, counted = 0, None
        for start, end in sorted(self.over):
            first, last = calendar.get_local_day(start), calendar.get_local_day(end)
            first = first if counted is None else max(first, counted)
            if last > first:
                total += calendar.count_working_days(first, last)
                counted = last
        return total

    def describe(self) -> dict[str, Any]:
        """Return the periods as plain values for JSON."""
        return {
            "open": {cause: _write_time(at) for cause, at in self.open.items()},
            "over": [[_write_time(start), _write_time(end)] for start, end in self.over],
            "due_at": None if self.due_at is None else _write_time(self.due_at),
        }

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> HeldTimes:
        """Return the periods that `describe` described."""
        read, due = datetime.fromisoformat, described["due_at"]
        return cls(
            {cause: read(at) for cause, at in described["open"].items()},
            tuple((read(start), read(end)) for start, end in described["over"]),
            None if due is None else read(due),
        )


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
