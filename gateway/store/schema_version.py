"""Compares the schema version of a database with that of this code; light, as every command needs it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from gateway.errors import EVIDENCE_BROKEN, MISUSE, SCHEMA_VERSION_WRONG, GatewayError
from gateway.store.database_state import get_database_state
from gateway.store.disk_reserve import retry_until_stored
from gateway.store.engine import read_transaction
from gateway.store.postgresql_connections import does_server_answer
from gateway.store.schema_revisions import (
    LAST_OF_0_1_0,
    get_head_revision,
    is_before_first_release,
    list_revisions,
    list_tables,
)
from gateway.store.working_nodes import schema_floor

#: Seconds for which a server may refuse a process that starts: others may use all its connections.
_REFUSED_SECONDS: Final = 60.0
_EMPTY_REMEDY: Final = (
    "if a hub was here, name its database or restore it; `gateway migrate --new` makes that of a new hub"
)
_OUR_REVISION: Final = re.compile("[0-9]{4}")
_ANOTHER_PROGRAM: Final = (
    "the database is that of another program: its table alembic_version is not ours. Name another database, "
    "or on PostgreSQL another schema (ALTER ROLE ... SET search_path)"
)


def read_schema_version(engine: Engine) -> str | None:
    """Return the schema version of the database; None when it has no tables."""
    with read_transaction(engine) as conn:
        return read_current_revision(conn)


def await_server(engine: Engine) -> None:
    """Return when the server of a database can be used (SQLite: at once); the log names the problem.

    Raises GW806 if the server answers, but refuses the connection for a minute, as for a wrong password.
    """
    if engine.dialect.name == "sqlite":
        return
    refused_until: float | None = None

    def is_refused_for_long(pause: float) -> bool:
        """Wait `pause` seconds; return whether the server has refused connections for a minute."""
        nonlocal refused_until
        time.sleep(pause)
        if not does_server_answer(engine.url):
            refused_until = None
            return False
        refused_until = refused_until or time.monotonic() + _REFUSED_SECONDS
        return time.monotonic() >= refused_until

    retry_until_stored(partial(read_schema_version, engine), wait=is_refused_for_long)


def read_current_revision(conn: Connection) -> str | None:
    """Return the schema version of a connection's database; None when it has no tables.

    Raises GW802 for the database of another program: Alembic gives its table this name in every program.
    """
    if not inspect(conn).has_table("alembic_version"):
        return None
    result = conn.exec_driver_sql("SELECT * FROM alembic_version")
    columns, row = list(result.keys()), result.first()
    if columns != ["version_num"] or (row is not None and not _OUR_REVISION.fullmatch(str(row[0]))):
        raise GatewayError(SCHEMA_VERSION_WRONG, _ANOTHER_PROGRAM, "database.url")
    return None if row is None else str(row[0])


def check_schema_version(engine: Engine) -> None:
    """Raise GW802 unless the database has the schema of this code, or a newer one that serves it too."""
    head, revision = get_head_revision(), None
    if not _is_file_without_content(engine):
        with read_transaction(engine) as conn:
            revision = read_current_revision(conn)
            if revision == head:
                require_tables(conn)
                return
            if revision is not None and serves_older_code(conn, revision):
                return
    if revision is not None and revision not in (LAST_OF_0_1_0, *list_revisions()):
        raise make_unknown_schema_error(revision)
    if revision is None:
        raise GatewayError(
            SCHEMA_VERSION_WRONG, f"{_describe_empty(engine)}: {_EMPTY_REMEDY}", "database.url"
        )
    detail = f"the database has version {revision}, the code needs {head}: run `gateway migrate`"
    raise GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")


def require_tables(conn: Connection) -> None:
    """Raise GW805 where a database with the version of this code lacks tables: it was restored in part."""
    lacking = sorted(list_tables() - set(inspect(conn).get_table_names()))
    if lacking:
        names = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        detail = f"the database lacks tables of its version, restore it whole: {names}"
        raise GatewayError(EVIDENCE_BROKEN, detail, "database.url")


def refuse_empty_database(engine: Engine) -> None:
    """Raise GW808 if there is no database, or it has no tables: it may be the wrong one, or lost."""
    if is_database_empty(engine):
        raise GatewayError(MISUSE, f"{_describe_empty(engine)}: {_EMPTY_REMEDY}", "database.url")


def is_database_empty(engine: Engine) -> bool:
    """Return whether there is no database, or one without tables."""
    return _is_file_without_content(engine) or read_schema_version(engine) is None


def _is_file_without_content(engine: Engine) -> bool:
    """Return whether a SQLite file does not exist or is empty; connecting would make it.

    Return False for a file that was removed while this process works on it: reading it reports that.
    """
    sqlite = get_database_state(engine).sqlite
    if sqlite is None or sqlite.file.is_exchanged():
        return False
    path = str(engine.url.database)
    return not os.path.exists(path) or os.path.getsize(path) == 0


def _describe_empty(engine: Engine) -> str:
    """Return a sentence about a database without tables, or a SQLite file that does not exist."""
    if engine.dialect.name == "sqlite" and not os.path.exists(str(engine.url.database)):
        return f"there is no database {str(engine.url.database)[-120:]}"
    empty = f"the database {str(engine.url.database)[-120:]} is empty"
    if engine.dialect.name == "sqlite":
        return empty
    return f"{empty}, or its role sees no tables in it (search_path, USAGE on their schema)"


@contextmanager
def naming_older_schema() -> Iterator[None]:
    """Raise GW802 for a statement of the block that the database cannot answer: its schema is too old."""
    try:
        yield
    except (ProgrammingError, OperationalError) as error:
        reason = str(error.orig).splitlines()[0][:200]
        detail = f"the database is too old to be read: {reason}"
        raise GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url") from error


def serves_older_code(conn: Connection, revision: str) -> bool:
    """Return whether this code can work with a newer schema, as one that has only additions.

    A migration that removes something states the oldest code version that can work without it.
    """
    if revision in list_revisions() or is_before_first_release(revision):
        return False
    if not inspect(conn).has_table(schema_floor.name):
        return False
    floor = conn.execute(select(schema_floor.c.oldest_code)).scalars().all()
    return len(floor) == 1 and floor[0] <= get_head_revision()


def make_unknown_schema_error(revision: str) -> GatewayError:
    """Return the problem for a database whose version this code does not know: newer, or before 1.0.0."""
    if is_before_first_release(revision):
        detail = (
            f"the database has version {revision[:40]} of the gateway 0.1.0, whose last one is "
            f"{LAST_OF_0_1_0}: install the last gateway 0.1.0, run its `gateway migrate`, "
            f"then that of this gateway"
        )
    else:
        detail = (
            f"the database has version {revision[:40]}, which this code does not know: install the newer code"
        )
    return GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")
