"""Stores the notices of customs as received, and the state of clearance of each case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.state_machines import CLEARANCE
from gateway.store import transitions
from gateway.store.customs_tables import clearances, customs_notices
from gateway.store.events import record_events
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.transitions import StateEvent

__all__ = [
    "NewCustomsNotice",
    "apply_event",
    "find_by_id",
    "find_state",
    "insert_notice",
    "list_by_case",
    "record_case_event",
]

_INSERT = InsertIfAbsent(customs_notices, ("number",), "id")
_BEGIN = InsertIfAbsent(clearances, ("id",))
_GET = select(customs_notices).where(customs_notices.c.id == bindparam("wanted"))
_STATE = select(clearances.c.state).where(clearances.c.id == bindparam("wanted"))
_OF_CASE = (
    select(customs_notices)
    .where(customs_notices.c.case_id == bindparam("wanted"))
    .order_by(customs_notices.c.id)
)


@dataclass(frozen=True, slots=True)
class NewCustomsNotice:
    """A notice of customs to be stored; `kind` is what its code means, `delivery` our call it answers."""

    case_id: int
    number: str
    code: str
    kind: str
    issued_at: datetime
    content: Mapping[str, Any]
    delivery: int | None = None

    @property
    def sha256(self) -> str:
        """Return the digest of what customs said, by which a repeat is told from another notice."""
        said = (self.case_id, self.number, self.code, self.issued_at, sorted(self.content.items()))
        return hashlib.sha256(repr(said).encode()).hexdigest()


def insert_notice(conn: Connection, notice: NewCustomsNotice, at: datetime) -> int | None:
    """Store a notice and return its id, or None for a repeat; the case must be locked.

    Raises GW702 when customs used the number before for other content.
    """
    row = _INSERT.insert_one(
        conn,
        {
            "case_id": notice.case_id,
            "number": notice.number,
            "code": notice.code,
            "kind": notice.kind,
            "issued_at": notice.issued_at,
            "content": dict(notice.content),
            "sha256": notice.sha256,
            "delivery_id": notice.delivery,
            "received_at": at,
        },
    )
    if row is not None:
        return int(row.id)
    known = select(customs_notices.c.sha256).where(customs_notices.c.number == notice.number)
    if conn.execute(known).scalar_one() != notice.sha256:
        detail = f"customs used notice number {notice.number[:40]!r} for two different notices"
        raise GatewayError(DECISION_CONFLICT, detail, "NoticeNumber")
    return None


def apply_event(conn: Connection, case_id: int, what: StateEvent) -> tuple[str, str]:
    """Apply an event to the clearance of a locked case; return the states before and after it."""
    _BEGIN.insert_many(conn, [{"id": case_id, "state": CLEARANCE.initial}])
    before = conn.execute(_STATE, {"wanted": case_id}).scalar_one()
    return str(before), transitions.apply_event(conn, clearances, CLEARANCE, case_id, what)


def record_case_event(conn: Connection, case_id: int, state: str, at: datetime) -> None:
    """Store an event of the case for the software of its parties."""
    record_events(conn, "case", [(case_id, state)], at)


def find_state(conn: Connection, case_id: int) -> str | None:
    """Return the state of clearance of a case; None where customs has said nothing."""
    return conn.execute(_STATE, {"wanted": case_id}).scalar_one_or_none()


def find_by_id(conn: Connection, notice: int) -> Row[Any] | None:
    """Return the notice of this row id."""
    return conn.execute(_GET, {"wanted": notice}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the notices of customs about a case, in the order in which they came."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()
