"""Copies the log of SQLite into the database beside the writers, not within their commits.

In WAL mode a commit appends to a log, and a checkpoint copies its pages into the database. SQLite does that
in the commit that makes the log long, while every other writer waits: 30 to 45 ms. A thread that copies
earlier leaves the last pages to that commit, which then starts the log anew.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from weakref import WeakKeyDictionary, finalize

from sqlalchemy import Engine, event

if TYPE_CHECKING:
    import sqlite3

__all__ = ["count_commit", "start_checkpoints"]

#: Commits of this process after which the log is copied: a message is about 20 pages, and a copy of a
#: thousand takes the disk some milliseconds.
_COMMITS: Final = 32
#: Seconds.
_END_WITHIN: Final = 5.0


class _CheckpointThread:
    """Copies the log of one database after every so many commits of this process."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._commits = 0
        self._due = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        self._thread.start()

    def count_commit(self) -> None:
        """Note a commit; called by the holder of the write lock, so by one thread at a time."""
        self._commits += 1
        if self._commits >= _COMMITS:
            self._commits = 0
            self._due.set()

    def stop(self) -> None:
        """End the thread when the copy that it makes is done."""
        self._ended = True
        self._due.set()

    def wait_until_stopped(self) -> None:
        """Return when the thread has closed its connection, or is busy for longer than a copy takes."""
        self._thread.join(_END_WITHIN)

    def _run(self) -> None:
        # A process with another database does not load it.
        import sqlite3

        connection: sqlite3.Connection | None = None
        # What the start of the process has written is copied at once: later it opens nothing more.
        while not self._ended:
            try:
                connection = connection or _connect(self._database)
                # Passive: waits for nobody, and copies what no reader of an older state needs.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error:
                # A full disk, for example: the commits of the writers meet it too, and tell it.
                _close(connection)
                connection = None
            self._due.wait()
            self._due.clear()
        _close(connection)


def _connect(database: str) -> sqlite3.Connection:
    import sqlite3

    # The file is not made here: without it there is nothing to copy.
    connection = sqlite3.connect(f"file:{quote(database)}?mode=rw", uri=True, isolation_level=None, timeout=0)
    try:
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


_threads: Final[WeakKeyDictionary[Engine, _CheckpointThread]] = WeakKeyDictionary()
# A thread stays with the process that started it.
os.register_at_fork(after_in_child=_threads.clear)


def start_checkpoints(engine: Engine) -> None:
    """Copy the log of this engine's database beside its writers from now on, until it is disposed.

    For processes that write all the time. Without it, and on PostgreSQL, which has a process for this,
    nothing changes.
    """
    if engine.dialect.name != "sqlite" or engine in _threads:
        return
    thread = _threads[engine] = _CheckpointThread(os.path.abspath(str(engine.url.database)))
    event.listen(engine, "engine_disposed", _stop_checkpoints)
    # An engine may also be forgotten without being disposed.
    finalize(engine, thread.stop).atexit = False
    thread.start()


def _stop_checkpoints(engine: Any) -> None:
    thread = _threads.pop(engine, None)
    if thread is not None:
        thread.stop()
        # Whoever disposes an engine may remove its files.
        thread.wait_until_stopped()


def count_commit(engine: Engine) -> None:
    """Note a commit to a SQLite database, after which a copy may be due."""
    thread = _threads.get(engine)
    if thread is not None:
        thread.count_commit()
