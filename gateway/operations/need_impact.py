"""Tells which stored cases a new table of needs would have changed, item by item.

Each case is asked twice: by the editions of this table that were in force on its day, and by the new
edition as if it had been in force then. Nothing is written. The cases are read in small pages, each in a
transaction of its own, so that any number of them takes the same memory and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row

from gateway.cases import Submission
from gateway.errors import GatewayError
from gateway.hub import load_stored_submission
from gateway.needs import (
    GoodsItem,
    GoodsQuery,
    NeedDifference,
    NeedIndex,
    NeedTable,
    compare_needs,
    read_declared_goods,
)
from gateway.store import cases, read_transaction

__all__ = ["CaseImpact", "ImpactReport", "ItemImpact", "find_need_impact"]

_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class ItemImpact:
    """How the needs of one goods item change; `lacking` are the new laws that nothing was filed for."""

    item: GoodsItem
    difference: NeedDifference
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseImpact:
    """One case that changes."""

    number: str
    reference: str
    declarant: str
    day: date
    items: tuple[ItemImpact, ...]


@dataclass(slots=True)
class ImpactReport:
    """How many cases were asked and how many change, and why others could not be asked, by problem."""

    asked: int = 0
    changed: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)

    def count(self, one: CaseImpact | GatewayError) -> None:
        """Count a case that was asked, or that could not be."""
        if isinstance(one, GatewayError):
            self.unreadable[one.problem.id] = self.unreadable.get(one.problem.id, 0) + 1
            return
        self.asked += 1
        self.changed += bool(one.items)


def find_need_impact(
    engine: Engine,
    tables: tuple[NeedIndex, NeedTable],
    period: tuple[datetime, datetime],
    zone: tzinfo,
    report: ImpactReport,
) -> Iterator[CaseImpact]:
    """Yield what a new table changes for the cases opened in a period, refused ones as well.

    `tables` are the needs in force and the new table; every case is counted in `report`.
    """
    index, new = tables
    later = NeedIndex([new], index.book)
    since, until = period
    position = (since, 0)
    while True:
        with read_transaction(engine) as conn:
            rows = cases.list_opened_between(conn, since, until, position, _BATCH)
            asked = [_ask_case(conn, row, (index, later), new, zone) for row in rows]
        for one in asked:
            report.count(one)
            if isinstance(one, CaseImpact) and one.items:
                yield one
        if len(rows) < _BATCH:
            return
        position = (rows[-1].opened_at, rows[-1].id)


def _ask_case(
    conn: Connection, row: Row[Any], indexes: tuple[NeedIndex, NeedIndex], new: NeedTable, zone: tzinfo
) -> CaseImpact | GatewayError:
    """Return what changes for a case, or why it could not be asked."""
    try:
        submission = load_stored_submission(conn, row.message)
    except GatewayError as error:
        return error
    day = row.opened_at.astimezone(zone).date()
    items = tuple(_compare_items(submission, indexes, new, day))
    return CaseImpact(row.number, row.functional_reference, row.declarant, day, items)


def _compare_items(
    submission: Submission, indexes: tuple[NeedIndex, NeedIndex], new: NeedTable, day: date
) -> Iterator[ItemImpact]:
    goods = read_declared_goods(submission.declaration)
    if goods.direction is None:
        return
    before, after = indexes
    filed = {(item, one.document) for one in submission.applications for item in one.items}
    for item in goods.items:
        if not item.hs:
            continue
        query = GoodsQuery(item.hs, goods.direction, day, item.origin, None, goods.country)
        old = [one for one in before.find_needs(query) if one.table.partition("@")[0] == new.name]
        # As if the new edition had been in force on that day.
        then = GoodsQuery(
            item.hs, goods.direction, max(day, new.valid_from), item.origin, None, goods.country
        )
        difference = compare_needs(old, after.find_needs(then))
        if difference:
            missing = [
                one.law
                for one in difference.added
                if one.documents and not any((item.number, name) in filed for name in one.documents)
            ]
            yield ItemImpact(item, difference, tuple(missing))
