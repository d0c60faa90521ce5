"""Tells which stored cases a new table of needs would have changed, item by item.

Each case is judged twice, as the admission judges a submission: by the tables that were in force on its
day, and by the same tables with the new edition as if it had been in force then. Nothing is written. The
cases are read in small pages, each in a transaction of its own, so that any number of them takes the same
memory and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row

from gateway.errors import GatewayError
from gateway.hub import (
    DecisionRules,
    NeedPolicy,
    StoredGoods,
    WeighedNeeds,
    load_stored_goods,
    weigh_need_judgement,
)
from gateway.needs import (
    DocumentNeed,
    GoodsItem,
    ItemNeeds,
    NeedDifference,
    NeedFinding,
    NeedIndex,
    NeedJudgement,
    NeedRow,
    NeedTable,
    compare_needs,
)
from gateway.store import cases, read_transaction

__all__ = ["CaseImpact", "FoundNeed", "ImpactReport", "ImpactRules", "ItemImpact", "find_need_impact"]

_BATCH: Final = 100
_ADMITTED: Final = "admitted"
_HELD: Final = "held"
_REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class ImpactRules:
    """By what cases are judged: the rules and the policy of the hub, its time zone, and the new table."""

    rules: DecisionRules
    policy: NeedPolicy
    zone: tzinfo
    new: NeedTable


@dataclass(frozen=True, slots=True)
class ItemImpact:
    """How the needs of one goods item change.

    `lacking` are the laws that come or change, and that nothing of the case answers any more: neither an
    application, nor a disclaimer, nor a certificate.
    """

    item: GoodsItem
    difference: NeedDifference
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundNeed:
    """What the admission tells, and what it does about it: ``refused``, ``held``, or ``admitted``."""

    finding: NeedFinding
    effect: str


@dataclass(frozen=True, slots=True)
class CaseImpact:
    """One case that was asked: how its needs change, and what its admission tells more, and no more.

    `admission` is what becomes of the submission before and after: ``admitted``, ``held`` or ``refused``.
    """

    number: str
    reference: str
    declarant: str
    day: date
    items: tuple[ItemImpact, ...] = ()
    admission: tuple[str, str] = (_ADMITTED, _ADMITTED)
    told: tuple[FoundNeed, ...] = ()
    untold: tuple[FoundNeed, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.items or self.told or self.untold)


@dataclass(slots=True)
class ImpactReport:
    """How many cases were asked and how many change, and why others could not be asked, by problem.

    `newly_refused` and `newly_held` are of those that change.
    """

    asked: int = 0
    changed: int = 0
    newly_refused: int = 0
    newly_held: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)

    def count(self, one: CaseImpact | GatewayError) -> None:
        """Count a case that was asked, or that could not be."""
        if isinstance(one, GatewayError):
            self.unreadable[one.problem.id] = self.unreadable.get(one.problem.id, 0) + 1
            return
        before, after = one.admission
        self.asked += 1
        self.changed += bool(one)
        self.newly_refused += after == _REFUSED != before
        self.newly_held += after == _HELD != before


def find_need_impact(
    engine: Engine, asked: ImpactRules, period: tuple[datetime, datetime], report: ImpactReport
) -> Iterator[CaseImpact]:
    """Yield what a new table changes for the cases opened in a period, refused ones as well.

    Every case is counted in `report`.
    """
    since, until = period
    judging = _Judging(asked, since.astimezone(asked.zone).date())
    position = (since, 0)
    while True:
        with read_transaction(engine) as conn:
            rows = cases.list_opened_between(conn, since, until, position, _BATCH)
            found = [_ask_case(conn, row, judging) for row in rows]
        for one in found:
            report.count(one)
            if isinstance(one, CaseImpact) and one:
                yield one
        if len(rows) < _BATCH:
            return
        position = (rows[-1].opened_at, rows[-1].id)


class _Judging:
    """The tables before and after, each compiled once."""

    def __init__(self, asked: ImpactRules, first: date) -> None:
        self.asked = asked
        self.before = asked.rules.needs.get_index(test_editions=asked.policy.test_editions)
        others = [one for one in self.before.tables if one.name != asked.new.name]
        self.after = NeedIndex([*others, _begin_earlier(asked.new, first)], self.before.book)

    def compare(self, goods: StoredGoods, about: CaseImpact) -> CaseImpact:
        """Return what changes for the goods of a case."""
        rules, policy = self.asked.rules, self.asked.policy
        was, now = goods.judge(self.before, rules), goods.judge(self.after, rules)
        weighed = (
            weigh_need_judgement(was, self.before, policy),
            weigh_need_judgement(now, self.after, policy),
        )
        told, untold = _compare_findings(*weighed)
        before, after = (_find_effect(one) for one in weighed)
        items = tuple(_compare_items(was, now, self.asked.new))
        return replace(about, items=items, admission=(before, after), told=told, untold=untold)


def _begin_earlier(table: NeedTable, first: date) -> NeedTable:
    """Return a table as if it had been in force since a day, with the rows of its own first day."""
    if first >= table.valid_from:
        return table
    rows = tuple(_begin_row_earlier(row, table.valid_from) for row in table.rows)
    return replace(table, valid_from=first, rows=rows)


def _begin_row_earlier(row: NeedRow, begins: date) -> NeedRow:
    since, until = row.valid_from or begins, row.valid_until or begins
    return replace(row, valid_from=None) if since <= begins <= until else row


def _ask_case(conn: Connection, row: Row[Any], judging: _Judging) -> CaseImpact | GatewayError:
    """Return what changes for a case, or why it could not be asked."""
    asked = judging.asked
    try:
        goods = load_stored_goods(conn, row, asked.rules, asked.zone)
    except GatewayError as error:
        return error
    about = (row.number, row.functional_reference, row.declarant)
    if goods is None:
        return CaseImpact(*about, row.opened_at.astimezone(asked.zone).date())
    return judging.compare(goods, CaseImpact(*about, goods.day))


def _compare_items(was: NeedJudgement, now: NeedJudgement, new: NeedTable) -> Iterator[ItemImpact]:
    for old, later in zip(was.items, now.items, strict=True):
        needs = [_restore_first_day(one, new) for one in _select_needs(later, new)]
        difference = compare_needs(_select_needs(old, new), needs)
        if difference:
            changed = {one.law for one in (*difference.added, *(after for _, after in difference.changed))}
            lacking = dict.fromkeys(one.law for one in later.lacking if _is_of(one, new))
            yield ItemImpact(later.item, difference, tuple(law for law in lacking if law in changed))


def _select_needs(item: ItemNeeds, table: NeedTable) -> list[DocumentNeed]:
    return [need for need, _ in item.needs if _is_of(need, table)]


def _is_of(need: DocumentNeed, table: NeedTable) -> bool:
    return need.table.partition("@")[0] == table.name


def _restore_first_day(need: DocumentNeed, new: NeedTable) -> DocumentNeed:
    """Return a need of the new table with its true first day."""
    return replace(need, valid_from=max(need.valid_from, new.valid_from))


def _find_effect(weighed: WeighedNeeds) -> str:
    if weighed.problems:
        return _REFUSED
    return _HELD if weighed.missing else _ADMITTED


def _compare_findings(
    was: WeighedNeeds, now: WeighedNeeds
) -> tuple[tuple[FoundNeed, ...], tuple[FoundNeed, ...]]:
    """Return what is told after and not before, and before and not after."""
    old, new = ({_make_key(one): one for one in _list_found(weighed)} for weighed in (was, now))
    return (
        tuple(one for key, one in new.items() if key not in old),
        tuple(one for key, one in old.items() if key not in new),
    )


def _list_found(weighed: WeighedNeeds) -> Iterable[FoundNeed]:
    for effect, found in (
        (_REFUSED, weighed.problems),
        (_HELD, weighed.missing),
        (_ADMITTED, weighed.warnings),
    ):
        yield from (FoundNeed(one, effect) for one in found)


def _make_key(found: FoundNeed) -> tuple[str, ...]:
    """Return what a finding is about, whatever the edition: its words may name that."""
    one = found.finding
    about = one.text
    if one.need is not None:
        about = f"{one.need.law} {one.need.table.partition('@')[0]} {' '.join(one.need.documents)}"
    return found.effect, one.problem.id, one.pointer, about
