"""Brings a database to the schema of this code.

A revision is one transaction on both databases: a migration that is killed half-way has
not begun.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from gateway.store.engine import transaction
from gateway.store.schema_version import check_version, head, known_revisions, newer, version, version_on

__all__ = ["check_version", "head", "migrate", "version"]


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Apply the revisions that the database lacks; return the version before and after.

    GW802 when the database is newer than the code.
    """
    with transaction(engine) as conn:
        before = version_on(conn)
        if before is not None and before not in known_revisions():
            raise newer(before)
        _upgrade(conn)
        return before, head()


def _upgrade(conn: Connection) -> None:
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
