"""Stores the requests to the agencies of a case, and their states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, update

from gateway.state_machines import REQUEST
from gateway.store import transitions
from gateway.store.column_types import count_microseconds
from gateway.store.fee_tables import fees
from gateway.store.item_releases import (
    build_outside_condition,
    build_parent_condition,
    keep_childless,
    keep_outside_answer,
)
from gateway.store.row_values import collect_values
from gateway.store.tables import agency_requests, decisions
from gateway.store.transaction_reads import read_once
from gateway.store.transitions import StateEvent

__all__ = [
    "OPEN_FEES",
    "NewAgencyRequest",
    "apply_event",
    "find_agency_by_number",
    "find_by_id",
    "find_by_number",
    "find_by_requirement",
    "forget_refused_cancellations",
    "insert_request",
    "insert_requests",
    "list_by_case",
    "list_overdue_requests",
    "outdate_decisions",
    "set_demands",
    "set_due_times",
    "set_required_items",
    "set_sent_document",
    "set_status_code",
]

_INSERT = insert(agency_requests).returning(agency_requests.c.id, agency_requests.c.number)
_GET = select(agency_requests).where(agency_requests.c.id == bindparam("wanted"))
_BY_NUMBER = select(agency_requests).where(agency_requests.c.number == bindparam("wanted"))
_AGENCY_BY_NUMBER = select(agency_requests.c.id, agency_requests.c.agency).where(
    agency_requests.c.number == bindparam("wanted")
)
#: How many fees of a request are open; asked beside it, so that a case without fees costs no statement more.
OPEN_FEES = (
    select(func.count())
    .where(fees.c.request_id == agency_requests.c.id, text("fees.state IN ('LEVIED', 'ORDERED')"))
    .scalar_subquery()
    .label("open_fees")
)
_OF_CASE = (
    select(
        agency_requests,
        OPEN_FEES,
        build_outside_condition().label("outside"),
        build_parent_condition().label("released"),
    )
    .where(agency_requests.c.case_id == bindparam("wanted"))
    .order_by(agency_requests.c.sequence, agency_requests.c.id)
)


_SET_DUE = (
    update(agency_requests).where(agency_requests.c.id == bindparam("wanted")).values(due_at=bindparam("due"))
)
#: SQLite: the times of several requests, given as one object.
_SET_DUE_TOGETHER = text(
    "UPDATE agency_requests SET due_at = told.value FROM json_each(:told) AS told "
    "WHERE agency_requests.id = CAST(told.key AS INTEGER)"
)
#: PostgreSQL: the times of several requests, given as two arrays.
_SET_DUE_TIMES = text(
    "UPDATE agency_requests SET due_at = told.due_at "
    "FROM unnest(CAST(:requests AS bigint[]), CAST(:dues AS timestamptz[])) AS told (id, due_at) "
    "WHERE agency_requests.id = told.id"
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
    return insert_requests(conn, [request])[0]


def insert_requests(conn: Connection, new: Sequence[NewAgencyRequest]) -> tuple[int, ...]:
    """Store requests in their first state by one statement; return their ids in the order given."""
    if not new:
        return ()
    rows = [
        collect_values(one) | {"required": [list(pair) for pair in one.required], "state": REQUEST.initial}
        for one in new
    ]
    stored = {row.number: int(row.id) for row in conn.execute(_INSERT, rows)}
    return tuple(stored[one.number] for one in new)


def apply_event(conn: Connection, request: int, what: StateEvent, **values: Any) -> str:
    """Apply an event to a request; return its new state.

    Values: status_code, receipt_number, decision, decided_by, decided_at, reply_sha256, due_at.
    """
    return transitions.apply_event(conn, agency_requests, REQUEST, request, what, **values)


def set_due_times(conn: Connection, times: Mapping[int, datetime | None]) -> None:
    """Set until when the one who holds each request (row id) has to act; None where nothing is due."""
    if not times:
        return
    if len(times) == 1:
        ((request, due),) = times.items()
        conn.execute(_SET_DUE, {"wanted": request, "due": due})
    elif conn.dialect.name == "sqlite":
        told = {str(request): count_microseconds(due) for request, due in times.items()}
        conn.execute(_SET_DUE_TOGETHER, {"told": json.dumps(told)})
    else:
        conn.execute(_SET_DUE_TIMES, {"requests": list(times), "dues": list(times.values())})


def set_sent_document(conn: Connection, request: int, document_sha256: str) -> None:
    """Set which octets were last sent to the agency (a supplement replaces them)."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(document_sha256=document_sha256))


def set_status_code(conn: Connection, request: int, code: str | None) -> None:
    """Set the status code that its agency has given a request; None where nothing that it said counts."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(status_code=code))


def set_demands(conn: Connection, request: int, state: str, demands: Mapping[str, Any]) -> None:
    """Set what stands about a request that is in a state; from then on that follows its state."""
    about = agency_requests.c
    changed = update(agency_requests).where(about.id == request, about.state == state)
    conn.execute(changed.values(demands=demands, demands_state=state))


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
    return conn.execute(_BY_NUMBER, {"wanted": number}).first()


def find_agency_by_number(conn: Connection, number: str) -> Row[Any, Any] | None:
    """Return the row id and the agency of the request of this ApplicationNumber, which never change."""
    return conn.execute(_AGENCY_BY_NUMBER, {"wanted": number}).first()


def find_by_requirement(conn: Connection, agency: str, number: str) -> Row[Any] | None:
    """Return the request that the agency decided under this requirement number."""
    found = select(agency_requests).join(decisions, decisions.c.request_id == agency_requests.c.id)
    named = found.where(decisions.c.agency == agency, decisions.c.number == number)
    return conn.execute(named.order_by(agency_requests.c.id.desc()).limit(1)).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the requests of a case in their order, each with the number of its `open_fees`.

    Whoever asks next whether the case `may_have_outside_decisions`, or for its children, has the answer.
    """

    def read() -> Sequence[Row[Any]]:
        rows = conn.execute(_OF_CASE, {"wanted": case_id}).all()
        if rows:
            keep_outside_answer(conn, case_id, found=bool(rows[0].outside))
            if not rows[0].released:
                keep_childless(conn, case_id)
        return rows

    return read_once(conn, (agency_requests.name, fees.name), ("requests of a case", case_id), read)


def list_overdue_requests(conn: Connection, now: datetime, limit: int = 100) -> Sequence[Row[Any]]:
    """Return the requests whose deadline has passed and that still wait for their agency."""
    found = select(agency_requests).where(
        agency_requests.c.due_at <= now, agency_requests.c.state.not_in(sorted(REQUEST.final))
    )
    return conn.execute(found.order_by(agency_requests.c.due_at).limit(limit)).all()
