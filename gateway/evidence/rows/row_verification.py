"""Compares the working rows with the evidence about them: all of them, or a share.

Each comparison takes some messages or cases with everything that belongs to them, or the whole register. It
reads what evidence says, and adds a difference where a row says something else, has no evidence or is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, func, select

from gateway.evidence.rows.row_findings import ComparedTable, RowFindings
from gateway.store.cases import cases
from gateway.store.messages import messages

_BATCH: Final = 200

Compare = Callable[[Connection, Sequence[int], RowFindings], None]


@dataclass(frozen=True, slots=True)
class RowComparison:
    """A comparison: of what it compares, and the function that does it.

    The function takes row ids of `table`: of messages, or of cases.
    """

    table: Table
    compared: tuple[ComparedTable, ...]
    compare: Compare


COMPARISONS: Final[tuple[RowComparison, ...]] = ()


def verify_rows(conn: Connection, share: int | None = None) -> RowFindings:
    """Compare the rows of all messages and cases with the evidence; with `share`, of that many of each."""
    findings = RowFindings()
    for table in (messages, cases):
        for ids in _list_batches(conn, table, share):
            for comparison in COMPARISONS:
                if comparison.table is table:
                    comparison.compare(conn, ids, findings)
    return findings


def _list_batches(conn: Connection, table: Table, share: int | None) -> Iterator[Sequence[int]]:
    """Yield the row ids of a table, some at a time; of more than `share` rows a random choice."""
    if share is not None and conn.execute(select(func.count()).select_from(table)).scalar_one() > share:
        query = select(table.c.id).order_by(func.random()).limit(share)
        chosen = sorted(conn.execute(query).scalars())
        yield from (chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH))
        return
    last = 0
    while (
        ids := conn.execute(select(table.c.id).where(table.c.id > last).order_by(table.c.id).limit(_BATCH))
        .scalars()
        .all()
    ):
        yield ids
        last = ids[-1]
