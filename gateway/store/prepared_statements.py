"""Inserts, reads by many keys, and conditions that partial indexes are used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, insert, literal_column

#: Keys of one statement: fewer than the parameters that SQLite allows.
_MOST_KEYS: Final = 500


def insert_into(table: Table, dialect: str) -> Any:
    """Return an INSERT into a table by the dialect of this name, ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def insert_row(conn: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row into a table with the column `id`; return its id."""
    return int(conn.execute(insert(table), values).inserted_primary_key[0])  # type: ignore[index]


def build_state_condition(table: Table, state: str) -> ColumnElement[bool]:
    """Return the condition that a row has this state, which is a literal in the statement.

    A parameter would hide the state from the planner, which then uses no partial index of that
    state.
    """
    if not state.isidentifier():
        raise ValueError(f"not a state: {state}")
    compared: ColumnElement[bool] = table.c.state == literal_column(f"'{state}'")
    return compared


def build_choice_condition(column: ColumnElement[str], names: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column has one of these words, which are literals in the statement.

    As parameters they would be expanded into the statement each time that it is executed.
    """
    choices = sorted(names)
    if not all(word.isidentifier() for word in choices):
        raise ValueError(f"not names: {choices}")
    return column.in_([literal_column(f"'{word}'") for word in choices])


def fetch_by_keys(conn: Connection, query: Any, keys: Iterable[Any]) -> list[Row[Any]]:
    """Return the rows of a query for keys, which it takes as the list `wanted`, in the order of the keys.

    It is executed again where there are more keys than SQLite allows parameters in one statement.
    """
    ordered = sorted(set(keys))
    portions = (ordered[start : start + _MOST_KEYS] for start in range(0, len(ordered), _MOST_KEYS))
    return [row for portion in portions for row in conn.execute(query, {"wanted": portion})]


@cache
def _build_insert(table: Table, conflict: tuple[str, ...], dialect: str) -> Any:
    return insert_into(table, dialect).on_conflict_do_nothing(index_elements=conflict)


@cache
def _build_returning_insert(
    table: Table, conflict: tuple[str, ...], returning: tuple[str, ...], dialect: str
) -> Any:
    columns = [table.c[name] for name in returning]
    return _build_insert(table, conflict, dialect).returning(*columns)


class InsertIfAbsent:
    """``INSERT … ON CONFLICT DO NOTHING``; with `returning`, a new row returns these columns.

    The statements of a database are made when it is first written to.
    """

    def __init__(self, table: Table, conflict: tuple[str, ...], *returning: str) -> None:
        self._table = table
        self._conflict = conflict
        self._returning = returning

    def insert_many(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those rows that are new."""
        if rows:
            conn.execute(_build_insert(self._table, self._conflict, conn.dialect.name), list(rows))

    def insert_new(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Insert the new rows; return the others, which exist. The first of `returning` is the key."""
        name = self._returning[0]
        inserted_rows = self.insert_keyed(conn, rows, name)
        return [row for row in rows if row[name] not in inserted_rows]

    def insert_keyed(
        self, conn: Connection, rows: Sequence[Mapping[str, Any]], key: str
    ) -> dict[Any, Row[Any]]:
        """Insert those rows that are new; return the `returning` columns of each, by its column `key`."""
        inserted = conn.execute(self._build_returning(conn), list(rows)).all()
        return {getattr(row, key): row for row in inserted}

    def insert_one(self, conn: Connection, row: Mapping[str, Any]) -> Row[Any] | None:
        """Insert the row and return its `returning` columns, or None when it existed already."""
        return conn.execute(self._build_returning(conn), dict(row)).first()

    def _build_returning(self, conn: Connection) -> Any:
        return _build_returning_insert(self._table, self._conflict, self._returning, conn.dialect.name)


def has_single_writer(conn: Connection) -> bool:
    """Return whether a write transaction has the whole database (SQLite).

    It begins when the one before it is committed. So it has locked every row, and nothing that it has not
    seen is committed before it ends.
    """
    return conn.dialect.name == "sqlite"
