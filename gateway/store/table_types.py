"""What the tables are made of: the catalogue of tables, and the usual columns."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

__all__ = [
    "ClusteredTable",
    "PartialIndex",
    "make_identity_column",
    "make_partial_index",
    "make_required_column",
    "make_state_constraint",
    "metadata",
]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def make_identity_column() -> Column[int]:
    """Return the column `id`, whose values the database gives."""
    # SQLite assigns row ids by itself only when the key is declared INTEGER.
    key = BigInteger().with_variant(Integer(), "sqlite")
    return Column("id", key, Identity(), primary_key=True)


def make_required_column(name: str, kind: Any = Text, *more: Any) -> Column[Any]:
    """Return a column that always has a value; `more` are its constraints."""
    return Column(name, kind, *more, nullable=False)


def make_state_constraint(states: Iterable[str]) -> CheckConstraint:
    """Return the constraint that the column `state` has one of these values."""
    return CheckConstraint(f"state IN ({', '.join(map(repr, states))})", name="state")


class ClusteredTable(Table):
    """A table whose rows are in the index of its key: SQLite numbers no row of it.

    SQLAlchemy loads a dialect to be told an argument of it. So it is told when one is asked for, as by a
    migration: a process on PostgreSQL does not load that of SQLite.
    """

    @cached_property
    def dialect_options(self) -> Any:
        """Return the arguments of each dialect."""
        options = super().dialect_options
        options["sqlite"]["with_rowid"] = False
        return options


class PartialIndex(Index):
    """An index that has only the rows of a condition; PostgreSQL may have one of its own.

    Both dialects are told when an argument of one is asked for, as those of a `ClusteredTable`.
    """

    def __init__(
        self, name: str, *columns: str, where: str, on_postgresql: str | None = None, unique: bool = False
    ) -> None:
        self._where = {"sqlite": where, "postgresql": on_postgresql or where}
        super().__init__(name, *columns, unique=unique)

    @cached_property
    def dialect_options(self) -> Any:
        """Return the arguments of each dialect."""
        options = super().dialect_options
        for name, condition in self._where.items():
            options[name]["where"] = text(condition)
        return options


def make_partial_index(name: str, column: str, *, unique: bool = False) -> Index:
    """Return an index of a column whose rows without a value cost nothing when they are written."""
    return PartialIndex(name, column, where=f"{column} IS NOT NULL", unique=unique)
