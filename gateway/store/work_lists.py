"""Lists the applications of one agency for its officers, one page at a time.

Every list is read from an index in its own order: of (agency, state, id), of claims, of proposals, or
of deadlines. The few states of a list are read one by one and merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from gateway.store import fees as fee_times
from gateway.store.account_tables import accounts
from gateway.store.fee_tables import fees
from gateway.store.officer_tables import officer_acts, work_claims
from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import agency_requests, cases, correlations, decisions
from gateway.store.work_tables import application_summaries

__all__ = [
    "COUNT_LIMIT",
    "WorkFilter",
    "WorkPlace",
    "WorkTab",
    "compute_work_mark",
    "count_work",
    "find_application_numbers",
    "list_previous_applications",
    "list_work",
]

#: Rows of a tab are counted up to this number.
COUNT_LIMIT: Final = 1000


class WorkTab(StrEnum):
    """What an officer looks at."""

    NEW = "new"
    HELD = "held"
    MINE = "mine"
    WAITING = "waiting"
    APPROVE = "approve"
    CANCEL = "cancel"
    DECIDED = "decided"
    OVERDUE = "overdue"
    ALL = "all"


#: What has arrived at the agency, or is held before it for its fee, and is neither asked back nor decided.
_OPEN: Final = ("SENT", "ACKNOWLEDGED", "INSPECTION", "FEE_DUE")
_ASKED: Final = ("INFORMATION_REQUIRED",)
_EVERY: Final = (*_OPEN, *_ASKED, "DECIDED", "CANCELLED")
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
    WorkTab.MINE: (*_OPEN, *_ASKED),
    WorkTab.WAITING: _ASKED,
    WorkTab.APPROVE: (*_OPEN, *_ASKED, "DECIDED"),
    WorkTab.CANCEL: (*_OPEN, *_ASKED, "DECIDED"),
    WorkTab.DECIDED: ("DECIDED",),
    WorkTab.OVERDUE: (*_OPEN, *_ASKED),
    WorkTab.ALL: _EVERY,
}


@dataclass(frozen=True, slots=True)
class WorkPlace:
    """Where a list goes on: behind this row, by its deadline (where that is the order) and its id."""

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
    after: WorkPlace | None = None


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
_PLACE: Final[ColumnElement[Any]] = _r.id + literal_column("0")
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


def list_work(conn: Connection, wanted: WorkFilter) -> Sequence[Row[Any]]:
    """Return one page of a list, and one row more where the list goes on."""
    found = _build_list(conn, wanted)
    if wanted.numbers:
        return conn.execute(_order_by_age(found, wanted, _PLACE)).all()
    if wanted.tab is WorkTab.OVERDUE:
        return _list_overdue(conn, found, wanted)
    if _is_by_deadline(wanted):
        return conn.execute(_order_by_deadline(_limit_to_due(found, wanted.tab), wanted, _r.due_at)).all()
    if wanted.tab in _CHOSEN:
        # Few rows, found by the claims or the proposals; they are sorted.
        return conn.execute(_order_by_age(found.where(_build_states(wanted.tab)), wanted, _PLACE)).all()
    if _is_by_summary(wanted):
        return conn.execute(
            _order_by_age(found.where(_build_states(wanted.tab)), wanted, _s.request_id)
        ).all()
    rows = [
        row
        for state in _STATES[wanted.tab]
        for row in conn.execute(
            _order_by_age(found.where(build_state_condition(agency_requests, state)), wanted, _r.id)
        )
    ]
    rows.sort(key=lambda row: int(row.id), reverse=_is_falling(wanted))
    return rows[: wanted.limit + 1]


def _list_overdue(conn: Connection, found: Select[Any], wanted: WorkFilter) -> list[Row[Any]]:
    """Return what somebody owes too long: by its own time, or by that of a fee, also of what is decided."""
    rows = [
        *conn.execute(_order_by_deadline(found.where(_build_overdue(wanted.now)), wanted, _r.due_at)),
        *conn.execute(_build_late_fees(wanted)),
    ]
    rows.sort(key=lambda row: (row.due_at, int(row.id)))
    return rows[: wanted.limit + 1]


def _build_late_fees(wanted: WorkFilter) -> Select[Any]:
    """Return the applications that are overdue by a fee alone, each with the time of that fee."""
    late = fee_times.build_overdue_times(wanted.agency, wanted.now).subquery()
    request, due = late.c
    columns = [due.label("due_at") if one is _r.due_at else one for one in _COLUMNS]
    found = select(*columns).select_from(_SOURCE.join(late, request == _r.id))
    found = found.where(*_build_filter_conditions(wanted), *_build_late_conditions(wanted.now))
    return _order_by_deadline(found, wanted, due)


def _build_late_conditions(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return not_(_build_overdue(now)), or_(_build_states(WorkTab.OVERDUE), _build_states(WorkTab.DECIDED))


def _build_overdue(now: datetime) -> ColumnElement[bool]:
    """Return the condition that the time of an application has passed that is not decided."""
    return and_(_r.due_at.is_not(None), _r.due_at <= now, *_UNDECIDED, _build_states(WorkTab.OVERDUE))


def _limit_to_due(found: Select[Any], tab: WorkTab) -> Select[Any]:
    return found.where(_r.due_at.is_not(None), *_UNDECIDED, _build_states(tab))


def _build_list(conn: Connection, wanted: WorkFilter) -> Select[Any]:
    # The planner must not begin with the requests where the summaries find few.
    agency = _s.agency if _is_by_summary(wanted) else _r.agency
    found = select(*_COLUMNS).select_from(_SOURCE).where(agency == wanted.agency)
    return found.where(*_build_tab_conditions(conn, wanted), *_build_filter_conditions(wanted))


def _build_states(tab: WorkTab) -> ColumnElement[bool]:
    return or_(*(build_state_condition(agency_requests, one) for one in _STATES[tab]))


def _build_tab_conditions(conn: Connection, wanted: WorkFilter) -> list[ColumnElement[bool]]:
    if wanted.numbers:
        return [_r.number.in_(wanted.numbers)]
    if wanted.tab is WorkTab.NEW:
        # What is proposed waits for somebody else, whoever had it.
        proposed = _list_proposed_requests(conn, wanted.agency)
        return [_w.account_id.is_(None), not_(_HELD), *([_r.id.not_in(proposed)] if proposed else [])]
    if wanted.tab is WorkTab.HELD:
        return [_HELD]
    if wanted.tab in _CHOSEN:
        return [_r.id.in_(_list_chosen_requests(conn, wanted))]
    return []


def _list_chosen_requests(conn: Connection, wanted: WorkFilter) -> Sequence[int]:
    """Return the applications that an officer has claimed, those with a proposal, or those asked about."""
    if wanted.tab is WorkTab.CANCEL:
        return _list_asked_requests(conn, wanted.agency)
    if wanted.tab is WorkTab.MINE:
        found = select(_w.request_id).where(_w.account_id == wanted.account, _w.agency == wanted.agency)
        return conn.execute(found.order_by(_w.request_id.desc()).limit(_MOST_CHOSEN)).scalars().all()
    return _list_proposed_requests(conn, wanted.agency)


def _list_asked_requests(conn: Connection, agency: str) -> Sequence[int]:
    """Return the applications of an agency that is asked whether it cancels them."""
    asked = select(_r.id).where(_r.agency == agency, _r.cancellation == literal_column("'ASKED'"))
    return conn.execute(asked.order_by(_r.id).limit(_MOST_CHOSEN)).scalars().all()


def _list_proposed_requests(conn: Connection, agency: str) -> Sequence[int]:
    a = officer_acts.c
    proposed = select(a.request_id).where(a.agency == agency, a.state == literal_column("'PROPOSED'"))
    return conn.execute(proposed.order_by(a.id).limit(_MOST_CHOSEN)).scalars().all()


def _build_filter_conditions(wanted: WorkFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.hs:
        found.append(_build_hs_condition(wanted.hs))
    if wanted.applicant:
        found.append(_build_applicant_condition(wanted))
    # Of all that was ever decided, a rare law or document would be sought for too long.
    short = wanted.tab not in _GROWING
    if wanted.law and short:
        found.append((" " + _s.laws + " ").contains(f" {wanted.law} ", autoescape=True))
    if wanted.document and short:
        found.append(_r.document == wanted.document)
    return found


def _build_applicant_condition(wanted: WorkFilter) -> ColumnElement[bool]:
    """Return the condition for an applicant's number; in lists that do not grow for ever, also for a name."""
    numbered: ColumnElement[bool] = _s.applicant_id == wanted.applicant
    if wanted.tab in _GROWING:
        return numbered
    return or_(numbered, _s.applicant.icontains(wanted.applicant, autoescape=True))


def _build_hs_condition(hs: str) -> ColumnElement[bool]:
    """Return the condition that the first item's code begins so: by its heading from four digits on."""
    begins = and_(_s.hs >= hs, _s.hs < f"{hs}~")
    return and_(_s.heading == hs[:_HEADING], begins) if len(hs) >= _HEADING else begins


def _is_by_deadline(wanted: WorkFilter) -> bool:
    ordered = wanted.order == "due" and wanted.tab not in (WorkTab.DECIDED, WorkTab.ALL)
    return ordered or wanted.tab is WorkTab.OVERDUE


def _is_by_summary(wanted: WorkFilter) -> bool:
    """Return whether an index of the summaries finds the rows: all that were ever decided are too many."""
    return (
        wanted.tab in _GROWING
        and not wanted.numbers
        and (len(wanted.hs) >= _HEADING or bool(wanted.applicant))
    )


def _is_falling(wanted: WorkFilter) -> bool:
    return wanted.order == "new"


def _order_by_age(found: Select[Any], wanted: WorkFilter, place: ColumnElement[Any]) -> Select[Any]:
    if wanted.after is not None:
        last = wanted.after.id
        found = found.where(place < last if _is_falling(wanted) else place > last)
    return found.order_by(place.desc() if _is_falling(wanted) else place.asc()).limit(wanted.limit + 1)


def _order_by_deadline(found: Select[Any], wanted: WorkFilter, due: ColumnElement[Any]) -> Select[Any]:
    if wanted.after is not None and wanted.after.due_at is not None:
        last, last_id = wanted.after.due_at, wanted.after.id
        found = found.where(due >= last, or_(due > last, _r.id > last_id))
    return found.order_by(due, _r.id).limit(wanted.limit + 1)


def count_work(conn: Connection, agency: str, account: int, now: datetime) -> dict[WorkTab, int]:
    """Return how many applications each tab has, counted up to COUNT_LIMIT; not of those decided."""
    found = {}
    for tab in (WorkTab.NEW, WorkTab.HELD, WorkTab.MINE, WorkTab.WAITING, WorkTab.APPROVE, WorkTab.CANCEL):
        wanted = WorkFilter(agency, tab, account, now)
        each = [build_state_condition(agency_requests, state) for state in _STATES[tab]]
        found[tab] = sum(_count_rows(conn, wanted, one) for one in ([or_(*each)] if tab in _CHOSEN else each))
    overdue = WorkFilter(agency, WorkTab.OVERDUE, account, now)
    found[WorkTab.OVERDUE] = _count_rows(conn, overdue, _build_overdue(now)) + _count_late_fees(conn, overdue)
    return {tab: min(number, COUNT_LIMIT) for tab, number in found.items()}


def _count_rows(conn: Connection, wanted: WorkFilter, *conditions: ColumnElement[bool]) -> int:
    source = agency_requests.outerjoin(work_claims, _w.request_id == _r.id)
    rows = select(_r.id).select_from(source).where(_r.agency == wanted.agency, *conditions)
    rows = rows.where(*_build_tab_conditions(conn, wanted)).limit(COUNT_LIMIT)
    return int(conn.execute(select(func.count()).select_from(rows.subquery())).scalar_one())


def _count_late_fees(conn: Connection, wanted: WorkFilter) -> int:
    late = fee_times.build_overdue_times(wanted.agency, wanted.now).subquery()
    rows = select(_r.id).join(late, late.c[0] == _r.id).where(*_build_late_conditions(wanted.now))
    counted = select(func.count()).select_from(rows.limit(COUNT_LIMIT).subquery())
    return int(conn.execute(counted).scalar_one())


def compute_work_mark(conn: Connection, agency: str) -> str:
    """Return a text that is another one when an application arrives or changes its state, or is proposed."""
    newest = [
        conn.execute(
            select(func.max(_r.id)).where(_r.agency == agency, build_state_condition(agency_requests, state))
        ).scalar()
        for state in _EVERY
    ]
    acts = select(func.max(officer_acts.c.id)).where(
        officer_acts.c.agency == agency, officer_acts.c.state == literal_column("'PROPOSED'")
    )
    asked = _list_asked_requests(conn, agency)
    marks = (*newest, conn.execute(acts).scalar(), len(asked), max(asked, default=0))
    return ".".join(str(one or 0) for one in marks)


def find_application_numbers(conn: Connection, agency: str, said: str) -> Sequence[str]:
    """Return the applications of an agency under a number.

    It is the number of the application, of the case, the agency's receipt, or that of a decision.
    """
    receipt = and_(correlations.c.scheme == "agency-receipt", correlations.c.value == f"{agency}:{said}")
    decided = and_(decisions.c.number == said, decisions.c.agency == agency)
    tries = (
        _r.number == said,
        _r.case_id.in_(select(cases.c.id).where(cases.c.number == said)),
        _r.id.in_(select(correlations.c.request_id).where(receipt)),
        _r.id.in_(select(decisions.c.request_id).where(decided)),
    )
    for wanted in tries:
        found = select(_r.number).where(wanted, _r.agency == agency).limit(50)
        rows = conn.execute(found).scalars().all()
        if rows:
            return rows
    return ()


def list_previous_applications(
    conn: Connection, agency: str, request: int, *, applicant_id: str, heading: str, limit: int = 10
) -> Sequence[Row[Any]]:
    """Return earlier applications of an applicant for goods of the same heading, newest first."""
    found: Select[Any] = (
        select(*_COLUMNS)
        .select_from(_SOURCE)
        .where(
            _s.agency == agency,
            _s.applicant_id == applicant_id,
            _s.heading == heading,
            _s.request_id < request,
        )
    )
    return conn.execute(found.order_by(_s.request_id.desc()).limit(limit)).all()
