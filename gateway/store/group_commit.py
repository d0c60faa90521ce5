"""Commits the writes of several threads together: messages that come in, and the steps of cases.

A commit is durable when the disk confirms it, and SQLite has one writer: the writes that arrive
while one commit waits for the disk, of this process or of another one, share the next commit. The
caller returns after the commit of its own writes, or gets its own exception, as from a transaction of
its own. One thread at a time commits for all that wait; at the end it hands over to one that came
meanwhile, so the next commit begins before the others of this one have run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from gateway.failpoints import kill_at_failpoint
from gateway.store.engine import is_transient_error, write_transaction
from gateway.store.transitions import forget_notes, settle_notes

_Result = TypeVar("_Result")
_Work = Callable[[Connection], _Result]


class _CommitJob(Generic[_Result]):
    """The work of one thread, the name of its commit, and its result or exception."""

    __slots__ = ("_blocked", "_problem", "_result", "_work", "ended", "name")

    def __init__(self, name: str, work: _Work[_Result]) -> None:
        self.name: Final = name
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
        """Return the result of the work, or raise the exception that it raised."""
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
        self._is_committing = False

    def run_job(self, engine: Engine, job: _CommitJob[Any]) -> None:
        """Return when the job has ended: another thread commits it, or this one, with all waiting jobs."""
        with self._guard:
            self._waiting.append(job)
            must_wait, self._is_committing = self._is_committing, True
        if must_wait:
            job.wait_until_woken()
        if not job.ended:
            self._commit_jobs(engine, job.name)

    def _commit_jobs(self, engine: Engine, name: str) -> None:
        """Commit all waiting jobs in one transaction; if it fails, each of them gets the exception."""
        jobs: Sequence[_CommitJob[Any]] = ()
        problem: BaseException | None = None
        try:
            with write_transaction(engine, name) as conn:
                # Taken when this process may write: while another one writes, more arrive.
                jobs = self._remove_waiting_jobs()
                _run_jobs(jobs, conn)
                # The transaction itself passes the failpoints of its own name.
                other_names = {job.name for job in jobs} - {name}
                _pass_failpoints(other_names, "before_commit")
            _pass_failpoints(other_names, "after_commit")
        except BaseException as failed:
            jobs = jobs or self._remove_waiting_jobs()
            problem = failed
            if not isinstance(failed, Exception):
                raise
        finally:
            self._wake_next_thread()
            for job in jobs:
                job.mark_ended(problem)
            # Its traceback refers to this frame.
            del problem

    def _wake_next_thread(self) -> None:
        """Let the thread of the first waiting job commit next, or the next thread to arrive if none waits."""
        with self._guard:
            next_job = self._waiting[0] if self._waiting else None
            self._is_committing = next_job is not None
        if next_job is not None:
            next_job.wake()

    def _remove_waiting_jobs(self) -> Sequence[_CommitJob[Any]]:
        with self._guard:
            jobs, self._waiting = self._waiting, []
        return jobs


def _pass_failpoints(names: Collection[str], failpoint: str) -> None:
    for name in names:
        kill_at_failpoint(name, failpoint)


def _run_jobs(jobs: Sequence[_CommitJob[Any]], conn: Connection) -> None:
    """Run jobs one after the other; if one fails, all run again, each with a savepoint of its own.

    So no savepoint is needed while no job fails, as nearly always. A job that fails costs the other jobs of
    its commit a second run, and never a third.
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
    """Run work; if it fails, roll back its changes alone, and return its exception.

    Raises the exception if the disk is full, as this affects every job of the transaction.
    """
    settle_notes(conn)
    driver: Any = conn.connection.dbapi_connection
    conn.exec_driver_sql("SAVEPOINT work")
    try:
        work(conn)
    except Exception as problem:
        if not driver.in_transaction or is_transient_error(problem):
            raise
        forget_notes(conn)
        conn.exec_driver_sql("ROLLBACK TO work")
        conn.exec_driver_sql("RELEASE work")
        # Bound to no name that outlives the handler: its traceback refers to this frame.
        return problem
    conn.exec_driver_sql("RELEASE work")
    return None


_groups: Final[WeakKeyDictionary[Engine, _CommitGroup]] = WeakKeyDictionary()
_groups_guard: Final = threading.Lock()


def _get_commit_group(engine: Engine) -> _CommitGroup:
    with _groups_guard:
        return _groups.setdefault(engine, _CommitGroup())


def run_in_group_commit(engine: Engine, name: str, work: _Work[_Result]) -> _Result:
    """Run `work` in a transaction called `name` that other threads may share; return its result after commit.

    `work` must change nothing but the database, since it may run twice: if the work of another thread in the
    transaction fails, all changes are rolled back, and each work runs again in a savepoint of its own. Raises
    the exception of `work`, or the error of the commit.
    """
    if engine.dialect.name != "sqlite":
        with write_transaction(engine, name) as conn:
            return work(conn)
    job = _CommitJob(name, work)
    _get_commit_group(engine).run_job(engine, job)
    return job.take_result()
