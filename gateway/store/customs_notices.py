"""Stores the notices of customs as received, and the state of clearance of each case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    bindparam,
    select,
)

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.state_machines import CLEARANCE
from gateway.store import transitions
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    NUMBER_TEXT,
    Instant,
    Json,
    collect_values,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent, record_events

# One row for each case of which customs has said something; its id is that of the case.
clearances = Table(
    "clearances",
    metadata,
    Column("id", BigInteger, ForeignKey("cases.id"), primary_key=True, autoincrement=False),
    make_required_column("state"),
    make_state_constraint(CLEARANCE.states),
)

# Append-only. `content` has the reasons of an error as customs pointed them out, and the items of a result.
customs_notices = Table(
    "customs_notices",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("code"),
    make_required_column("kind"),
    make_required_column("issued_at", Instant),
    make_required_column("content", Json),
    make_required_column("sha256"),
    Column("delivery_id", BigInteger),  # our call that it answers
    make_required_column("received_at", Instant),
    UniqueConstraint("number"),
    Index("ix_customs_notices_case_id", "case_id", "id"),
)


class CustomsNoticeRow(Protocol):
    """A row of the table `customs_notices`."""

    id: int
    case_id: int
    number: str
    code: str
    kind: str
    issued_at: datetime
    content: Any
    sha256: str
    delivery_id: int | None
    received_at: datetime


#: The field of `content` with the time that a notice states which counts from another one.
STATED_AT: Final = "stated_at"
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
    """A notice of customs to be stored; `kind` classifies its code, `delivery_id` is the call it answers."""

    case_id: int
    number: str
    code: str
    kind: str
    issued_at: datetime
    content: Mapping[str, Any]
    delivery_id: int | None = None

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the content in hexadecimal; a repeat of the notice has the same one."""
        statement = (self.case_id, self.number, self.code, self.issued_at, sorted(self.content.items()))
        return hashlib.sha256(repr(statement).encode()).hexdigest()


def insert_notice(
    conn: Connection, notice: NewCustomsNotice, at: datetime, counts_at: datetime | None = None
) -> int | None:
    """Store a notice and return its id, or None for a repeat; the case must be locked.

    `counts_at` is given for a notice whose time is ahead of the clock: it counts from then. Raises GW702 when
    customs used the number before for other content.
    """
    values = collect_values(notice) | {"content": dict(notice.content)}
    if counts_at is not None:
        values["issued_at"] = counts_at
        values["content"][STATED_AT] = notice.issued_at.isoformat()
    row = _INSERT.insert_one(conn, values | {"sha256": notice.sha256, "received_at": at})
    if row is not None:
        return int(row.id)
    query = select(customs_notices.c.sha256).where(customs_notices.c.number == notice.number)
    if conn.execute(query).scalar_one() != notice.sha256:
        detail = f"customs used notice number {notice.number[:40]!r} for two different notices"
        raise GatewayError(DECISION_CONFLICT, detail, "NoticeNumber")
    return None


def apply_event(conn: Connection, case_id: int, event: StateEvent) -> tuple[str, str]:
    """Apply an event to the clearance of a locked case; return the states before and after it."""
    _BEGIN.insert_many(conn, [{"id": case_id, "state": CLEARANCE.initial_state}])
    previous_state = conn.execute(_STATE, {"wanted": case_id}).scalar_one()
    return str(previous_state), transitions.apply_event(conn, clearances, CLEARANCE, case_id, event)


def record_case_event(conn: Connection, case_id: int, state: str, at: datetime) -> None:
    """Store an event of the case for the software of its parties."""
    record_events(conn, "case", [(case_id, state)], at)


def find_clearance_state(conn: Connection, case_id: int) -> str | None:
    """Return the state of clearance of a case; None before the first notice of customs."""
    return conn.execute(_STATE, {"wanted": case_id}).scalar_one_or_none()


def find_by_id(conn: Connection, notice_id: int) -> CustomsNoticeRow | None:
    """Return the notice of this row id."""
    return conn.execute(_GET, {"wanted": notice_id}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[CustomsNoticeRow]:
    """Return the notices of customs about a case, in the order in which they came."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()
