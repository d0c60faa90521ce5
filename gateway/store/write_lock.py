"""The queue of the writers of one SQLite file: first among threads, then among processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway.file_owner import open_owned_file
from gateway.store.database_damage import describe_inaccessible_file
from gateway.store.disk_reserve import make_unavailable_error

_OTHER_WRITERS: Final = "other transactions have not ended in time"


def get_lock_path(database: str) -> str:
    """Return the file whose lock a writer of a SQLite file holds."""
    return database + "-writer"


class WriteLock:
    """One writer at a time for one SQLite file: first among threads, then among processes."""

    def __init__(self, database: str) -> None:
        self.path = get_lock_path(database)
        self._database = database
        self._mutex = threading.Lock()
        self._owner: int | None = None
        self._file: int | None = None
        self._pid = 0
        self._guard = threading.Lock()
        #: Set when the thread that waits for other processes has the lock; None where no thread waits.
        self._awaited: threading.Event | None = None
        self._is_wanted = False

    @contextmanager
    def run_as_writer(self, seconds: float | None = None) -> Iterator[None]:
        """Run the block when this thread may write; raises GW806 if that takes `seconds` (None: no limit)."""
        if self._owner == threading.get_ident():
            raise RuntimeError("a transaction within a transaction")
        end = None if seconds is None else time.monotonic() + seconds
        if not self._mutex.acquire(timeout=-1 if seconds is None else seconds):
            raise make_unavailable_error(_OTHER_WRITERS)
        try:
            descriptor = self._get_lock_descriptor()
            try:
                self._lock_or_close(descriptor, end)
                self._owner = threading.get_ident()
                yield
            finally:
                self._owner = None
                # A forked child does not own the lock of its parent, so it does not release it.
                if self._file == descriptor and self._pid == os.getpid():
                    with suppress(OSError):
                        fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def close_file(self) -> None:
        """Close the lock file if no thread holds or awaits the lock; the next transaction opens it again."""
        if self._mutex.acquire(blocking=False):
            with self._guard:
                if self._awaited is None:
                    if self._file is not None and self._pid == os.getpid():
                        os.close(self._file)
                    self._file = None
            self._mutex.release()

    def _lock_or_close(self, descriptor: int, end: float | None) -> None:
        """Lock the file as `_lock_file` does; where the file system fails, close it and raise GW806."""
        try:
            self._lock_file(descriptor, end)
        except OSError as error:
            # It is gone, or has no locks for now: the next writer opens the file again.
            self._file = None
            os.close(descriptor)
            raise make_unavailable_error(f"{self.path}: {error.strerror}") from error

    def _lock_file(self, descriptor: int, end: float | None) -> None:
        """Lock the file when other processes have unlocked it; raises GW806 at the monotonic time `end`.

        The system has no time limit for such a wait, so a thread waits; it may go on waiting after `end`.
        """
        with self._guard:
            awaited = self._awaited
            if awaited is None:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                if end is not None:
                    awaited = threading.Event()
                    arguments = (descriptor, awaited)
                    threading.Thread(target=self._await_file_lock, args=arguments, daemon=True).start()
                    # Only now: where the system starts no thread, nobody would end the wait of later writers.
                    self._awaited = awaited
            self._is_wanted = awaited is not None
        if awaited is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        try:
            awaited.wait(None if end is None else max(0.0, end - time.monotonic()))
        finally:
            with self._guard:
                self._is_wanted = False
        if not awaited.is_set():
            raise make_unavailable_error(_OTHER_WRITERS)

    def _await_file_lock(self, descriptor: int, awaited: threading.Event) -> None:
        """Lock the file, then leave the lock to a thread that still waits for it, or unlock the file."""
        is_locked = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            # The next writer meets it, too, and tells it.
            is_locked = False
        with self._guard:
            self._awaited = None
            if not is_locked:
                return
            if self._is_wanted:
                awaited.set()
            else:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _get_lock_descriptor(self) -> int:
        """Return the descriptor of the lock file, opened once in each process; raise GW806 if that fails."""
        # The lock belongs to the open file, which a forked child shares: the child opens its own.
        if self._file is None or self._pid != os.getpid():
            try:
                self._file = open_owned_file(self.path, os.O_RDWR, owner_path=self._database)
            except OSError as error:
                reason = describe_inaccessible_file(self._database) or f"{self.path}: {error.strerror}"
                raise make_unavailable_error(reason) from error
            self._pid = os.getpid()
        return self._file
