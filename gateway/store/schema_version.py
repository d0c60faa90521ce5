"""Which schema a database has and which this code needs; light, because every verb asks it first."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect

from gateway.errors import SCHEMA_VERSION_WRONG, GatewayError
from gateway.store.engine import reading

__all__ = ["check_version", "head", "known_revisions", "newer", "version", "version_on"]

_REVISION: Final = re.compile(r"r([0-9]{4})_\w+\.py")


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions of this code, the oldest first, as the names of their files say."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return tuple(sorted(found[1] for one in folder.iterdir() if (found := _REVISION.fullmatch(one.name))))


def head() -> str:
    """Return the version this code is written for."""
    return known_revisions()[-1]


def version(engine: Engine) -> str | None:
    """Return the version of the database; None when it has no tables."""
    with reading(engine) as conn:
        return version_on(conn)


def version_on(conn: Connection) -> str | None:
    """Return the version of the database of a connection; None when it has no tables."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def check_version(engine: Engine) -> None:
    """GW802 unless the database has exactly the schema of this code."""
    found, wanted = version(engine), head()
    if found == wanted:
        return
    if found is not None and found not in known_revisions():
        raise newer(found)
    detail = f"the database has version {found or 'none'}, the code needs {wanted}: run `gateway migrate`"
    raise GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")


def newer(found: str) -> GatewayError:
    """Return the problem of a database whose version this code does not know."""
    detail = f"the database has version {found[:40]}, which this code does not know: install the newer code"
    return GatewayError(SCHEMA_VERSION_WRONG, detail, "database.url")
