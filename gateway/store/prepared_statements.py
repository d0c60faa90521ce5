"""Builds statements once: those that differ between the two databases, and those of every message."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Executable, Insert, Row, Table, literal_column
from sqlalchemy.engine import Dialect

from gateway.store.conflict_inserts import insert_into
from gateway.store.parameter_values import ParameterValues
from gateway.store.transaction_reads import forget_written

__all__ = ["InsertIfAbsent", "PreparedStatement", "build_state_condition"]

#: The values of an insert in the SQL of SQLite's driver, and how many one statement may have.
_VALUES: Final = re.compile(r"^INSERT INTO .* VALUES (\(\?(?:, \?)*\))")
_MOST_PARAMETERS: Final = 900
#: How many rows of SQLite one statement inserts that tells which of them are new.
_TOGETHER: Final = 32


def build_state_condition(table: Table, state: str) -> ColumnElement[bool]:
    """Compare the state with a literal in the statement itself.

    A parameter would hide the state from the planner, which then uses no partial index of that
    state.
    """
    if not state.isidentifier():
        raise ValueError(f"not a state: {state}")
    compared: ColumnElement[bool] = table.c.state == literal_column(f"'{state}'")
    return compared


class _CompiledStatement:
    """A statement in the SQL of the driver, with its parameters.

    `row` is the text of the values of an insert, which may stand there several times.
    """

    def __init__(self, sql: str, values: ParameterValues, row: str | None) -> None:
        self.sql = sql
        self.list_values = values.list_values
        self._row = row
        #: How many rows one statement may have.
        self.most = max(1, _MOST_PARAMETERS // max(1, values.number))
        #: The SQL of so many rows.
        self._texts: dict[int, str] = {1: sql}

    def execute_rows(self, driver: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement for each row; an insert of several rows is one statement."""
        if self._row is None:
            driver.executemany(self.sql, [self.list_values(row) for row in rows])
            return
        number = len(rows)
        if number <= self.most:
            driver.execute(self._texts.get(number) or self._make_text(number), self.list_values(*rows))
            return
        for start in range(0, number, self.most):
            self.execute_rows(driver, rows[start : start + self.most])

    def _make_text(self, number: int) -> str:
        assert self._row is not None
        found = self._texts[number] = self.sql.replace(self._row, ", ".join([self._row] * number), 1)
        return found


class PreparedStatement:
    """A statement that SQLite executes directly through its driver.

    SQLAlchemy's overhead for one execution takes ten times as long as SQLite needs for the
    statement itself, and a message is stored by six statements. PostgreSQL is called as for any other
    statement.
    """

    def __init__(self, statement: Any) -> None:
        # Nobody asks for the keys of what is inserted, unless the statement itself returns them.
        self._statement: Executable = statement.inline() if isinstance(statement, Insert) else statement
        self._compiled: dict[tuple[str, ...], _CompiledStatement] = {}

    def execute_rows(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement for each row; all rows name the same parameters."""
        if conn.dialect.name != "sqlite":
            conn.execute(self._statement, list(rows))
            return
        compiled, driver = self._prepare(conn, rows[0])
        compiled.execute_rows(driver, rows)

    def fetch_first_row(self, conn: Connection, row: Mapping[str, Any]) -> Sequence[Any] | None:
        """Execute the statement once and return its first row in the form of the driver."""
        if conn.dialect.name != "sqlite":
            return conn.execute(self._statement, dict(row)).first()
        compiled, driver = self._prepare(conn, row)
        found: list[Sequence[Any]] = driver.execute(compiled.sql, compiled.list_values(row)).fetchall()
        return found[0] if found else None

    def fetch_rows(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> Sequence[Row[Any]]:
        """Execute an insert on PostgreSQL as one statement, and return what it returns of each new row."""
        return conn.execute(self._statement, list(rows)).all()

    def insert_row(self, conn: Connection, row: Mapping[str, Any]) -> int | None:
        """Execute an insert on SQLite and return its row id, None when it inserted nothing."""
        compiled, driver = self._prepare(conn, row)
        cursor = driver.execute(compiled.sql, compiled.list_values(row))
        return int(cursor.lastrowid) if cursor.rowcount else None

    def _prepare(self, conn: Any, row: Mapping[str, Any]) -> tuple[_CompiledStatement, Any]:
        """Return the statement for the columns of a row, and the connection of SQLite's driver."""
        names = tuple(row)
        found = self._compiled.get(names)
        if found is None:
            found = self._compiled[names] = self._compile_statement(conn.dialect, names)
        forget_written(conn, found.sql)
        # The property of SQLAlchemy asks the same, and costs a call for each statement.
        return found, (conn._dbapi_connection or conn.connection).dbapi_connection

    def _compile_statement(self, dialect: Dialect, names: tuple[str, ...]) -> _CompiledStatement:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(names))  # type: ignore[attr-defined]
        types = {name: compiled.binds[name].type.dialect_impl(dialect) for name in compiled.positiontup}
        sql = str(compiled)
        found = _VALUES.search(sql)
        return _CompiledStatement(
            sql,
            ParameterValues([(name, types[name].bind_processor(dialect)) for name in compiled.positiontup]),
            found[1] if found else None,
        )


class InsertIfAbsent:
    """``INSERT … ON CONFLICT DO NOTHING``; with `returning`, a new row returns these columns.

    The statements of a database are made when it is first written to.
    """

    def __init__(self, table: Table, conflict: tuple[str, ...], *returning: str) -> None:
        self._table = table
        self._conflict = conflict
        self._returning = returning
        self._row: Any = namedtuple("_row", returning)  # type: ignore[misc]

    @cached_property
    def _sqlite(self) -> PreparedStatement:
        return PreparedStatement(self._build_insert("sqlite"))

    @cached_property
    def _several(self) -> Any:
        """Several rows of SQLite: for one alone RETURNING takes longer than it saves."""
        return self._build_insert("sqlite").returning(*self._columns)

    @cached_property
    def _postgresql(self) -> PreparedStatement:
        statement = self._build_insert("postgresql")
        return PreparedStatement(statement.returning(*self._columns) if self._returning else statement)

    @property
    def _columns(self) -> list[ColumnElement[Any]]:
        return [self._table.c[name] for name in self._returning]

    def _build_insert(self, dialect: str) -> Any:
        return insert_into(self._table, dialect).on_conflict_do_nothing(index_elements=self._conflict)

    def insert_many(self, conn: Connection, rows: list[dict[str, Any]]) -> None:
        """Insert those rows that are new."""
        if rows:
            (self._sqlite if conn.dialect.name == "sqlite" else self._postgresql).execute_rows(conn, rows)

    def insert_new(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Insert those rows that are new; return the others. The first of `returning` is the key."""
        if conn.dialect.name == "sqlite" and len(rows) == 1:
            return [row for row in rows if self._sqlite.insert_row(conn, row) is None]
        name = self._returning[0]
        new = {getattr(one, name) for one in self._insert_several(conn, rows)}
        return [row for row in rows if row[name] not in new]

    def insert_keyed(self, conn: Connection, rows: Sequence[dict[str, Any]], key: str) -> dict[Any, Any]:
        """Insert those rows that are new; return what `insert_one` returns of each, by one of its columns."""
        if len(rows) == 1:
            one = self.insert_one(conn, rows[0])
            return {} if one is None else {getattr(one, key): one}
        return {getattr(one, key): one for one in self._insert_several(conn, rows)}

    def _insert_several(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> Sequence[Row[Any]]:
        """Insert those rows that are new; return what the statement returns of each."""
        if conn.dialect.name != "sqlite":
            return self._postgresql.fetch_rows(conn, rows)
        # As many at a time as one statement has values for: no row is copied, and few texts are compiled.
        parts = (rows[start : start + _TOGETHER] for start in range(0, len(rows), _TOGETHER))
        return [one for part in parts for one in conn.execute(self._several, list(part))]

    def insert_one(self, conn: Connection, row: Mapping[str, Any]) -> Any | None:
        """Insert the row and return its `returning` columns, or None when it existed already."""
        if conn.dialect.name != "sqlite":
            found = self._postgresql.fetch_first_row(conn, row)
            return None if found is None else self._row(*found)
        # RETURNING costs SQLite a temporary table; its values are in the row already, except the row id.
        number = self._sqlite.insert_row(conn, row)
        return None if number is None else self._row(*[row.get(name, number) for name in self._returning])
