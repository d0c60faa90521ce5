"""Stores the tables of needs that operators loaded, each edition once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from gateway.store.operations_tables import need_tables
from gateway.store.register_version import increment_register_version

__all__ = ["NewNeedTable", "find_edition", "insert_table", "list_contents", "list_ids", "list_tables"]


@dataclass(frozen=True, slots=True)
class NewNeedTable:
    """One edition to be stored; the days are in ISO 8601, `content` is the file."""

    name: str
    edition: str
    valid_from: str
    valid_until: str | None
    row_count: int
    sha256: str
    content: bytes


def insert_table(conn: Connection, new: NewNeedTable, at: datetime, by: str) -> None:
    """Store an edition; every process reads it before its next message."""
    conn.execute(insert(need_tables).values(**asdict(new), loaded_at=at, loaded_by=by))
    increment_register_version(conn)


def find_edition(conn: Connection, name: str, edition: str) -> Row[Any] | None:
    """Return the stored edition of a table; None when there is none."""
    found = select(need_tables).where(need_tables.c.name == name, need_tables.c.edition == edition)
    return conn.execute(found).one_or_none()


def list_ids(conn: Connection) -> tuple[int, ...]:
    """Return the numbers of the stored editions, in the order in which they were loaded."""
    return tuple(conn.execute(select(need_tables.c.id).order_by(need_tables.c.id)).scalars())


def list_contents(conn: Connection) -> Sequence[Row[Any, Any, Any]]:
    """Return name, edition and content of the stored editions, in the order in which they were loaded."""
    columns = (need_tables.c.name, need_tables.c.edition, need_tables.c.content)
    return conn.execute(select(*columns).order_by(need_tables.c.id)).all()


def list_tables(conn: Connection) -> Sequence[Row[Any]]:
    """Return the stored editions without their contents, in the order in which they were loaded."""
    columns = [column for column in need_tables.c if column.name != "content"]
    return conn.execute(select(*columns).order_by(need_tables.c.id)).all()
