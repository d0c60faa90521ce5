"""Migrates a database to the schema of this code.

A revision is one transaction on both databases, so a migration that is killed half-way has no
effect.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from gateway.store.engine import write_transaction
from gateway.store.schema_version import (
    check_schema_version,
    get_head_revision,
    list_known_revisions,
    make_newer_schema_error,
    read_current_revision,
    read_schema_version,
)

__all__ = ["check_schema_version", "get_head_revision", "migrate_schema", "read_schema_version"]


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
            raise make_newer_schema_error(before)
        _upgrade_to_head(conn)
        after = get_head_revision()
        if record is not None and before != after:
            record(conn, before, after)
        return before, after


def _upgrade_to_head(conn: Connection) -> None:
    config = _make_alembic_config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _make_alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_make_alembic_config())
