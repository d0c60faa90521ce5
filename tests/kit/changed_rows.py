"""Changes a value of a stored row as somebody with access to the database would: by SQL, past every check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

__all__ = ["change_value", "list_values", "remove_row", "repeat_row", "tamper"]


@contextmanager
def tamper(engine: Engine) -> Iterator[Connection]:
    """Give a transaction in which no foreign key holds."""
    with engine.connect() as conn:
        if engine.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        else:
            conn.exec_driver_sql("SET session_replication_role = replica")
        conn.commit()
        try:
            with conn.begin():
                yield conn
        finally:
            if engine.dialect.name == "sqlite":
                conn.exec_driver_sql("PRAGMA foreign_keys = ON")
            else:
                conn.exec_driver_sql("SET session_replication_role = DEFAULT")
            conn.commit()


def list_values(conn: Connection, table: Table, name: str) -> list[Any]:
    """Return every row of a table, those with a value in a column first."""
    column = table.c[name]
    return list(conn.execute(select(table).order_by(column.is_(None), *table.primary_key.columns)).all())


def change_value(conn: Connection, table: Table, name: str, row: Any) -> None:
    """Give one column of a row another value of its kind."""
    column = table.c[name]
    changed = _make_other_value(column, getattr(row, name))
    conn.execute(update(table).where(_is_row(table, row)).values({column: changed}))


def remove_row(conn: Connection, table: Table, row: Any) -> None:
    """Delete a row."""
    conn.execute(delete(table).where(_is_row(table, row)))


def repeat_row(conn: Connection, table: Table, row: Any, **changes: Any) -> None:
    """Insert a row with the values of another one; those of `changes` differ, and its number is new."""
    values = {column: getattr(row, column.name) for column in table.c if column.name not in ("id", *changes)}
    conn.execute(insert(table).values(values | {table.c[name]: value for name, value in changes.items()}))


def _is_row(table: Table, row: Any) -> Any:
    return and_(*(column == getattr(row, column.name) for column in table.primary_key.columns))


def _make_other_value(column: Column[Any], value: Any) -> Any:
    """Return another value that the column can have."""
    permitted = [each for each in _list_permitted(column) if each != value]
    if permitted:
        return permitted[0]
    if value is None:
        return _make_first_value(column)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1_000
    if isinstance(value, datetime):
        return value + timedelta(seconds=1)
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, bytes):
        return value + b" "
    if isinstance(value, str):
        return f"{value[:-1]}{'Y' if value[-1:] == 'X' else 'X'}"
    if isinstance(value, dict):
        return {**value, "more": "X"}
    return [*value, "X"]


def _list_permitted(column: Column[Any]) -> list[str]:
    """Return the texts that a CHECK of the table permits in a column; empty without one."""
    checks = [each for each in column.table.constraints if isinstance(each, CheckConstraint)]
    texts = [str(each.sqltext) for each in checks if str(each.sqltext).startswith(f"{column.name} IN")]
    return [value for text in texts for value in re.findall(r"'([^']*)'", text)]


def _make_first_value(column: Column[Any]) -> Any:
    kind = type(column.type).__name__
    if kind == "Instant":
        return datetime.fromisoformat("2026-11-20T08:00:00+00:00")
    return {
        "Json": ["X"],
        "LargeBinary": b"X",
        "BigInteger": 1,
        "Integer": 1,
        "Boolean": True,
        "Date": date(2026, 11, 20),
    }.get(kind, "X")
