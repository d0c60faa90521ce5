"""Searches cases, messages and deliveries for the lists of operators, one page at a time.

Every condition is part of the statement. Long tables have an index for each filter that finds few
rows among many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from gateway.errors import NO_ADDRESS
from gateway.state_machines import DELIVERY, REQUEST
from gateway.store.agency_requests import OPEN_FEES
from gateway.store.list_filters import ListFilter, ListPage, build_bounds, build_text_condition, fetch_page
from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import agency_requests, cases, deliveries, lanes, messages, notices, transitions

__all__ = [
    "list_case_deliveries",
    "list_latest_notices",
    "list_message_deliveries",
    "list_open_requests",
    "list_waiting_deliveries",
    "search_cases",
    "search_deliveries",
    "search_messages",
]

_OPEN_DELIVERIES: Final = tuple(state for state in DELIVERY.states if state not in DELIVERY.final)
_OCTETS: Final = ("answer_body", "parcel", "parcel_headers", "answer_headers")
_MESSAGE_COLUMNS: Final = tuple(column for column in messages.c if column.name not in _OCTETS)

_CASE_COLUMNS: Final = (
    cases.c.number.label("case_number"),
    cases.c.functional_reference.label("reference"),
)


def search_cases(conn: Connection, wanted: ListFilter) -> ListPage:
    """Return cases, newest first. The party is declarant, applicant or agent; the agency has a request.

    The reference is that of the applicant, the number of the case, or the UCR.
    """
    c = cases.c
    found = [*_build_state_conditions(cases, wanted.states), *build_bounds(wanted, c.id, c.opened_at)]
    if wanted.party:
        found.append(or_(*(column == wanted.party for column in (c.declarant, c.applicant, c.agent))))
    if wanted.agency:
        found.append(_build_agency_condition(c.id, wanted.agency))
    if wanted.reference:
        found.append(_build_reference_condition(wanted.reference))
    if wanted.text:
        found.append(_build_case_text(wanted.text))
    return fetch_page(conn, tuple(c), cases, found, wanted, c.id)


def _build_state_conditions(table: Any, states: Sequence[str]) -> list[ColumnElement[bool]]:
    return [or_(*(build_state_condition(table, state) for state in states))] if states else []


def _build_agency_condition(case_id: Any, agency: str) -> ColumnElement[bool]:
    asked = select(agency_requests.c.case_id).where(agency_requests.c.agency == agency)
    return case_id.in_(asked)  # type: ignore[no-any-return]


def _build_reference_condition(reference: str) -> ColumnElement[bool]:
    c = cases.c
    return or_(*(column == reference for column in (c.number, c.functional_reference, c.ucr)))


def _build_case_text(text: str) -> ColumnElement[bool]:
    """Return the condition for the columns of a case, the agencies it waits for, and their questions."""
    c = cases.c
    own = (c.number, c.functional_reference, c.declarant, c.applicant, c.agent, c.ucr)
    about = agency_requests.outerjoin(notices, notices.c.request_id == agency_requests.c.id)
    asked = (
        select(agency_requests.c.id)
        .select_from(about)
        .where(
            agency_requests.c.case_id == c.id,
            agency_requests.c.state.not_in(sorted(REQUEST.final)),
            build_text_condition(text, agency_requests.c.agency, agency_requests.c.state, notices.c.text),
        )
        .correlate(cases)
    )
    return or_(build_text_condition(text, *own, c.document, c.state, c.outcome), exists(asked))


def list_open_requests(conn: Connection, case_ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Return the requests of these cases that wait for their agency, in their order.

    It has not decided, or has not said whether it cancels. Each has the number of its `open_fees`.
    """
    r = agency_requests.c
    undecided = r.state.not_in(sorted(REQUEST.final))
    asked = and_(r.cancellation == "ASKED", r.state != "CANCELLED")
    found = select(agency_requests, OPEN_FEES).where(r.case_id.in_(case_ids), or_(undecided, asked))
    return conn.execute(found.order_by(r.case_id, r.sequence, r.id)).all()


def list_latest_notices(conn: Connection, request_ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Return the latest notice about each of these requests, by its time of issue and number."""
    n = notices.c
    found = select(notices).where(n.request_id.in_(request_ids))
    rows = conn.execute(found.order_by(n.issued_at, n.number)).all()
    return {row.request_id: row for row in rows}


def search_messages(conn: Connection, wanted: ListFilter) -> ListPage:
    """Return messages with the number and reference of their case, newest first.

    The party is the sender of a message received, or the receiver of a message sent. The reference is
    one of the case, the MessageId, or the ConversationId.
    """
    m = messages.c
    # Whatever else is asked has an index of its own, in the order of the key.
    timed = bool(wanted.since or wanted.until) and not (
        wanted.states or wanted.party or wanted.agency or wanted.reference
    )
    found = [
        *_build_state_conditions(messages, wanted.states),
        *build_bounds(wanted, m.id, m.received_at, indexed=not timed),
        *(m[name] == value for name, value in wanted.equal),
    ]
    if wanted.party:
        found.append(_build_partner_condition(wanted.party))
    if wanted.agency:
        found.append(_build_agency_condition(m.case_id, wanted.agency))
    if wanted.reference:
        of_case = select(cases.c.id).where(_build_reference_condition(wanted.reference))
        own = (m.message_id == wanted.reference, m.conversation_id == wanted.reference)
        found.append(or_(m.case_id.in_(of_case), *own))
    if wanted.text:
        shown = (m.message_id, m.conversation_id, m.from_party, m.to_party, m.service, m.action)
        about = (cases.c.number, cases.c.functional_reference)
        found.append(build_text_condition(wanted.text, *shown, m.state, m.problem, *about))
    columns = (*_MESSAGE_COLUMNS, *_CASE_COLUMNS, cases.c.state.label("case_state"))
    source = messages.outerjoin(cases, cases.c.id == m.case_id)
    moment = m.received_at if timed else None
    return fetch_page(conn, columns, source, found, wanted, m.id, moment=moment)


def _build_partner_condition(party: str) -> ColumnElement[bool]:
    """Return the condition that a message was received from a party or sent to it."""
    m = messages.c
    # Literals, so that the partial indexes of the two directions are used.
    came = and_(m.direction == literal_column("'in'"), m.from_party == party)
    went = and_(m.direction == literal_column("'out'"), m.to_party == party)
    return or_(came, went)


def list_message_deliveries(
    conn: Connection, wire_ids: Sequence[str], tasks: Sequence[str]
) -> Sequence[dict[str, Any]]:
    """Return the deliveries that send the messages of these ids, and the tasks of these keys."""
    d = deliveries.c
    return _fetch_deliveries(conn, or_(d.wire_id.in_(wire_ids), d.dedupe_key.in_(tasks)))


def list_case_deliveries(conn: Connection, case_ids: Sequence[int]) -> Sequence[dict[str, Any]]:
    """Return the deliveries of these cases that are not finished."""
    d = deliveries.c
    return _fetch_deliveries(conn, d.case_id.in_(case_ids), d.state.in_(_OPEN_DELIVERIES))


def list_waiting_deliveries(conn: Connection, ids: Iterable[int]) -> Sequence[dict[str, Any]]:
    """Return these deliveries with what `search_deliveries` returns about each."""
    return _fetch_deliveries(conn, deliveries.c.id.in_(tuple(ids)))


def _fetch_deliveries(conn: Connection, *conditions: ColumnElement[bool]) -> Sequence[dict[str, Any]]:
    found = select(*_DELIVERY_COLUMNS).select_from(_DELIVERY_SOURCE).where(*conditions)
    return [dict(row._mapping) for row in conn.execute(found.order_by(deliveries.c.id))]


_earlier = deliveries.alias("earlier")


def _build_hold_column(name: str) -> Any:
    """Return a column of the last hold of a delivery that is held."""
    t = transitions.c
    found = select(t[name]).where(
        deliveries.c.state == "HELD",
        t.machine == DELIVERY.name,
        t.object_id == deliveries.c.id,
        t.event == "hold",
    )
    return found.order_by(t.id.desc()).limit(1).correlate(deliveries).scalar_subquery()


_DELIVERY_COLUMNS: Final = (
    *deliveries.c,
    *_CASE_COLUMNS,
    lanes.c.open_until,
    lanes.c.last_problem,
    lanes.c.held_at.label("lane_held_at"),
    lanes.c.pulled.label("lane_pulled"),
    lanes.c.held_by.label("lane_held_by"),
    lanes.c.hold_reason.label("lane_hold_reason"),
    _earlier.c.state.label("follows_state"),
    _build_hold_column("detail").label("hold_reason"),
    _build_hold_column("actor").label("hold_actor"),
    _build_hold_column("at").label("hold_at"),
)
_DELIVERY_SOURCE: Final = (
    deliveries.outerjoin(cases, cases.c.id == deliveries.c.case_id)
    .outerjoin(lanes, lanes.c.name == deliveries.c.lane)
    .outerjoin(_earlier, _earlier.c.id == deliveries.c.follows)
)


def search_deliveries(conn: Connection, wanted: ListFilter) -> ListPage:
    """Return deliveries, oldest first, with their case, their lane, and the delivery they wait for.

    Without states those that are not finished. The party or agency is the destination; a task that
    waits for the address of the agency is found too. The reference is one of the case,
    or the id at the destination.
    """
    conditions = _build_delivery_conditions(wanted)
    if wanted.text:
        conditions.append(_build_delivery_text(conn, wanted))
    # Each state for itself: the open ones are few among many that are done, and have their own indexes.
    pages = [
        fetch_page(
            conn,
            _DELIVERY_COLUMNS,
            _DELIVERY_SOURCE,
            [*_build_state_conditions(deliveries, (state,)), *conditions],
            wanted,
            deliveries.c.id,
            rising=True,
            few=state not in DELIVERY.final,
        )
        for state in wanted.states or _OPEN_DELIVERIES
    ]
    rows = sorted((row for page in pages for row in page.rows), key=lambda row: int(row["id"]))
    more = len(rows[wanted.limit :]) + sum(page.more for page in pages)
    return ListPage(rows[: wanted.limit], more)


def _build_delivery_conditions(wanted: ListFilter) -> list[ColumnElement[bool]]:
    d = deliveries.c
    found = build_bounds(wanted, d.id, d.created_at)
    found += [d[name] == value for name, value in wanted.equal]
    if wanted.party:
        found.append(d.destination.in_((wanted.party, *wanted.partners)))
    if wanted.agency:
        found.append(_build_destination_condition(wanted.agency))
    if wanted.reference:
        of_case = select(cases.c.id).where(_build_reference_condition(wanted.reference))
        found.append(or_(d.case_id.in_(of_case), d.wire_id == wanted.reference))
    return found


def _build_destination_condition(agency: str) -> ColumnElement[bool]:
    """Return the condition for deliveries to an agency, and for tasks that wait for its address.

    The sentence of such a task ends with the setting that is missing.
    """
    d = deliveries.c
    setting = f" at agency.{agency[:40]}.endpoint"
    waits = and_(d.problem == NO_ADDRESS.id, d.last_sentence.endswith(setting, autoescape=True))
    return or_(d.destination == agency, waits)


def _build_delivery_text(conn: Connection, wanted: ListFilter) -> ColumnElement[bool]:
    d = deliveries.c
    own = (d.lane, d.destination, d.agent, d.state, d.problem, d.last_sentence, d.dedupe_key)
    given = (_build_parameter_column(conn, name) for name in ("endpoint", "operation", "action", "task"))
    said = build_text_condition(wanted.text, *own, *given, cases.c.number, cases.c.functional_reference)
    return or_(said, d.destination.in_(wanted.destinations))


def _build_parameter_column(conn: Connection, name: str) -> ColumnElement[str]:
    """Return a parameter of the delivery as text."""
    if conn.dialect.name == "sqlite":
        return func.json_extract(deliveries.c.parameters, f"$.{name}", type_=Text())
    found: ColumnElement[str] = cast(deliveries.c.parameters, JSON)[name].as_string()
    return found
