"""Compares the working rows with the evidence about them: all of them, or a share.

Each comparison takes some messages or cases with everything that belongs to them, or the whole register. It
reads what evidence says, and adds a difference where a row says something else, has no evidence or is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.exc import DataError, DBAPIError

from gateway.evidence.rows import (
    case_rows,
    customs_rows,
    fee_rows,
    item_release_rows,
    message_rows,
    officer_act_rows,
    requirement_rows,
    state_rows,
)
from gateway.evidence.rows.row_findings import ChosenRows, ComparedTable, RowFindings
from gateway.store import cases, messages, read_row_number, requirement_quantities
from gateway.store.transitions import evidence

_BATCH: Final = 200
#: What reading raises of a value that the gateway does not write; SQLite takes any value in any column. A
#: driver raises errors of its own.
UNREADABLE: Final = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    DBAPIError,
)
#: The words of SQLite for octets that are no text.
_NO_TEXT: Final = "Could not decode to UTF-8"

Compare = Callable[[Connection, Sequence[int], RowFindings], None]


@dataclass(frozen=True, slots=True)
class RowComparison:
    """A comparison: of what it compares, and the function that does it.

    The function takes row ids of `table`: of messages, cases or certificates (`requirements`).
    """

    table: Table
    compared: tuple[ComparedTable, ...]
    compare: Compare


@dataclass(frozen=True, slots=True)
class _RootTable:
    """A table whose rows are chosen; the evidence of these kinds about it says that a row was stored."""

    table: Table
    subject_type: str
    kinds: tuple[str, ...]


_MESSAGES: Final = _RootTable(messages.messages, "message", ("NRO", "filed", "passing"))
_CASES: Final = _RootTable(cases.cases, "case", ("admitted", "held", "refused"))
_REQUIREMENTS: Final = _RootTable(requirement_quantities.requirements, "requirement", ("reply",))
COMPARISONS: Final = (
    RowComparison(messages.messages, message_rows.COMPARED, message_rows.compare_messages),
    RowComparison(messages.messages, (), state_rows.compare_message_states),
    RowComparison(cases.cases, (), message_rows.compare_messages_of_cases),
    RowComparison(cases.cases, state_rows.COMPARED, state_rows.compare_case_states),
    RowComparison(cases.cases, case_rows.COMPARED, case_rows.compare_cases),
    RowComparison(cases.cases, customs_rows.COMPARED, customs_rows.compare_customs_notices),
    RowComparison(cases.cases, fee_rows.COMPARED, fee_rows.compare_fees),
    RowComparison(cases.cases, item_release_rows.COMPARED, item_release_rows.compare_item_releases),
    RowComparison(cases.cases, officer_act_rows.COMPARED, officer_act_rows.compare_officer_acts),
    RowComparison(cases.cases, requirement_rows.COMPARED_BY_CASE, requirement_rows.compare_requirement_uses),
    RowComparison(
        requirement_quantities.requirements, requirement_rows.COMPARED, requirement_rows.compare_requirements
    ),
)


def list_compared_tables() -> list[ComparedTable]:
    """Return the tables of messages and cases whose rows are compared, by their names."""
    compared = [table for comparison in COMPARISONS for table in comparison.compared]
    return sorted(compared, key=lambda table: table.table)


def verify_rows(conn: Connection, share: int | None = None) -> RowFindings:
    """Compare the rows of all messages, cases and certificates with the evidence.

    With `share`, of more of them than that a random choice of `share` is compared, and rows that are gone are
    not looked for.
    """
    findings = RowFindings()
    for roots in (_MESSAGES, _CASES, _REQUIREMENTS):
        stored = conn.execute(select(func.count()).select_from(roots.table)).scalar_one()
        is_part = share is not None and stored > share
        batches = _choose_batches(conn, roots.table, share) if is_part else _list_batches(conn, roots.table)
        compared = 0
        for ids in batches:
            compared += len(ids)
            for comparison in COMPARISONS:
                if comparison.table is roots.table:
                    _compare(conn, comparison, ids, findings)
        findings.chosen.append(ChosenRows(roots.table.name, compared, stored))
        if not is_part:
            _add_lost_rows(conn, roots, findings)
    requirement_rows.add_lost_registrations(conn, findings)
    return findings


def _compare(conn: Connection, comparison: RowComparison, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare rows; what cannot be read is a difference of its row alone, as a text in place of a time."""
    of_batch = RowFindings()
    try:
        comparison.compare(conn, ids, of_batch)
    except UNREADABLE as problem:
        if not is_unreadable(problem):
            raise
        if len(ids) > 1:
            for each in ids:
                _compare(conn, comparison, [each], findings)
            return
        detail = (
            f"it, a row that belongs to it or their evidence cannot be read: {describe_unreadable(problem)}"
        )
        of_batch.add_difference(comparison.table.name, ids[0], detail)
    findings.add_findings(of_batch)


def describe_unreadable(problem: Exception) -> str:
    """Return the words of a problem in reading a value."""
    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    return str(cause).partition("\n")[0][:200] or type(cause).__name__


def is_unreadable(problem: Exception) -> bool:
    """Return whether a problem in reading is one of the value; else it is one of the database."""
    if not isinstance(problem, DBAPIError):
        return True
    return isinstance(problem, DataError) or _NO_TEXT in str(problem.orig)


def _list_batches(conn: Connection, table: Table) -> Iterator[Sequence[int]]:
    """Yield the row ids of a table, some at a time."""
    last = 0
    query = select(table.c.id).order_by(table.c.id).limit(_BATCH)
    while ids := conn.execute(query.where(table.c.id > last)).scalars().all():
        yield ids
        last = ids[-1]


def _choose_batches(conn: Connection, table: Table, share: int | None) -> Iterator[Sequence[int]]:
    """Yield a random choice of row ids of a table, some at a time."""
    query = select(table.c.id).order_by(func.random()).limit(share)
    ids = sorted(conn.execute(query).scalars())
    yield from (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _add_lost_rows(conn: Connection, roots: _RootTable, findings: RowFindings) -> None:
    """Add a difference for each row that the evidence states as stored, and that is gone."""
    conditions = evidence.c.subject_type == roots.subject_type, evidence.c.kind.in_(roots.kinds)
    query, last = select(evidence.c.id, evidence.c.subject_id).where(*conditions).order_by(evidence.c.id), 0
    while rows := conn.execute(query.where(evidence.c.id > last).limit(_BATCH)).all():
        last = rows[-1].id
        ids = {number for row in rows if (number := read_row_number(row.subject_id)) is not None}
        existing = set(conn.execute(select(roots.table.c.id).where(roots.table.c.id.in_(ids))).scalars())
        for subject_id in dict.fromkeys(row.subject_id for row in rows):
            if read_row_number(subject_id) not in existing:
                detail = "the row is gone; the evidence says that it was stored"
                findings.add_difference(roots.table.name, subject_id, detail)
