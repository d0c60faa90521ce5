"""Passes through rows that wait for work: rows whose work fails stay, and must not hide those behind them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")

#: The seconds after which a pass ends although rows wait; the next pass goes on with them. Other steps of the
#: upkeep wait so long.
_MAX_SECONDS: Final = 2.0
#: After this number of passes that begin behind rows that failed, one begins with the first row.
_PASSES_BEFORE_FIRST: Final = 10


class DuePlace(NamedTuple):
    """The place of a row among those whose time has come: its time, and its row id."""

    at: datetime
    row_id: int


class WorkPasses(Generic[_Key]):
    """The passes of one process through the rows of one kind, by their keys; safe for many threads.

    A pass ends when `max_done` rows are done, when as many have failed, when no row is left, or when its time
    is over. The next pass goes on behind the last row that was tried, and begins again with the first row
    when none is left; every tenth pass begins with the first row in any case. So each row gets its turn,
    however many before it fail, and however many come behind it.
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
        self._pass_numbers = itertools.count(1)

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
        # Other threads begin where the last pass has ended, not where this one is.
        kept_key = self._last_key
        is_extra = kept_key is not None and next(self._pass_numbers) % _PASSES_BEFORE_FIRST == 0
        last_key = None if is_extra else kept_key
        tried = finished = failed = 0
        next_key = last_key
        try:
            while True:
                rows = list_rows(last_key, self._max_done)
                for row in rows:
                    next_key = last_key = get_key(row)
                    tried += 1
                    is_finished = finish_row(row)
                    finished, failed = finished + is_finished, failed + (not is_finished)
                    if max(finished, failed) >= self._max_done or self._get_seconds() >= end:
                        # Without failures, the rows that are left are the first ones.
                        next_key = last_key if failed or kept_key is not None else None
                        return tried
                if len(rows) < self._max_done:
                    next_key = None
                    return tried
        finally:
            if not is_extra:
                self._last_key = next_key
