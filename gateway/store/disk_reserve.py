"""Tracks whether the database has space: from the free octets of its disk, and from its errors.

A part of the disk is reserved for messages accepted before. When less is free, no new message is
accepted, while receipts, replies and deliveries of accepted messages still have space. Refusals are
logged once a minute, not once per message.
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

# The attribute of the engine that holds its reserve.
_ROOM: Final = "_gateway_room"
#: Seconds between two log lines about the same problem.
_SAID_EVERY: Final = 60.0
#: A commit after so many seconds in which no disk was full shows that there is space: a small commit may
#: find space where most do not.
_CALM: Final = 5.0


class InsufficientStorageError(GatewayError):
    """GW806 of the database: nothing is wrong with the data, and it may be stored later."""

    def __init__(self, detail: str, location: str = "") -> None:
        super().__init__(NO_ROOM, detail, location)


class DiskReserve:
    """The disk space of one database, as one process measures it; safe for many threads.

    `volume` is a folder on the disk of the database (None: it cannot be measured). `reserve` is the
    number of octets reserved for work accepted before.
    """

    def __init__(self, volume: str | None = None, reserve: int = 0) -> None:
        self.reserve = reserve
        #: True after a refusal until a commit shows that there is space again.
        self.lacking = False
        self.refusals = 0
        self._volume = volume
        self._guard = threading.Lock()
        self._full_at = self._said_at = float("-inf")
        #: Whether the last line about it says that nothing is taken.
        self._is_said = False

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
        """Return GW806 when storing `octets` more would use the reserve, else None."""
        if not self.reserve:
            return None
        free = self.measure_free_octets()
        if free is None or free >= self.reserve + octets:
            return None
        detail = f"{free} octets are free, {self.reserve} are kept for work that was taken before"
        return InsufficientStorageError(detail, "database.reserve")

    def require_octets(self, octets: int) -> None:
        """Raise GW806 when there is no space for so many new octets."""
        problem = self.find_shortage(octets)
        if problem is not None:
            self.record_refusal(problem)
            raise problem

    def record_refusal(self, problem: InsufficientStorageError, *, is_full: bool = True) -> None:
        """Record that something was refused; log it once a minute.

        Where no disk `is_full`, as with a server that is gone or a standby, the next commit shows that the
        problem is over.
        """
        now = time.monotonic()
        with self._guard:
            self.lacking = True
            self.refusals += 1
            if is_full:
                self._full_at = now
            if now - self._said_at < _SAID_EVERY:
                return
            self._said_at, self._is_said = now, True
        _log.error("nothing new is taken: %s", problem)

    def record_commit(self) -> None:
        """Record a commit: the server is there, and after some time in which no disk was full, space too."""
        if not self.lacking:
            return
        with self._guard:
            if time.monotonic() - self._full_at < _CALM or self.find_shortage() is not None:
                return
            self.lacking = False
            said, self._is_said = self._is_said, False
        if said:
            _log.warning("new messages are taken again; %d were refused since the start", self.refusals)


def attach_disk_reserve(engine: Engine, room: DiskReserve) -> None:
    """Attach the disk reserve to an engine."""
    engine.__dict__[_ROOM] = room


def get_disk_reserve(engine: Engine) -> DiskReserve:
    """Return the disk reserve of an engine's database."""
    room: DiskReserve = engine.__dict__[_ROOM]
    return room


def retry_until_stored(act: Callable[[], _Result], pause: float = 1.0) -> _Result:
    """Return what `act` returns, retried as long as the database has no space (GW806).

    For processes that start while the disk is full or the server unavailable: they continue when
    there is space.
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
