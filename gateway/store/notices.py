"""Stores the notices of agencies as received; a repeated notice is recognised in any order of arrival."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.store.events import record_events
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.row_values import collect_values
from gateway.store.tables import notices

__all__ = [
    "KnownNotice",
    "NewNotice",
    "StoredNotice",
    "find_by_id",
    "insert_notice",
    "list_by_request",
    "list_known_numbers",
]

_INSERT = InsertIfAbsent(notices, ("agency", "number"), "id")
_GET = select(notices).where(notices.c.id == bindparam("wanted"))
_GET_CONTENT = select(notices.c.sha256).where(
    notices.c.agency == bindparam("agency"), notices.c.number == bindparam("number")
)
_OF_REQUEST = select(notices).where(notices.c.request_id == bindparam("wanted")).order_by(notices.c.id)


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


class KnownNotice(NamedTuple):
    """What tells one notice about a request from another one."""

    id: int
    number: str
    issued_at: datetime
    status_code: str
    text: str
    received_at: datetime
    deadline: datetime | None
    fee_notice: str | None


#: Reads what is known of a notice, but for its row id, from the values that are stored.
_read_known = itemgetter(*KnownNotice._fields[1:])


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A notice as stored; `latest` is False when a later one about the request was stored before.

    `known` are all notices about the request, including this one, as they are stored.
    """

    id: int
    sha256: str
    latest: bool
    known: Sequence[KnownNotice] = ()


def insert_notice(
    conn: Connection,
    notice: NewNotice,
    at: datetime,
    *,
    deadline: datetime | None = None,
    first: bool = False,
    former: NewNotice | None = None,
    fee_notice: str | None = None,
) -> StoredNotice | None:
    """Store a notice, or return None for a repeat; the case must be locked.

    Its time is stored as `deadline`, where that is not as it was written. It is the `first` one about its
    request where the caller knows that no other one is stored. `former` is
    what an earlier version may have stored of it. Of a notice about a fee `fee_notice` is the payment notice
    number that it names, or empty. Raises GW702 when the agency used the
    number before for other content.
    """
    if former is not None and _is_stored(conn, former):
        return None
    deadline = deadline or notice.deadline
    content = notice.content_sha256
    values = collect_values(notice) | {
        "pointers": list(notice.pointers),
        "deadline": deadline,
        "sha256": content,
        "received_at": at,
        "fee_notice": fee_notice,
    }
    del values["decisions"]
    row = _INSERT.insert_one(conn, values)
    if row is None:
        _check_repeated_notice(conn, notice)
        return None
    record_events(conn, "notice", [(int(row.id), notice.status_code)], at)
    known = (
        [_make_mine(int(row.id), values)]
        if first
        else list(map(_make_known, list_by_request(conn, notice.request_id)))
    )
    latest = max((one.issued_at, one.number) for one in known) == (notice.issued_at, notice.number)
    return StoredNotice(int(row.id), content, latest, known)


def _make_mine(notice: int, values: Mapping[str, Any]) -> KnownNotice:
    return KnownNotice(notice, *_read_known(values))


def _make_known(row: Row[Any]) -> KnownNotice:
    named = (int(row.id), row.number, row.issued_at, row.status_code, row.text)
    return KnownNotice(*named, row.received_at, row.deadline, row.fee_notice)


def _is_stored(conn: Connection, notice: NewNotice) -> bool:
    """Return whether this very notice is stored under its number."""
    named = {"agency": notice.agency, "number": notice.number}
    return conn.execute(_GET_CONTENT, named).scalar() == notice.content_sha256


def _check_repeated_notice(conn: Connection, notice: NewNotice) -> None:
    if not _is_stored(conn, notice):
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {notice.number[:40]} was received before with different content",
            "NoticeNumber",
        )


def list_known_numbers(conn: Connection, agency: str, numbers: Collection[str]) -> set[str]:
    """Return which of these notice numbers of an agency are stored about an application."""
    if not numbers:
        return set()
    known = select(notices.c.number).where(notices.c.agency == agency, notices.c.number.in_(sorted(numbers)))
    return set(conn.execute(known).scalars())


def find_by_id(conn: Connection, notice: int) -> Row[Any] | None:
    """Return the notice of this row id."""
    return conn.execute(_GET, {"wanted": notice}).first()


def list_by_request(conn: Connection, request: int) -> Sequence[Row[Any]]:
    """Return the notices about a request, in the order received."""
    return conn.execute(_OF_REQUEST, {"wanted": request}).all()
