"""Passes through rows that wait for work: rows whose work fails stay, and must not hide those behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")

#: The seconds after which a pass ends although rows wait; the next pass goes on with them.
_MAX_SECONDS: Final = 10.0


class DuePlace(NamedTuple):
    """The place of a row among those whose time has come: its time, and its row id."""

    at: datetime
    row_id: int


class WorkPasses(Generic[_Key]):
    """The passes of one process through the rows of one kind, by their keys; safe for many threads.

    A pass ends when `max_done` rows are done, no row is left, or its time is over. The next pass goes on
    behind the last row that was tried, and begins again with the first row when none is left. So each row
    gets its turn, however many before it fail.
    """

    def __init__(
        self,
        max_done: int,
        max_seconds: float = _MAX_SECONDS,
        get_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_done = max_done
        self._max_seconds = max_seconds
        self._get_seconds = get_seconds
        self._last_key: _Key | None = None

    def run_pass(
        self,
        list_rows: Callable[[_Key | None, int], Sequence[_Row]],
        get_key: Callable[[_Row], _Key],
        finish_row: Callable[[_Row], bool],
    ) -> int:
        """Try the rows that wait; return how many were tried.

        `list_rows` takes a key and a limit, and returns the next rows behind that key (None: the first ones).
        `finish_row` returns whether the row is done. If it raises, the pass ends, and the next one goes on
        behind that row.
        """
        end = self._get_seconds() + self._max_seconds
        last_key, tried, done_count = self._last_key, 0, 0
        has_failures = last_key is not None
        # Other threads begin where the last pass has ended, not where this one is.
        try:
            while True:
                rows = list_rows(last_key, self._max_done)
                for row in rows:
                    last_key = get_key(row)
                    tried += 1
                    if finish_row(row):
                        done_count += 1
                    else:
                        has_failures = True
                    if done_count >= self._max_done or self._get_seconds() >= end:
                        self._last_key = last_key if has_failures else None
                        return tried
                if len(rows) < self._max_done:
                    self._last_key = None
                    return tried
        except Exception:
            self._last_key = last_key
            raise
