"""Lists the applications of one agency for its officers, one page at a time.

Every list is read from an index in its own order: of (agency, state, id), of claims, of proposals, or
of deadlines. The few states of a list are read one by one and merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from gateway.store import fee_searches
from gateway.store.accounts import accounts
from gateway.store.agency_requests import AgencyRequestRow, agency_requests, correlations
from gateway.store.cases import cases
from gateway.store.decisions import decisions
from gateway.store.fees import fees
from gateway.store.list_filters import build_text_condition
from gateway.store.officer_work import officer_acts, work_claims
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.table_types import CODE_TEXT, ID_TEXT, make_required_column, metadata

# Read from the call that the agency was sent, when a list or a mailbox first needs it. It can be
# deleted: it is then read again.
application_summaries = Table(
    "application_summaries",
    metadata,
    Column("request_id", BigInteger, ForeignKey("agency_requests.id"), primary_key=True, autoincrement=False),
    make_required_column("agency", CODE_TEXT),
    make_required_column("document_sha256"),  # of the call that was read: a supplement replaces it
    make_required_column("applicant"),
    make_required_column("applicant_id", ID_TEXT),
    make_required_column("goods"),
    make_required_column("hs"),
    make_required_column("heading", ID_TEXT),  # the first four digits of the HS code
    make_required_column("laws"),
    make_required_column("item_count", Integer),
    Index("ix_application_summaries_applicant", "agency", "applicant_id", "request_id"),
    Index("ix_application_summaries_heading", "agency", "heading", "request_id"),
)


class ApplicationSummaryRow(Protocol):
    """A row of the table `application_summaries`."""

    request_id: int
    agency: str
    document_sha256: str
    applicant: str
    applicant_id: str
    goods: str
    hs: str
    heading: str
    laws: str
    item_count: int


_INSERT_SUMMARY = InsertIfAbsent(application_summaries, ("request_id",))
_REMOVE_SUMMARY = delete(application_summaries).where(
    application_summaries.c.request_id == bindparam("wanted")
)


@dataclass(frozen=True, slots=True)
class NewSummary:
    """The summary of one application; `document_sha256` is the digest of the call that was read.

    `item_count` is the number of its items, `hs` and `goods` are those of the first one.
    """

    request_id: int
    agency: str
    document_sha256: str
    applicant: str = ""
    applicant_id: str = ""
    goods: str = ""
    hs: str = ""
    laws: str = ""
    item_count: int = 0


def store_summaries(conn: Connection, summaries: Sequence[NewSummary]) -> None:
    """Store summaries; each replaces an older one of its application."""
    if not summaries:
        return
    conn.execute(_REMOVE_SUMMARY, [{"wanted": summary.request_id} for summary in summaries])
    _INSERT_SUMMARY.insert_many(
        conn, [asdict(summary) | {"heading": summary.hs[:4]} for summary in summaries]
    )


def find_summary(conn: Connection, request: int) -> ApplicationSummaryRow | None:
    """Return the summary of an application; None when its call has not been read."""
    query = select(application_summaries).where(application_summaries.c.request_id == request)
    return conn.execute(query).first()


def list_unread_requests(conn: Connection, requests: Sequence[int]) -> Sequence[AgencyRequestRow]:
    """Return those of these requests without a summary, or with that of an earlier call."""
    r, s = agency_requests.c, application_summaries.c
    query = (
        select(agency_requests)
        .outerjoin(application_summaries, s.request_id == r.id)
        .where(r.id.in_(requests), s.document_sha256.is_distinct_from(r.document_sha256))
    )
    return conn.execute(query).all()


#: Rows of a tab are counted up to this number.
COUNT_LIMIT: Final = 1000


class WorkTab(StrEnum):
    """The list of applications that an officer looks at."""

    NEW = "new"
    HELD = "held"
    MINE = "mine"
    WAITING = "waiting"
    APPROVE = "approve"
    CANCEL = "cancel"
    DECIDED = "decided"
    OVERDUE = "overdue"
    ALL = "all"


#: The states of applications that the agency has, or that wait for their fee before they are forwarded to it.
#: The agency has neither asked the applicant about them nor decided them.
_OPEN: Final = ("SENT", "ACKNOWLEDGED", "INSPECTION", "FEE_DUE")
_APPLICANT_STATES: Final = ("INFORMATION_REQUIRED",)
_EVERY: Final = (*_OPEN, *_APPLICANT_STATES, "DECIDED", "CANCELLED")
#: Lists of few applications that something else names.
_CHOSEN: Final = (WorkTab.MINE, WorkTab.APPROVE, WorkTab.CANCEL)
_MOST_CHOSEN: Final = 1000
#: Lists that become longer for ever.
_GROWING: Final = (WorkTab.DECIDED, WorkTab.ALL)
#: Digits of an HS heading.
_HEADING: Final = 4
#: As the index of deadlines has it.
_UNDECIDED: Final = (
    literal_column("agency_requests.state") != literal_column("'DECIDED'"),
    literal_column("agency_requests.state") != literal_column("'CANCELLED'"),
)
_STATES: Final = {
    WorkTab.NEW: _OPEN,
    WorkTab.HELD: ("FEE_DUE",),
    WorkTab.MINE: (*_OPEN, *_APPLICANT_STATES),
    WorkTab.WAITING: _APPLICANT_STATES,
    WorkTab.APPROVE: (*_OPEN, *_APPLICANT_STATES, "DECIDED"),
    WorkTab.CANCEL: (*_OPEN, *_APPLICANT_STATES, "DECIDED"),
    WorkTab.DECIDED: ("DECIDED",),
    WorkTab.OVERDUE: (*_OPEN, *_APPLICANT_STATES),
    WorkTab.ALL: _EVERY,
}


@dataclass(frozen=True, slots=True)
class WorkCursor:
    """The row after which a list continues: its deadline (if the list is ordered by it) and its id."""

    id: int
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkFilter:
    """The applications of a list. `hs` is the beginning of an HS code, of four digits in a growing list.

    `applicant` is the applicant's number; in a list that does not grow for ever, also part of the name.
    `law` and `document` count in such a list only.
    With `numbers`, only these applications, in any state.
    `order` is ``old``, ``new``, or ``due``: only those with a deadline, the next one first.
    """

    agency: str
    tab: WorkTab
    account: int
    now: datetime
    hs: str = ""
    applicant: str = ""
    law: str = ""
    document: str = ""
    numbers: Sequence[str] = ()
    order: str = "old"
    limit: int = 50
    after: WorkCursor | None = None


_r, _s, _w = agency_requests.c, application_summaries.c, work_claims.c
#: The agency has not got it yet: a fee is due before it is forwarded.
_HELD: Final = and_(
    _r.state == literal_column("'FEE_DUE'"),
    exists().where(
        fees.c.request_id == _r.id,
        fees.c.gate == literal_column("'forwarding'"),
        or_(*(fees.c.state == literal_column(f"'{one}'") for one in ("LEVIED", "ORDERED"))),
    ),
)
#: The sum keeps the planner from reading the table in the order of the key.
_UNINDEXED_ID: Final[ColumnElement[Any]] = _r.id + literal_column("0")
_SOURCE: Final = (
    agency_requests.join(cases, cases.c.id == _r.case_id)
    .outerjoin(application_summaries, _s.request_id == _r.id)
    .outerjoin(work_claims, _w.request_id == _r.id)
    .outerjoin(accounts, accounts.c.id == _w.account_id)
)
_COLUMNS: Final = (
    _r.id,
    _r.number,
    _r.document,
    _r.state,
    _r.status_code,
    _r.receipt_number,
    _r.due_at,
    _r.decided_at,
    cases.c.number.label("case_number"),
    cases.c.opened_at,
    _s.applicant,
    _s.applicant_id,
    _s.goods,
    _s.hs,
    _s.laws,
    _s.item_count,
    _w.account_id.label("holder"),
    func.coalesce(_w.version, 0).label("claim_version"),
    accounts.c.display_name.label("holder_name"),
    _HELD.label("is_held"),
)


class WorkRow(Protocol):
    """An application in a list of officers, with its claim."""

    id: int
    number: str
    document: str
    state: str
    status_code: str | None
    receipt_number: str | None
    due_at: datetime | None
    decided_at: datetime | None
    case_number: str
    opened_at: datetime
    applicant: str | None
    applicant_id: str | None
    goods: str | None
    hs: str | None
    laws: Any
    item_count: int | None
    holder: int | None
    claim_version: int
    holder_name: str | None
    is_held: bool


def list_work(conn: Connection, criteria: WorkFilter) -> Sequence[WorkRow]:
    """Return one page of a list, and one row more where the list goes on."""
    query = _build_list(conn, criteria)
    if criteria.numbers:
        return conn.execute(_order_by_age(query, criteria, _UNINDEXED_ID)).all()
    if criteria.tab is WorkTab.OVERDUE:
        return _list_overdue(conn, query, criteria)
    if _is_by_deadline(criteria):
        return conn.execute(_order_by_deadline(_limit_to_due(query, criteria.tab), criteria, _r.due_at)).all()
    if criteria.tab in _CHOSEN:
        # Few rows, found by the claims or the proposals; they are sorted.
        return conn.execute(
            _order_by_age(query.where(_build_states(criteria.tab)), criteria, _UNINDEXED_ID)
        ).all()
    if _is_by_summary(criteria):
        return conn.execute(
            _order_by_age(query.where(_build_states(criteria.tab)), criteria, _s.request_id)
        ).all()
    rows = [
        row
        for state in _STATES[criteria.tab]
        for row in conn.execute(
            _order_by_age(query.where(build_state_condition(agency_requests, state)), criteria, _r.id)
        )
    ]
    rows.sort(key=lambda row: int(row.id), reverse=_is_falling(criteria))
    return rows[: criteria.limit + 1]


def _list_overdue(conn: Connection, query: Select[Any], criteria: WorkFilter) -> list[WorkRow]:
    """Return the overdue applications: by their own time, or by the time of a fee, also decided ones."""
    rows = [
        *conn.execute(_order_by_deadline(query.where(_build_overdue(criteria.now)), criteria, _r.due_at)),
        *conn.execute(_build_late_fees(criteria)),
    ]
    rows.sort(key=lambda row: (row.due_at, int(row.id)))
    return rows[: criteria.limit + 1]


def _build_late_fees(criteria: WorkFilter) -> Select[Any]:
    """Return the applications that are overdue by a fee alone, each with the time of that fee."""
    late = fee_searches.build_overdue_times(criteria.agency, criteria.now).subquery()
    request, due = late.c
    columns = [due.label("due_at") if column is _r.due_at else column for column in _COLUMNS]
    query = select(*columns).select_from(_SOURCE.join(late, request == _r.id))
    query = query.where(*_build_filter_conditions(criteria), *_build_late_conditions(criteria.now))
    return _order_by_deadline(query, criteria, due)


def _build_late_conditions(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return not_(_build_overdue(now)), or_(_build_states(WorkTab.OVERDUE), _build_states(WorkTab.DECIDED))


def _build_overdue(now: datetime) -> ColumnElement[bool]:
    """Return the condition that an application is undecided and its due time has passed."""
    return and_(_r.due_at.is_not(None), _r.due_at <= now, *_UNDECIDED, _build_states(WorkTab.OVERDUE))


def _limit_to_due(query: Select[Any], tab: WorkTab) -> Select[Any]:
    return query.where(_r.due_at.is_not(None), *_UNDECIDED, _build_states(tab))


def _build_list(conn: Connection, criteria: WorkFilter) -> Select[Any]:
    # The planner must not begin with the requests where the summaries find few.
    agency = _s.agency if _is_by_summary(criteria) else _r.agency
    query = select(*_COLUMNS).select_from(_SOURCE).where(agency == criteria.agency)
    return query.where(*_build_tab_conditions(conn, criteria), *_build_filter_conditions(criteria))


def _build_states(tab: WorkTab) -> ColumnElement[bool]:
    return or_(*(build_state_condition(agency_requests, state) for state in _STATES[tab]))


def _build_tab_conditions(conn: Connection, criteria: WorkFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of the tab; of `criteria.numbers` alone if numbers are given."""
    if criteria.numbers:
        return [_r.number.in_(criteria.numbers)]
    if criteria.tab is WorkTab.NEW:
        # A proposed act waits for another officer than its author, no matter who had the claim.
        proposed = _list_proposed_requests(conn, criteria.agency)
        return [_w.account_id.is_(None), not_(_HELD), *([_r.id.not_in(proposed)] if proposed else [])]
    if criteria.tab is WorkTab.HELD:
        return [_HELD]
    if criteria.tab in _CHOSEN:
        return [_r.id.in_(_list_chosen_requests(conn, criteria))]
    return []


def _list_chosen_requests(conn: Connection, criteria: WorkFilter) -> Sequence[int]:
    """Return the applications that an officer has claimed, those with a proposal, or those asked about."""
    if criteria.tab is WorkTab.CANCEL:
        return _list_asked_requests(conn, criteria.agency)
    if criteria.tab is WorkTab.MINE:
        query = select(_w.request_id).where(_w.account_id == criteria.account, _w.agency == criteria.agency)
        return conn.execute(query.order_by(_w.request_id.desc()).limit(_MOST_CHOSEN)).scalars().all()
    return _list_proposed_requests(conn, criteria.agency)


def _list_asked_requests(conn: Connection, agency: str) -> Sequence[int]:
    """Return the applications of an agency that is asked whether it cancels them."""
    query = select(_r.id).where(_r.agency == agency, _r.cancellation == literal_column("'ASKED'"))
    return conn.execute(query.order_by(_r.id).limit(_MOST_CHOSEN)).scalars().all()


def _list_proposed_requests(conn: Connection, agency: str) -> Sequence[int]:
    a = officer_acts.c
    proposed = select(a.request_id).where(a.agency == agency, a.state == literal_column("'PROPOSED'"))
    return conn.execute(proposed.order_by(a.id).limit(_MOST_CHOSEN)).scalars().all()


def _build_filter_conditions(criteria: WorkFilter) -> list[ColumnElement[bool]]:
    """Return the conditions by HS code, applicant, law and document.

    Lists that grow for ever are not filtered by law or document.
    """
    conditions: list[ColumnElement[bool]] = []
    if criteria.hs:
        conditions.append(_build_hs_condition(criteria.hs))
    if criteria.applicant:
        conditions.append(_build_applicant_condition(criteria))
    # Of all that was ever decided, a rare law or document would be sought for too long.
    short = criteria.tab not in _GROWING
    if criteria.law and short:
        conditions.append((" " + _s.laws + " ").contains(f" {criteria.law} ", autoescape=True))
    if criteria.document and short:
        conditions.append(_r.document == criteria.document)
    return conditions


def _build_applicant_condition(criteria: WorkFilter) -> ColumnElement[bool]:
    """Return the condition for an applicant's number; in lists that do not grow for ever, also for a name."""
    numbered: ColumnElement[bool] = _s.applicant_id == criteria.applicant
    if criteria.tab in _GROWING:
        return numbered
    return or_(numbered, build_text_condition(criteria.applicant, _s.applicant))


def _build_hs_condition(hs: str) -> ColumnElement[bool]:
    """Return the condition that the HS code of the first item begins with `hs`, by its heading if known."""
    begins = and_(_s.hs >= hs, _s.hs < f"{hs}~")
    return and_(_s.heading == hs[:_HEADING], begins) if len(hs) >= _HEADING else begins


def _is_by_deadline(criteria: WorkFilter) -> bool:
    ordered = criteria.order == "due" and criteria.tab not in (WorkTab.DECIDED, WorkTab.ALL)
    return ordered or criteria.tab is WorkTab.OVERDUE


def _is_by_summary(criteria: WorkFilter) -> bool:
    """Return whether an index of the summaries finds the rows: all that were ever decided are too many."""
    return (
        criteria.tab in _GROWING
        and not criteria.numbers
        and (len(criteria.hs) >= _HEADING or bool(criteria.applicant))
    )


def _is_falling(criteria: WorkFilter) -> bool:
    return criteria.order == "new"


def _order_by_age(query: Select[Any], criteria: WorkFilter, position: ColumnElement[Any]) -> Select[Any]:
    """Return the query in the order of `position`, with one row more than `criteria.limit`.

    It begins after the row `criteria.after` (None: at the first row).
    """
    if criteria.after is not None:
        last = criteria.after.id
        query = query.where(position < last if _is_falling(criteria) else position > last)
    return query.order_by(position.desc() if _is_falling(criteria) else position.asc()).limit(
        criteria.limit + 1
    )


def _order_by_deadline(query: Select[Any], criteria: WorkFilter, due: ColumnElement[Any]) -> Select[Any]:
    if criteria.after is not None and criteria.after.due_at is not None:
        last, last_id = criteria.after.due_at, criteria.after.id
        query = query.where(due >= last, or_(due > last, _r.id > last_id))
    return query.order_by(due, _r.id).limit(criteria.limit + 1)


def count_work(conn: Connection, agency: str, account: int, now: datetime) -> dict[WorkTab, int]:
    """Return how many applications each tab has, counted up to COUNT_LIMIT; not of those decided."""
    counts = {}
    for tab in (WorkTab.NEW, WorkTab.HELD, WorkTab.MINE, WorkTab.WAITING, WorkTab.APPROVE, WorkTab.CANCEL):
        criteria = WorkFilter(agency, tab, account, now)
        each = [build_state_condition(agency_requests, state) for state in _STATES[tab]]
        counts[tab] = sum(
            _count_rows(conn, criteria, condition) for condition in ([or_(*each)] if tab in _CHOSEN else each)
        )
    overdue = WorkFilter(agency, WorkTab.OVERDUE, account, now)
    counts[WorkTab.OVERDUE] = _count_rows(conn, overdue, _build_overdue(now)) + _count_late_fees(
        conn, overdue
    )
    return {tab: min(number, COUNT_LIMIT) for tab, number in counts.items()}


def _count_rows(conn: Connection, criteria: WorkFilter, *conditions: ColumnElement[bool]) -> int:
    source = agency_requests.outerjoin(work_claims, _w.request_id == _r.id)
    rows = select(_r.id).select_from(source).where(_r.agency == criteria.agency, *conditions)
    rows = rows.where(*_build_tab_conditions(conn, criteria)).limit(COUNT_LIMIT)
    return int(conn.execute(select(func.count()).select_from(rows.subquery())).scalar_one())


def _count_late_fees(conn: Connection, criteria: WorkFilter) -> int:
    late = fee_searches.build_overdue_times(criteria.agency, criteria.now).subquery()
    rows = select(_r.id).join(late, late.c[0] == _r.id).where(*_build_late_conditions(criteria.now))
    counted = select(func.count()).select_from(rows.limit(COUNT_LIMIT).subquery())
    return int(conn.execute(counted).scalar_one())


def compute_work_list_version(conn: Connection, agency: str) -> str:
    """Return a text that changes when an application arrives, changes its state, or gets a proposal."""
    newest = [
        conn.execute(
            select(func.max(_r.id)).where(_r.agency == agency, build_state_condition(agency_requests, state))
        ).scalar()
        for state in _EVERY
    ]
    acts = select(func.max(officer_acts.c.id)).where(
        officer_acts.c.agency == agency, officer_acts.c.state == literal_column("'PROPOSED'")
    )
    requests = _list_asked_requests(conn, agency)
    marks = (*newest, conn.execute(acts).scalar(), len(requests), max(requests, default=0))
    return ".".join(str(mark or 0) for mark in marks)


def find_application_numbers(conn: Connection, agency: str, number_text: str) -> Sequence[str]:
    """Return the numbers of the applications of an agency that a number identifies.

    It is the number of the application, of the case, the agency's receipt, or that of a decision.
    """
    receipt = and_(
        correlations.c.scheme == "agency-receipt", correlations.c.value == f"{agency}:{number_text}"
    )
    decided = and_(decisions.c.number == number_text, decisions.c.agency == agency)
    tries = (
        _r.number == number_text,
        _r.case_id.in_(select(cases.c.id).where(cases.c.number == number_text)),
        _r.id.in_(select(correlations.c.request_id).where(receipt)),
        _r.id.in_(select(decisions.c.request_id).where(decided)),
    )
    for condition in tries:
        query = select(_r.number).where(condition, _r.agency == agency).limit(50)
        rows = conn.execute(query).scalars().all()
        if rows:
            return rows
    return ()


def list_previous_applications(
    conn: Connection, agency: str, request: int, *, applicant_id: str, heading: str, limit: int = 10
) -> Sequence[WorkRow]:
    """Return earlier applications of an applicant for goods of the same heading, newest first."""
    query: Select[Any] = (
        select(*_COLUMNS)
        .select_from(_SOURCE)
        .where(
            _s.agency == agency,
            _s.applicant_id == applicant_id,
            _s.heading == heading,
            _s.request_id < request,
        )
    )
    return conn.execute(query.order_by(_s.request_id.desc()).limit(limit)).all()
