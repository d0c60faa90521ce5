"""Limits how many requests of one kind are answered in a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

__all__ = ["RequestLimit"]


class RequestLimit:
    """Admits so many requests in each second of the clock; safe for many threads."""

    def __init__(self, most: int, clock: Callable[[], datetime]) -> None:
        self._most = most
        self._clock = clock
        self._guard = threading.Lock()
        self._second = 0
        self._admitted = 0

    def admit_request(self) -> bool:
        """Return whether one more request is admitted now."""
        second = int(self._clock().timestamp())
        with self._guard:
            if second != self._second:
                self._second, self._admitted = second, 0
            self._admitted += 1
            return self._admitted <= self._most
