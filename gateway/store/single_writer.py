"""Tells the database that has one writer from the one where transactions write at the same time."""

from __future__ import annotations

from sqlalchemy import Connection

__all__ = ["has_single_writer"]


def has_single_writer(conn: Connection) -> bool:
    """Return whether a write transaction has the whole database (SQLite).

    It begins when the one before it is committed. So it has locked every row, and nothing that it has not
    seen is committed before it ends.
    """
    return conn.dialect.name == "sqlite"
