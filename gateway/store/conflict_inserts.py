"""The INSERT of each database that can say what happens on a conflict.

SQLAlchemy has one for each dialect. Only that of the database in use is loaded: the dialect of PostgreSQL
takes 2 MiB in each process.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table

__all__ = ["insert_into"]


def insert_into(table: Table, dialect: str) -> Any:
    """Return an INSERT into a table by the dialect of this name, ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
