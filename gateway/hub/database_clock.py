"""The clock of the hub: on PostgreSQL that of the server, so that all nodes agree what is due.

A lease that a node with a fast clock takes over early is worked on twice. So the server is asked for
its time now and then, and between two answers the time that has passed is counted by a clock that
nobody sets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.store import read_database_time, read_transaction

__all__ = ["DatabaseClock", "choose_clock"]

_log = logging.getLogger(__name__)
#: Seconds between two questions, and after a question without an answer.
_ASK_EVERY: Final = 10.0
#: An answer that took longer says too little about the time.
_LONGEST: Final = 1.0
#: Smaller differences are those of the questions themselves.
_LEAST: Final = 0.05
#: A difference of the clock of this machine that its operator should know.
_SKEW: Final = timedelta(seconds=2)


def _read_own_clock() -> datetime:
    return datetime.now(UTC)


class DatabaseClock:
    """Gives the time of the database server; safe for many threads, and never fails.

    While the server cannot be asked, the time goes on by the counted seconds; before its first
    answer it is that of this machine.
    """

    def __init__(
        self,
        engine: Engine,
        read_own_clock: Callable[[], datetime] = _read_own_clock,
        count_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._read_own_clock = read_own_clock
        self._count_seconds = count_seconds
        self._asking = threading.Lock()
        #: A time of the server, and the counted seconds then.
        self._known: tuple[datetime, float] | None = None
        self._asked = float("-inf")
        self._told = False

    def __call__(self) -> datetime:
        """Return the time of the server."""
        if self._count_seconds() - self._asked >= _ASK_EVERY and self._asking.acquire(blocking=False):
            try:
                self._ask_server()
            finally:
                self._asked = self._count_seconds()
                self._asking.release()
        known = self._known
        return self._read_own_clock() if known is None else self._count_on(known)

    def measure_skew(self) -> timedelta:
        """Return how far the clock of this machine is ahead of the server's."""
        known = self._known
        return timedelta(0) if known is None else self._read_own_clock() - self._count_on(known)

    def _count_on(self, known: tuple[datetime, float]) -> datetime:
        return known[0] + timedelta(seconds=self._count_seconds() - known[1])

    def _ask_server(self) -> None:
        try:
            with read_transaction(self._engine) as conn:
                began = self._count_seconds()
                told = read_database_time(conn)
                ended = self._count_seconds()
        except GatewayError:
            # Whoever works with the database says that it is away.
            return
        if told is None or (ended - began > _LONGEST and self._known is not None):
            return
        new = (told, (began + ended) / 2)
        apart = None if self._known is None else abs(self._count_on(new) - self._count_on(self._known))
        if apart is None or apart > timedelta(seconds=max(_LEAST, ended - began)):
            self._known = new
        self._tell_skew()

    def _tell_skew(self) -> None:
        skew = self.measure_skew()
        wrong = abs(skew) > _SKEW
        if wrong and not self._told:
            seconds = skew.total_seconds()
            way = "ahead of" if seconds > 0 else "behind"
            _log.warning("the clock of this machine is %.1f s %s that of the database", abs(seconds), way)
        self._told = wrong


def choose_clock(engine: Engine) -> Callable[[], datetime]:
    """Return the clock of a hub on this database: SQLite has that of its only machine."""
    return _read_own_clock if engine.dialect.name == "sqlite" else DatabaseClock(engine)
