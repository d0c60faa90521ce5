"""How often a serving process may die before serving is given up.

The server takes the second death of a worker within 5.5 seconds for a loop and ends with all
its workers.  Whoever finds two messages that crash a process would then shut the whole
gateway, so more is borne here: what is given up after that is an installation that is broken.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

__all__ = ["RestartLimit"]

#: So many deaths within so many seconds are no accident: the keeper must look.
_MOST: Final = 20
_WINDOW: Final = 60.0


class RestartLimit(dict[int, float]):
    """When each worker was started again, by its number, as the server notes it.

    Asked when a worker was, it says "long ago" until too many were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._at: deque[float] = deque(maxlen=_MOST)

    def __setitem__(self, worker: int, at: float) -> None:
        self._at.append(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: Any = None) -> float:
        """Return a moment long ago, or the present one when processes die again and again."""
        del worker, default
        now = time.monotonic()
        looping = len(self._at) == _MOST and self._at[0] > now - _WINDOW
        return now if looping else float("-inf")
