"""The connection to the database, and the two kinds of transaction.

SQLite runs in WAL with synchronous=FULL, because with NORMAL a power cut loses what was
acknowledged.  Its writers queue at a lock of our own, in the process and between processes:
the busy handler of SQLite sleeps, and is unfair.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from gateway.errors import NO_ROOM, SETTINGS_WRONG, GatewayError
from gateway.failpoints import failpoint

__all__ = ["make_engine", "reading", "transaction"]

_PRAGMAS: Final = {
    "journal_mode": "wal",
    "synchronous": "2",
    "foreign_keys": "1",
    "busy_timeout": "10000",
    "wal_autocheckpoint": "4000",
    "cache_size": "-16000",
}
_SETTINGS: Final = {
    "TimeZone": ("UTC",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}

# Kept with its engine, and gone with it.
_WRITER: Final = "_gateway_writer"
#: For each SQLite engine the one whose connections only read.
_readers: Final[WeakKeyDictionary[Engine, Engine]] = WeakKeyDictionary()
_READING: Final[dict[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def make_engine(url: str, *, pool_size: int = 16) -> Engine:
    """Return an engine for a ``sqlite:///`` file or a ``postgresql+psycopg://`` server."""
    parsed = _read_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, pool_size)
    return _postgresql(parsed.set(drivername="postgresql+psycopg"), pool_size)


def _read_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise GatewayError(SETTINGS_WRONG, "the database url cannot be read", "database.url") from None
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise GatewayError(SETTINGS_WRONG, "the database is sqlite or postgresql", "database.url")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise GatewayError(SETTINGS_WRONG, "a database in memory keeps nothing: name a file", "database.url")
    return parsed


def _sqlite(url: URL, pool_size: int) -> Engine:
    # Readers have connections of their own: PRAGMA query_only makes SQLite compile every statement
    # of its connection again, so that switching it for each transaction costs more than the rows.
    writers, readers = (_sqlite_engine(url, pool_size, query_only) for query_only in ("0", "1"))
    _readers[writers] = readers
    event.listen(writers, "engine_disposed", lambda _engine: readers.dispose())
    event.listen(writers, "engine_disposed", _close_writer)
    return writers


def _sqlite_engine(url: URL, pool_size: int, query_only: str) -> Engine:
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=-1, connect_args={"timeout": 10, "cached_statements": 512}
    )

    def harden(connection: Any, _record: Any) -> None:
        _harden_sqlite(connection, _PRAGMAS | {"query_only": query_only})

    event.listen(engine, "connect", harden)
    return engine


def _postgresql(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=-1,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": "-c timezone=UTC"},
    )
    event.listen(engine, "connect", _check_postgresql)
    return engine


def _harden_sqlite(connection: Any, pragmas: Mapping[str, str]) -> None:
    # `transaction` begins by itself; whoever goes past it must not write without one either.
    connection.isolation_level = "IMMEDIATE"
    for name, wanted in pragmas.items():
        connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
    for name, wanted in pragmas.items():
        found = str(connection.execute(f"PRAGMA {name}").fetchone()[0])
        _demand(name, found, (wanted,))


def _check_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for name, wanted in _SETTINGS.items():
            cursor.execute(f"SHOW {name}")
            _demand(name, cursor.fetchone()[0], wanted)
    connection.rollback()


def _demand(name: str, found: str, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise GatewayError(
            SETTINGS_WRONG, f"the database has {name} = {found}, it must be {wanted[0]}", "database.url"
        )


def _begin_sqlite(conn: Connection, how: str) -> None:
    # Straight to the driver: this is the hot path, and the statements have no parameters.
    driver: Any = conn.connection.dbapi_connection
    driver.execute(how)


class _WriteLock:
    """One writer at a time for one SQLite file: first among threads, then among processes."""

    def __init__(self, database: str) -> None:
        self._path = database + "-writer"
        self._mutex = threading.Lock()
        self._owner: int | None = None
        self._file: int | None = None
        self._pid = 0

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise RuntimeError("a transaction within a transaction")
        self._mutex.acquire()
        try:
            fcntl.flock(self._descriptor(), fcntl.LOCK_EX)
        except BaseException:
            self._mutex.release()
            raise
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = None
        fcntl.flock(self._descriptor(), fcntl.LOCK_UN)
        self._mutex.release()

    def _descriptor(self) -> int:
        # A lock is held by the open file, which a forked child shares: it opens its own.
        if self._file is None or self._pid != os.getpid():
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._pid = os.getpid()
        return self._file


_locks: dict[str, _WriteLock] = {}


def _forget_locks() -> None:
    _locks.clear()


os.register_at_fork(after_in_child=_forget_locks)


def _write_lock(engine: Engine) -> _WriteLock:
    path = os.path.abspath(str(engine.url.database))
    return _locks.get(path) or _locks.setdefault(path, _WriteLock(path))


@contextmanager
def _writer(engine: Engine) -> Iterator[Connection]:
    """Give the connection that writes: who holds the write lock has it, and fetches none from the pool."""
    conn: Connection | None = engine.__dict__.get(_WRITER)
    if conn is None or conn.closed or conn.invalidated:
        conn = engine.__dict__[_WRITER] = engine.connect()
    try:
        yield conn
    except (OperationalError, sqlite3.OperationalError):
        # What is the matter may be the connection: the next one begins with another.
        conn.close()
        raise


def _close_writer(engine: Engine) -> None:
    conn: Connection | None = engine.__dict__.pop(_WRITER, None)
    if conn is not None and not conn.closed:
        # The pool it came from is gone: it is closed, not given back.
        conn.invalidate()
        conn.close()


@contextmanager
def transaction(engine: Engine, name: str = "") -> Iterator[Connection]:
    """Run the block in one transaction that may write: committed at its end, or nothing of it.

    `name` names its commit: tests kill the process right before and right after it, at the
    failpoints ``<name>.before_commit`` and ``<name>.after_commit``.
    """
    try:
        if engine.dialect.name == "sqlite":
            with _write_lock(engine), _writer(engine) as conn, conn.begin():
                _begin_sqlite(conn, "BEGIN IMMEDIATE")
                yield conn
                failpoint(name, "before_commit")
        else:
            with engine.begin() as conn:
                yield conn
                failpoint(name, "before_commit")
        failpoint(name, "after_commit")
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise _judged(error) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run the block in one transaction that sees one moment and cannot write."""
    try:
        if engine.dialect.name == "sqlite":
            with _readers[engine].begin() as conn:
                _begin_sqlite(conn, "BEGIN")
                yield conn
        else:
            with engine.connect().execution_options(**_READING) as conn, conn.begin():
                yield conn
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise _judged(error) from error


def _judged(error: Exception) -> Exception:
    """Return what an error of the database means: a file that is none, no room, or a mistake of ours."""
    told = getattr(error, "orig", error)
    if isinstance(told, sqlite3.DatabaseError) and type(told) is sqlite3.DatabaseError:
        # SQLITE_NOTADB and SQLITE_CORRUPT have no class of their own: every other error has.
        return GatewayError(SETTINGS_WRONG, f"the database cannot be used: {told}"[:160], "database.url")
    return _unavailable(error) if isinstance(error, OperationalError | sqlite3.OperationalError) else error


def _unavailable(error: Exception) -> GatewayError:
    reason = str(getattr(error, "orig", error)).partition("\n")[0]
    return GatewayError(NO_ROOM, f"the database takes nothing now: {reason[:120]}")
