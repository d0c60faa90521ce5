"""Finds messages, cases and deliveries for an operator: by a whole id or number, or a part of an error text.

Every search reads an index, or a stated number of the newest rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Connection, func, or_, select

from gateway.store.agency_requests import CORRELATION_SCHEMES, agency_requests, correlations
from gateway.store.cases import CaseRow, case_references, cases, select_referenced_cases
from gateway.store.decisions import decisions
from gateway.store.deliveries import DeliveryRow, deliveries, delivery_attempts
from gateway.store.list_filters import build_text_condition, read_row_number
from gateway.store.message_rows import ListedMessageRow
from gateway.store.messages import LISTED_COLUMNS, messages
from gateway.store.prepared_statements import build_state_condition
from gateway.store.refusal_counts import RefusalRow, refusals

#: The largest number of FAILED deliveries that are searched for a text, the newest first.
MAX_SEARCHED_FAILURES: Final = 2_000
_MAX_RESULTS: Final = 20


def find_cases(conn: Connection, text: str) -> Sequence[CaseRow]:
    """Return the cases that this text names, newest first.

    It may be the number of the case, the reference of the applicant, a reference of the goods (UCR, bill of
    lading, container, cargo number), the number of a request, the number of a permit, or a name that an
    agency gave to the case.
    """
    case_ids: set[int] = set()
    for query in (
        select(cases.c.id).where(cases.c.number == text),
        select(cases.c.id).where(cases.c.functional_reference == text).order_by(cases.c.id.desc()),
        select(cases.c.id).where(cases.c.ucr == text).order_by(cases.c.id.desc()),
        select_referenced_cases(text).order_by(case_references.c.case_id.desc()),
        select(agency_requests.c.case_id).where(agency_requests.c.number == text),
        select(agency_requests.c.case_id)
        .join(decisions, decisions.c.request_id == agency_requests.c.id)
        .where(decisions.c.number == text),
        select(correlations.c.case_id).where(
            correlations.c.scheme.in_(sorted(CORRELATION_SCHEMES)), correlations.c.value == text
        ),
    ):
        case_ids.update(conn.execute(query.limit(_MAX_RESULTS)).scalars())
    chosen = select(cases).where(cases.c.id.in_(sorted(case_ids))).order_by(cases.c.id.desc())
    return conn.execute(chosen.limit(_MAX_RESULTS)).all()


def find_messages(conn: Connection, text: str) -> Sequence[ListedMessageRow]:
    """Return the messages of this MessageId, or of this row number, newest first."""
    m, row_id = messages.c, read_row_number(text)
    is_searched_row = m.message_id == text if row_id is None else or_(m.message_id == text, m.id == row_id)
    return conn.execute(
        select(*LISTED_COLUMNS).where(is_searched_row).order_by(m.id.desc()).limit(_MAX_RESULTS)
    ).all()


def find_deliveries(conn: Connection, text: str) -> Sequence[DeliveryRow]:
    """Return the deliveries of this id at their destination, or of this row number, newest first."""
    d, row_id = deliveries.c, read_row_number(text)
    is_searched_row = d.wire_id == text if row_id is None else or_(d.wire_id == text, d.id == row_id)
    return conn.execute(
        select(deliveries).where(is_searched_row).order_by(d.id.desc()).limit(_MAX_RESULTS)
    ).all()


def search_failed_deliveries(conn: Connection, text: str) -> Sequence[DeliveryRow]:
    """Return those of the newest FAILED deliveries with `text` in error text, problem or lane.

    At most `MAX_SEARCHED_FAILURES` deliveries are searched.
    """
    d = deliveries.c
    newest = select(d.id).where(build_state_condition(deliveries, "FAILED"))
    newest_failures = newest.order_by(d.id.desc()).limit(MAX_SEARCHED_FAILURES).subquery()
    query = select(deliveries).join(newest_failures, newest_failures.c.id == d.id)
    contains_text = build_text_condition(text, d.last_sentence, d.problem, d.lane)
    return conn.execute(query.where(contains_text).order_by(d.id.desc()).limit(_MAX_RESULTS)).all()


def search_refusals(conn: Connection, text: str) -> Sequence[RefusalRow]:
    """Return the counts of refusals whose last sentence, problem or sender contains a text, latest first."""
    r = refusals.c
    contains_text = build_text_condition(text, r.last_sentence, r.problem, r.sender)
    return conn.execute(
        select(refusals).where(contains_text).order_by(r.last_at.desc()).limit(_MAX_RESULTS)
    ).all()


class ProblemMessageRow(ListedMessageRow, Protocol):
    """A message with a problem, with its case."""

    number: str | None
    case_state: str | None
    outcome: str | None


def list_problem_messages(
    conn: Connection, problem: str, limit: int = _MAX_RESULTS
) -> Sequence[ProblemMessageRow]:
    """Return the newest messages with a problem, each with the number, state and outcome of its case."""
    m = messages.c
    case_columns: tuple[Any, ...] = (cases.c.number, cases.c.state.label("case_state"), cases.c.outcome)
    query = select(*LISTED_COLUMNS, *case_columns).outerjoin(cases, cases.c.id == m.case_id)
    return conn.execute(query.where(m.problem == problem).order_by(m.id.desc()).limit(limit)).all()


class ProblemDeliveryRow(DeliveryRow, Protocol):
    """A delivery with a problem: the number of attempts with it, the last of them, and the case."""

    failures: int
    last: int
    number: str | None


def list_problem_deliveries(
    conn: Connection, problem: str, limit: int = _MAX_RESULTS
) -> Sequence[ProblemDeliveryRow]:
    """Return the newest deliveries of which an attempt had a problem, however they ended.

    A row has the number of attempts that had it (`failures`), the last of them, and the number of the case.
    """
    a, d = delivery_attempts.c, deliveries.c
    problem_attempts = (
        select(a.delivery, func.count().label("failures"), func.max(a.attempt).label("last"))
        .where(a.problem == problem)
        .group_by(a.delivery)
        .order_by(a.delivery.desc())
        .limit(limit)
        .subquery()
    )
    query = select(deliveries, problem_attempts.c.failures, problem_attempts.c.last, cases.c.number).join(
        problem_attempts, problem_attempts.c.delivery == d.id
    )
    source = query.outerjoin(cases, cases.c.id == d.case_id)
    return conn.execute(source.order_by(d.id.desc())).all()
