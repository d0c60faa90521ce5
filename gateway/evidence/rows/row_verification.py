"""Compares the working rows with the evidence about them: all of them, or a share.

Each comparison takes some messages or cases with everything that belongs to them, or the whole register. It
reads what evidence says, and adds a difference where a row says something else, has no evidence or is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, Text, cast, func, select

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
from gateway.store import cases, messages, requirement_quantities
from gateway.store.transitions import evidence

_BATCH: Final = 200
#: What reading raises of a value that the gateway does not write; SQLite takes any value in any column.
UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

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
    RowComparison(cases.cases, (), message_rows.compare_sent_messages),
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

    With `share`, of more of them than that a random choice of `share` is compared.
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
        _add_lost_rows(conn, roots, findings)
    return findings


def _compare(conn: Connection, comparison: RowComparison, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare rows; what cannot be read is a difference of its row alone, as a text in place of a time."""
    of_batch = RowFindings()
    try:
        comparison.compare(conn, ids, of_batch)
    except UNREADABLE as problem:
        if len(ids) > 1:
            for each in ids:
                _compare(conn, comparison, [each], findings)
            return
        detail = f"it, a row that belongs to it or their evidence cannot be read: {problem!r:.200}"
        of_batch.add_difference(comparison.table.name, ids[0], detail)
    findings.add_findings(of_batch)


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
    key = cast(roots.table.c.id, Text)
    is_there = select(key).where(key == evidence.c.subject_id).exists()
    query = (
        select(evidence.c.subject_id)
        .where(evidence.c.subject_type == roots.subject_type, evidence.c.kind.in_(roots.kinds), ~is_there)
        .order_by(evidence.c.id)
    )
    for subject_id in conn.execute(query).scalars():
        findings.add_difference(
            roots.table.name, subject_id, "the row is gone; the evidence says that it was stored"
        )
