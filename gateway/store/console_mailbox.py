"""Stores the console's mailbox: calls to agencies whose officers decide at the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, func, select

from gateway.state_machines import REQUEST
from gateway.store.officer_acts import build_decided_condition
from gateway.store.officer_tables import console_mailbox, console_switches
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import agency_requests

__all__ = [
    "NewMailboxCall",
    "build_rest_condition",
    "count_undecided",
    "find_place",
    "insert_call",
    "list_by_request",
]

_INSERT = InsertIfAbsent(console_mailbox, ("delivery_id",), "id")
_SWITCHED = exists().where(console_switches.c.agency == bindparam("agency"))


def build_rest_condition(request: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that an application came to rest, or was decided by officers: it stays here."""
    return exists().where(console_mailbox.c.request_id == request) | build_decided_condition(request)


_PLACE = select(build_rest_condition(bindparam("request")).label("rests"), _SWITCHED.label("switched"))
#: Undecided applications are counted up to this number.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class NewMailboxCall:
    """A call that came to rest: for which agency, about which request, by which delivery."""

    agency: str
    request_id: int
    case_id: int
    delivery_id: int
    operation: str
    call_sha256: str


def insert_call(conn: Connection, call: NewMailboxCall, at: datetime) -> bool:
    """Store a call; return False when the delivery came to rest before."""
    return _INSERT.insert_one(conn, asdict(call) | {"received_at": at}) is not None


def find_place(conn: Connection, request: int, agency: str) -> tuple[bool, bool]:
    """Return whether an application stays with the officers, and whether its agency is switched to them."""
    row = conn.execute(_PLACE, {"request": request, "agency": agency}).one()
    return bool(row.rests), bool(row.switched)


def list_by_request(conn: Connection, request: int) -> Sequence[Row[Any]]:
    """Return the calls about a request, oldest first."""
    found = select(console_mailbox).where(console_mailbox.c.request_id == request)
    return conn.execute(found.order_by(console_mailbox.c.id)).all()


def count_undecided(conn: Connection, agency: str) -> int:
    """Return how many applications of an agency rest here undecided, counted up to 10,000."""
    waiting = (
        select(console_mailbox.c.request_id)
        .join(agency_requests, agency_requests.c.id == console_mailbox.c.request_id)
        .where(console_mailbox.c.agency == agency, agency_requests.c.state.not_in(sorted(REQUEST.final)))
        .distinct()
        .limit(_MOST)
    )
    return int(conn.execute(select(func.count()).select_from(waiting.subquery())).scalar_one())
