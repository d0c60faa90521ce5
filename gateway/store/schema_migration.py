"""Migrates a database to the schema of this code, also beside processes that work on it.

Each revision is a transaction of its own, so that the tables of all of them are not locked together, and a
migration that is killed half-way goes on from there. A revision that changes many tables may have a function
`prepare`, which changes one of them, in a transaction of its own, and returns whether there was one. A new
database gets all revisions in one. A database of version 0.1.0 at its last revision has the tables of the
first revision of this code, and gets its mark alone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Row, delete, insert, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.errors import EVIDENCE_BROKEN, NO_ROOM, SCHEMA_VERSION_WRONG, GatewayError, Problem
from gateway.file_owner import open_owned_file
from gateway.store.database_state import get_database_state
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.postgresql_connections import (
    TransactionConflictError,
    acquire_named_locks,
    is_outdated_plan,
)
from gateway.store.schema_revisions import (
    LAST_OF_0_1_0,
    MIGRATIONS,
    get_head_revision,
    list_revisions,
)
from gateway.store.schema_version import (
    make_unknown_schema_error,
    read_current_revision,
    require_tables,
    serves_older_code,
)
from gateway.store.working_nodes import schema_floor
from gateway.store.write_lock import get_lock_path

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

#: Seconds between two queries for the transactions in the way, and between two tries: at least, and at most.
_POLL_SECONDS: Final = 0.1
_PAUSES: Final = (0.2, 1.0)
#: Parts of `deadlock_timeout` that a lock is waited for. A deadlock that a process of the hub finds ends that
#: process's transaction, so none lasts so long. But only that check cancels a vacuum of the server.
_SHORT: Final = 0.5
_LONG: Final = 2.0
_VACUUM: Final = "autovacuum worker"
_LIMIT_WAITS: Final = text(
    "SELECT pg_backend_pid() AS pid, set_config('lock_timeout', CEIL(CAST(:part AS numeric) * 1000 * "
    "EXTRACT(epoch FROM CAST(current_setting('deadlock_timeout') AS interval)))::text, true)"
)
#: A revision ends when its work is done, even if the role of the hub has time limits.
_LIFT_LIMITS: Final = text(
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('statement_timeout', "
    "'transaction_timeout', 'idle_in_transaction_session_timeout')"
)
#: The type of a process of others is shown to a role with `pg_read_all_stats` alone. One that locks a table
#: and is of no role is a vacuum.
_FIND_HOLDERS: Final = text(
    "SELECT a.pid, COALESCE(a.backend_type, CASE WHEN a.usesysid IS NULL THEN CAST(:vacuum AS text) END) "
    "AS backend_type, a.application_name, a.usename, CAST(a.client_addr AS text) AS client, "
    "a.state, a.xact_start, (SELECT MAX(COALESCE(CAST(CAST(l.relation AS regclass) AS text), l.locktype)) "
    "FROM pg_locks AS l WHERE l.pid = :pid AND NOT l.granted) AS awaited_lock "
    "FROM pg_stat_activity AS a WHERE a.pid = ANY(pg_blocking_pids(:pid)) ORDER BY a.xact_start LIMIT 3"
)
#: Locks that keep others from writing to a table, with their names in SQL; the strongest last.
_LOCKS: Final = {
    "ShareLock": "SHARE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "ExclusiveLock": "EXCLUSIVE",
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
}
#: The tables that a transaction has locked or waits for; those that it has created are not seen by others.
_FIND_LOCKS: Final = text(
    "SELECT CAST(CAST(l.relation AS regclass) AS text) AS name, l.mode FROM pg_locks AS l "
    "JOIN pg_class AS c ON c.oid = l.relation WHERE l.pid = :pid AND c.relkind = 'r' AND l.mode = ANY(:modes)"
)
#: Locks all tables at a moment at which they are free, if there is one within two seconds.
_LOCK_TOGETHER: Final = """DO $$ BEGIN
FOR number IN 1..200 LOOP
    BEGIN
        {locks}
        RETURN;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM pg_sleep(0.01);
    END;
END LOOP;
END $$"""


def run_despite_table_locks(engine: Engine, act: Callable[[Connection], _Result], seconds: float) -> _Result:
    """Return the result of `act`, run in one write transaction; `act` may be run several times.

    Raises GW806, which names the holder of the lock, if no try has succeeded within `seconds`.
    """
    sqlite = get_database_state(engine).sqlite
    if sqlite is not None:
        _await_writer(get_lock_path(sqlite.path), seconds)
        with write_transaction(engine) as conn:
            return act(conn)
    end = time.monotonic() + seconds
    lock_observer, logged = _LockSight(engine), ""
    while True:
        try:
            with write_transaction(engine) as conn, lock_observer.watch(conn):
                return act(conn)
        except TransactionConflictError as problem:
            obstacle = lock_observer.describe_holders() or problem.detail
        if time.monotonic() > end:
            raise GatewayError(NO_ROOM, f"no try came through in {seconds:g} s: {obstacle}", "database.url")
        if obstacle != logged:
            _log.warning("it is tried again: %s", obstacle)
            logged = obstacle
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 no secret


class _LockSight:
    """The table locks that a repeated PostgreSQL transaction needs, and the transactions that block it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: The transactions in the way at the last query that returned any, the oldest first.
        self._holders: list[Row[Any]] = []
        #: The strongest lock of each table.
        self._locks: dict[str, str] = {}

    @contextmanager
    def watch(self, conn: Connection) -> Iterator[None]:
        """Lock the tables that earlier tries needed; a thread records which locks the block waits for."""
        only_vacuum = {row.backend_type for row in self._holders} == {_VACUUM}
        limits = {"part": _LONG if only_vacuum else _SHORT}
        conn.execute(_LIFT_LIMITS)
        pid = conn.execute(_LIMIT_WAITS, limits).one().pid
        if self._locks:
            locks = (
                f"LOCK TABLE {name} IN {_LOCKS[mode]} MODE NOWAIT;" for name, mode in self._locks.items()
            )
            conn.exec_driver_sql(_LOCK_TOGETHER.format(locks=" ".join(locks)))
        over = threading.Event()
        thread = threading.Thread(target=self._record_locks, args=(pid, over), name="locks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _record_locks(self, pid: int, over: threading.Event) -> None:
        """Record which transactions block the server process `pid`, until `over` is set.

        Record also the strongest lock that it has, or waits for, on each table.
        """
        order = list(_LOCKS)
        while not over.wait(_POLL_SECONDS):
            try:
                with read_transaction(self._engine) as conn:
                    holders = list(conn.execute(_FIND_HOLDERS, {"pid": pid, "vacuum": _VACUUM}))
                    locks = list(conn.execute(_FIND_LOCKS, {"pid": pid, "modes": order}))
            except (GatewayError, SQLAlchemyError) as problem:
                _log.warning("who holds the locks cannot be read: %s", problem)
                return
            # A try that ends between the two questions of the statement still has holders, and no lock: the
            # holders of the try before it are kept, for the lock is named with them.
            if holders and (holders[0].awaited_lock is not None or not self._holders):
                self._holders = holders
            for row in locks:
                self._locks[row.name] = max(self._locks.get(row.name, row.mode), row.mode, key=order.index)

    def describe_holders(self) -> str:
        """Return a description of the transactions that blocked the tries; empty if none was seen."""
        if not self._holders:
            return ""
        holders = ", ".join(map(_describe_holder, self._holders))
        return f"the lock of {self._holders[0].awaited_lock or 'a table'} is held by {holders}"


def _describe_holder(row: Row[Any]) -> str:
    """Return a description of a server process that holds a lock; `row` is one of `_FIND_HOLDERS`."""
    program = row.application_name or row.backend_type or "without a name"
    if row.state is None:
        # It is of another role, and not shown to ours.
        return f"server process {row.pid} ({program}, {row.usename or 'of the server'})"
    since = f" since {row.xact_start:%Y-%m-%dT%H:%M:%SZ}" if row.xact_start else ""
    return (
        f"server process {row.pid} ({program}, {row.usename} from {row.client or 'here'}, {row.state}{since})"
    )


def _await_writer(path: str, seconds: float) -> None:
    """Return when the process that writes to a SQLite database has ended its transaction.

    `path` is the file of the write lock. Raises GW806, which names the process, after `seconds`.
    """
    is_free = threading.Event()

    def await_lock() -> None:
        descriptor = open_owned_file(path, os.O_RDWR, owner_path=path.removesuffix("-writer"))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_free.set()
        finally:
            os.close(descriptor)

    threading.Thread(target=await_lock, name="write lock", daemon=True).start()
    if not is_free.wait(seconds):
        detail = f"in {seconds:g} s the lock {path[-120:]} was not free, {_describe_file_holders(path)}"
        raise GatewayError(NO_ROOM, detail, "database.url")


def _describe_file_holders(path: str) -> str:
    """Return which processes hold a lock of a file, as the kernel lists them."""
    inode, pids = str(os.stat(path).st_ino), []
    try:
        with open("/proc/locks", encoding="ascii") as listed:
            for line in listed:
                # 1: FLOCK ADVISORY WRITE 812 fd:01:4711 0 EOF; the line of one that waits has an arrow.
                fields = line.split()
                if "->" not in fields and fields[5].rpartition(":")[2] == inode:
                    pids.append(fields[4])
    except OSError:
        pids = []
    return f"it is held by process {', '.join(pids)}" if pids else "another process holds it"


#: Code of an older version does not ask whether a newer schema serves it.
_FIRST_FLOOR: Final = "0078"


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """The problem of a PostgreSQL server that does not apply a revision, and its remedy."""

    problem: Problem
    remedy: str


_OF_OTHERS: Final = _Obstacle(
    SCHEMA_VERSION_WRONG,
    "something that others have made uses a table. Drop it (a view, a rule, a policy), run `gateway "
    "migrate`, and make it again",
)
_TOO_FEW_RIGHTS: Final = _Obstacle(
    SCHEMA_VERSION_WRONG,
    "the role of the hub has too few rights. Let an administrator make it the owner of the database and of "
    "its tables (ALTER ... OWNER TO), or GRANT USAGE, CREATE ON SCHEMA and TABLESPACE, and run `gateway "
    "migrate`",
)
#: By SQLSTATE: unique_violation, insufficient_privilege, invalid_schema_name (also of one that the role may
#: not use), feature_not_supported, dependent_objects_still_exist, invalid_table_definition.
_OBSTACLES: Final = {
    "23505": _Obstacle(
        EVIDENCE_BROKEN,
        "a value stands twice, which an index had missed. See `Values that stand twice` on the page "
        "operating",
    ),
    "42501": _TOO_FEW_RIGHTS,
    "3F000": _TOO_FEW_RIGHTS,
    "0A000": _OF_OTHERS,
    "2BP01": _OF_OTHERS,
    "42P16": _OF_OTHERS,
}
#: Seconds for which each revision may wait for the tables that others use.
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Step:
    """One transaction of a migration: the schema versions before and after, and whether it is the last."""

    before: str | None
    after: str
    is_last: bool = False


def migrate_schema(
    engine: Engine,
    record: Callable[[Connection, str | None, str], None] | None = None,
    *,
    patience: float = _PATIENCE,
) -> tuple[str | None, str]:
    """Apply the revisions that the database lacks; return the version before and after.

    `record` is called with the versions before and after each transaction, in that transaction. Raises
    GW802 when the database is newer than the code, or older than the last revision of 0.1.0; and GW806,
    which names the transaction that blocks it, when a revision could not lock its tables within `patience`
    seconds. The revisions before it stay applied.
    """

    def apply_next(conn: Connection) -> _Step:
        return _apply_next(conn, record)

    first = step = run_despite_table_locks(engine, apply_next, patience)
    while not step.is_last:
        step = run_despite_table_locks(engine, apply_next, patience)
    return first.before, step.after


def _apply_next(conn: Connection, record: Callable[[Connection, str | None, str], None] | None) -> _Step:
    """Apply the next revision, or a part of its preparation; return the step.

    Raise GW802 if the schema is unknown to this code. `record` is called if the version has changed.
    """
    acquire_named_locks(conn, "schema migration")
    before = read_current_revision(conn)
    if before is not None and before not in (LAST_OF_0_1_0, *list_revisions()):
        if serves_older_code(conn, before):
            # A node of the version before starts again while those of the next one already work.
            return _Step(before, before, is_last=True)
        raise make_unknown_schema_error(before)
    after = _find_next_revision(before)
    if before == after:
        require_tables(conn)
    elif before is not None and _prepare(conn, after):
        return _Step(before, before)
    elif before == LAST_OF_0_1_0:
        conn.execute(text("UPDATE alembic_version SET version_num = :after"), {"after": after})
    else:
        _upgrade(conn, after)
    _store_oldest_code(conn, after)
    if record is not None and before != after:
        record(conn, before, after)
    return _Step(before, after, is_last=before == after)


def _find_next_revision(before: str | None) -> str:
    """Return the version that the next transaction makes."""
    if before is None:
        return get_head_revision()
    return next((each for each in list_revisions() if each > before), before)


def _prepare(conn: Connection, revision: str) -> bool:
    """Do the next part of a revision; return False if nothing is left but its mark."""
    script = _scripts().get_revision(revision)
    prepare = getattr(script.module, "prepare", None)
    with _naming_obstacles(revision):
        return prepare is not None and bool(prepare(conn))


def _upgrade(conn: Connection, revision: str) -> None:
    config = _make_alembic_config()
    config.attributes["connection"] = conn
    with _naming_obstacles(revision):
        command.upgrade(config, revision)


@contextmanager
def _naming_obstacles(revision: str) -> Iterator[None]:
    """Raise GW802 or GW805, with the remedy, where a PostgreSQL server does not apply a revision."""
    try:
        yield
    except DBAPIError as error:
        obstacle = _OBSTACLES.get(getattr(error.orig, "sqlstate", None) or "")
        if obstacle is None or is_outdated_plan(error.orig):
            raise
        reason = " ".join(str(error.orig).split())[:400]
        detail = f"revision {revision} cannot be applied: {obstacle.remedy} ({reason})"
        raise GatewayError(obstacle.problem, detail, "database.url") from error


def find_oldest_code(modules: Iterable[Any]) -> str:
    """Return the schema version of the oldest code that can work with the schema after these migrations.

    Code of the version before a migration can work after it, unless the migration states `oldest_code`.
    """
    versions = (str(module.oldest_code) for module in modules if hasattr(module, "oldest_code"))
    return max([_FIRST_FLOOR, *versions])


def _store_oldest_code(conn: Connection, revision: str) -> None:
    """Store the oldest version of the code that can work with the schema after `revision`."""
    applied = (each.module for each in _scripts().walk_revisions() if each.revision <= revision)
    oldest = find_oldest_code(applied)
    stored = conn.execute(select(schema_floor.c.oldest_code)).scalars().all()
    if stored != [oldest]:
        conn.execute(delete(schema_floor))
        conn.execute(insert(schema_floor).values(oldest_code=oldest))


def _make_alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_make_alembic_config())
