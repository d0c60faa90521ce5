"""The calendars and terms in force: those that are shipped, and those that operators loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import Connection

from gateway.calendars import CalendarEdition, TermEdition, Timetable, check_calendar_file, make_timetable
from gateway.errors import CALENDAR_WRONG, GatewayError
from gateway.share import get_data_folder
from gateway.store import dated_editions


@cache
def _read_shipped_editions() -> tuple[CalendarEdition | TermEdition, ...]:
    folder = get_data_folder("mappings").joinpath("calendars")
    files = sorted(folder.iterdir(), key=lambda one: one.name)
    return read_editions((file.name, file.read_bytes()) for file in files if file.name.endswith(".csv"))


def read_editions(files: Iterable[tuple[str, bytes]]) -> tuple[CalendarEdition | TermEdition, ...]:
    """Return the editions in files, given as name and content; raise GW709 with file and line."""
    editions = []
    for name, octets in files:
        edition, mistakes = check_calendar_file(octets)
        if edition is None:
            first = mistakes[0]
            raise GatewayError(CALENDAR_WRONG, f"line {first.line}: {first.message}", f"{name}:{first.line}")
        editions.append(edition)
    return tuple(editions)


def load_shipped_timetable(loaded: Sequence[CalendarEdition | TermEdition] = ()) -> Timetable:
    """Return the timetable of the shipped editions, and of those that operators loaded."""
    return make_timetable((*_read_shipped_editions(), *loaded))


class ActiveTimetable:
    """The timetable of one process, read again when an edition was loaded; safe for many threads.

    Without `test_editions` those that are marked so do not count.
    """

    def __init__(self, *, test_editions: bool = True) -> None:
        self._test_editions = test_editions
        self._cached: tuple[int, Timetable] | None = None

    def read_timetable(self, conn: Connection, calendar_mark: int | None = None) -> Timetable:
        """Return the timetable in force; raise GW709 for a stored file that this version cannot read.

        `calendar_mark` is that of the stored editions, where the caller has just read it.
        """
        calendar_mark = (
            dated_editions.read_calendar_edition_count(conn) if calendar_mark is None else calendar_mark
        )
        cached = self._cached
        if cached is None or cached[0] != calendar_mark:
            editions = read_editions(dated_editions.list_calendar_contents(conn)) if calendar_mark else ()
            counting = [
                edition for edition in (*_read_shipped_editions(), *editions) if self._counts(edition)
            ]
            cached = self._cached = (calendar_mark, make_timetable(counting))
        return cached[1]

    def _counts(self, edition: CalendarEdition | TermEdition) -> bool:
        return self._test_editions or not edition.is_test
