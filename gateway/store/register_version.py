"""Stores version numbers that rise with every change of data that processes hold copies of.

The number ``trust`` is that of parties, certificates, mandates, revocations and agreements.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    func,
    select,
    update,
)

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import CODE_TEXT, make_required_column, metadata

# A number that rises whenever data that caches depend on has changed.
epochs = Table(
    "epochs",
    metadata,
    Column("name", CODE_TEXT, primary_key=True),
    make_required_column("value", BigInteger),
)


TRUST: Final = "trust"
_STEP: Final = 1_000_000_000

_CURRENT = select(epochs.c.value).where(epochs.c.name == bindparam("epoch"))
_INSERT = InsertIfAbsent(epochs, ("name",))


def get_register_version(conn: Connection, name: str = TRUST) -> int:
    """Return the version number of this name; 0 before the first change."""
    return conn.execute(_CURRENT, {"epoch": name}).scalar() or 0


def build_version_column() -> ColumnElement[int]:
    """Return the version of the register as a column."""
    stored_version = select(epochs.c.value).where(epochs.c.name == TRUST).scalar_subquery()
    version: ColumnElement[int] = func.coalesce(stored_version, 0)
    return version


def build_version_condition() -> ColumnElement[bool]:
    """Return the condition that the register has the version of the parameter ``register``."""
    return build_version_column() == bindparam("register", type_=epochs.c.value.type)


def probe_commit(conn: Connection) -> None:
    """Write a value without meaning, which locks no row, to test whether the database accepts a commit.

    SQLite writes no page that has not changed; `user_version` is a number in its first page.
    """
    if conn.dialect.name == "sqlite":
        number = conn.exec_driver_sql("PRAGMA user_version").scalar_one()
        conn.exec_driver_sql(f"PRAGMA user_version = {(int(number) + 1) % 1_000_000}")
    else:
        conn.exec_driver_sql("SELECT pg_logical_emit_message(true, 'gateway', '')")


def raise_all_versions(conn: Connection) -> None:
    """Raise every version number above all numbers that were used before the database was restored.

    So no process takes an outdated copy for a current one, and no reader of events skips new ones. The step
    is even, as the mark of removed objects requires.
    """
    conn.execute(update(epochs).values(value=epochs.c.value + _STEP))


def increment_register_version(conn: Connection, name: str = TRUST) -> int:
    """Raise the version number of this name, so that copies are outdated; return the new number."""
    _INSERT.insert_many(conn, [{"name": name, "value": 0}])
    raised = update(epochs).where(epochs.c.name == name).values(value=epochs.c.value + 1)
    return int(conn.execute(raised.returning(epochs.c.value)).scalar_one())
