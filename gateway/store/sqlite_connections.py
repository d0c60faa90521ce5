"""Opens the connections to a SQLite file, and closes all of them together once the file cannot be used.

SQLite keeps for a connection whether its file took writes when it was opened. Connections of one process
share the file ``-shm`` beside it: while one of them stays open, a new one has the same state. And SQLite
gives the files beside a database the mode of its file. So a process never opens a file that is closed to it,
which would leave such files for the next start, too; and when an error says that the file was opened at a
wrong time, all connections are closed before one is opened again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.file_owner import open_owned_file
from gateway.store.database_damage import DatabaseFile, list_closed_files
from gateway.store.disk_reserve import make_unavailable_error

_PRAGMAS: Final = {
    "journal_mode": "wal",
    "synchronous": "2",
    "foreign_keys": "1",
    "wal_autocheckpoint": "4000",
    "cache_size": "-16000",
    # Statement journals: in memory, so that only the disk of the database can be full.
    "temp_store": "2",
}
#: How long SQLite waits for a lock of others at most.
_BUSY_SECONDS: Final = 10.0
#: Entry of a connection: the period in which it was opened.
_PERIOD: Final = "gateway_period"
_CLOSING: Final = "its connections are closed, to be opened again"
_CLOSED_TO_US: Final = "the file is closed to this account, or takes no writes"


class _CountedConnection(sqlite3.Connection):
    """A connection that its process counts until it is closed."""

    connections: SqliteConnections | None = None
    is_new = True

    def close(self) -> None:
        """Close the connection, and count it no more."""
        super().close()
        if self.connections is not None:
            self.connections.record_closed(self)


class SqliteConnections:
    """The connections of this process to one SQLite file; safe for many threads.

    They belong to periods: `close_all` ends the period. Connections that are in use then are closed when
    their transaction has ended, and none is opened before.
    """

    def __init__(self, url: URL, file: DatabaseFile, max_wait_seconds: float | None) -> None:
        self._url = url
        self._path = str(url.database)
        self._file = file
        self._busy_seconds = min(_BUSY_SECONDS, max_wait_seconds or _BUSY_SECONDS)
        self._guard = threading.Lock()
        self._open: WeakSet[_CountedConnection] = WeakSet()
        self._period = 0
        #: The engines whose connections are counted here.
        self._engines: list[Engine] = []
        self._is_closing = False
        #: When an error first closed all connections since the last commit (`time.monotonic`).
        self.failed_at: float | None = None
        _of_this_process.add(self)

    def open_engine(self, pool_options: Mapping[str, Any], *, query_only: bool) -> Engine:
        """Return an engine for the file, with these options; `query_only`: its connections only read."""
        engine = create_engine(
            self._url,
            connect_args={
                "timeout": _BUSY_SECONDS,
                "cached_statements": 512,
                "factory": _CountedConnection,
            },
            **pool_options,
        )
        engine_pragmas = {
            "query_only": f"{query_only:d}",
            "busy_timeout": f"{self._busy_seconds * 1000:.0f}",
        }

        def open_connection(_dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
            return self._open_connection(record, arguments, parameters)

        def harden_connection(connection: Any, _record: Any) -> None:
            try:
                _apply_pragmas(connection, _PRAGMAS | engine_pragmas)
                self._file.record_opened_file()
            except BaseException:
                # The pool forgets it without closing it.
                connection.close()
                raise

        event.listen(engine, "do_connect", open_connection)
        event.listen(engine, "connect", harden_connection)
        event.listen(engine, "checkout", self._refuse_former_connection)
        event.listen(engine, "checkin", self._close_former_connection)
        self._engines.append(engine)
        return engine

    def close_all(self) -> None:
        """Close every connection, those in use when they are free; the next one is opened after the last."""
        with self._guard:
            self._period += 1
            self._is_closing = True
            self.failed_at = self.failed_at or time.monotonic()
        for engine in self._engines:
            engine.pool.dispose()

    def record_commit(self) -> None:
        """Note that the file takes writes of this process."""
        self.failed_at = None

    def record_closed(self, connection: _CountedConnection) -> None:
        """Count a connection no more."""
        with self._guard:
            self._open.discard(connection)

    def forget_parent(self) -> None:
        """Forget the connections of the parent, which a forked child neither uses nor closes."""
        self._guard = threading.Lock()
        self._open, self._is_closing, self.failed_at = WeakSet(), False, None

    def _open_connection(self, record: Any, arguments: Any, parameters: Any) -> sqlite3.Connection:
        """Open a connection of the present period.

        Raises GW806 while those of the former period are still open, and an error of the driver for a file
        that this account may not read and write.
        """
        _make_database_file(self._path)
        if list_closed_files(os.path.realpath(self._path)):
            closed = sqlite3.OperationalError(_CLOSED_TO_US)
            closed.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise closed
        with self._guard:
            if self._is_closing and self._open:
                raise make_unavailable_error(_CLOSING)
            self._is_closing = False
            # Under the guard: no connection of a period is opened after the period has ended.
            connection: _CountedConnection = sqlite3.connect(*arguments, **parameters)
            connection.connections = self
            self._open.add(connection)
            record.info[_PERIOD] = self._period
        return connection

    def _refuse_former_connection(self, connection: _CountedConnection, record: Any, _proxy: Any) -> None:
        # One that was opened for this transaction is in use already, and SQLAlchemy opens no third one.
        is_new, connection.is_new = connection.is_new, False
        if not is_new and record.info.get(_PERIOD) != self._period:
            raise DisconnectionError("it was opened before all connections were closed")

    def _close_former_connection(self, _connection: Any, record: Any) -> None:
        if record.info.get(_PERIOD) != self._period:
            record.invalidate()


_of_this_process: Final[WeakSet[SqliteConnections]] = WeakSet()


def _forget_parents() -> None:
    for connections in list(_of_this_process):
        connections.forget_parent()


os.register_at_fork(after_in_child=_forget_parents)


def _make_database_file(path: str) -> None:
    """Make an empty file for a database that does not exist; it belongs to the owner of its folder.

    SQLite gives the files that it makes beside a database to the owner of the database file.
    """
    if not os.path.exists(path):
        # What prevents the file from being made prevents SQLite too, and SQLite reports it.
        with suppress(OSError):
            os.close(open_owned_file(path, os.O_RDWR))


def _apply_pragmas(connection: Any, pragmas: Mapping[str, str]) -> None:
    """Set the pragmas of a SQLite connection; raise GW801 if one has another value afterwards."""
    # `write_transaction` begins by itself; other code must not write without a transaction either.
    connection.isolation_level = "IMMEDIATE"
    for name, expected in pragmas.items():
        connection.execute(f"PRAGMA {name} = {expected}").fetchall()
    for name, expected in pragmas.items():
        actual = str(connection.execute(f"PRAGMA {name}").fetchone()[0])
        if actual != expected:
            detail = f"the database has {name} = {actual}, it must be {expected}"
            raise GatewayError(SETTINGS_WRONG, detail, "database.url")
