"""Stores the calendars and terms that operators loaded, each edition once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, ScalarSelect, func, insert, select

from gateway.store.deadline_tables import calendar_editions

__all__ = [
    "NewCalendarEdition",
    "count_editions",
    "find_edition",
    "insert_edition",
    "list_contents",
    "list_editions",
    "read_mark",
]

_C = calendar_editions.c
_MARK = select(func.count(_C.id))


@dataclass(frozen=True, slots=True)
class NewCalendarEdition:
    """One edition of a calendar, or of terms; the days are in ISO 8601, `content` is the file."""

    kind: str
    name: str
    edition: str
    valid_from: str
    valid_until: str | None
    row_count: int
    sha256: str
    content: bytes


def insert_edition(conn: Connection, new: NewCalendarEdition, at: datetime, by: str) -> None:
    """Store an edition; it counts from the next deadline on."""
    conn.execute(insert(calendar_editions).values(**asdict(new), loaded_at=at, loaded_by=by))


def find_edition(conn: Connection, kind: str, name: str, edition: str) -> Row[Any] | None:
    """Return the stored edition of a calendar or of terms; None when there is none."""
    found = select(calendar_editions).where(_C.kind == kind, _C.name == name, _C.edition == edition)
    return conn.execute(found).one_or_none()


def count_editions() -> ScalarSelect[int]:
    """Return the mark of the stored editions as a column."""
    return select(func.count(_C.id)).scalar_subquery()


def read_mark(conn: Connection) -> int:
    """Return a number that is another one when an edition was loaded: how many there are."""
    return int(conn.execute(_MARK).scalar_one())


def list_contents(conn: Connection) -> Sequence[tuple[str, bytes]]:
    """Return label and content of the stored editions, in the order in which they were loaded."""
    rows = conn.execute(select(_C.name, _C.edition, _C.content).order_by(_C.id))
    return [(f"{row.name}@{row.edition}", row.content) for row in rows]


def list_editions(conn: Connection) -> Sequence[Row[Any]]:
    """Return the stored editions without their contents, in the order in which they were loaded."""
    columns = [column for column in _C if column.name != "content"]
    return conn.execute(select(*columns).order_by(_C.id)).all()
