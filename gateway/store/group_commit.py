"""Commits the writes of several threads together.

A commit is durable when the disk confirms it, and SQLite has one writer: the writes that arrive
while one commit waits for the disk, of this process or of another one, share the next commit. The
caller returns after the commit of its own writes, or gets its own exception, as from a transaction of
its own. One thread at a time commits for all that wait; at the end it hands over to one that came
meanwhile, so the next commit begins before the others of this one have run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from gateway.store.engine import write_transaction
from gateway.store.transaction_rows import forget_collected_rows, insert_collected_rows

__all__ = ["run_in_group_commit"]

_Result = TypeVar("_Result")
_Work = Callable[[Connection], _Result]


class _CommitJob(Generic[_Result]):
    """The work of one thread, and its result or exception."""

    __slots__ = ("_blocked", "_problem", "_result", "_work", "ended")

    def __init__(self, work: _Work[_Result]) -> None:
        self._work = work
        self._result: _Result | None = None
        self._problem: BaseException | None = None
        # A lock that is released to wake its thread: cheaper than an event.
        self._blocked = threading.Lock()
        self._blocked.acquire()
        self.ended = False

    def run_work(self, conn: Connection) -> None:
        """Run the work, and keep its result; the caller handles its exception."""
        self._result = self._work(conn)

    def run_in_savepoint(self, conn: Connection) -> None:
        """Run the work; when it fails, its changes are rolled back and the other jobs continue."""
        self._problem = _try_in_savepoint(conn, self.run_work)

    def wait_until_woken(self) -> None:
        """Wait until another thread has ended the work, or has handed over to this one."""
        self._blocked.acquire()

    def wake(self) -> None:
        """Let the thread that waits continue."""
        self._blocked.release()

    def mark_ended(self, problem: BaseException | None) -> None:
        """Record that the commit is over, or that it failed with `problem`, and wake the thread."""
        self._problem = self._problem or problem
        self.ended = True
        self.wake()

    def take_result(self) -> _Result:
        """Return what the work returned, or raise what it raised."""
        problem, self._problem = self._problem, None
        if problem is not None:
            try:
                raise problem
            finally:
                # The traceback refers to this frame: otherwise the exception and the message would stay
                # in memory.
                del problem
        return cast("_Result", self._result)


class _CommitGroup:
    """The jobs that wait for the next commit of one engine."""

    def __init__(self) -> None:
        self._waiting: list[_CommitJob[Any]] = []
        self._guard = threading.Lock()
        self._committing = False

    def run_job(self, engine: Engine, name: str, job: _CommitJob[Any]) -> None:
        """Return when the job has ended: by another thread's commit, or by our own with all waiting jobs."""
        with self._guard:
            self._waiting.append(job)
            waits, self._committing = self._committing, True
        if waits:
            job.wait_until_woken()
        if not job.ended:
            self._commit_jobs(engine, name)

    def _commit_jobs(self, engine: Engine, name: str) -> None:
        """Commit all jobs that wait together; an exception is that of each of them."""
        jobs: Sequence[_CommitJob[Any]] = ()
        problem: BaseException | None = None
        try:
            with write_transaction(engine, name) as conn:
                # Taken when this process may write: while another one writes, more arrive.
                jobs = self._take_jobs()
                _run_jobs(jobs, conn)
        except BaseException as failed:
            jobs = jobs or self._take_jobs()
            problem = failed
            if not isinstance(failed, Exception):
                raise
        finally:
            self._hand_over()
            for job in jobs:
                job.mark_ended(problem)
            # Its traceback refers to this frame.
            del problem

    def _hand_over(self) -> None:
        """Let the first of the jobs that wait commit; where none does, the next one that comes."""
        with self._guard:
            following = self._waiting[0] if self._waiting else None
            self._committing = following is not None
        if following is not None:
            following.wake()

    def _take_jobs(self) -> Sequence[_CommitJob[Any]]:
        with self._guard:
            jobs, self._waiting = self._waiting, []
        return jobs


def _run_jobs(jobs: Sequence[_CommitJob[Any]], conn: Connection) -> None:
    """Run jobs one after the other; where one fails, all run again, each with a savepoint of its own.

    So those that do not fail, as nearly all, cost no savepoint, and their logs are inserted together. A job
    that fails costs the others of its commit a second run, and never a third.
    """
    if len(jobs) == 1:
        jobs[0].run_work(conn)
        return

    def run_all(conn: Connection) -> None:
        for job in jobs:
            job.run_work(conn)

    if _try_in_savepoint(conn, run_all) is not None:
        for job in jobs:
            job.run_in_savepoint(conn)


def _try_in_savepoint(conn: Connection, work: _Work[None]) -> Exception | None:
    """Run work; where it fails, roll back its changes alone, and return its exception.

    Raises it where SQLite has rolled back the whole transaction: the disk is full, for all that is in it.
    """
    # What the transaction has collected before is not part of this work, and stays when it fails.
    insert_collected_rows(conn)
    driver: Any = conn.connection.dbapi_connection
    driver.execute("SAVEPOINT work")
    try:
        work(conn)
        insert_collected_rows(conn)
    except Exception as problem:
        if not driver.in_transaction:
            raise
        forget_collected_rows(conn)
        driver.execute("ROLLBACK TO work")
        driver.execute("RELEASE work")
        # Bound to no name that outlives the handler: its traceback refers to this frame.
        return problem
    driver.execute("RELEASE work")
    return None


_groups: Final[WeakKeyDictionary[Engine, _CommitGroup]] = WeakKeyDictionary()
_groups_guard: Final = threading.Lock()


def _get_commit_group(engine: Engine) -> _CommitGroup:
    with _groups_guard:
        return _groups.setdefault(engine, _CommitGroup())


def run_in_group_commit(engine: Engine, name: str, work: _Work[_Result]) -> _Result:
    """Run `work` in a transaction called `name` that other threads may share; return after its commit.

    `work` may run twice, so it must change nothing but the database: where the work of another thread fails,
    all changes of both are rolled back, and each runs again by itself.
    """
    if engine.dialect.name != "sqlite":
        with write_transaction(engine, name) as conn:
            return work(conn)
    job = _CommitJob(work)
    _get_commit_group(engine).run_job(engine, name, job)
    return job.take_result()
