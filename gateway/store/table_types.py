"""What the tables are made of: the catalogue of tables, and the usual columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Integer, MetaData, Text

__all__ = ["make_identity_column", "make_required_column", "metadata"]

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
