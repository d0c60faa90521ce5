"""Reads the clock of the database server."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

__all__ = ["read_database_time"]

_NOW: Final = text("SELECT clock_timestamp()")


def read_database_time(conn: Connection) -> datetime | None:
    """Return the time of a PostgreSQL server; None for SQLite, which has no clock of its own."""
    if conn.dialect.name == "sqlite":
        return None
    told: datetime = conn.execute(_NOW).scalar_one()
    return told
