"""Limits how often a process may die before serving is given up."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

__all__ = ["MOST_RESTARTS", "RestartLimit", "WorkerRestarts"]

#: So many deaths within so many seconds are not accidental: the operator must act.
MOST_RESTARTS: Final = 20
_WINDOW: Final = 60.0


class RestartLimit:
    """Counts restarts: `most` of them within `window` seconds exceed the limit."""

    def __init__(self, most: int = MOST_RESTARTS, window: float = _WINDOW) -> None:
        self._window = window
        self._at: deque[float] = deque(maxlen=most)

    def record_restart(self, at: float | None = None) -> None:
        """Count one restart, at the time `at` (`time.monotonic`) or now."""
        self._at.append(time.monotonic() if at is None else at)

    def is_exceeded(self) -> bool:
        """Return whether there were too many restarts in the last `window` seconds."""
        return len(self._at) == self._at.maxlen and self._at[0] > time.monotonic() - self._window


class WorkerRestarts(dict[int, float]):
    """The restart time of each worker by its number, as the HTTP server records it.

    The server takes the second death of a worker within 5.5 seconds for a loop and ends with all
    its workers. Two messages that crash a process would then stop the whole gateway. So this class
    reports a time long ago when the server reads a restart time, until there were too many
    restarts. An installation that exceeds that limit is broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limit = RestartLimit()

    def __setitem__(self, worker: int, at: float) -> None:
        self.limit.record_restart(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: Any = None) -> float:
        """Return a time long ago, or the current time when the restart limit is exceeded."""
        del worker, default
        return time.monotonic() if self.limit.is_exceeded() else float("-inf")
