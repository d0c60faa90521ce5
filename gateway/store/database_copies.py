"""Makes sure that a commit is on as many servers as the settings want, before anybody is told of it.

A synchronous PostgreSQL server does not promise that alone. Its list of standbys may be empty, or be
emptied while commits wait. A wait may be cancelled, and the commit then succeeds with a warning. The
next transaction finds such a row, and may write nothing itself, so that it waits for nothing. So each
write transaction asks the server before its commit, writes to the log of the server, and asks once
more after the commit.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, text

from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.postgresql_connections import NOTICES, take_statements
from gateway.store.server_statements import ServerText

if TYPE_CHECKING:
    from gateway.store.kept_connections import KeptConnections

__all__ = [
    "CopiesMissingError",
    "CopyWatch",
    "attach_copy_watch",
    "find_copies_problem",
    "find_copy_watch",
    "find_standby_problem",
    "run_copied",
]

_log = logging.getLogger(__name__)

#: The attribute of the engine that holds its watch.
_WATCH: Final = "_gateway_copies"
#: Seconds between two tries of a database that keeps too few copies.
_TRY_EVERY: Final = 1.0
_STANDBYS: Final = """(SELECT count(*) FROM pg_stat_get_wal_senders() AS sender
    WHERE sender.sync_state IS NULL
       OR (sender.state = 'streaming' AND sender.sync_state IN ('sync', 'quorum')))"""
_FACTS: Final = f"""current_setting('synchronous_commit') AS how,
    current_setting('synchronous_standby_names') AS names, {_STANDBYS} AS attached"""
_LOOK: Final = text(f"""SELECT pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only, {_FACTS}""")
# The message in the log of the server gives each transaction a commit that waits; a standby cannot write it.
_ASK: Final = text(f"""SELECT pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    {_FACTS}, pg_conf_load_time() AS loaded,
    CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' THEN NULL
         ELSE pg_logical_emit_message(true, 'gateway', '') END AS written""")
_ASK_AGAIN: Final = ServerText(b"SELECT pg_conf_load_time()", (), ())
_UNSURE: Final = "the database does not confirm its copies"
_IS_STANDBY: Final = text(
    "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
)
_FLUSHED: Final = frozenset({"on", "remote_apply"})
_COUNTED: Final = re.compile(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\(", re.IGNORECASE)


class CopiesMissingError(InsufficientStorageError):
    """GW806 of a database that is no primary, or keeps fewer copies than wanted; `words` are for anybody."""

    def __init__(self, words: str, detail: str) -> None:
        super().__init__(f"{words}: {detail}", "database.copies")
        self.words = words


@dataclass(slots=True)
class CopyWatch:
    """How many copies of a commit are wanted, and whether the database keeps them now.

    While it does not, one transaction a second tries, and all others are refused at once: a commit
    that waits holds a connection of the server until a standby is back.
    """

    wanted: int
    #: Held by the one that asks for readiness by a commit.
    asking: threading.Lock = field(default_factory=threading.Lock)
    _problem: CopiesMissingError | None = None
    _next_try: float = 0.0
    _trying: bool = False
    _confirmed: float = float("-inf")
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def problem(self) -> CopiesMissingError | None:
        """Why the last commit was not confirmed; None when it was."""
        return self._problem

    def measure_age(self) -> float:
        """Return the seconds since the last commit that is on all copies; infinite before the first."""
        return time.monotonic() - self._confirmed

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Let the block run; while there is a problem, raise it except to one block a second."""
        with self._guard:
            tries = self._problem is not None
            if self._problem is not None and (self._trying or time.monotonic() < self._next_try):
                raise CopiesMissingError(self._problem.words, "it is tried again every second")
            self._trying = self._trying or tries
        try:
            yield
        finally:
            if tries:
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
        self._confirmed = time.monotonic()
        if self._problem is not None:
            with self._guard:
                self._problem = None
            _log.warning("the database keeps %d copies again", self.wanted)


def attach_copy_watch(engine: Engine, wanted: int) -> None:
    """Let the write transactions of an engine wait for so many copies; one is the server alone."""
    if wanted > 1:
        engine.__dict__[_WATCH] = CopyWatch(wanted)


def find_copy_watch(engine: Engine) -> CopyWatch | None:
    """Return the watch of an engine; None where one copy is enough."""
    watch: CopyWatch | None = engine.__dict__.get(_WATCH)
    return watch


def find_standby_problem(conn: Connection) -> CopiesMissingError | None:
    """Return why a PostgreSQL server takes no writes; None for a primary, and for SQLite."""
    if conn.dialect.name != "sqlite" and conn.execute(_IS_STANDBY).scalar_one():
        return CopiesMissingError("the database is a standby", "it takes no writes")
    return None


def find_copies_problem(conn: Connection) -> CopiesMissingError | None:
    """Return why a commit would not be on all wanted servers, as their settings say; nothing is written."""
    watch = find_copy_watch(conn.engine)
    if watch is None:
        return find_standby_problem(conn)
    return _judge_server(conn.execute(_LOOK).one(), watch.wanted)


@contextmanager
def run_copied(kept: KeptConnections, watch: CopyWatch) -> Iterator[Connection]:
    """Run the block in one transaction, and return when its commit is on all wanted copies.

    Raises CopiesMissingError (GW806) else. What was committed may then be stored or not; a repeat
    waits until it is on all copies.
    """
    with watch.admit(), kept.borrow() as conn:
        committing = False
        try:
            conn.begin_in_driver()
            yield conn
            loaded = _ask_before_commit(conn, watch)
            conn.info[NOTICES].clear()
            committing = True
            conn.commit_in_driver()
            _ask_after_commit(conn, loaded)
        except BaseException as problem:
            if committing or isinstance(problem, CopiesMissingError):
                _give_up(conn, watch, problem)
            raise
    watch.record_copies()


def _give_up(conn: Connection, watch: CopyWatch, problem: BaseException) -> None:
    """Record a commit that is not confirmed, and use its connection no more."""
    if not isinstance(problem, CopiesMissingError):
        told = str(getattr(problem, "orig", problem)).partition("\n")[0]
        problem = CopiesMissingError(_UNSURE, told[:100])
    watch.record_problem(problem)
    conn.invalidate()


def _ask_before_commit(conn: Connection, watch: CopyWatch) -> Any:
    """Write to the log of the server, and return when its settings were loaded; raises where it is unsafe."""
    row = conn.execute(_ASK).one()
    problem = _judge_server(row, watch.wanted)
    if problem is not None:
        raise problem
    return row.loaded


def _judge_server(row: Any, wanted: int) -> CopiesMissingError | None:
    """Return why a commit on this server would not be on so many servers."""
    if row.standby or row.read_only:
        return CopiesMissingError("the database is a standby", "it takes no writes")
    short = f"the database keeps fewer than {wanted} copies"
    if row.how not in _FLUSHED:
        return CopiesMissingError(short, f"synchronous_commit is {row.how}, it must be on")
    listed = _count_awaited_standbys(row.names)
    if listed < wanted - 1:
        return CopiesMissingError(short, f"synchronous_standby_names makes a commit wait for {listed}")
    if row.attached < wanted - 1:
        return CopiesMissingError(short, f"{row.attached} synchronous standbys are connected")
    return None


def _ask_after_commit(conn: Connection, loaded: Any) -> None:
    """Raise unless the commit waited to its end, under the settings that were asked for before."""
    told = conn.info[NOTICES]
    if told:
        raise CopiesMissingError(_UNSURE, told[-1][:100])
    # Without a transaction: it is one question and one answer.
    driver: Any = conn.connection.dbapi_connection
    try:
        again = take_statements(driver).ask_alone(_ASK_AGAIN)
    except Exception as error:
        raise CopiesMissingError(_UNSURE, str(error)[:80]) from error
    if again != loaded:
        raise CopiesMissingError(_UNSURE, "its settings were loaded again during the commit")


def _count_awaited_standbys(names: str) -> int:
    """Return for how many standbys `synchronous_standby_names` makes a commit wait."""
    if not names.strip():
        return 0
    counted = _COUNTED.match(names)
    return int(counted[1]) if counted else 1
