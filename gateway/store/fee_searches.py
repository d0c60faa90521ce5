"""Searches fees by the numbers of their cases and by their deadlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Protocol

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, text, union

from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.deadlines import deadlines
from gateway.store.fees import FeeRow, fees
from gateway.store.list_filters import LIST_COUNT_LIMIT

_NUMBERED: Final = (
    select(fees, agency_requests.c.number.label("application"), cases.c.number.label("case_number"))
    .join(agency_requests, agency_requests.c.id == fees.c.request_id)
    .join(cases, cases.c.id == fees.c.case_id)
)

_DUE: Final = text("fees.state IN ('LEVIED', 'ORDERED')")

_D: Final = deadlines.c

#: A deadline of a fee has its number as cause.
_IS_ABOUT: Final = and_(_D.request_id == fees.c.request_id, _D.kind == "pay", _D.cause == fees.c.number)


@dataclass(frozen=True, slots=True)
class OverdueTime:
    """A moment, and the day of the hub on which it is."""

    now: datetime
    today: date


class FeeOfCaseRow(FeeRow, Protocol):
    """A fee, with the numbers of application and case."""

    application: str
    case_number: str


def list_fees(
    conn: Connection,
    *,
    limit: int = 50,
    before: int | None = None,
    number: str | None = None,
    state: str | None = None,
    overdue: OverdueTime | None = None,
) -> Sequence[FeeOfCaseRow]:
    """Return fees with the numbers of application and case, newest first, with a row id below `before`.

    With `overdue` only those that are not paid, and whose deadline has passed.
    """
    query = _NUMBERED.order_by(fees.c.id.desc()).limit(limit)
    if number is not None:
        query = query.where(fees.c.number == number)
    if state is not None:
        query = query.where(fees.c.state == state)
    if overdue is not None:
        query = query.where(_is_overdue(overdue))
    return conn.execute(query.where(fees.c.id < before) if before else query).all()


def list_by_case(conn: Connection, case: int) -> Sequence[FeeOfCaseRow]:
    """Return the fees of a case with the numbers of application and case, oldest first."""
    query = _NUMBERED.where(agency_requests.c.case_id == case)
    return conn.execute(query.order_by(fees.c.id)).all()


def _is_overdue(overdue_time: OverdueTime) -> ColumnElement[bool]:
    """Return the condition that a fee is due and its deadline has passed, each part by an index of its own.

    The deadline is OVERDUE, or the clockwork has not checked it yet. A fee that never had a deadline with
    a known time goes by its last day.
    """
    # A deadline that has ended is in another state, and has no `next_at`.
    overdue = _select_due_fee_ids(_D.state == "OVERDUE")
    passed = _select_due_fee_ids(_D.next_at < overdue_time.now, _D.due_at < overdue_time.now)
    dated_deadlines = select(_D.id).where(_D.case_id == fees.c.case_id, _IS_ABOUT, _D.due_at.is_not(None))
    unknown = select(fees.c.id).where(fees.c.due_on < overdue_time.today, _DUE, ~dated_deadlines.exists())
    return fees.c.id.in_(union(overdue, passed, unknown))


def _select_due_fee_ids(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    """Return the query of the ids of due fees that meet the conditions, each joined to its deadline."""
    return select(fees.c.id).join(deadlines, _IS_ABOUT).where(*conditions, _DUE)


def build_overdue_times(agency: str, now: datetime) -> Select[tuple[int, datetime]]:
    """Return the applications (row ids) of an agency that owe a fee whose deadline has passed, and that time.

    Of several fees it is the first one. A fee whose deadline has no known time is not among them.
    """
    due_fee_query = select(fees.c.request_id, _D.due_at).join(deadlines, _IS_ABOUT)
    due_fee_query = due_fee_query.where(fees.c.agency == agency, _DUE, _D.due_at < now)
    passed = union(
        due_fee_query.where(_D.state == "OVERDUE"), due_fee_query.where(_D.next_at < now)
    ).subquery()
    return select(passed.c.request_id, func.min(passed.c.due_at)).group_by(passed.c.request_id)


def count_fees(
    conn: Connection, *, before: int, state: str | None = None, overdue: OverdueTime | None = None
) -> int:
    """Return how many fees of `list_fees` have a row id below `before`, counted up to LIST_COUNT_LIMIT."""
    rest = select(fees.c.id).where(fees.c.id < before).limit(LIST_COUNT_LIMIT)
    if state is not None:
        rest = rest.where(fees.c.state == state)
    if overdue is not None:
        rest = rest.where(_is_overdue(overdue))
    return int(conn.execute(select(func.count()).select_from(rest.subquery())).scalar_one())
