"""Reads rows of several tables by one statement, each as it would be read alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, select

__all__ = ["JoinedRows"]


class JoinedRows:
    """A statement that returns, from tables that are joined, the columns of each, and further values."""

    def __init__(
        self,
        groups: Sequence[Sequence[Column[Any]]],
        source: FromClause,
        where: ColumnElement[bool],
        further: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self._names = [[column.name for column in columns] for columns in groups]
        columns = [column for columns in groups for column in columns]
        # Columns of different tables have the same names: they are told apart by their places.
        labelled = [column.label(f"c{place}") for place, column in enumerate(columns)]
        values = [value.label(f"v{place}") for place, value in enumerate(further)]
        self._statement = select(*labelled, *values).select_from(source).where(where)

    def fetch_first(self, conn: Connection, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return the rows, one for each group of columns, and the further values; None for no row."""
        row = conn.execute(self._statement, dict(values)).first()
        if row is None:
            return None
        place, found = 0, []
        for names in self._names:
            found.append(SimpleNamespace(**dict(zip(names, row[place : place + len(names)], strict=True))))
            place += len(names)
        return (*found, *row[place:])
