"""Brings a database to the schema of this code, and says when it is not there.

A revision is one transaction on both databases: a migration that is killed half-way has
not begun.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.store.engine import reading, transaction

__all__ = ["check_version", "head", "migrate", "version"]


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Apply the revisions that the database lacks; return the version before and after.

    GW802 when the database is newer than the code.
    """
    scripts = _scripts()
    with transaction(engine) as conn:
        before = _version(conn)
        if before is not None and before not in _known(scripts):
            raise _newer(before)
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


def _known(scripts: ScriptDirectory) -> frozenset[str]:
    return frozenset(script.revision for script in scripts.walk_revisions())


def head() -> str:
    """Return the version this code is written for."""
    return str(_scripts().get_current_head())


def version(engine: Engine) -> str | None:
    """Return the version of the database; None when it has no tables."""
    with reading(engine) as conn:
        return _version(conn)


def _version(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def check_version(engine: Engine) -> None:
    """GW802 unless the database has exactly the schema of this code."""
    found, wanted = version(engine), head()
    if found == wanted:
        return
    if found is not None and found not in _known(_scripts()):
        raise _newer(found)
    detail = f"the database has version {found or 'none'}, the code needs {wanted}: run `gateway migrate`"
    raise GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")


def _newer(found: str) -> GatewayError:
    detail = f"the database has version {found[:40]}, which this code does not know: install the newer code"
    return GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")
