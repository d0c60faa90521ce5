"""Removes what sign-ins leave behind, once an hour, as part of the regular upkeep of the hub."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.store import REMOVED_AT_ONCE, sign_in_removal, write_transaction

__all__ = ["SignInUpkeep"]

_EVERY: Final = timedelta(hours=1)
#: Failures count for minutes; after a day nobody asks for them. The audit keeps every sign-in.
_FAILURES: Final = timedelta(days=1)
#: For so long a network is familiar for a name, and sessions are shown to those who manage accounts.
_KEPT: Final = timedelta(days=90)
#: Removals of one upkeep; the next one goes on.
_MOST: Final = 20


class SignInUpkeep:
    """Removes old rows; several processes may do so at the same time."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._done_at: datetime | None = None

    def remove_old_rows(self) -> None:
        """Remove what is old, unless that was done within the last hour."""
        now = self._clock()
        if self._done_at is not None and now - self._done_at < _EVERY:
            return
        self._done_at = now
        self._repeat(lambda conn: sign_in_removal.remove_unanswered(conn, now), times=1)
        self._repeat(lambda conn: sign_in_removal.remove_old_attempts(conn, now - _FAILURES, good=False))
        self._repeat(lambda conn: sign_in_removal.remove_old_attempts(conn, now - _KEPT, good=True))
        self._repeat(lambda conn: sign_in_removal.remove_old_sessions(conn, now - _KEPT))

    def _repeat(self, remove: Callable[[Connection], int], times: int = _MOST) -> None:
        """Remove until nothing is left, in short transactions."""
        for _ in range(times):
            with write_transaction(self._engine, "accounts.upkeep") as conn:
                removed = remove(conn)
            if removed < REMOVED_AT_ONCE:
                return
