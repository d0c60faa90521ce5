"""Stores version numbers that rise with every change of data that processes hold copies of.

``trust`` stands for parties, certificates, mandates, revocations and agreements.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from gateway.store.prepared_statements import InsertIfAbsent, PreparedStatement
from gateway.store.tables import epochs

__all__ = [
    "TRUST",
    "build_version_column",
    "build_version_condition",
    "get_register_version",
    "increment_register_version",
    "probe_commit",
]

TRUST: Final = "trust"

_CURRENT = PreparedStatement(select(epochs.c.value).where(epochs.c.name == bindparam("wanted")))
_INSERT = InsertIfAbsent(epochs, ("name",))


def get_register_version(conn: Connection, name: str = TRUST) -> int:
    """Return the number; 0 when nothing has ever changed."""
    found = _CURRENT.fetch_first_row(conn, {"wanted": name})
    return 0 if found is None else int(found[0])


def build_version_column() -> ColumnElement[int]:
    """Return the version of the register as a column."""
    found = select(epochs.c.value).where(epochs.c.name == TRUST).scalar_subquery()
    version: ColumnElement[int] = func.coalesce(found, 0)
    return version


def build_version_condition() -> ColumnElement[bool]:
    """Return the condition that the register has the version of the parameter ``register``."""
    return build_version_column() == bindparam("register", type_=epochs.c.value.type)


def probe_commit(conn: Connection) -> None:
    """Write the numbers unchanged, to test whether the database accepts a commit."""
    conn.execute(update(epochs).values(value=epochs.c.value))


def increment_register_version(conn: Connection, name: str = TRUST) -> int:
    """Make every copy outdated; return the new number."""
    _INSERT.insert_many(conn, [{"name": name, "value": 0}])
    raised = update(epochs).where(epochs.c.name == name).values(value=epochs.c.value + 1)
    return int(conn.execute(raised.returning(epochs.c.value)).scalar_one())
