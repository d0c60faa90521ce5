"""Stores rows of several tables by one statement of SQLite, whose own statements change one table each.

A connection that writes has a view of its own for it: triggers put each row that is inserted into the
view where it belongs. Both are temporary, so that the schema of the database knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, insert, update
from sqlalchemy.dialects import sqlite

from gateway.store.prepared_statements import PreparedStatement
from gateway.store.transaction_reads import forget_written

__all__ = ["JOINT_ROWS", "JointRows", "RowKind", "make_insert_kind", "make_update_kind"]

_VIEW: Final = "joint_rows"
#: The values of a row at most.
_WIDTH: Final = 9
#: Attribute of a connection: how many kinds its view knows; 0 where it shall get one.
_READY: Final = "_gateway_joint_rows"
_DIALECT: Final = sqlite.dialect()
#: A statement has a form for each number of rows, and more rows than these cost less table by table.
_MOST: Final = 32


@dataclass(frozen=True, slots=True)
class RowKind:
    """What is done with a row of a table: the statement for such rows alone, and what a trigger does.

    `names` are those of its values in their order; `action` has ``NEW.value_1`` and so on for them.
    """

    table: str
    statement: PreparedStatement = field(compare=False)
    action: str
    names: tuple[str, ...]
    converters: tuple[Callable[[Any], Any] | None, ...] = field(compare=False)

    def bind_values(self, row: Mapping[str, Any]) -> list[Any]:
        """Return the values of a row as the driver takes them."""
        return [
            row[name] if convert is None else convert(row[name])
            for name, convert in zip(self.names, self.converters, strict=True)
        ]


def make_insert_kind(table: Table, names: Sequence[str]) -> RowKind:
    """Return the kind of rows that are inserted into a table."""
    values = ", ".join(_name_value(place) for place in range(1, len(names) + 1))
    # Names of our own tables and columns; the values are parameters.
    action = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608
    converters = _find_converters(table, names)
    return RowKind(table.name, PreparedStatement(insert(table)), action, tuple(names), converters)


def make_update_kind(table: Table, key: Mapping[str, str], columns: Mapping[str, str]) -> RowKind:
    """Return the kind of rows that set columns of a row of a table: columns by the names of their values."""
    named = {**key, **columns}
    places = {name: _name_value(place) for place, name in enumerate(named, start=1)}
    changes = ", ".join(f"{column} = {places[name]}" for name, column in columns.items())
    held = " AND ".join(f"{column} = {places[name]}" for name, column in key.items())
    action = f"UPDATE {table.name} SET {changes} WHERE {held}"  # noqa: S608
    bound = {name: bindparam(name, type_=table.c[column].type) for name, column in named.items()}
    statement = update(table).where(*(table.c[column] == bound[name] for name, column in key.items()))
    statement = statement.values({column: bound[name] for name, column in columns.items()})
    converters = _find_converters(table, tuple(named.values()))
    return RowKind(table.name, PreparedStatement(statement), action, tuple(named), converters)


class JointRows:
    """The kinds of rows that are stored together; each is added when its module is imported."""

    def __init__(self) -> None:
        self._kinds: dict[RowKind, int] = {}

    def add_kind(self, kind: RowKind) -> RowKind:
        """Store rows of this kind with those of the others; returns the kind."""
        if len(kind.names) > _WIDTH:
            raise ValueError(f"a row of {kind.table} has more than {_WIDTH} values")
        self._kinds[kind] = len(self._kinds) + 1
        return kind

    def prepare(self, conn: Connection) -> None:
        """Make view and triggers of a connection that has wanted them, before it begins a transaction."""
        known = conn.__dict__.get(_READY)
        if known is None or known == len(self._kinds):
            return
        driver: Any = conn.connection.dbapi_connection
        columns = ", ".join(f"NULL AS value_{place}" for place in range(1, _WIDTH + 1))
        driver.execute(f"CREATE TEMP VIEW IF NOT EXISTS {_VIEW} AS SELECT NULL AS kind, {columns}")
        for kind, number in self._kinds.items():
            driver.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS {_VIEW}_{number} INSTEAD OF INSERT ON {_VIEW} "
                f"WHEN NEW.kind = {number} BEGIN {kind.action}; END"
            )
        conn.__dict__[_READY] = len(self._kinds)

    def store(self, conn: Connection, rows: Sequence[tuple[RowKind, Mapping[str, Any]]]) -> bool:
        """Store rows in their order by one statement; return False, and store nothing, where that cannot be.

        The connection gets what it lacks for it before its next transaction.
        """
        if conn.__dict__.setdefault(_READY, 0) != len(self._kinds) or len(rows) > _MOST:
            return False
        for action in {kind.action for kind, _ in rows}:
            forget_written(conn, action)
        driver: Any = conn.connection.dbapi_connection
        driver.execute(_build_insert(len(rows)), self._bind_rows(rows))
        return True

    def _bind_rows(self, rows: Sequence[tuple[RowKind, Mapping[str, Any]]]) -> list[Any]:
        values: list[Any] = []
        for kind, row in rows:
            values.append(self._kinds[kind])
            values += kind.bind_values(row)
            values += [None] * (_WIDTH - len(kind.names))
        return values

    @staticmethod
    def forget(conn: Connection) -> None:
        """Remove view and triggers, which name tables that a migration may replace."""
        conn.__dict__.pop(_READY, None)
        driver: Any = conn.connection.dbapi_connection
        driver.execute(f"DROP VIEW IF EXISTS temp.{_VIEW}")


#: All kinds of this program.
JOINT_ROWS: Final = JointRows()


@lru_cache(maxsize=_MOST + 1)
def _build_insert(number: int) -> str:
    row = f"({', '.join('?' * (_WIDTH + 1))})"
    return f"INSERT INTO {_VIEW} VALUES {', '.join([row] * number)}"  # noqa: S608


def _name_value(place: int) -> str:
    return f"NEW.value_{place}"


def _find_converters(table: Table, names: Sequence[str]) -> tuple[Callable[[Any], Any] | None, ...]:
    types = (table.c[name].type for name in names)
    return tuple(one.dialect_impl(_DIALECT).bind_processor(_DIALECT) for one in types)
