"""Whether there is room for what is new: measured on the database's disk, and learnt from its refusals.

A reserve of the disk is kept for what was taken before: when less is free, nothing new is
taken, while receipts, replies and deliveries of accepted messages still find room.  What the
database refuses all the same is told to the operator once a minute, not once a message.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Engine

from gateway.errors import NO_ROOM, GatewayError

__all__ = [
    "DiskReserve",
    "InsufficientStorageError",
    "attach_disk_reserve",
    "get_disk_reserve",
    "retry_until_stored",
]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# Kept with its engine, and gone with it.
_ROOM: Final = "_gateway_room"
#: Seconds between two lines of the log about the same trouble.
_SAID_EVERY: Final = 60.0
#: Seconds without a refusal after which a commit shows that the trouble is over: a small one may
#: find room where most do not.
_CALM: Final = 5.0


class InsufficientStorageError(GatewayError):
    """GW806 of the database: nothing is wrong with what was to be stored, and it may be stored later."""

    def __init__(self, detail: str, location: str = "") -> None:
        super().__init__(NO_ROOM, detail, location)


class DiskReserve:
    """The room of one database, as one process knows it; safe for many threads.

    `volume` is a folder on the disk that holds the database (None: it cannot be measured),
    `reserve` the octets of it that are kept for work taken before.
    """

    def __init__(self, volume: str | None = None, reserve: int = 0) -> None:
        self.reserve = reserve
        #: Whether something was refused, and nothing has shown since that there is room again.
        self.lacking = False
        self.refusals = 0
        self._volume = volume
        self._guard = threading.Lock()
        self._refused_at = self._said_at = float("-inf")

    def measure_free_octets(self) -> int | None:
        """Return the free octets of the disk; None where they cannot be measured."""
        if self._volume is None:
            return None
        try:
            found = os.statvfs(self._volume)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    def find_shortage(self, octets: int = 0) -> InsufficientStorageError | None:
        """Return GW806 when so many octets more would touch the reserve, None when they would not."""
        if not self.reserve:
            return None
        free = self.measure_free_octets()
        if free is None or free >= self.reserve + octets:
            return None
        detail = f"{free} octets are free, {self.reserve} are kept for work that was taken before"
        return InsufficientStorageError(detail, "database.reserve")

    def require_octets(self, octets: int) -> None:
        """Raise GW806 when there is no room for so many octets that are new."""
        problem = self.find_shortage(octets)
        if problem is not None:
            self.record_refusal(problem)
            raise problem

    def record_refusal(self, problem: InsufficientStorageError) -> None:
        """Note that something was not taken; the log says so once a minute."""
        now = time.monotonic()
        with self._guard:
            self.lacking, self._refused_at = True, now
            self.refusals += 1
            if now - self._said_at < _SAID_EVERY:
                return
            self._said_at = now
        _log.error("nothing new is taken: %s", problem)

    def record_commit(self) -> None:
        """Note a commit: when none was refused for a while, there is room again."""
        if not self.lacking:
            return
        with self._guard:
            if time.monotonic() - self._refused_at < _CALM or self.find_shortage() is not None:
                return
            self.lacking = False
        _log.warning("there is room again; %d were refused since the start", self.refusals)


def attach_disk_reserve(engine: Engine, room: DiskReserve) -> None:
    """Give an engine its room."""
    engine.__dict__[_ROOM] = room


def get_disk_reserve(engine: Engine) -> DiskReserve:
    """Return the room of an engine's database."""
    room: DiskReserve = engine.__dict__[_ROOM]
    return room


def retry_until_stored(act: Callable[[], _Result], pause: float = 1.0) -> _Result:
    """Return what `act` returns, tried again as long as the database has no room (GW806).

    For what starts while the disk is full or the server away: it begins as soon as there is room.
    """
    said = False
    while True:
        try:
            return act()
        except InsufficientStorageError as problem:
            if not said:
                _log.error("waiting for the database: %s", problem)
            said = True
        time.sleep(pause)
