"""Spreads busy connections evenly over the serving processes.

Clients keep their connections, and the system gives a new one to any process that listens. So one process
may have more of the busy ones than another, which then waits for work. A process that is busy, and has at
least two more of them than the one with the fewest, ends some: its answer says ``Connection: close``, and the
client connects again (RFC 9112 §9.6). It may come to the same process again, which then ends it again, but
not without end.

Each process writes how many it has into a file that all of them read. It has a place in this file, and holds
a lock on it, which the system releases when the process ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.web.server.private_folder import open_private_folder

__all__ = ["ConnectionBalance", "ConnectionCounts", "join_connection_counts", "share_connection_counts"]

_FILE: Final = "GATEWAY_CONNECTION_COUNTS"
_PREFIX: Final = "gateway-connections-"
#: The number of busy connections of one process, and when it was written, in seconds.
_PLACE: Final = struct.Struct("=qd")
#: Places of each process: one that is to replace another may start before that one ends.
_PLACES: Final = 2
#: A number that is older, in seconds, counts as none.
_STALE: Final = 1.0
#: How often a process compares its number with the others, in seconds.
_PERIOD: Final = 0.05
#: The part of one processor that a busy process uses at least.
_BUSY: Final = 0.5
#: Connections that a process ends at once, and the seconds after which it may end another one. A client that
#: connects again may come back to the same process.
_MOST: Final = 16
_NEXT: Final = 1.0


@contextmanager
def share_connection_counts(processes: int) -> Iterator[None]:
    """Let the processes that are started within the block know how busy the others are."""
    if processes < 2:
        yield
        return
    with open_private_folder(_PREFIX) as folder:
        path = Path(folder, "counts")
        path.write_bytes(bytes(_PLACES * processes * _PLACE.size))
        os.environ[_FILE] = str(path)
        try:
            yield
        finally:
            del os.environ[_FILE]


def join_connection_counts() -> ConnectionCounts | None:
    """Return the file of all processes, with a place for this one; None where it serves alone."""
    path = os.environ.get(_FILE)
    if not path:
        return None
    try:
        return ConnectionCounts(Path(path))
    except OSError:
        # Nothing but the balance depends on it.
        return None


class ConnectionCounts:
    """How many busy connections each serving process has."""

    def __init__(self, path: Path) -> None:
        """Take a free place in the file; raise OSError where there is none."""
        # It stays open as long as the process lives: the locks of a process go with any descriptor it closes.
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._places = range(os.fstat(self._file).st_size // _PLACE.size)
        self._own = next((place for place in self._places if self._take_lock(place)), None)
        if self._own is None:
            os.close(self._file)
            raise BlockingIOError("every place is taken")

    def write_own(self, count: int, now: float) -> None:
        """Write how many this process has; raise OSError where the file takes nothing."""
        assert self._own is not None
        os.pwrite(self._file, _PLACE.pack(count, now), self._own * _PLACE.size)

    def find_least(self, now: float) -> int | None:
        """Return the fewest busy connections of any other process; None where there is none."""
        others = (place for place in self._places if place != self._own and self._is_taken(place))
        return min((self._read(place, now) for place in others), default=None)

    def _read(self, place: int, now: float) -> int:
        count, written = _PLACE.unpack(os.pread(self._file, _PLACE.size, place * _PLACE.size))
        return int(count) if now - written <= _STALE else 0

    def _take_lock(self, place: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def _is_taken(self, place: int) -> bool:
        if not self._take_lock(place):
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        return False


class ConnectionBalance:
    """Decides which answers of this process end their connection; for the event loop alone.

    `clock` and `processor_clock` return seconds: of the wall, the same for all processes, and of the
    processor time of this process. `count_busy` returns how many busy connections it has.
    """

    def __init__(
        self,
        counts: ConnectionCounts,
        count_busy: Callable[[], int],
        clock: Callable[[], float],
        processor_clock: Callable[[], float],
    ) -> None:
        self._counts = counts
        self._count_busy = count_busy
        self._clock = clock
        self._processor_clock = processor_clock
        self._compared, self._used = clock(), processor_clock()
        self._surplus = 0
        self._credit = float(_MOST)

    def publish_count(self) -> None:
        """Write how many connections this process has, also while it answers nothing."""
        try:
            self._counts.write_own(self._count_busy(), self._clock())
        except OSError:
            # The disk is full: the others take an old number for none.
            self._surplus = 0

    def should_close(self) -> bool:
        """Return whether the connection of the next answer is to end; called once for each answer."""
        now = self._clock()
        if now - self._compared >= _PERIOD:
            self._surplus = self._find_surplus(now)
        if self._surplus <= 0:
            return False
        self._surplus -= 1
        self._credit -= 1
        return True

    def _find_surplus(self, now: float) -> int:
        """Return how many connections this process has more than it should have."""
        passed, used = now - self._compared, self._processor_clock()
        busy = used - self._used >= _BUSY * passed
        self._compared, self._used = now, used
        self._credit = min(self._credit + passed / _NEXT, _MOST)
        own = self._count_busy()
        try:
            self._counts.write_own(own, now)
            least = self._counts.find_least(now) if busy else None
        except (OSError, struct.error):
            # An answer never fails for the balance.
            return 0
        return 0 if least is None else min((own - least) // 2, int(self._credit))
