"""Migrates a database to the schema of this code.

A revision is one transaction on both databases, so a migration that is killed half-way has no
effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, delete, insert, select

from gateway.store.engine import write_transaction
from gateway.store.node_tables import schema_floor
from gateway.store.schema_version import (
    check_schema_version,
    get_head_revision,
    list_known_revisions,
    make_newer_schema_error,
    read_current_revision,
    read_schema_version,
    serves_older_code,
)

__all__ = [
    "check_schema_version",
    "find_oldest_code",
    "get_head_revision",
    "migrate_schema",
    "read_schema_version",
]

#: Code of an older version does not ask whether a newer schema serves it.
_FIRST_FLOOR: Final = "0078"


def migrate_schema(
    engine: Engine, record: Callable[[Connection, str | None, str], None] | None = None
) -> tuple[str | None, str]:
    """Apply the revisions that the database lacks; return the version before and after.

    `record` is called with both when they differ, in the same transaction. Raises
    GW802 when the database is newer than the code.
    """
    with write_transaction(engine) as conn:
        before = read_current_revision(conn)
        if before is not None and before not in list_known_revisions():
            if serves_older_code(conn, before):
                # A node of the version before starts again while those of the next one already work.
                return before, before
            raise make_newer_schema_error(before)
        _upgrade_to_head(conn)
        _store_floor(conn)
        after = get_head_revision()
        if record is not None and before != after:
            record(conn, before, after)
        return before, after


def _upgrade_to_head(conn: Connection) -> None:
    config = _make_alembic_config()
    if conn.dialect.name != "sqlite" and not conn.in_transaction():
        # Alembic commits what it changes, where SQLAlchemy knows of no transaction that this is a part of.
        conn.begin()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def find_oldest_code(modules: Iterable[Any]) -> str:
    """Return the schema version of the oldest code that the schema serves after these migrations.

    A migration serves the code of the version before it, unless it says `oldest_code`.
    """
    told = (str(one.oldest_code) for one in modules if hasattr(one, "oldest_code"))
    return max([_FIRST_FLOOR, *told])


def _store_floor(conn: Connection) -> None:
    oldest = find_oldest_code(one.module for one in _scripts().walk_revisions())
    known = conn.execute(select(schema_floor.c.oldest_code)).scalars().all()
    if known != [oldest]:
        conn.execute(delete(schema_floor))
        conn.execute(insert(schema_floor).values(oldest_code=oldest))


def _make_alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_make_alembic_config())
