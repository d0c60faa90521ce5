"""Keeps a value for some time, so that many requests make it once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

__all__ = ["TimedValue"]

_Value = TypeVar("_Value")


class TimedValue(Generic[_Value]):
    """A value that is made anew when it is older than its lifetime; safe for many threads."""

    def __init__(
        self, make: Callable[[], _Value], lifetime: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._make = make
        self._lifetime = lifetime
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: tuple[datetime, _Value] | None = None

    def get(self) -> _Value:
        """Return the value; while one thread makes it, the others wait for that one."""
        with self._guard:
            now = self._clock()
            if self._kept is None or not now - self._lifetime < self._kept[0] <= now:
                self._kept = (now, self._make())
            return self._kept[1]

    def forget(self) -> None:
        """Make the value anew at the next request."""
        with self._guard:
            self._kept = None
