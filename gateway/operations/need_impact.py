"""Tells which stored cases a new table of needs would have changed, item by item.

Each case is asked twice: by the editions of this table that were in force on its day, and by the new
edition as if it had been in force then. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Row

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
from gateway.store import cases

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
    """The cases that change; how many were asked, and why others could not be asked, by problem."""

    asked: int = 0
    changed: list[CaseImpact] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)


def find_need_impact(
    conn: Connection, index: NeedIndex, new: NeedTable, period: tuple[datetime, datetime], zone: tzinfo
) -> ImpactReport:
    """Return what a new table changes for the cases opened in a period, refused ones as well."""
    report = ImpactReport()
    later = NeedIndex([new], index.book)
    for row in _list_cases(conn, period):
        try:
            submission = load_stored_submission(conn, row.message)
        except GatewayError as error:
            problem = error.problem.id
            report.unreadable[problem] = report.unreadable.get(problem, 0) + 1
            continue
        report.asked += 1
        day = row.opened_at.astimezone(zone).date()
        items = tuple(_compare_items(submission, (index, later), new, day))
        if items:
            report.changed.append(CaseImpact(row.number, row.functional_reference, row.declarant, day, items))
    return report


def _list_cases(conn: Connection, period: tuple[datetime, datetime]) -> Iterator[Row[Any]]:
    since, until = period
    position = (since, 0)
    while rows := cases.list_opened_between(conn, since, until, position, _BATCH):
        yield from rows
        position = (rows[-1].opened_at, rows[-1].id)


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
