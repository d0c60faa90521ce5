"""Compares the schema version of a database with that of this code; light, as every command needs it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, select

from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.store.engine import read_transaction
from gateway.store.node_tables import schema_floor

__all__ = [
    "check_schema_version",
    "get_head_revision",
    "list_known_revisions",
    "make_newer_schema_error",
    "read_current_revision",
    "read_schema_version",
    "serves_older_code",
]

_REVISION: Final = re.compile(r"r([0-9]{4})_\w+\.py")


@cache
def list_known_revisions() -> tuple[str, ...]:
    """Return the revisions of this code, the oldest first, from the names of their files."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return tuple(sorted(found[1] for one in folder.iterdir() if (found := _REVISION.fullmatch(one.name))))


def get_head_revision() -> str:
    """Return the schema version of this code."""
    return list_known_revisions()[-1]


def read_schema_version(engine: Engine) -> str | None:
    """Return the schema version of the database; None when it has no tables."""
    with read_transaction(engine) as conn:
        return read_current_revision(conn)


def read_current_revision(conn: Connection) -> str | None:
    """Return the schema version of a connection's database; None when it has no tables."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def check_schema_version(engine: Engine) -> None:
    """Raise GW802 unless the database has the schema of this code, or a newer one that serves it too."""
    wanted = get_head_revision()
    with read_transaction(engine) as conn:
        found = read_current_revision(conn)
        if found == wanted or (found is not None and serves_older_code(conn, found)):
            return
    if found is not None and found not in list_known_revisions():
        raise make_newer_schema_error(found)
    detail = f"the database has version {found or 'none'}, the code needs {wanted}: run `gateway migrate`"
    raise GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")


def serves_older_code(conn: Connection, found: str) -> bool:
    """Return whether a schema that this code does not know serves it all the same: it only added.

    A migration that takes something away says from which version on the code does without it.
    """
    if found in list_known_revisions():
        return False
    floor = conn.execute(select(schema_floor.c.oldest_code)).scalars().all()
    return len(floor) == 1 and floor[0] <= get_head_revision()


def make_newer_schema_error(found: str) -> GatewayError:
    """Return the problem for a database whose version this code does not know."""
    detail = f"the database has version {found[:40]}, which this code does not know: install the newer code"
    return GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")
