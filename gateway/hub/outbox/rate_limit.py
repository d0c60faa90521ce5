"""Limits how many refusals are posted to one endpoint within an hour."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta

__all__ = ["RefusalQuota"]


_HOUR = timedelta(hours=1)


class RefusalQuota:
    """Counts the refusals that one process posts to each endpoint within an hour; safe for many threads.

    Each refusal leaves rows in the database, and anyone can send a message that is refused. The endpoints
    are those of agreements, so the memory used is bounded.
    """

    def __init__(self, most_an_hour: int) -> None:
        self._most_an_hour = most_an_hour
        self._made: dict[str, deque[datetime]] = {}
        self._guard = threading.Lock()

    def acquire_slot(self, endpoint: str, now: datetime) -> bool:
        """Count one more refusal and return True; return False when the limit of the hour is reached."""
        with self._guard:
            made = self._made.setdefault(endpoint, deque())
            while made and made[0] <= now - _HOUR:
                made.popleft()
            if len(made) >= self._most_an_hour:
                return False
            made.append(now)
            return True
