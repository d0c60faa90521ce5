"""The state that a process has of one database, beside its connections: one object for each engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine

from gateway.errors import OBJECT_MISSING, GatewayError
from gateway.store.database_copies import CopyWatch
from gateway.store.database_damage import DamageRecord, DatabaseFile
from gateway.store.database_guard import DatabaseGuard
from gateway.store.disk_reserve import DiskReserve
from gateway.store.object_store import ObjectStore, RecentObjects

if TYPE_CHECKING:
    from gateway.store.sqlite_connections import SqliteConnections

#: The option of an engine that holds its state.
_STATE: Final = "gateway_database"


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    """The properties that only a SQLite database has.

    `path` is its file, behind any link: there are its log, its lock and its disk. `file` notices that the
    file is exchanged. `connections` are those of writers and readers, `readers` is the engine of read
    transactions. A transaction waits `writer_seconds` at most for other writers (None: no limit).
    """

    path: str
    file: DatabaseFile
    connections: SqliteConnections
    readers: Engine
    writer_seconds: float | None


@dataclass(slots=True)
class DatabaseState:
    """The state of one database in a process, and its store of large octets; safe for many threads.

    `sqlite` is None for a server, `copies` is None where one copy is enough, `guard` for a verb, which may
    look at any database, and `objects` where everything is in the database.
    """

    reserve: DiskReserve
    damage: DamageRecord
    sqlite: SqliteDatabase | None = None
    copies: CopyWatch | None = None
    guard: DatabaseGuard | None = None
    objects: ObjectStore | None = None
    recent_objects: RecentObjects = field(default_factory=RecentObjects)

    def get_object_store(self, digest: str) -> ObjectStore:
        """Return the object store that has the object of a row; raise GW325 where there is none."""
        if self.objects is None:
            raise GatewayError(OBJECT_MISSING, "this process has no object store", f"payloads {digest[:64]}")
        return self.objects


def attach_database_state(engine: Engine, state: DatabaseState) -> None:
    """Let an engine, and the engine of its read transactions, hold this state."""
    engine.update_execution_options(**{_STATE: state})
    if state.sqlite is not None:
        state.sqlite.readers.update_execution_options(**{_STATE: state})


def require_file_of(engine: Engine, opened_engine: Engine) -> None:
    """Let an engine that has opened nothing refuse each file but the one on which another engine works.

    Transactions raise GW806 for a SQLite file that took its place: the log of the first file may lie beside
    it, and SQLite would copy that log into it.
    """
    sqlite, opened_sqlite = get_database_state(engine).sqlite, get_database_state(opened_engine).sqlite
    if sqlite is not None and opened_sqlite is not None:
        sqlite.file.expect_file_of(opened_sqlite.file)


def get_database_state(engine: Engine) -> DatabaseState:
    """Return the state of an engine that `make_engine` has made."""
    state: DatabaseState = engine.get_execution_options()[_STATE]
    return state
