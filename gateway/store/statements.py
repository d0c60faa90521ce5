"""Statements that the two databases spell differently, built once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["InsertNew", "in_state"]


def in_state(table: Table, state: str) -> ColumnElement[bool]:
    """Compare the state with a word in the statement itself.

    A parameter would hide it from the planner, which then uses no index of that state's rows.
    """
    if not state.isidentifier():
        raise ValueError(f"not a state: {state}")
    compared: ColumnElement[bool] = table.c.state == literal_column(f"'{state}'")
    return compared


class InsertNew:
    """``INSERT … ON CONFLICT DO NOTHING``; with `returning`, the row comes back when it was new."""

    def __init__(self, table: Table, conflict: tuple[str, ...], *returning: str) -> None:
        columns = [table.c[name] for name in returning]
        self._statements: dict[str, Any] = {
            "sqlite": sqlite.insert(table).on_conflict_do_nothing(index_elements=conflict),
            "postgresql": postgresql.insert(table).on_conflict_do_nothing(index_elements=conflict),
        }
        if columns:
            self._statements = {name: stmt.returning(*columns) for name, stmt in self._statements.items()}

    def many(self, conn: Connection, rows: list[dict[str, Any]]) -> None:
        """Insert those rows that are new."""
        if rows:
            conn.execute(self._statements[conn.dialect.name], rows)

    def one(self, conn: Connection, row: Mapping[str, Any]) -> Any | None:
        """Insert the row and return its `returning` columns, or None when it was there already."""
        return conn.execute(self._statements[conn.dialect.name], dict(row)).first()
