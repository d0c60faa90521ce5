"""Stores the notices of agencies as received; a repeated notice is recognised in any order of arrival."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    select,
    update,
)

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.notice_order import NoticeOrder, order_notice
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import record_events

# Every notice of an agency as received, also one without decisions; the latest is by `gateway.notice_order`.
notices = Table(
    "notices",
    metadata,
    make_identity_column(),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("agency", CODE_TEXT),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("issued_at", Instant),
    make_required_column("status_code"),
    make_required_column("text"),
    make_required_column("pointers", Json),
    Column("deadline", Instant),
    make_required_column("sha256"),
    make_required_column("received_at", Instant),
    Column("fee_notice", Text),  # of a notice about a fee: the payment notice number it names; or empty
    # Of a notice that states a day without a time: when it begins. `issued_at` is the place in the day.
    Column("day_begins_at", Instant),
    # Of a notice whose time was ahead of the hub's clock: that time. `issued_at` is when it counts from.
    Column("stated_at", Instant),
    # The number of the notice that counted already when this one came, which has had no effect; or empty.
    Column("overruled_by", Text),
    UniqueConstraint("agency", "number"),
    Index("ix_notices_request_id", "request_id"),
    PartialIndex("ix_notices_overruled", "received_at", where="overruled_by IS NOT NULL"),
    PartialIndex("ix_notices_ahead", "received_at", where="stated_at IS NOT NULL"),
)


class NoticeRow(Protocol):
    """A row of the table `notices`."""

    id: int
    request_id: int
    agency: str
    number: str
    issued_at: datetime
    status_code: str
    text: str
    pointers: Any
    deadline: datetime | None
    sha256: str
    received_at: datetime
    fee_notice: str | None
    day_begins_at: datetime | None
    stated_at: datetime | None
    overruled_by: str | None


_INSERT = InsertIfAbsent(notices, ("agency", "number"), "id")
_GET = select(notices).where(notices.c.id == bindparam("wanted"))
_GET_CONTENT = select(notices.c.sha256).where(
    notices.c.agency == bindparam("agency"), notices.c.number == bindparam("number")
)
_OF_REQUEST = select(notices).where(notices.c.request_id == bindparam("wanted")).order_by(notices.c.id)
_SET_ISSUE_TIME = update(notices).where(notices.c.id == bindparam("placed")).values(issued_at=bindparam("at"))


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice to be stored; `decisions` are its decisions as text, to distinguish it from another notice."""

    request_id: int
    agency: str
    number: str
    issued_at: datetime
    status_code: str
    text: str = ""
    pointers: Sequence[str] = ()
    deadline: datetime | None = None
    decisions: Sequence[str] = ()

    @property
    def content_sha256(self) -> str:
        """Return the digest of the whole content of the notice."""
        return hashlib.sha256(repr(collect_values(self)).encode()).hexdigest()


class NoticeSummary(NamedTuple):
    """The properties by which one notice about a request is distinguished from another."""

    id: int
    number: str
    issued_at: datetime
    status_code: str
    text: str
    received_at: datetime
    deadline: datetime | None
    fee_notice: str | None
    day_begins_at: datetime | None
    stated_at: datetime | None

    @property
    def order(self) -> tuple[NoticeOrder, int]:
        """Return the key by which the last of the notices about a request is found."""
        return order_notice(self.issued_at, self.number), self.id


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A notice as stored.

    `request_notices` are all notices about the request, including this one, as they are stored. `values` are
    the values of its own row when it was stored, before it had a place in its day.
    """

    id: int
    sha256: str
    request_notices: Sequence[NoticeSummary] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_latest(self) -> bool:
        """Return whether no other notice about the request comes after this one."""
        return max(self.request_notices, key=lambda notice: notice.order).id == self.id

    @property
    def issued_at(self) -> datetime:
        """Return the time from which it counts."""
        return next(notice.issued_at for notice in self.request_notices if notice.id == self.id)


def insert_notice(
    conn: Connection,
    notice: NewNotice,
    at: datetime,
    *,
    deadline: datetime | None = None,
    text: str | None = None,
    is_first_notice: bool = False,
    payment_notice: str | None = None,
    day_begins_at: datetime | None = None,
    stated_at: datetime | None = None,
) -> StoredNotice | None:
    """Store a notice, or return None for a repeat; the case must be locked.

    `deadline` and `text` replace those of the notice, if they are to be stored in another form.
    `is_first_notice` says that the caller knows that no other notice about the request is stored. For a
    notice about a fee, `payment_notice` is the payment notice number that it names, or empty.
    `day_begins_at` is the first instant of the day of a notice that states no time, `stated_at` the time of
    one that counts from another. Raises GW702 when the agency used the number before for other content.
    """
    deadline = deadline or notice.deadline
    content_sha256 = notice.content_sha256
    values = collect_values(notice) | {
        "text": notice.text if text is None else text,
        "pointers": list(notice.pointers),
        "deadline": deadline,
        "sha256": content_sha256,
        "received_at": at,
        "fee_notice": payment_notice,
        "day_begins_at": day_begins_at,
        "stated_at": stated_at,
    }
    del values["decisions"]
    row = _INSERT.insert_one(conn, values)
    if row is None:
        _check_repeated_notice(conn, notice)
        return None
    record_events(conn, "notice", [(int(row.id), notice.status_code)], at)
    stored: Iterable[Mapping[Any, Any]] = (
        [{"id": row.id, **values}]
        if is_first_notice
        else conn.execute(_OF_REQUEST, {"wanted": notice.request_id}).mappings()
    )
    request_notices = [_make_notice_summary(columns) for columns in stored]
    return StoredNotice(int(row.id), content_sha256, request_notices, values)


def place_notices(conn: Connection, places: Mapping[int, datetime]) -> None:
    """Give notices (row ids) the times from which they count: places in a day, or their receipt."""
    conn.execute(_SET_ISSUE_TIME, [{"placed": row, "at": at} for row, at in places.items()])


def _make_notice_summary(columns: Mapping[Any, Any]) -> NoticeSummary:
    return NoticeSummary(*(columns[name] for name in NoticeSummary._fields))


def _check_repeated_notice(conn: Connection, notice: NewNotice) -> None:
    """Raise GW702 unless the stored notice with this agency and number has the same content."""
    key = {"agency": notice.agency, "number": notice.number}
    if conn.execute(_GET_CONTENT, key).scalar() != notice.content_sha256:
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {notice.number[:40]} was received before with different content",
            "NoticeNumber",
        )


def is_repeated_notice(conn: Connection, notice: NewNotice) -> bool:
    """Return whether a notice is stored already; raise GW702 where its number is used for other content."""
    key = {"agency": notice.agency, "number": notice.number}
    if conn.execute(_GET_CONTENT, key).first() is None:
        return False
    _check_repeated_notice(conn, notice)
    return True


def list_stored_numbers(conn: Connection, agency: str, numbers: Collection[str]) -> set[str]:
    """Return which of these notice numbers of an agency are stored about an application."""
    if not numbers:
        return set()
    query = select(notices.c.number).where(notices.c.agency == agency, notices.c.number.in_(sorted(numbers)))
    return set(conn.execute(query).scalars())


def find_by_id(conn: Connection, notice_id: int) -> NoticeRow | None:
    """Return the notice of this row id."""
    return conn.execute(_GET, {"wanted": notice_id}).first()


def list_by_request(conn: Connection, request: int) -> Sequence[NoticeRow]:
    """Return the notices about a request, in the order received."""
    return conn.execute(_OF_REQUEST, {"wanted": request}).all()
