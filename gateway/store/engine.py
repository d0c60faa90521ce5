"""Makes the database engine, and provides the two kinds of transaction.

SQLite runs in WAL mode with synchronous=FULL, because with NORMAL a power cut loses acknowledged
messages. Its writers queue at a lock of our own, within the process and between processes: the busy
handler of SQLite sleeps and is unfair.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

from gateway.errors import EVIDENCE_BROKEN, SETTINGS_WRONG, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.store.compiled_statements import COMPILED_STATEMENTS, share_compiled_statements
from gateway.store.database_copies import attach_copy_watch, find_copy_watch, run_copied
from gateway.store.database_hosts import DatabaseHosts
from gateway.store.disk_reserve import (
    DiskReserve,
    InsufficientStorageError,
    attach_disk_reserve,
    get_disk_reserve,
)
from gateway.store.driver_connections import use_driver_connections
from gateway.store.first_acts import run_first_act
from gateway.store.follow_ups import FollowUps
from gateway.store.idle_connections import ping_idle_connections
from gateway.store.kept_connections import ConnectionLosses, KeptConnections
from gateway.store.object_store import ObjectStore, attach_object_store
from gateway.store.open_transactions import OpenTransaction
from gateway.store.postgresql_connections import (
    get_connection_class,
    is_read_only,
    is_server_away,
    make_connect_options,
    read_url,
    watch_notices,
)
from gateway.store.sqlite_errors import SQLITE_ERROR, add_sqlite_errors, get_sqlite_errors
from gateway.store.transaction_conflicts import find_conflict
from gateway.store.transaction_rows import (
    begin_collecting,
    end_collecting,
    insert_before_reading,
    insert_collected_rows,
    note_committed_lanes,
)

__all__ = [
    "confirm_copies",
    "describe_database",
    "make_engine",
    "read_transaction",
    "use_object_store",
    "write_transaction",
]

_PRAGMAS: Final = {
    "journal_mode": "wal",
    "synchronous": "2",
    "foreign_keys": "1",
    "busy_timeout": "10000",
    "wal_autocheckpoint": "4000",
    "cache_size": "-16000",
    # Statement journals: in memory, so that only the disk of the database can be full.
    "temp_store": "2",
}
#: System errors when a file cannot be written; they may pass.
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EROFS})
_SETTINGS: Final = {
    "TimeZone": ("UTC",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}

_NO_DRIVER: Final = (
    "a PostgreSQL database needs the extra postgresql, which is not installed: "
    "`pip install 'singlewindow-gateway[postgresql]'`"
)

# Attributes of the engine: the write connection of SQLite, the path of its file, and connections at rest.
_WRITER: Final = "_gateway_writer"
_DATABASE: Final = "_gateway_database"
_WRITERS: Final = "_gateway_writers"
_READERS: Final = "_gateway_readers"
#: The read-only engine of each SQLite engine.
_readers: Final[WeakKeyDictionary[Engine, Engine]] = WeakKeyDictionary()
#: What begins a transaction that reads; the driver of PostgreSQL begins it with the first statement.
_READING_COMMANDS: Final = {"sqlite": "BEGIN", "postgresql": ""}
_READING: Final[dict[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def make_engine(
    url: str,
    *,
    pool_size: int = 16,
    reserve: int = 0,
    volume: str | None = None,
    objects: ObjectStore | None = None,
    copies: int = 1,
    seconds: float | None = None,
) -> Engine:
    """Return an engine for a ``sqlite:///`` file or a ``postgresql+psycopg://`` server.

    `reserve` octets of the disk are reserved for work accepted before; `volume` is a folder on that
    disk, by default for SQLite that of the file. `objects` keeps large octets; without it they are in
    the database. A commit waits for so many `copies` on PostgreSQL; an answer of that server is awaited
    for so many `seconds` (None: for ever).
    """
    parsed = _parse_database_url(url)
    if copies > 1 and parsed.get_backend_name() == "sqlite":
        raise GatewayError(SETTINGS_WRONG, "SQLite keeps one copy: use PostgreSQL", "database.copies")
    if parsed.get_backend_name() == "sqlite":
        engine = _make_sqlite_engines(parsed, pool_size)
        volume = volume or os.path.dirname(engine.__dict__[_DATABASE])
    else:
        engine = _make_postgresql_engine(parsed.set(drivername="postgresql+psycopg"), pool_size, seconds)
        attach_copy_watch(engine, copies)
    attach_disk_reserve(engine, DiskReserve(volume, reserve))
    use_object_store(engine, objects)
    return engine


def use_object_store(engine: Engine, objects: ObjectStore | None) -> None:
    """Let an engine, and its readers, keep large octets in an object store."""
    for one in (engine, _readers.get(engine)):
        if one is not None:
            attach_object_store(one, objects)


def describe_database(url: str) -> str:
    """Return the URL of a database without its password and parameters, for people."""
    parsed = _parse_database_url(url)
    # What is left out by `URL.set` stays, so a URL without password and parameters is made anew.
    several = parsed.query.get("host")
    hosts = ",".join(several) if isinstance(several, tuple) else parsed.host
    plain = URL.create(parsed.drivername, parsed.username, None, hosts, parsed.port, parsed.database)
    return plain.render_as_string(hide_password=False)


def _parse_database_url(url: str) -> URL:
    try:
        parsed = read_url(url)
    except (ArgumentError, ValueError):
        raise GatewayError(SETTINGS_WRONG, "the database url cannot be read", "database.url") from None
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise GatewayError(SETTINGS_WRONG, "the database is sqlite or postgresql", "database.url")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise GatewayError(
            SETTINGS_WRONG, "a database in memory is lost at the end: name a file", "database.url"
        )
    return parsed


def _make_sqlite_engines(url: URL, pool_size: int) -> Engine:
    # Readers have connections of their own: PRAGMA query_only makes SQLite recompile every statement of
    # its connection, so that switching it for each transaction costs more than the rows.
    writers, readers = (_open_sqlite_engine(url, pool_size, query_only) for query_only in ("0", "1"))
    _readers[writers] = readers
    writers.__dict__[_DATABASE] = os.path.abspath(str(url.database))
    _keep_connections(writers, _READERS, readers.connect, pool_size, ConnectionLosses(), tested=False)
    event.listen(writers, "engine_disposed", lambda _engine: readers.dispose())
    event.listen(writers, "engine_disposed", _close_write_connection)
    event.listen(writers, "engine_disposed", lambda engine: _get_write_lock(engine).close_file())
    return writers


def _open_sqlite_engine(url: URL, pool_size: int, query_only: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=-1,
        connect_args={"timeout": 10, "cached_statements": 512},
        execution_options=COMPILED_STATEMENTS,
    )
    share_compiled_statements(engine)

    def harden_connection(connection: Any, _record: Any) -> None:
        with _close_on_failure(connection):
            _apply_pragmas(connection, _PRAGMAS | {"query_only": query_only})

    event.listen(engine, "connect", harden_connection)
    _insert_rows_together(engine)
    return engine


def _insert_rows_together(engine: Engine) -> None:
    """Let several rows be one statement where nothing is returned either; SQLAlchemy sends each alone."""
    engine.dialect.use_insertmanyvalues_wo_returning = True
    insert_before_reading(engine)
    use_driver_connections(engine)


def _make_postgresql_engine(url: URL, threads: int, seconds: float | None) -> Engine:
    try:
        engine = create_engine(
            url,
            # What rests is kept outside of the pool.
            pool_size=1,
            max_overflow=-1,
            connect_args=make_connect_options(url, seconds),
            execution_options=COMPILED_STATEMENTS,
        )
    except ImportError:
        raise GatewayError(SETTINGS_WRONG, _NO_DRIVER, "database.url") from None
    # Before the engine gets the dialect of another one: both are events of its own.
    connect, hosts = get_connection_class(seconds).connect, DatabaseHosts()
    event.listen(engine, "do_connect", lambda _d, _r, _unnamed, named: hosts.connect(connect, named))
    event.listen(engine, "handle_error", _leave_standby)
    share_compiled_statements(engine)
    event.listen(engine, "connect", _check_postgresql_settings)
    event.listen(engine, "connect", lambda connection, record: watch_notices(connection, record.info))
    ping_idle_connections(engine)
    _insert_rows_together(engine)
    losses = ConnectionLosses()
    _keep_connections(engine, _WRITERS, engine.connect, threads, losses)
    _keep_connections(
        engine, _READERS, lambda: engine.connect().execution_options(**_READING), threads, losses
    )
    return engine


def _keep_connections(
    engine: Engine,
    kind: str,
    connect: Callable[[], Any],
    most: int,
    losses: ConnectionLosses,
    *,
    tested: bool = True,
) -> None:
    """Keep the connections for one kind of transaction of an engine until it is disposed of."""
    kept = engine.__dict__[kind] = KeptConnections(engine, connect, most, losses, is_tested=tested)
    event.listen(engine, "engine_disposed", lambda _engine: kept.close_all())


def _get_kept(engine: Engine, kind: str) -> KeptConnections:
    kept: KeptConnections = engine.__dict__[kind]
    return kept


def _apply_pragmas(connection: Any, pragmas: Mapping[str, str]) -> None:
    # `write_transaction` begins by itself; other code must not write without a transaction either.
    connection.isolation_level = "IMMEDIATE"
    for name, wanted in pragmas.items():
        connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
    for name, wanted in pragmas.items():
        found = str(connection.execute(f"PRAGMA {name}").fetchone()[0])
        _check_setting_value(name, found, (wanted,))


def _check_postgresql_settings(connection: Any, _record: Any) -> None:
    with _close_on_failure(connection), connection.cursor() as cursor:
        for name, wanted in _SETTINGS.items():
            cursor.execute(f"SHOW {name}")
            _check_setting_value(name, cursor.fetchone()[0], wanted)
    connection.rollback()


def _leave_standby(context: Any) -> None:
    """Close the connections to a server that takes no writes: the next ones look for the primary."""
    if is_read_only(context.original_exception):
        context.is_disconnect = True


@contextmanager
def _close_on_failure(connection: Any) -> Iterator[None]:
    """Close a new connection that fails its checks: the pool forgets it without closing it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _check_setting_value(name: str, found: str, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise GatewayError(
            SETTINGS_WRONG, f"the database has {name} = {found}, it must be {wanted[0]}", "database.url"
        )


class _WriteLock:
    """One writer at a time for one SQLite file: first among threads, then among processes.

    A thread may leave its transaction open to one that waits and may continue it.
    """

    def __init__(self, database: str) -> None:
        self._path = database + "-writer"
        self._mutex = threading.Lock()
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._file: int | None = None
        self._pid = 0
        #: How many threads wait that may continue a transaction, and the one that is left open to them.
        self._continuing = 0
        self._left: OpenTransaction | None = None

    def enter(self, *, continues: bool) -> OpenTransaction | None:
        """Wait until this thread may write; return the transaction that it continues, None for a new one."""
        if self._owner == threading.get_ident():
            raise RuntimeError("a transaction within a transaction")
        if continues:
            self._wait_to_continue()
        else:
            self._mutex.acquire()
        left = None
        try:
            left, self._left = self._left, None
            if left is not None and not continues:
                left.commit()
                left = None
            if left is None:
                fcntl.flock(self._get_lock_descriptor(), fcntl.LOCK_EX)
        except BaseException:
            self._abandon(left)
            raise
        self._owner = threading.get_ident()
        return left

    def leave(self, transaction: OpenTransaction | None) -> None:
        """Let the next thread or process write; a transaction that an interrupt left open is rolled back."""
        self._owner = None
        self._abandon(transaction)

    def _abandon(self, transaction: OpenTransaction | None) -> None:
        try:
            if transaction is not None:
                transaction.abandon_unless_ended()
        finally:
            self._release()

    def _release(self) -> None:
        """Give the file back, where this process has it, and let the next thread come."""
        try:
            if self._file is not None and self._pid == os.getpid():
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def is_awaited(self) -> bool:
        """Return whether a thread waits that may continue a transaction."""
        return self._continuing > 0

    def leave_open(self, transaction: OpenTransaction) -> None:
        """Leave a transaction to the next thread of this process; return when it is committed."""
        blocked = transaction.join_waiting()
        self._owner, self._left = None, transaction
        self._mutex.release()
        while not blocked.acquire(timeout=_PATIENCE):
            self._commit_left(transaction)

    def _commit_left(self, transaction: OpenTransaction) -> None:
        """Commit a transaction that nobody continues: whoever waited was interrupted."""
        if self._mutex.acquire(blocking=False):
            if transaction.has_ended:
                # What is left open now is the transaction of others, and needs the lock of the file.
                self._mutex.release()
                return
            try:
                if self._left is transaction:
                    self._left = None
                    transaction.commit()
            finally:
                self.leave(transaction)

    def _wait_to_continue(self) -> None:
        with self._guard:
            self._continuing += 1
        try:
            self._mutex.acquire()
        finally:
            with self._guard:
                self._continuing -= 1

    def close_file(self) -> None:
        """Close the file of the lock where nobody holds it; the next transaction opens it again."""
        if self._mutex.acquire(blocking=False):
            if self._left is None:
                if self._file is not None and self._pid == os.getpid():
                    os.close(self._file)
                self._file = None
            self._mutex.release()

    def _get_lock_descriptor(self) -> int:
        # The lock belongs to the open file, which a forked child shares: the child opens its own.
        if self._file is None or self._pid != os.getpid():
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise (
                    _make_unavailable_error(error.strerror) if error.errno in _PASSING else error
                ) from error
            self._pid = os.getpid()
        return self._file


#: After so many seconds a thread looks itself whether the transaction that it left open is continued.
_PATIENCE: Final = 0.2
_locks: dict[str, _WriteLock] = {}


def _clear_write_locks() -> None:
    _locks.clear()


os.register_at_fork(after_in_child=_clear_write_locks)


def _get_write_lock(engine: Engine) -> _WriteLock:
    path: str = engine.__dict__[_DATABASE]
    return _locks.get(path) or _locks.setdefault(path, _WriteLock(path))


def _get_write_connection(engine: Engine) -> Any:
    """Return the write connection; the holder of the write lock uses it instead of one from the pool."""
    conn: Connection | None = engine.__dict__.get(_WRITER)
    if conn is None or conn.closed or conn.invalidated:
        conn = engine.__dict__[_WRITER] = engine.connect()
    return conn


def _close_write_connection(engine: Engine) -> None:
    conn: Connection | None = engine.__dict__.pop(_WRITER, None)
    if conn is not None and not conn.closed:
        # Its pool no longer exists, so the connection is closed and not returned.
        conn.invalidate()
        conn.close()


@contextmanager
def write_transaction(engine: Engine, name: str = "") -> Iterator[Connection]:
    """Run the block in one write transaction: committed completely at its end, or not at all.

    `name` names its commit: tests kill the process right before and right after it, at the
    failpoints ``<name>.before_commit`` and ``<name>.after_commit``.
    """
    follow_ups = FollowUps(engine)
    try:
        with _begin_transaction(engine, shares=follow_ups.are_taken) as conn:
            collected = begin_collecting(conn)
            try:
                first = run_first_act(conn)
                yield conn
                follow_ups.claim_queued(conn)
                insert_collected_rows(conn)
                kill_at_failpoint(name, "before_commit")
            finally:
                end_collecting(conn)
    except BaseException as problem:
        follow_ups.cancel()
        if isinstance(problem, add_sqlite_errors(DatabaseError, InterfaceError, kind="DatabaseError")):
            raise _translate_database_error(problem, engine) from problem
        raise
    follow_ups.begin()
    note_committed_lanes(engine, collected)
    if first is not None:
        first.committed = True
    kill_at_failpoint(name, "after_commit")
    room = get_disk_reserve(engine)
    if room.lacking:
        room.record_commit()


def _begin_transaction(engine: Engine, *, shares: bool) -> AbstractContextManager[Connection]:
    if engine.dialect.name == "sqlite":
        return _sqlite_transaction(engine, shares=shares)
    watch, kept = find_copy_watch(engine), _get_kept(engine, _WRITERS)
    return kept.run_transaction() if watch is None else run_copied(kept, watch)


def confirm_copies(engine: Engine) -> None:
    """Return when everything committed so far is on all copies that the settings want; raises GW806 else.

    For an answer that promises what an earlier transaction has stored, and stores nothing itself.
    """
    if find_copy_watch(engine) is not None:
        with write_transaction(engine, "copies.confirmed"):
            """The commit alone waits for all commits before it."""


@contextmanager
def _sqlite_transaction(engine: Engine, *, shares: bool) -> Iterator[Connection]:
    """Run the block in a transaction of the database driver; one that `shares` may share its commit.

    A SQLAlchemy transaction, which begins with the first statement executed through SQLAlchemy,
    costs more than most statements. It is committed where there is one, and not begun here.
    """
    lock = _get_write_lock(engine)
    transaction = lock.enter(continues=shares)
    leaves_open = False
    try:
        transaction = transaction or OpenTransaction(engine, _get_write_connection(engine))
        try:
            transaction.begin_work()
            yield transaction.conn
            transaction.end_work()
        except BaseException as problem:
            transaction.fail_work(problem)
            raise
        leaves_open = shares and lock.is_awaited() and transaction.may_be_continued()
        if not leaves_open:
            transaction.commit()
    finally:
        if not leaves_open:
            lock.leave(transaction)
    if leaves_open:
        lock.leave_open(transaction)
    transaction.check_committed()


@contextmanager
def read_transaction(engine: Engine, *, promises: bool = False) -> Iterator[Connection]:
    """Run the block in one read transaction, which sees one state of the database and cannot write.

    Where the answer `promises` what is read, it is on all wanted copies after the block.
    """
    try:
        with _get_kept(engine, _READERS).run_transaction(_READING_COMMANDS[engine.dialect.name]) as conn:
            yield conn
    except add_sqlite_errors(DatabaseError, InterfaceError, kind="DatabaseError") as error:
        raise _translate_database_error(error, engine, reading=True) from error
    if promises:
        confirm_copies(engine)


def _translate_database_error(
    error: BaseException, engine: Engine, *, reading: bool = False
) -> BaseException:
    """Translate a database error: GW805 for a damaged file, GW806 if it may pass, else the error itself."""
    told = getattr(error, "orig", error)
    conflict = find_conflict(told)
    if conflict is not None:
        return conflict
    if type(told) in get_sqlite_errors("DatabaseError"):
        # SQLITE_NOTADB and SQLITE_CORRUPT have no class of their own, as all other errors have.
        detail = f"the file of the database is damaged, restore it from a backup: {told}"
        return GatewayError(EVIDENCE_BROKEN, detail[:160], "database.url")
    if not _is_transient_error(error, told):
        return error
    problem = _make_unavailable_error(told, reading=reading)
    get_disk_reserve(engine).record_refusal(problem, is_full=not is_server_away(told))
    return problem


def _is_transient_error(error: BaseException, told: Any) -> bool:
    """Return whether a retry may succeed: the disk is full, or the server is unavailable.

    Both drivers have one class for that (PostgreSQL's classes 08, 53, 57 and 58 among others). In
    SQLite the class also contains our own mistakes, which have the code SQLITE_ERROR.
    """
    if isinstance(error, InterfaceError):
        return error.connection_invalidated
    if getattr(told, "sqlite_errorcode", None) == SQLITE_ERROR:
        return False
    return is_read_only(told) or isinstance(
        error, add_sqlite_errors(OperationalError, kind="OperationalError")
    )


def _make_unavailable_error(told: Any, *, reading: bool = False) -> InsufficientStorageError:
    reason = str(told).partition("\n")[0]
    words = "cannot be reached" if reading else "accepts no writes"
    return InsufficientStorageError(f"the database {words} now: {reason[:120]}")
