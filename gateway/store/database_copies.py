"""Makes sure that a commit is on as many servers as the settings require, before it is acknowledged.

A synchronous PostgreSQL server does not promise that alone. Its list of standbys may be empty, or be
emptied while commits wait. A wait may be cancelled, and the commit then succeeds with a warning. A
later transaction that reads such a row and writes nothing waits for no standby. So each write
transaction checks the settings of the server before its commit, writes to the log of the server, and
checks the settings once more after the commit.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError, InterfaceError

from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.postgresql_connections import SERVER_WARNINGS

_log = logging.getLogger(__name__)

#: Seconds between two tries of a database that keeps too few copies.
_TRY_EVERY: Final = 1.0
_STANDBYS: Final = """(SELECT count(*) FROM pg_stat_get_wal_senders() AS sender
    WHERE sender.sync_state IS NULL
       OR (sender.state = 'streaming' AND sender.sync_state IN ('sync', 'quorum')))"""
_FACTS: Final = f"""current_setting('synchronous_commit') AS how,
    current_setting('synchronous_standby_names') AS names, {_STANDBYS} AS attached"""
_GET_COPIES: Final = text(f"""SELECT pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only, {_FACTS}""")
# The message in the log of the server gives each transaction a commit that waits; a standby cannot write it.
_CHECK_AND_WRITE_LOG: Final = text(f"""SELECT pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    {_FACTS}, pg_conf_load_time() AS loaded,
    CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' THEN NULL
         ELSE pg_logical_emit_message(true, 'gateway', '') END AS written""")
_READ_SETTINGS_TIME: Final = text("SELECT pg_conf_load_time()")
_UNCONFIRMED_PROBLEM: Final = "the database does not confirm its copies"
_TAKES_WRITES: Final = text(
    "SELECT pg_is_in_recovery() AS standby, "
    "current_setting('default_transaction_read_only') = 'on' AS read_only"
)
_FLUSHED: Final = frozenset({"on", "remote_apply"})
_COUNTED: Final = re.compile(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\(", re.IGNORECASE)


class CopiesMissingError(InsufficientStorageError):
    """GW806 of a database that is no primary, or keeps fewer copies than required.

    `public_text` states the problem without the name of a server, so it may be shown to every user.
    """

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(f"{problem}: {detail}", "database.copies")
        self.public_text = problem


@dataclass(slots=True)
class CopyWatch:
    """The number of copies that each commit must have, and whether the database keeps them now.

    While it does not, one transaction a second is tried and all others are refused at once: a commit
    that waits holds a connection of the server until a standby is back.
    """

    required_copies: int
    #: Held by the readiness check that tries a commit: only one does so at a time.
    readiness_lock: threading.Lock = field(default_factory=threading.Lock)
    _problem: CopiesMissingError | None = None
    _next_try: float = 0.0
    _trying: bool = False
    _confirmed_at: float = float("-inf")
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def problem(self) -> CopiesMissingError | None:
        """Why the last commit was not confirmed; None when it was."""
        return self._problem

    def measure_age(self) -> float:
        """Return the seconds since the last commit that is on all copies; infinite before the first."""
        return time.monotonic() - self._confirmed_at

    @contextmanager
    def admit_transaction(self) -> Iterator[None]:
        """Run the block; while copies are missing, run only one block a second, and raise GW806 to others."""
        with self._guard:
            is_retry = self._problem is not None
            if self._problem is not None and (self._trying or time.monotonic() < self._next_try):
                raise CopiesMissingError(self._problem.public_text, "it is tried again every second")
            self._trying = self._trying or is_retry
        try:
            yield
        finally:
            if is_retry:
                self._trying = False

    def record_problem(self, problem: CopiesMissingError) -> None:
        """Record that a commit was not confirmed."""
        with self._guard:
            new = self._problem is None
            self._problem, self._next_try = problem, time.monotonic() + _TRY_EVERY
        if new:
            _log.error("nothing is acknowledged: %s", problem)

    def record_copies(self) -> None:
        """Record that a commit is on all copies."""
        self._confirmed_at = time.monotonic()
        if self._problem is not None:
            with self._guard:
                self._problem = None
            _log.warning("the database keeps %d copies again", self.required_copies)


def find_standby_problem(conn: Connection) -> CopiesMissingError | None:
    """Return why a PostgreSQL server takes no writes; None for a primary, and for SQLite."""
    return None if conn.dialect.name == "sqlite" else _find_write_problem(conn.execute(_TAKES_WRITES).one())


def find_copies_problem(conn: Connection, watch: CopyWatch | None) -> CopiesMissingError | None:
    """Return why, by the server's settings, a commit would have too few copies, else None; writes nothing.

    Without `watch` the server alone is enough.
    """
    if watch is None:
        return find_standby_problem(conn)
    return _find_server_problem(conn.execute(_GET_COPIES).one(), watch.required_copies)


@contextmanager
def run_copied_transaction(engine: Engine, watch: CopyWatch) -> Iterator[Connection]:
    """Run the block in one transaction, and return when its commit is on all required copies.

    Otherwise raises CopiesMissingError (GW806): the changes are then stored or not. A repeat of the
    transaction waits until they are on all copies.
    """
    with watch.admit_transaction(), engine.connect() as conn:
        committing = False
        try:
            conn.begin()
            yield conn
            settings_loaded_at = _check_copies_before_commit(conn, watch)
            conn.info[SERVER_WARNINGS].clear()
            committing = True
            conn.commit()
            _check_copies_after_commit(conn, settings_loaded_at)
        except BaseException as problem:
            if committing or isinstance(problem, CopiesMissingError):
                _record_unconfirmed_commit(conn, watch, problem)
            with suppress(DatabaseError, InterfaceError):
                conn.rollback()
            raise
    watch.record_copies()


def _record_unconfirmed_commit(conn: Connection, watch: CopyWatch, problem: BaseException) -> None:
    """Record a commit that is not confirmed, and use no connection to this server again."""
    if not isinstance(problem, CopiesMissingError):
        message = str(getattr(problem, "orig", problem)).partition("\n")[0]
        problem = CopiesMissingError(_UNCONFIRMED_PROBLEM, message[:100])
    watch.record_problem(problem)
    # The pool uses no connection then that was opened before.
    conn.invalidate()


def _check_copies_before_commit(conn: Connection, watch: CopyWatch) -> Any:
    """Write to the log of the server, and return the time at which its settings were loaded.

    Raises CopiesMissingError if the commit would have too few copies.
    """
    row = conn.execute(_CHECK_AND_WRITE_LOG).one()
    problem = _find_server_problem(row, watch.required_copies)
    if problem is not None:
        raise problem
    return row.loaded


def _find_write_problem(row: Any) -> CopiesMissingError | None:
    """Return why a server takes no writes; None if it does."""
    if row.standby:
        return CopiesMissingError("the database is a standby", "it takes no writes")
    if row.read_only:
        return CopiesMissingError("the database takes no writes", "default_transaction_read_only is on")
    return None


def _find_server_problem(row: Any, copies: int) -> CopiesMissingError | None:
    """Return why a commit on this server would not be on `copies` servers; None if it would be."""
    problem = _find_write_problem(row)
    if problem is not None:
        return problem
    shortage = f"the database keeps fewer than {copies} copies"
    if row.how not in _FLUSHED:
        return CopiesMissingError(shortage, f"synchronous_commit is {row.how}, it must be on")
    listed = _count_awaited_standbys(row.names)
    if listed < copies - 1:
        return CopiesMissingError(shortage, f"synchronous_standby_names makes a commit wait for {listed}")
    if row.attached < copies - 1:
        return CopiesMissingError(shortage, f"{row.attached} synchronous standbys are connected")
    return None


def _check_copies_after_commit(conn: Connection, settings_loaded_at: Any) -> None:
    """Raise CopiesMissingError unless the commit waited to its end.

    Raise it also if the server has loaded its settings again since `settings_loaded_at`.
    """
    warnings = conn.info[SERVER_WARNINGS]
    if warnings:
        raise CopiesMissingError(_UNCONFIRMED_PROBLEM, warnings[-1][:100])
    try:
        # Without a transaction it is one question and one answer.
        present_loaded_at = (
            conn.execution_options(isolation_level="AUTOCOMMIT").execute(_READ_SETTINGS_TIME).scalar_one()
        )
    except Exception as error:
        raise CopiesMissingError(_UNCONFIRMED_PROBLEM, str(error)[:80]) from error
    if present_loaded_at != settings_loaded_at:
        raise CopiesMissingError(_UNCONFIRMED_PROBLEM, "its settings were loaded again during the commit")


def _count_awaited_standbys(names: str) -> int:
    """Return for how many standbys a commit waits; `names` is the setting synchronous_standby_names."""
    if not names.strip():
        return 0
    counted = _COUNTED.match(names)
    return int(counted[1]) if counted else 1
