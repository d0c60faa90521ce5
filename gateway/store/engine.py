"""Makes the database engine, and provides the two kinds of transaction.

SQLite runs in WAL mode with synchronous=FULL, because with NORMAL a power cut loses acknowledged
messages. Its writers queue at a lock of the hub (`gateway.store.write_lock`), within the process and
between processes: the busy handler of SQLite sleeps and is unfair.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, Pool, QueuePool, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError, SQLAlchemyError

from gateway.errors import SETTINGS_WRONG, VALUE_TOO_LONG, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.store.database_copies import CopyWatch, run_copied_transaction
from gateway.store.database_damage import (
    SQLITE_ERROR,
    DamageRecord,
    DatabaseFile,
    add_sqlite_errors,
    describe_inaccessible_file,
    is_damage,
    make_damage_error,
)
from gateway.store.database_guard import DatabaseGuard
from gateway.store.database_needs import CLIENT_ENCODING, set_up_session
from gateway.store.database_state import (
    DatabaseState,
    SqliteDatabase,
    attach_database_state,
    get_database_state,
)
from gateway.store.disk_reserve import (
    DiskReserve,
    InsufficientStorageError,
    make_statement_error,
    make_unavailable_error,
)
from gateway.store.driver_errors import (
    FailureScope,
    describe_time_limit,
    find_failure_scope,
    is_file_failure,
    is_read_only,
    is_refused_for_now,
    is_value_too_long,
)
from gateway.store.object_store import ObjectStore
from gateway.store.postgresql_connections import (
    MAX_PREPARED_STATEMENTS,
    DatabaseHosts,
    call_at_dispose,
    check_session,
    count_losses,
    find_conflict,
    make_connect_options,
    make_connection_class,
    read_url,
    replace_lost_connections,
    watch_server_warnings,
)
from gateway.store.table_types import LongTextError
from gateway.store.transitions import begin_notes
from gateway.store.write_lock import WriteLock

_log = logging.getLogger(__name__)

#: The table of a statement that writes.
_WRITTEN_TABLE: Final = re.compile(r"(?:INSERT INTO|UPDATE) (\w+)")
_POOL_OPTIONS: Final[Mapping[str, Any]] = {
    "poolclass": QueuePool,
    "max_overflow": -1,
    # So few are in use where few are needed: a PostgreSQL server plans a statement once for each connection.
    "pool_use_lifo": True,
    # Statements that stay compiled: more than the program has.
    "query_cache_size": 1200,
    "hide_parameters": True,
}
_OTHER_FILE: Final = (
    "its file was removed or replaced while the gateway runs: stop every process of the gateway, put the "
    "right file in its place, and start them"
)
_NO_DRIVER: Final = (
    "a PostgreSQL database needs the extra postgresql, which is not installed: "
    "`pip install 'singlewindow-gateway[postgresql]'`"
)

_engines: Final[WeakSet[Engine]] = WeakSet()
#: The pools that a forked child has of its parent: their connections are neither used nor closed.
_pools_of_parents: Final[list[Pool]] = []


def make_engine(
    url: str,
    *,
    pool_size: int = 16,
    reserve_octets: int = 0,
    volume: str | None = None,
    objects: ObjectStore | None = None,
    copies: int = 1,
    max_wait_seconds: float | None = None,
    mark_path: Path | None = None,
) -> Engine:
    """Return an engine for a ``sqlite:///`` file or a ``postgresql+psycopg://`` server.

    `reserve_octets` octets of the disk are reserved for work accepted before; `volume` is a folder on that
    disk, by default for SQLite the folder of the file. `objects` keeps large octets; without it they are
    in the database. On PostgreSQL a commit waits until `copies` servers have it. `max_wait_seconds` limits
    each wait for an answer of that server, or for other writers of a SQLite file (None: no limit). While the
    database is older than the file `mark_path` records, nothing is stored or acknowledged (None: not
    checked). Raises GW801 for more than one copy on SQLite.
    """
    parsed = _parse_database_url(url)
    if copies > 1 and parsed.get_backend_name() == "sqlite":
        raise GatewayError(SETTINGS_WRONG, "SQLite keeps one copy: use PostgreSQL", "database.copies")
    sqlite = None
    if parsed.get_backend_name() == "sqlite":
        engine, sqlite = _make_sqlite_engines(parsed, pool_size, max_wait_seconds)
        volume = volume or os.path.dirname(sqlite.path)
    else:
        engine = _make_postgresql_engine(
            parsed.set(drivername="postgresql+psycopg"), pool_size, max_wait_seconds
        )
    state = DatabaseState(
        DiskReserve(volume, reserve_octets),
        DamageRecord(None if sqlite is None else sqlite.path),
        sqlite,
        copies=CopyWatch(copies) if copies > 1 else None,
        guard=None if mark_path is None else DatabaseGuard(mark_path, count_losses(engine)),
        objects=objects,
    )
    attach_database_state(engine, state)
    return engine


def describe_database(url: str) -> str:
    """Return the URL of a database without its password and parameters, for people."""
    parsed = _parse_database_url(url)
    several = parsed.query.get("host")
    hosts = ",".join(several) if isinstance(several, tuple) else parsed.host or ""
    user = f"{parsed.username}@" if parsed.username else ""
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.drivername}://{user}{hosts}{port}/{parsed.database or ''}"


def _parse_database_url(url: str) -> URL:
    """Return the parsed URL; raise GW801 unless it names a SQLite file or a PostgreSQL database.

    Raise it also if the password contains @, which must be written as %40.
    """
    try:
        parsed = read_url(url)
    except (ArgumentError, ValueError):
        raise GatewayError(SETTINGS_WRONG, "the database url cannot be read", "database.url") from None
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise GatewayError(SETTINGS_WRONG, "the database must be sqlite or postgresql", "database.url")
    if "@" in (parsed.host or ""):
        # The end of a password would stand where the host does, in each error of the driver.
        detail = "a password within the database url has %40 in the place of @"
        raise GatewayError(SETTINGS_WRONG, detail, "database.url")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise GatewayError(
            SETTINGS_WRONG, "a database in memory is lost at the end: name a file", "database.url"
        )
    return parsed


def _make_sqlite_engines(
    url: URL, pool_size: int, max_wait_seconds: float | None
) -> tuple[Engine, SqliteDatabase]:
    """Return the engine of the writers of a SQLite database, and the database with the engine of readers."""
    # A hub on PostgreSQL does not load the driver of SQLite.
    from gateway.store.sqlite_connections import SqliteConnections

    file = DatabaseFile(os.path.abspath(str(url.database)))
    connections = SqliteConnections(url, file, max_wait_seconds)
    # Readers have connections of their own: PRAGMA query_only makes SQLite recompile every statement of
    # its connection, so that switching it for each transaction costs more than the rows.
    writers, readers = (
        connections.open_engine({**_POOL_OPTIONS, "pool_size": pool_size}, query_only=query_only)
        for query_only in (False, True)
    )
    for engine in (writers, readers):
        event.listen(engine, "handle_error", _translate_long_text)
    path = os.path.realpath(str(url.database))
    sqlite = SqliteDatabase(path, file, connections, readers, max_wait_seconds)
    _engines.update((writers, readers))
    call_at_dispose(writers, readers.dispose)
    call_at_dispose(writers, lambda: _get_write_lock(sqlite.path).close_file())
    call_at_dispose(writers, file.forget_opened_file)
    return writers, sqlite


def _make_postgresql_engine(url: URL, threads: int, max_wait_seconds: float | None) -> Engine:
    """Return an engine for PostgreSQL that keeps up to `threads` connections open.

    A wait for the server ends after `max_wait_seconds` (None: no limit). Raise GW801 without a driver.
    """
    try:
        engine = create_engine(
            url,
            pool_size=threads,
            connect_args={**make_connect_options(url, max_wait_seconds), "client_encoding": CLIENT_ENCODING},
            **_POOL_OPTIONS,
        )
    except ImportError:
        raise GatewayError(SETTINGS_WRONG, _NO_DRIVER, "database.url") from None
    connect, hosts = make_connection_class(max_wait_seconds).connect, DatabaseHosts()
    is_checked = threading.Event()

    def open_connection(_dialect: Any, _record: Any, _unnamed: Any, parameters: Any) -> Any:
        connection = hosts.connect(connect, parameters)
        if not is_checked.is_set():
            with _close_on_failure(connection):
                check_session(connection, lambda: hosts.connect(connect, parameters))
            is_checked.set()
        with _close_on_failure(connection):
            # Before SQLAlchemy asks it for the isolation level, to which it returns after each read.
            set_up_session(connection)
        connection.prepared_max = MAX_PREPARED_STATEMENTS
        return connection

    event.listen(engine, "do_connect", open_connection)
    event.listen(engine, "handle_error", _leave_standby)
    event.listen(engine, "handle_error", _translate_long_text)
    event.listen(engine, "connect", lambda connection, record: watch_server_warnings(connection, record.info))
    event.listen(engine, "checkin", _allow_writes_again)
    replace_lost_connections(engine)
    _engines.add(engine)
    return engine


def _leave_standby(context: Any) -> None:
    """Close the connections to a server that accepts no writes; new connections look for the primary."""
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def _translate_long_text(context: Any) -> GatewayError | None:
    """Return GW113 for a text that is too long for its column, which is raised then; else None."""
    error = context.original_exception
    if not isinstance(error, LongTextError):
        return None
    table = _WRITTEN_TABLE.match(context.statement or "")
    return GatewayError(VALUE_TOO_LONG, f"{error} in the table {table[1]}" if table else str(error))


@contextmanager
def _close_on_failure(connection: Any) -> Iterator[None]:
    """Close a new connection that fails its checks: the pool forgets it without closing it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


_locks: dict[str, WriteLock] = {}


def _drop_parent_resources() -> None:
    """Let a forked child open files and connections of its own."""
    _locks.clear()
    for engine in _engines:
        _pools_of_parents.append(engine.pool)
        engine.pool = engine.pool.recreate()


os.register_at_fork(after_in_child=_drop_parent_resources)


def _get_write_lock(path: str) -> WriteLock:
    return _locks.get(path) or _locks.setdefault(path, WriteLock(path))


def _require_same_file(sqlite: SqliteDatabase, *, is_reading: bool = False) -> None:
    """Raise GW806 once the file of a SQLite database was removed or replaced since it was opened."""
    if sqlite.file.is_exchanged():
        raise make_unavailable_error(_OTHER_FILE, is_reading=is_reading)


@contextmanager
def write_transaction(engine: Engine, name: str = "") -> Iterator[Connection]:
    """Run the block in one write transaction: committed completely at its end, or not at all.

    `name` names its commit: tests kill the process right before and right after it, at the
    failpoints ``<name>.before_commit`` and ``<name>.after_commit``.
    """
    state = get_database_state(engine)
    try:
        with _begin_transaction(engine, state) as conn:
            notes = begin_notes(conn)
            if state.guard is not None:
                state.guard.require_current(conn)
            yield conn
            kill_at_failpoint(name, "before_commit")
    except add_sqlite_errors(DatabaseError, InterfaceError, class_name="DatabaseError") as error:
        raise _translate_database_error(error, state) from error
    if state.guard is not None:
        state.guard.record_committed_leaves(notes.leaves)
    kill_at_failpoint(name, "after_commit")
    if state.reserve.is_lacking:
        state.reserve.record_commit()
        if state.sqlite is not None:
            state.sqlite.connections.record_commit()


def _begin_transaction(engine: Engine, state: DatabaseState) -> AbstractContextManager[Connection]:
    """Return the context of a write transaction, by the kind of the database and its copies."""
    if state.sqlite is not None:
        return _run_sqlite_transaction(engine, state.sqlite, state.reserve)
    return (
        _run_transaction(engine.connect())
        if state.copies is None
        else run_copied_transaction(engine, state.copies)
    )


@contextmanager
def _run_transaction(conn: Connection, begin: str = "") -> Iterator[Connection]:
    """Run the block in one transaction of a connection, which then returns to its pool.

    `begin` is the statement that begins it: the SQLite driver begins no transaction for a read.
    """
    with conn:
        conn.begin()
        try:
            if begin:
                driver: Any = conn.connection.dbapi_connection
                driver.execute(begin)
            yield conn
            conn.commit()
        except BaseException:
            # The first failure is raised. The pool closes a connection that cannot roll back.
            with suppress(DatabaseError, InterfaceError):
                conn.rollback()
            raise


def _connect_to_read(engine: Engine) -> Connection:
    """Return a connection to a server, whose next transaction sees one state and cannot write."""
    conn = engine.connect().execution_options(isolation_level="REPEATABLE READ")
    driver: Any = conn.connection.dbapi_connection
    # SQLAlchemy would let the next transaction say READ WRITE, also where the server is to take no writes.
    driver.read_only = True
    return conn


def _allow_writes_again(connection: Any, _record: Any) -> None:
    """Let a connection that goes back to its pool write again."""
    if connection is not None and not connection.closed:
        connection.read_only = None


def confirm_copies(engine: Engine) -> None:
    """Return when everything committed so far is on all copies that the settings require, or raise GW806.

    For an answer that acknowledges data of an earlier transaction, and stores nothing itself.
    """
    if get_database_state(engine).copies is not None:
        with write_transaction(engine, "copies.confirmed"):
            """The commit alone waits for all commits before it."""


@contextmanager
def _run_sqlite_transaction(
    engine: Engine, sqlite: SqliteDatabase, reserve: DiskReserve
) -> Iterator[Connection]:
    """Run the block in one write transaction of the only writer."""
    with ExitStack() as held:
        try:
            held.enter_context(_get_write_lock(sqlite.path).run_as_writer(sqlite.writer_seconds))
        except InsufficientStorageError as refusal:
            reserve.record_refusal(refusal, is_full=False)
            raise
        _require_same_file(sqlite)
        with _run_transaction(engine.connect(), "BEGIN IMMEDIATE") as conn:
            yield conn


@contextmanager
def read_transaction(engine: Engine, *, acknowledges_data: bool = False) -> Iterator[Connection]:
    """Run the block in one read transaction, which sees one state of the database and cannot write.

    With `acknowledges_data`, the answer acknowledges the data that the block reads: after the block, this
    data is on all required copies. With `acknowledges_data`, raises GW810 if the database lacks data that the
    hub has acknowledged.
    """
    state = get_database_state(engine)
    if state.sqlite is not None:
        _require_same_file(state.sqlite, is_reading=True)
    try:
        with _begin_reading(engine, state.sqlite) as conn:
            if acknowledges_data and state.guard is not None:
                state.guard.require_current(conn)
            yield conn
    except add_sqlite_errors(DatabaseError, InterfaceError, class_name="DatabaseError") as error:
        raise _translate_database_error(error, state, is_reading=True) from error
    if acknowledges_data:
        confirm_copies(engine)


def _begin_reading(engine: Engine, sqlite: SqliteDatabase | None) -> AbstractContextManager[Connection]:
    if sqlite is not None:
        return _run_transaction(sqlite.readers.connect(), "BEGIN")
    return _run_transaction(_connect_to_read(engine))


def _translate_database_error(
    error: BaseException, state: DatabaseState, *, is_reading: bool = False
) -> BaseException:
    """Translate a database error: GW805 for a damaged file, GW806 if it may pass, GW113 for a length.

    Any other error is returned as it is. Only a failure of the disk or the server is one for everybody.
    """
    driver_error = getattr(error, "orig", error)
    conflict = find_conflict(driver_error)
    if conflict is not None:
        return conflict
    if is_damage(driver_error):
        problem = make_damage_error(driver_error)
        state.damage.record(problem)
        return problem
    if is_value_too_long(driver_error):
        return _make_length_error(driver_error)
    if not is_transient_error(error):
        return error
    if state.sqlite is None:
        reason = describe_time_limit(driver_error)
    else:
        reason = describe_inaccessible_file(state.sqlite.path)
        if is_file_failure(driver_error, is_reading=is_reading):
            state.sqlite.connections.close_all()
            _get_write_lock(state.sqlite.path).close_file()
    scope = find_failure_scope(driver_error)
    if scope is FailureScope.STATEMENT:
        refusal = make_statement_error(reason or driver_error)
        _log.warning("%s", refusal)
        return refusal
    refusal = make_unavailable_error(reason or driver_error, is_reading=is_reading)
    state.reserve.record_refusal(refusal, is_full=scope is FailureScope.DISK)
    return refusal


def _make_length_error(driver_error: Any) -> GatewayError:
    """Return GW113 for a value that is too long for an index of the server."""
    detail = f"a value is longer than an index of the table {driver_error.diag.table_name} holds"
    return GatewayError(VALUE_TOO_LONG, detail)


def is_transient_error(error: BaseException) -> bool:
    """Return whether a retry may succeed: the disk is full, the server is unavailable, or a time has run out.

    Both drivers have one exception class for these (PostgreSQL's SQLSTATE classes 08, 53, 57 and 58 among
    others). The class of SQLite also contains mistakes in statements, which have the code SQLITE_ERROR.
    """
    if isinstance(error, InterfaceError):
        return error.connection_invalidated
    cause = getattr(error, "orig", error)
    if getattr(cause, "sqlite_errorcode", None) == SQLITE_ERROR or is_value_too_long(cause):
        return False
    return is_refused_for_now(cause) or isinstance(
        error, add_sqlite_errors(OperationalError, class_name="OperationalError")
    )


def is_database_error(error: BaseException) -> bool:
    """Return whether the database or its driver raised an exception, which its transaction translates."""
    return isinstance(error, SQLAlchemyError)


_NOW: Final = text("SELECT clock_timestamp()")


def read_database_time(conn: Connection) -> datetime | None:
    """Return the time of a PostgreSQL server; None for SQLite, which has no clock of its own."""
    if conn.dialect.name == "sqlite":
        return None
    now: datetime = conn.execute(_NOW).scalar_one()
    return now
