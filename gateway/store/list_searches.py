"""Searches the lists of operators: cases, messages, deliveries, parties, agreements, accounts; page by page.

Every condition is part of the statement. Long tables have an index for each filter that finds few
rows among many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Text,
    and_,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from gateway.errors import NO_ADDRESS
from gateway.state_machines import DELIVERY, REQUEST
from gateway.store.accounts import AccountRoleRow, account_roles, accounts, sessions
from gateway.store.agency_requests import OPEN_FEES, RequestWithFeesRow, agency_requests
from gateway.store.agreements import agreements, pmodes
from gateway.store.cases import build_reference_condition, cases
from gateway.store.deliveries import deliveries, lanes
from gateway.store.list_filters import ListFilter, ListPage, build_bounds, build_text_condition, fetch_page
from gateway.store.mailbox_messages import build_rest_condition
from gateway.store.messages import LISTED_COLUMNS, messages
from gateway.store.notices import NoticeRow, notices
from gateway.store.parties import parties, party_ids
from gateway.store.prepared_statements import build_state_condition
from gateway.store.sessions import passkeys
from gateway.store.table_types import ListedJson, read_columns
from gateway.store.transitions import transitions

_OPEN_DELIVERIES: Final = tuple(state for state in DELIVERY.states if state not in DELIVERY.final_states)

_CASE_COLUMNS: Final = (
    cases.c.number.label("case_number"),
    cases.c.functional_reference.label("reference"),
)


def search_cases(conn: Connection, criteria: ListFilter) -> ListPage:
    """Return cases, newest first. The party is declarant, applicant or agent; the agency has a request.

    The reference is that of the applicant, the number of the case, or one of its goods.
    """
    c = cases.c
    conditions = [
        *_build_state_conditions(cases, criteria.states),
        *build_bounds(criteria, c.id, c.opened_at),
    ]
    if criteria.party:
        conditions.append(or_(*(column == criteria.party for column in (c.declarant, c.applicant, c.agent))))
    if criteria.agency:
        conditions.append(_build_agency_condition(c.id, criteria.agency))
    if criteria.reference:
        conditions.append(_build_reference_condition(criteria.reference))
    if criteria.text:
        conditions.append(_build_case_text(criteria.text))
    return fetch_page(conn, tuple(c), cases, conditions, criteria, c.id)


def _build_state_conditions(table: Any, states: Sequence[str]) -> list[ColumnElement[bool]]:
    return [or_(*(build_state_condition(table, state) for state in states))] if states else []


def _build_agency_condition(case_id: Any, agency: str) -> ColumnElement[bool]:
    case_ids = select(agency_requests.c.case_id).where(agency_requests.c.agency == agency)
    return case_id.in_(case_ids)  # type: ignore[no-any-return]


def _build_reference_condition(reference: str) -> ColumnElement[bool]:
    c = cases.c
    return build_reference_condition(reference, c.number, c.functional_reference, c.ucr)


def _build_case_text(text: str) -> ColumnElement[bool]:
    """Return the condition for the columns of a case, the agencies it waits for, and their questions."""
    c = cases.c
    case_columns = (c.number, c.functional_reference, c.declarant, c.applicant, c.agent, c.ucr)
    source = agency_requests.outerjoin(notices, notices.c.request_id == agency_requests.c.id)
    matching_requests = (
        select(agency_requests.c.id)
        .select_from(source)
        .where(
            agency_requests.c.case_id == c.id,
            agency_requests.c.state.not_in(sorted(REQUEST.final_states)),
            build_text_condition(text, agency_requests.c.agency, agency_requests.c.state, notices.c.text),
        )
        .correlate(cases)
    )
    return or_(
        build_text_condition(text, *case_columns, c.document, c.state, c.outcome), exists(matching_requests)
    )


def list_open_requests(conn: Connection, case_ids: Sequence[int]) -> Sequence[RequestWithFeesRow]:
    """Return the requests of these cases that wait for something, in their order.

    Their agency has not decided, or has not said whether it cancels, or a fee is due. Each has the number of
    its `open_fees`.
    """
    r = agency_requests.c
    undecided = r.state.not_in(sorted(REQUEST.final_states))
    is_cancelling = and_(r.cancellation == "ASKED", r.state != "CANCELLED")
    is_open = or_(undecided, is_cancelling, OPEN_FEES.element > 0)
    query = select(agency_requests, OPEN_FEES).where(r.case_id.in_(case_ids), is_open)
    return conn.execute(query.order_by(r.case_id, r.sequence, r.id)).all()


def list_request_notices(conn: Connection, request_ids: Sequence[int]) -> dict[int, list[NoticeRow]]:
    """Return the notices about each of these requests, in the order stored; none where there is none."""
    n = notices.c
    query = select(notices).where(n.request_id.in_(request_ids))
    notices_by_request: dict[int, list[NoticeRow]] = {}
    for row in conn.execute(query.order_by(n.id)):
        notices_by_request.setdefault(row.request_id, []).append(row)
    return notices_by_request


def search_messages(conn: Connection, criteria: ListFilter, *, resting: bool = False) -> ListPage:
    """Return messages with the number and reference of their case, newest first.

    The party is the sender of a message received, or the receiver of a message sent. The reference is one
    of the case, the MessageId, or the ConversationId. With `resting`, only messages that rest in the
    mailbox.
    """
    m = messages.c
    # Each other condition has an index of its own, in the order of the key.
    is_by_time = bool(criteria.since or criteria.until) and not (
        criteria.states or criteria.party or criteria.agency or criteria.reference
    )
    conditions = [
        *_build_state_conditions(messages, criteria.states),
        *build_bounds(criteria, m.id, m.received_at, has_time_index=not is_by_time),
        *(m[name] == value for name, value in criteria.equal),
    ]
    if resting:
        conditions.append(build_rest_condition())
    if criteria.party:
        conditions.append(_build_partner_condition(criteria.party))
    if criteria.agency:
        conditions.append(_build_agency_condition(m.case_id, criteria.agency))
    if criteria.reference:
        of_case = select(cases.c.id).where(_build_reference_condition(criteria.reference))
        is_message_reference = (m.message_id == criteria.reference, m.conversation_id == criteria.reference)
        conditions.append(or_(m.case_id.in_(of_case), *is_message_reference))
    if criteria.text:
        message_columns = (m.message_id, m.conversation_id, m.from_party, m.to_party, m.service, m.action)
        case_columns = (cases.c.number, cases.c.functional_reference)
        conditions.append(
            build_text_condition(criteria.text, *message_columns, m.state, m.problem, *case_columns)
        )
    columns = (*LISTED_COLUMNS, *_CASE_COLUMNS, cases.c.state.label("case_state"))
    source = messages.outerjoin(cases, cases.c.id == m.case_id)
    moment = m.received_at if is_by_time else None
    return fetch_page(
        conn, columns, source, conditions, criteria, m.id, has_few_rows=resting, time_column=moment
    )


def _build_partner_condition(party: str) -> ColumnElement[bool]:
    """Return the condition that a message was received from a party or sent to it."""
    m = messages.c
    # Literals, so that the partial indexes of the two directions are used.
    is_received = and_(m.direction == literal_column("'in'"), m.from_party == party)
    went = and_(m.direction == literal_column("'out'"), m.to_party == party)
    return or_(is_received, went)


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
    """Return these deliveries with the columns that `search_deliveries` returns of each."""
    return _fetch_deliveries(conn, deliveries.c.id.in_(tuple(ids)))


def _fetch_deliveries(conn: Connection, *conditions: ColumnElement[bool]) -> Sequence[dict[str, Any]]:
    query = select(*_DELIVERY_COLUMNS).select_from(_DELIVERY_SOURCE).where(*conditions)
    return [read_columns(row) for row in conn.execute(query.order_by(deliveries.c.id))]


_earlier = deliveries.alias("earlier")


def _build_hold_column(name: str) -> Any:
    """Return a column of the last hold of a delivery that is held."""
    t = transitions.c
    query = select(t[name]).where(
        deliveries.c.state == "HELD",
        t.machine == DELIVERY.name,
        t.object_id == deliveries.c.id,
        t.event == "hold",
    )
    return query.order_by(t.id.desc()).limit(1).correlate(deliveries).scalar_subquery()


_DELIVERY_COLUMNS: Final = (
    *deliveries.c,
    *_CASE_COLUMNS,
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


def search_deliveries(conn: Connection, criteria: ListFilter) -> ListPage:
    """Return deliveries, oldest first, with their case, their lane, and the delivery they wait for.

    Without states those that are not finished. The party or agency is the destination; a task that
    waits for the address of the agency is found too. The reference is one of the case,
    or the id at the destination.
    """
    conditions = _build_delivery_conditions(criteria)
    if criteria.text:
        conditions.append(_build_delivery_text(conn, criteria))
    # Each state for itself: the open ones are few among many that are done, and have their own indexes.
    pages = [
        fetch_page(
            conn,
            _DELIVERY_COLUMNS,
            _DELIVERY_SOURCE,
            [*_build_state_conditions(deliveries, (state,)), *conditions],
            criteria,
            deliveries.c.id,
            is_ascending=True,
            has_few_rows=state not in DELIVERY.final_states,
        )
        for state in criteria.states or _OPEN_DELIVERIES
    ]
    rows = sorted((row for page in pages for row in page.rows), key=lambda row: int(row["id"]))
    rest = len(rows[criteria.limit :]) + sum(page.remaining for page in pages)
    return ListPage(rows[: criteria.limit], rest)


def _build_delivery_conditions(criteria: ListFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of `criteria` for deliveries, without that of its text."""
    d = deliveries.c
    conditions = build_bounds(criteria, d.id, d.created_at)
    conditions += [d[name] == value for name, value in criteria.equal]
    if criteria.party:
        conditions.append(d.destination.in_((criteria.party, *criteria.partners)))
    if criteria.agency:
        conditions.append(_build_destination_condition(criteria.agency))
    if criteria.reference:
        of_case = select(cases.c.id).where(_build_reference_condition(criteria.reference))
        conditions.append(or_(d.case_id.in_(of_case), d.wire_id == criteria.reference))
    return conditions


def _build_destination_condition(agency: str) -> ColumnElement[bool]:
    """Return the condition for deliveries to an agency, and for tasks that wait for its address.

    The sentence of such a task ends with the setting that is missing.
    """
    d = deliveries.c
    setting = f" at agency.{agency[:40]}.endpoint"
    waits = and_(d.problem == NO_ADDRESS.id, d.last_sentence.endswith(setting, autoescape=True))
    return or_(d.destination == agency, waits)


def _build_delivery_text(conn: Connection, criteria: ListFilter) -> ColumnElement[bool]:
    """Return the condition that a delivery contains `criteria.text`, or goes to a destination it names."""
    d = deliveries.c
    delivery_columns = (d.lane, d.destination, d.agent, d.state, d.problem, d.last_sentence, d.dedupe_key)
    parameters = (_build_parameter_column(conn, name) for name in ("endpoint", "operation", "action", "task"))
    contains_text = build_text_condition(
        criteria.text, *delivery_columns, *parameters, cases.c.number, cases.c.functional_reference
    )
    return or_(contains_text, d.destination.in_(criteria.destinations))


def _build_parameter_column(conn: Connection, name: str) -> ColumnElement[str]:
    """Return a parameter of the delivery as text."""
    if conn.dialect.name == "sqlite":
        return func.json_extract(deliveries.c.parameters, f"$.{name}", type_=Text())
    column: ColumnElement[str] = cast(deliveries.c.parameters, JSON)[name].as_string()
    return column


def search_parties(conn: Connection, criteria: ListFilter) -> ListPage:
    """Return parties, by id; `criteria.text` is in the id, name, role, status or an identifier."""
    p = parties.c
    conditions = _build_status_conditions(p.status, criteria)
    conditions += [p[name] == value for name, value in criteria.equal]
    if criteria.text:
        identified = select(party_ids.c.party_id).where(
            build_text_condition(criteria.text, party_ids.c.value)
        )
        conditions.append(
            or_(build_text_condition(criteria.text, p.id, p.name, p.role, p.status), p.id.in_(identified))
        )
    return fetch_page(conn, tuple(p), parties, conditions, criteria, p.id, is_ascending=True)


def search_agreements(conn: Connection, criteria: ListFilter) -> ListPage:
    """Return agreements without their source, by id; the party is named by one of the identifiers it has."""
    a = agreements.c
    conditions = _build_status_conditions(a.status, criteria)
    if criteria.party:
        identifiers = select(party_ids.c.value).where(party_ids.c.party_id == criteria.party)
        party_columns = (pmodes.c.from_party, pmodes.c.to_party)
        between = select(pmodes.c.agreement_id).where(
            or_(
                *(side.in_(identifiers) for side in party_columns),
                *(side == criteria.party for side in party_columns),
            )
        )
        conditions.append(a.id.in_(between))
    if criteria.text:
        conditions.append(build_text_condition(criteria.text, a.id, a.kind, a.status, a.loaded_by))
    columns = (
        *(column for column in a if column.name not in ("source", "overrides", "successors")),
        *(type_coerce(column, ListedJson()).label(column.name) for column in (a.overrides, a.successors)),
    )
    return fetch_page(conn, columns, agreements, conditions, criteria, a.id, is_ascending=True)


def _build_status_conditions(status: ColumnElement[str], criteria: ListFilter) -> list[ColumnElement[bool]]:
    return [status.in_(criteria.states)] if criteria.states else []


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which accounts: with a role in a kind of organisation, or in one organisation; with a status."""

    kind: str = ""
    organisation: str = ""
    status: str = ""


def search_accounts(conn: Connection, criteria: AccountFilter, list_filter: ListFilter) -> ListPage:
    """Return accounts by name: how each signs in (`has_password`, `passkeys`, …), and when it last did."""
    last = select(func.max(sessions.c.created_at)).where(sessions.c.account_id == accounts.c.id)
    passkey_count = select(func.count()).where(passkeys.c.account_id == accounts.c.id)
    columns = (
        accounts.c.id,
        accounts.c.name,
        accounts.c.display_name,
        accounts.c.status,
        accounts.c.password.is_not(None).label("has_password"),
        accounts.c.certificate_sha256.is_not(None).label("has_certificate"),
        accounts.c.oidc_subject.is_not(None).label("has_subject"),
        passkey_count.scalar_subquery().label("passkeys"),
        last.scalar_subquery().label("last_sign_in"),
    )
    conditions = _build_account_conditions(criteria)
    if list_filter.text:
        conditions.append(build_text_condition(list_filter.text, accounts.c.name, accounts.c.display_name))
    return fetch_page(conn, columns, accounts, conditions, list_filter, accounts.c.name, is_ascending=True)


def list_roles_of_accounts(conn: Connection, numbers: Iterable[int]) -> Sequence[AccountRoleRow]:
    """Return the roles of these accounts, with the kind and the code of each organisation."""
    query = select(account_roles).where(account_roles.c.account_id.in_([*numbers]))
    order = (account_roles.c.account_id, account_roles.c.kind, account_roles.c.organisation)
    return conn.execute(query.order_by(*order, account_roles.c.role)).all()


def find_last_sign_in(conn: Connection, account: int) -> datetime | None:
    """Return when the newest session of an account began."""
    query = select(func.max(sessions.c.created_at)).where(sessions.c.account_id == account)
    moment: datetime | None = conn.execute(query).scalar()
    return moment


def _build_account_conditions(criteria: AccountFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if criteria.kind:
        member = account_roles.c.kind == criteria.kind
        if criteria.organisation:
            member = and_(member, account_roles.c.organisation == criteria.organisation)
        conditions.append(accounts.c.id.in_(select(account_roles.c.account_id).where(member)))
    if criteria.status:
        conditions.append(accounts.c.status == criteria.status)
    return conditions
