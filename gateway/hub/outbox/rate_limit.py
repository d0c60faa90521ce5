"""How many refusals are posted to one endpoint within an hour."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta

__all__ = ["RefusalQuota"]


#: And so many are made for it in an hour: each leaves rows, and anybody can send what is refused.
_MOST_AN_HOUR = 200


_HOUR = timedelta(hours=1)


class RefusalQuota:
    """How many refusals one process posts to each endpoint within an hour; safe for many threads.

    Endpoints are those of agreements, so that what is kept here is bounded.
    """

    def __init__(self) -> None:
        self._made: dict[str, deque[datetime]] = {}
        self._guard = threading.Lock()

    def acquire_slot(self, endpoint: str, now: datetime) -> bool:
        """Count one more, unless it is one too many."""
        with self._guard:
            made = self._made.setdefault(endpoint, deque())
            while made and made[0] <= now - _HOUR:
                made.popleft()
            if len(made) >= _MOST_AN_HOUR:
                return False
            made.append(now)
            return True
