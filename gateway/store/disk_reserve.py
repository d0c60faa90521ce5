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
from typing import Any, Final, TypeVar

from gateway.errors import NO_ROOM, GatewayError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

#: Seconds between two log lines about the same problem.
_LOGGED_EVERY: Final = 60.0
#: Seconds between two log lines of a process that cannot start.
_WAITING_EVERY: Final = 10.0
#: Characters of a reason, which may name a file.
_MAX_REASON_CHARACTERS: Final = 300
#: A commit after this many seconds in which no disk was full shows that there is space: a small commit may
#: find space where most do not.
_CALM: Final = 5.0


class InsufficientStorageError(GatewayError):
    """GW806 of the database: nothing is wrong with the data, and it may be stored later."""

    def __init__(self, detail: str, location: str = "") -> None:
        super().__init__(NO_ROOM, detail, location)


def make_unavailable_error(error: Any, *, is_reading: bool = False) -> InsufficientStorageError:
    """Return GW806 for a database that accepts no writes, with the first line of `error`.

    With `is_reading`, the error says that the database cannot be reached.
    """
    condition = "cannot be reached" if is_reading else "accepts no writes"
    return InsufficientStorageError(f"the database {condition} now: {_shorten_reason(error)}")


def make_statement_error(error: Any) -> InsufficientStorageError:
    """Return GW806 for one statement that the database did not finish, with the first line of `error`."""
    return InsufficientStorageError(f"the database did not finish this: {_shorten_reason(error)}")


def _shorten_reason(error: Any) -> str:
    return str(error).partition("\n")[0][:_MAX_REASON_CHARACTERS]


class DiskReserve:
    """The disk space of one database, as one process measures it; safe for many threads.

    `volume` is a folder on the disk of the database (None: it cannot be measured). `reserved_octets` are
    reserved for work accepted before.
    """

    def __init__(self, volume: str | None = None, octets: int = 0) -> None:
        self.reserved_octets = octets
        #: True after a refusal until a commit shows that there is space again.
        self.is_lacking = False
        self.refusals = 0
        self._volume = volume
        self._guard = threading.Lock()
        self._full_at = self._logged_at = float("-inf")
        #: Whether the last line about it says that nothing is taken.
        self._is_announced = False

    def measure_free_octets(self) -> int | None:
        """Return the free octets of the disk; None where they cannot be measured."""
        if self._volume is None:
            return None
        try:
            filesystem = os.statvfs(self._volume)
        except OSError:
            return None
        return filesystem.f_bavail * filesystem.f_frsize

    def find_shortage(self, octets: int = 0) -> InsufficientStorageError | None:
        """Return GW806 when storing `octets` more would use the reserve, else None."""
        if not self.reserved_octets:
            return None
        free = self.measure_free_octets()
        if free is None or free >= self.reserved_octets + octets:
            return None
        detail = f"{free} octets are free, {self.reserved_octets} are kept for work that was taken before"
        return InsufficientStorageError(detail, "database.reserve")

    def require_octets(self, octets: int) -> None:
        """Raise GW806 when storing `octets` more would use the reserve."""
        problem = self.find_shortage(octets)
        if problem is not None:
            self.record_refusal(problem)
            raise problem

    def record_refusal(self, problem: InsufficientStorageError, *, is_full: bool = True) -> None:
        """Record that a write was refused because of `problem`; log it once a minute.

        If not `is_full`, as for a server that is gone or a standby, the next commit shows that the problem
        is over.
        """
        now = time.monotonic()
        with self._guard:
            self.is_lacking = True
            self.refusals += 1
            if is_full:
                self._full_at = now
            if now - self._logged_at < _LOGGED_EVERY:
                return
            self._logged_at, self._is_announced = now, True
        _log.error("nothing new is taken: %s", problem)

    def record_commit(self) -> None:
        """Record a commit, which shows that the server is reachable.

        It shows that there is space, too, if no disk has been full for some time.
        """
        if not self.is_lacking:
            return
        with self._guard:
            if time.monotonic() - self._full_at < _CALM or self.find_shortage() is not None:
                return
            self.is_lacking = False
            was_announced, self._is_announced = self._is_announced, False
        if was_announced:
            _log.warning("new messages are taken again; %d were refused since the start", self.refusals)


def retry_until_stored(
    action: Callable[[], _Result], pause_seconds: float = 1.0, wait: Callable[[float], object] = time.sleep
) -> _Result:
    """Return the result of `action`; retry it while the database has no space (GW806) or is held (GW810).

    For processes that start while the disk is full or the server unavailable: they continue when there is
    space. Every ten seconds the log names the problem that they wait for. When `wait` returns a true value,
    `action` is not retried, and the problem is raised.
    """
    logged_at = float("-inf")
    while True:
        try:
            return action()
        except InsufficientStorageError as problem:
            if time.monotonic() - logged_at >= _WAITING_EVERY:
                _log.error("waiting for the database: %s", problem)
                logged_at = time.monotonic()
            if wait(pause_seconds):
                raise
