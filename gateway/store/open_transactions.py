"""A transaction of SQLite that several writers of this process continue, one after another, and commit once.

A commit takes as long as a small transaction, and writes again the pages that the next one changes too. So
where another writer waits already, it continues the open transaction. Nobody returns before the commit of
what it has written, and the work of a writer that fails is rolled back alone.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.log_checkpoints import count_commit
from gateway.store.sqlite_errors import add_sqlite_errors

__all__ = ["OpenTransaction"]

#: So many writers share a commit at most, and none continues what has been open for so long.
_MOST: Final = 4
_LONGEST: Final = 0.05


class OpenTransaction:
    """A transaction on the write connection; only the holder of the write lock does something with it."""

    def __init__(self, engine: Engine, conn: Any) -> None:
        self.conn = conn
        self._engine = engine
        self._driver: Any = conn.connection.dbapi_connection
        self._writers = 0
        self._began = time.monotonic()
        #: A lock for each writer that waits for the commit; it is released to wake it.
        self._waiting: list[threading.Lock] = []
        self._problem: BaseException | None = None
        #: Whether it is committed or rolled back, and all that wait for it are woken.
        self.has_ended = False

    def begin_work(self) -> None:
        """Begin the work of a writer: the first one begins the transaction."""
        if self._writers == 0:
            self.conn.begin_in_driver("BEGIN IMMEDIATE")
        else:
            self._driver.execute("SAVEPOINT continued")
        self._writers += 1

    def end_work(self) -> None:
        """End the work of a writer, which is committed with that of all others."""
        if self._writers > 1:
            self._driver.execute("RELEASE continued")

    def fail_work(self, problem: BaseException) -> None:
        """Roll back the work of a writer that has failed, and commit that of the others.

        Where SQLite has rolled back everything, as with a full disk, the others are told the same.
        """
        try:
            if self._writers > 1 and self._driver.in_transaction:
                self._roll_back_one()
            else:
                self._abandon(_tell_others(problem))
        finally:
            self._close_after(problem)

    def _roll_back_one(self) -> None:
        """Roll back the work of the last writer, and commit that of the others."""
        try:
            self._driver.execute("ROLLBACK TO continued")
            self._driver.execute("RELEASE continued")
        except BaseException as problem:
            self._abandon(_tell_others(problem))
            if not isinstance(problem, Exception):
                raise
        else:
            self.commit()

    def may_be_continued(self) -> bool:
        """Return whether another writer may continue it."""
        return self._writers < _MOST and time.monotonic() - self._began < _LONGEST

    def commit(self) -> None:
        """Commit it, and wake all that wait for it; `check_committed` raises what failed."""
        try:
            (self.conn if self.conn.in_transaction() else self._driver).commit()
        except Exception as problem:
            self._abandon(_tell_others(problem))
            self._close_after(problem)
            return
        except BaseException:
            # An interrupt is raised before the driver is called, or when it has committed.
            if not self._driver.in_transaction:
                self._end(None)
            self.abandon_unless_ended()
            raise
        self._end(None)
        count_commit(self._engine)

    def abandon_unless_ended(self) -> None:
        """Roll it back, and tell all that wait, where an interrupt has kept it from its end."""
        if not self.has_ended:
            self._abandon(_make_passing_problem())

    def check_committed(self) -> None:
        """Raise the exception with which the commit failed, to each writer."""
        if self._problem is not None:
            raise self._problem

    def join_waiting(self) -> threading.Lock:
        """Return the lock by which a writer waits for the commit that another one makes."""
        blocked = threading.Lock()
        blocked.acquire()
        self._waiting.append(blocked)
        return blocked

    def _abandon(self, problem: BaseException) -> None:
        """Roll everything back, and wake all that wait; drop a connection that cannot roll back."""
        try:
            (self.conn if self.conn.in_transaction() else self._driver).rollback()
        except BaseException as further:
            self.conn.invalidate()
            if not isinstance(further, add_sqlite_errors(DatabaseError)):
                raise
        finally:
            self._end(problem)

    def _close_after(self, problem: BaseException) -> None:
        """Close the connection where it may be the cause: the next transaction gets a new one."""
        if isinstance(problem, add_sqlite_errors(OperationalError, kind="OperationalError")):
            self.conn.close()

    def _end(self, problem: BaseException | None) -> None:
        self._problem, self.has_ended = problem, True
        for blocked in self._waiting:
            blocked.release()


def _tell_others(problem: BaseException) -> BaseException:
    """Return what all are told whose work is rolled back with that of one writer, or by its interrupt."""
    if isinstance(problem, add_sqlite_errors(DatabaseError, kind="DatabaseError")):
        return problem
    return _make_passing_problem()


def _make_passing_problem() -> BaseException:
    return InsufficientStorageError("the database has rolled back what several writers share")
