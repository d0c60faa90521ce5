"""Stores the dated editions that operators load, each once: calendars, terms, and tables of needs.

An edition is never changed. The shipped editions are not stored here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    LargeBinary,
    Row,
    ScalarSelect,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
)

from gateway.store.register_version import increment_register_version
from gateway.store.table_types import (
    CODE_TEXT,
    NAME_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import note_changed_row


def _make_edition_columns() -> tuple[Column[Any], ...]:
    return (
        make_required_column("name", NAME_TEXT),
        make_required_column("edition", NAME_TEXT),
        make_required_column("valid_from"),
        Column("valid_until", Text),
        make_required_column("row_count", BigInteger),
        make_required_column("sha256"),
        make_required_column("content", LargeBinary),
        make_required_column("loaded_at", Instant),
        make_required_column("loaded_by"),
    )


calendar_editions = Table(
    "calendar_editions",
    metadata,
    make_identity_column(),
    make_required_column("kind", CODE_TEXT),
    *_make_edition_columns(),
    CheckConstraint("kind IN ('calendar', 'terms')", name="kind"),
    UniqueConstraint("kind", "name", "edition"),
)


class CalendarEditionSummaryRow(Protocol):
    """A row of the table `calendar_editions` without its content."""

    id: int
    kind: str
    name: str
    edition: str
    valid_from: str
    valid_until: str | None
    row_count: int
    sha256: str
    loaded_at: datetime
    loaded_by: str


need_tables = Table(
    "need_tables",
    metadata,
    make_identity_column(),
    *_make_edition_columns(),
    UniqueConstraint("name", "edition"),
)


class CalendarEditionRow(CalendarEditionSummaryRow, Protocol):
    """A row of the table `calendar_editions`."""

    content: bytes


class NeedTableSummaryRow(Protocol):
    """A row of the table `need_tables` without its content."""

    id: int
    name: str
    edition: str
    valid_from: str
    valid_until: str | None
    row_count: int
    sha256: str
    loaded_at: datetime
    loaded_by: str


class NeedTableRow(NeedTableSummaryRow, Protocol):
    """A row of the table `need_tables`."""

    content: bytes


_C, _N = calendar_editions.c, need_tables.c
_EDITION_COUNT = select(func.count(_C.id))


@dataclass(frozen=True, slots=True)
class NewEdition:
    """One edition to be stored; the days are in ISO 8601, `content` is the file."""

    name: str
    edition: str
    valid_from: str
    valid_until: str | None
    row_count: int
    sha256: str
    content: bytes


def insert_calendar_edition(conn: Connection, kind: str, new: NewEdition, at: datetime, by: str) -> None:
    """Store an edition of a calendar, or of terms; it counts from the next deadline on."""
    conn.execute(insert(calendar_editions).values(kind=kind, **asdict(new), loaded_at=at, loaded_by=by))
    note_changed_row(conn, "calendar_editions", f"{kind} {new.name} {new.edition}")


def find_calendar_edition(conn: Connection, kind: str, name: str, edition: str) -> CalendarEditionRow | None:
    """Return the stored edition of a calendar or of terms; None when there is none."""
    query = select(calendar_editions).where(_C.kind == kind, _C.name == name, _C.edition == edition)
    return conn.execute(query).one_or_none()


def count_calendar_editions() -> ScalarSelect[int]:
    """Return the number of stored editions of calendars and terms as a column."""
    return _EDITION_COUNT.scalar_subquery()


def read_calendar_edition_count(conn: Connection) -> int:
    """Return the number of stored editions of calendars and terms, which rises when one is loaded."""
    return int(conn.execute(_EDITION_COUNT).scalar_one())


def list_calendar_contents(conn: Connection) -> Sequence[tuple[str, bytes]]:
    """Return label and content of the stored calendars and terms, in the order in which they were loaded."""
    return _list_contents(conn, calendar_editions)


def list_calendar_editions(conn: Connection) -> Sequence[CalendarEditionSummaryRow]:
    """Return the stored calendars and terms without contents, in the order in which they were loaded."""
    return _list_without_contents(conn, calendar_editions)


def insert_need_table(conn: Connection, new: NewEdition, at: datetime, by: str) -> None:
    """Store an edition of a table of needs; every process reads it before its next message."""
    conn.execute(insert(need_tables).values(**asdict(new), loaded_at=at, loaded_by=by))
    note_changed_row(conn, "need_tables", f"{new.name} {new.edition}")
    increment_register_version(conn)


def find_need_table(conn: Connection, name: str, edition: str) -> NeedTableRow | None:
    """Return the stored edition of a table of needs; None when there is none."""
    return conn.execute(select(need_tables).where(_N.name == name, _N.edition == edition)).one_or_none()


def list_need_table_ids(conn: Connection) -> tuple[int, ...]:
    """Return the numbers of the stored tables of needs, in the order in which they were loaded."""
    return tuple(conn.execute(select(_N.id).order_by(_N.id)).scalars())


def list_need_table_contents(conn: Connection) -> Sequence[tuple[str, bytes]]:
    """Return label and content of the stored tables of needs, in the order in which they were loaded."""
    return _list_contents(conn, need_tables)


def list_need_tables(conn: Connection) -> Sequence[NeedTableSummaryRow]:
    """Return the stored tables of needs without contents, in the order in which they were loaded."""
    return _list_without_contents(conn, need_tables)


def _list_contents(conn: Connection, table: Table) -> Sequence[tuple[str, bytes]]:
    rows = conn.execute(select(table.c.name, table.c.edition, table.c.content).order_by(table.c.id))
    return [(f"{row.name}@{row.edition}", row.content) for row in rows]


def _list_without_contents(conn: Connection, table: Table) -> Sequence[Row[Any]]:
    columns = [column for column in table.c if column.name != "content"]
    return conn.execute(select(*columns).order_by(table.c.id)).all()
