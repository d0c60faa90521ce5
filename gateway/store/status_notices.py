"""Stores what the public status page announces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from gateway.store.operations_tables import status_notices

__all__ = [
    "NewStatusNotice",
    "end_notice",
    "find_notice",
    "insert_notice",
    "list_current_notices",
    "list_past_notices",
    "update_notice",
]


@dataclass(frozen=True, slots=True)
class NewStatusNotice:
    """An incident or a planned interruption, in both languages; the end may be unknown."""

    kind: str
    title_en: str
    title_ko: str
    text_en: str
    text_ko: str
    starts_at: datetime
    ends_at: datetime | None = None


def insert_notice(conn: Connection, new: NewStatusNotice, at: datetime, by: str) -> int:
    """Publish a notice; return its number."""
    row = asdict(new) | {"published_at": at, "changed_at": at, "published_by": by}
    return int(conn.execute(insert(status_notices), row).inserted_primary_key[0])  # type: ignore[index]


def update_notice(conn: Connection, number: int, new: NewStatusNotice, at: datetime) -> bool:
    """Change a published notice; return False when there is none of this number."""
    changed = update(status_notices).where(status_notices.c.id == number)
    return conn.execute(changed.values(asdict(new) | {"changed_at": at})).rowcount == 1


def end_notice(conn: Connection, number: int, at: datetime) -> bool:
    """End a notice now; return False when it has ended already."""
    s = status_notices.c
    changed = update(status_notices).where(s.id == number, or_(s.ends_at.is_(None), s.ends_at > at))
    return conn.execute(changed.values(ends_at=at, changed_at=at)).rowcount == 1


def find_notice(conn: Connection, number: int) -> Row[Any] | None:
    """Return the notice."""
    return conn.execute(select(status_notices).where(status_notices.c.id == number)).first()


def list_current_notices(conn: Connection, at: datetime) -> Sequence[Row[Any]]:
    """Return the notices that have not ended, also those that begin later, the first to begin first."""
    s = status_notices.c
    open_ended = select(status_notices).where(s.ends_at.is_(None))
    ending = select(status_notices).where(s.ends_at > at)
    rows = [*conn.execute(open_ended), *conn.execute(ending)]
    return sorted(rows, key=lambda row: (row.starts_at, row.id))


def list_past_notices(conn: Connection, since: datetime, until: datetime) -> Sequence[Row[Any]]:
    """Return the notices that ended in a span of time, the last one first."""
    s = status_notices.c
    ended = select(status_notices).where(s.ends_at > since, s.ends_at <= until)
    return conn.execute(ended.order_by(s.ends_at.desc(), s.id.desc())).all()
