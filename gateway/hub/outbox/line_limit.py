"""Limits how often the same thing is told in the log, and counts what was left out."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

__all__ = ["LineKey", "LineLimit"]

#: Whom a line is about, and the problem.
LineKey = tuple[str, str]

#: Keys that are remembered; senders choose some of them.
_MOST_KEYS: Final = 1000


class LineLimit:
    """Admits `most` lines about the same thing within a period; safe for many threads."""

    def __init__(self, period: timedelta, most: int = 1) -> None:
        self._period = period
        self._most = most
        self._said: dict[LineKey, tuple[datetime, int]] = {}
        self._left_out: dict[LineKey, int] = {}
        self._guard = threading.Lock()

    def admit_line(self, key: LineKey, now: datetime) -> int | None:
        """Return how many lines were left out before this one; None when this one is left out too."""
        with self._guard:
            first, number = self._said.get(key, (now, 0))
            if now - first >= self._period:
                first, number = now, 0
            if number < self._most and (key in self._said or len(self._said) < _MOST_KEYS):
                self._said[key] = (first, number + 1)
                return self._left_out.pop(key, 0)
            if key in self._said:
                self._left_out[key] = self._left_out.get(key, 0) + 1
            return None

    def take_left_out(self, keys: Iterable[LineKey]) -> dict[LineKey, int]:
        """Return what was left out about these things so far; their periods go on, and count from 0."""
        with self._guard:
            return {key: self._left_out.pop(key) for key in sorted(keys) if key in self._left_out}

    def collect_left_out(self, now: datetime) -> dict[LineKey, int]:
        """Return what was left out of periods that are over, and forget these periods."""
        with self._guard:
            over = [key for key, (first, _) in self._said.items() if now - first >= self._period]
            for key in over:
                del self._said[key]
            return {key: self._left_out.pop(key) for key in over if key in self._left_out}
