"""Stores the requests to the agencies of a case, and their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from gateway.state_machines import REQUEST
from gateway.store import transitions
from gateway.store.tables import agency_requests, decisions
from gateway.store.transaction_reads import read_once
from gateway.store.transitions import StateEvent

__all__ = [
    "NewAgencyRequest",
    "apply_event",
    "find_by_id",
    "find_by_number",
    "find_by_requirement",
    "forget_refused_cancellations",
    "insert_request",
    "list_by_case",
    "list_overdue_requests",
    "outdate_decisions",
    "set_due_time",
    "set_required_items",
    "set_sent_document",
]

_INSERT = insert(agency_requests)
_GET = select(agency_requests).where(agency_requests.c.id == bindparam("wanted"))
_OF_CASE = (
    select(agency_requests)
    .where(agency_requests.c.case_id == bindparam("wanted"))
    .order_by(agency_requests.c.sequence, agency_requests.c.id)
)


@dataclass(frozen=True, slots=True)
class NewAgencyRequest:
    """A request to be stored; `required` are the [item, law] pairs it must decide.

    `number` is the ApplicationNumber for the agency, `application` the id in the applicant's
    submission.
    """

    case_id: int
    number: str
    application: str
    agency: str
    document: str
    sequence: int
    mapping: str
    mapping_version: str
    mapping_sha256: str
    document_sha256: str
    required: Sequence[Sequence[Any]] = ()
    due_at: datetime | None = None


def insert_request(conn: Connection, request: NewAgencyRequest) -> int:
    """Store the request in its first state; return its id."""
    values = asdict(request) | {"required": [list(pair) for pair in request.required]}
    done = conn.execute(_INSERT, values | {"state": REQUEST.initial})
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def apply_event(conn: Connection, request: int, what: StateEvent, **values: Any) -> str:
    """Apply an event to a request; return its new state.

    Values: status_code, receipt_number, decision, decided_by, decided_at, reply_sha256, due_at.
    """
    return transitions.apply_event(conn, agency_requests, REQUEST, request, what, **values)


def set_due_time(conn: Connection, request: int, due_at: datetime | None) -> None:
    """Set until when the one who holds the request has to act; None where nothing is due."""
    conn.execute(update(agency_requests).where(agency_requests.c.id == request).values(due_at=due_at))


def set_sent_document(conn: Connection, request: int, document_sha256: str) -> None:
    """Set which octets were last sent to the agency (a supplement replaces them)."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(document_sha256=document_sha256))


def outdate_decisions(conn: Connection, request: int, last: int) -> None:
    """Let the decisions on a request up to the row `last` count no more: they are about what was amended."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(outdated_decision=last))


def set_required_items(
    conn: Connection, request: int, required: Sequence[Sequence[Any]], removed: Sequence[Sequence[Any]]
) -> None:
    """Set the [item, law] pairs that a request must decide, and those that amendments have removed of it."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    pairs = {"required": [list(one) for one in required], "removed": [list(one) for one in removed]}
    conn.execute(changed.values(pairs))


def forget_refused_cancellations(conn: Connection, case_id: int) -> None:
    """Forget which agencies of a case refused to cancel: the withdrawal they were asked for is over."""
    about = agency_requests.c
    changed = update(agency_requests).where(about.case_id == case_id, about.cancellation == "REFUSED")
    conn.execute(changed.values(cancellation=None))


def find_by_id(conn: Connection, request: int) -> Row[Any] | None:
    """Return the request of this row id."""
    return conn.execute(_GET, {"wanted": request}).first()


def find_by_number(conn: Connection, number: str) -> Row[Any] | None:
    """Return the request of this ApplicationNumber."""
    return conn.execute(select(agency_requests).where(agency_requests.c.number == number)).first()


def find_by_requirement(conn: Connection, agency: str, number: str) -> Row[Any] | None:
    """Return the request that the agency decided under this requirement number."""
    found = select(agency_requests).join(decisions, decisions.c.request_id == agency_requests.c.id)
    named = found.where(decisions.c.agency == agency, decisions.c.number == number)
    return conn.execute(named.order_by(agency_requests.c.id.desc()).limit(1)).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the requests of a case in their order."""

    def read() -> Sequence[Row[Any]]:
        return conn.execute(_OF_CASE, {"wanted": case_id}).all()

    return read_once(conn, (agency_requests,), ("requests of a case", case_id), read)


def list_overdue_requests(conn: Connection, now: datetime, limit: int = 100) -> Sequence[Row[Any]]:
    """Return the requests whose deadline has passed and that still wait for their agency."""
    found = select(agency_requests).where(
        agency_requests.c.due_at <= now, agency_requests.c.state.not_in(sorted(REQUEST.final))
    )
    return conn.execute(found.order_by(agency_requests.c.due_at).limit(limit)).all()
