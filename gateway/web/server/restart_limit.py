"""How often a process may die before it is given up."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

__all__ = ["MOST_RESTARTS", "RestartLimit", "WorkerRestarts"]

#: So many deaths within so many seconds are no accident: the operator must look.
MOST_RESTARTS: Final = 20
_WINDOW: Final = 60.0


class RestartLimit:
    """Counts restarts: `most` of them within `window` seconds are too many."""

    def __init__(self, most: int = MOST_RESTARTS, window: float = _WINDOW) -> None:
        self._window = window
        self._at: deque[float] = deque(maxlen=most)

    def record_restart(self, at: float | None = None) -> None:
        """Count one more, now unless `at` says when (`time.monotonic`)."""
        self._at.append(time.monotonic() if at is None else at)

    def is_exceeded(self) -> bool:
        """Tell whether there were too many just now."""
        return len(self._at) == self._at.maxlen and self._at[0] > time.monotonic() - self._window


class WorkerRestarts(dict[int, float]):
    """When each worker was started again, by its number, as the HTTP server notes it.

    The server takes the second death of a worker within 5.5 seconds for a loop and ends with all its
    workers.  Whoever finds two messages that crash a process would then shut the whole gateway.  So this
    says "long ago" when the server asks when a worker was started again, until too many were: what is
    given up after that is an installation that is broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limit = RestartLimit()

    def __setitem__(self, worker: int, at: float) -> None:
        self.limit.record_restart(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: Any = None) -> float:
        """Return a moment long ago, or the present one when processes die again and again."""
        del worker, default
        return time.monotonic() if self.limit.is_exceeded() else float("-inf")
