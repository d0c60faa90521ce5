"""Stores the requests to the agencies of a case, their states, and the names by which replies find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.state_machines import REQUEST
from gateway.store import transitions
from gateway.store.fees import fees
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent

_UNDECIDED = "due_at IS NOT NULL AND state <> 'DECIDED' AND state <> 'CANCELLED'"

agency_requests = Table(
    "agency_requests",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("application"),
    make_required_column("agency", CODE_TEXT),
    make_required_column("document"),
    make_required_column("sequence", Integer),
    make_required_column("mapping"),
    make_required_column("mapping_version"),
    make_required_column("mapping_sha256"),
    make_required_column("document_sha256", CODE_TEXT, ForeignKey("payloads.sha256")),
    make_required_column("required", Json),
    make_required_column("state", CODE_TEXT),
    Column("status_code", Text),
    Column("receipt_number", Text),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decided_at", Instant),
    Column("reply_sha256", Text, ForeignKey("payloads.sha256")),
    Column("due_at", Instant),
    Column("outdated_decision", BigInteger),  # the last decision (row id) that an amendment has outdated
    Column("cancellation", Text),  # what became of the last question whether the agency cancels it
    Column("removed", Json),  # the [item, law] pairs that an amendment has removed from those required
    Column("demands", Json),  # the open demands of its agency
    Column("demands_state", Text),  # the state that `demands` follow
    UniqueConstraint("number"),
    UniqueConstraint("case_id", "agency", "sequence"),
    make_state_constraint(REQUEST.states),
    Index("ix_agency_requests_agency", "agency", "case_id"),
    Index("ix_agency_requests_document_sha256", "document_sha256"),
    Index("ix_agency_requests_state", "agency", "state", "id"),
    PartialIndex("ix_agency_requests_asked", "agency", "id", where="cancellation = 'ASKED'"),
    PartialIndex("ix_agency_requests_due", "agency", "due_at", "id", where=_UNDECIDED),
    PartialIndex("ix_agency_requests_decided", "agency", "decided_at", where="decided_at IS NOT NULL"),
)


class AgencyRequestRow(Protocol):
    """A row of the table `agency_requests`."""

    id: int
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
    required: Any
    state: str
    status_code: str | None
    receipt_number: str | None
    decision: str | None
    decided_by: str | None
    decided_at: datetime | None
    reply_sha256: str | None
    due_at: datetime | None
    outdated_decision: int | None
    cancellation: str | None
    removed: Any
    demands: Any
    demands_state: str | None


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
    select(agency_requests, OPEN_FEES)
    .where(agency_requests.c.case_id == bindparam("wanted"))
    .order_by(agency_requests.c.sequence, agency_requests.c.id)
)


_SET_DUE = (
    update(agency_requests).where(agency_requests.c.id == bindparam("wanted")).values(due_at=bindparam("due"))
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


def insert_requests(conn: Connection, new_requests: Sequence[NewAgencyRequest]) -> tuple[int, ...]:
    """Store requests in their first state by one statement; return their ids in the order given."""
    if not new_requests:
        return ()
    rows = [
        collect_values(new_request)
        | {"required": [list(pair) for pair in new_request.required], "state": REQUEST.initial_state}
        for new_request in new_requests
    ]
    ids_by_number = {row.number: int(row.id) for row in conn.execute(_INSERT, rows)}
    return tuple(ids_by_number[new_request.number] for new_request in new_requests)


def apply_event(conn: Connection, request: int, event: StateEvent, **values: Any) -> str:
    """Apply an event to a request; return its new state.

    Values: status_code, receipt_number, decision, decided_by, decided_at, reply_sha256, due_at.
    """
    return transitions.apply_event(conn, agency_requests, REQUEST, request, event, **values)


def set_due_times(conn: Connection, due_by_request: Mapping[int, datetime | None]) -> None:
    """Set for each request (row id) when its agency or applicant must have acted; None if nothing is due."""
    if due_by_request:
        conn.execute(_SET_DUE, [{"wanted": request, "due": due} for request, due in due_by_request.items()])


class RequestDocumentRow(Protocol):
    """The document of a request, and the digest of its mappings."""

    id: int
    document: str
    mapping_sha256: str
    required: Any


def list_documents(conn: Connection, ids: Sequence[int]) -> dict[int, RequestDocumentRow]:
    """Return of requests, by row id, the document, the digest of its mappings, and the required items.

    These columns are in every schema version.
    """
    r = agency_requests.c
    chosen: Select[Any] = select(r.id, r.document, r.mapping_sha256, r.required).where(r.id.in_(ids))
    rows: Sequence[Row[Any]] = conn.execute(chosen).all()
    return {row.id: row for row in rows}


def set_sent_document(conn: Connection, request: int, document_sha256: str) -> None:
    """Set which octets were last sent to the agency (a supplement replaces them)."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(document_sha256=document_sha256))


def set_mappings(conn: Connection, request: int, digest: str) -> None:
    """Set on a request (row id) the digest of the mappings that wrote the document for its agency."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(mapping_sha256=digest, mapping_version=digest[:16]))


def set_status_code(conn: Connection, request: int, code: str | None) -> None:
    """Set the status code of a request as its agency stated it; None if no statement of the agency counts."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(status_code=code))


def outdate_decisions(conn: Connection, request: int, last_decision_id: int) -> None:
    """Mark the decisions on a request up to the row id `last_decision_id` as outdated by an amendment."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    conn.execute(changed.values(outdated_decision=last_decision_id))


def set_required_items(
    conn: Connection, request: int, required: Sequence[Sequence[Any]], removed: Sequence[Sequence[Any]]
) -> None:
    """Set the [item, law] pairs that a request must decide, and those that amendments have removed of it."""
    changed = update(agency_requests).where(agency_requests.c.id == request)
    pairs = {"required": [list(pair) for pair in required], "removed": [list(pair) for pair in removed]}
    conn.execute(changed.values(pairs))


def forget_refused_cancellations(conn: Connection, case_id: int) -> None:
    """Remove the refusals of agencies to cancel their requests of a case: its withdrawal is over."""
    columns = agency_requests.c
    changed = update(agency_requests).where(columns.case_id == case_id, columns.cancellation == "REFUSED")
    conn.execute(changed.values(cancellation=None))


def find_by_id(conn: Connection, request: int) -> AgencyRequestRow | None:
    """Return the request of this row id."""
    return conn.execute(_GET, {"wanted": request}).first()


def find_by_number(conn: Connection, number: str) -> AgencyRequestRow | None:
    """Return the request of this ApplicationNumber."""
    return conn.execute(_BY_NUMBER, {"wanted": number}).first()


class RequestAgencyRow(Protocol):
    """The row id of a request, and its agency."""

    id: int
    agency: str


def find_agency_by_number(conn: Connection, number: str) -> RequestAgencyRow | None:
    """Return the row id and the agency of the request of this ApplicationNumber, which never change."""
    return conn.execute(_AGENCY_BY_NUMBER, {"wanted": number}).first()


class RequestWithFeesRow(AgencyRequestRow, Protocol):
    """A request, with the number of its open fees."""

    open_fees: int


def list_by_case(conn: Connection, case_id: int) -> Sequence[RequestWithFeesRow]:
    """Return the requests of a case in their order, each with the number of its `open_fees`."""
    return conn.execute(_OF_CASE, {"wanted": case_id}).all()


correlations = Table(
    "correlations",
    metadata,
    Column("scheme", CODE_TEXT, primary_key=True),
    Column("value", ID_TEXT, primary_key=True),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    Column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    Index("ix_correlations_case_id", "case_id"),
)


CORRELATION_SCHEMES = ("wsa", "ebms-conversation", "ebms-message", "agency-receipt", "ucr")

_INSERT_CORRELATION = InsertIfAbsent(correlations, ("scheme", "value"), "value")
_FIND_CORRELATION = select(correlations.c.case_id, correlations.c.request_id).where(
    correlations.c.scheme == bindparam("wanted_scheme"), correlations.c.value == bindparam("wanted")
)


def insert_correlation(
    conn: Connection, scheme: str, value: str, case_id: int, request_id: int | None = None
) -> None:
    """Store an identifier of the case in messages; raises GW702 when it belongs to another case already."""
    insert_correlations(conn, scheme, [(value, request_id)], case_id)


def insert_correlations(
    conn: Connection, scheme: str, identifiers: Sequence[tuple[str, int | None]], case_id: int
) -> None:
    """Store identifiers of the case, each with its request (row id) or None.

    Raise GW702 for an identifier that is stored already for another case or request.
    """
    if not identifiers:
        return
    inserted_rows = _INSERT_CORRELATION.insert_keyed(
        conn, _make_correlation_rows(scheme, identifiers, case_id), "value"
    )
    for value, request in identifiers:
        holder = None if value in inserted_rows else find_correlation(conn, scheme, value)
        if value not in inserted_rows and (
            holder is None or (holder.case_id, holder.request_id) != (case_id, request)
        ):
            raise GatewayError(DECISION_CONFLICT, f"{scheme} {value[:80]} names another case already")


def ensure_correlation(conn: Connection, scheme: str, value: str, case_id: int, request: int) -> None:
    """Store an identifier of the case, unless a case has it already."""
    _INSERT_CORRELATION.insert_one(conn, _make_correlation_rows(scheme, [(value, request)], case_id)[0])


def _make_correlation_rows(
    scheme: str, identifiers: Sequence[tuple[str, int | None]], case_id: int
) -> list[dict[str, Any]]:
    """Return the rows of these identifiers, each with its request (row id) or None.

    Raise ValueError for an unknown `scheme`.
    """
    if scheme not in CORRELATION_SCHEMES:
        raise ValueError(f"no scheme of correlation: {scheme}")
    return [
        {"scheme": scheme, "value": value, "case_id": case_id, "request_id": request}
        for value, request in identifiers
    ]


class CorrelationRow(Protocol):
    """The request that a name in messages stands for, and its case."""

    case_id: int
    request_id: int | None


def find_correlation(conn: Connection, scheme: str, value: str) -> CorrelationRow | None:
    """Return the case and the request of an identifier in a scheme; None if nothing has the identifier."""
    return conn.execute(_FIND_CORRELATION, {"wanted_scheme": scheme, "wanted": value}).first()
