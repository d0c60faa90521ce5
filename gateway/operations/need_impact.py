"""An edition of a calendar or of rules: its loading, and the changes that rules would make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.calendars import CalendarEdition, TermEdition
from gateway.config import NeedSettings
from gateway.errors import CALENDAR_WRONG, NEED_TABLE_WRONG, GatewayError, Problem
from gateway.evidence import record_evidence
from gateway.hub import (
    DecisionRules,
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
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import (
    CalendarEditionRow,
    CaseRow,
    NeedTableRow,
    NewEdition,
    TimedPosition,
    cases,
    dated_editions,
    deadlines,
    read_transaction,
)
from gateway.wire import find_day

_BATCH: Final = 100
_ADMITTED: Final = "admitted"
_HELD: Final = "held"
_REFUSED: Final = "refused"
_Edition = CalendarEdition | TermEdition | NeedTable


@dataclass(frozen=True, slots=True)
class ImpactRules:
    """The rules that judge cases: those of the hub, its policy and its time zone, and the new table."""

    rules: DecisionRules
    policy: NeedSettings
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
    """A finding of the admission, with its effect: ``refused``, ``held``, or ``admitted``."""

    finding: NeedFinding
    effect: str


@dataclass(frozen=True, slots=True)
class CaseImpact:
    """One examined case: how its needs change, and which findings its admission gains and loses.

    `new_findings` are the findings that are new, `gone_findings` those that are gone. `admission` is the
    effect on the submission before and after: ``admitted``, ``held`` or ``refused``.
    """

    number: str
    reference: str
    declarant: str
    day: date
    items: tuple[ItemImpact, ...] = ()
    admission: tuple[str, str] = (_ADMITTED, _ADMITTED)
    new_findings: tuple[FoundNeed, ...] = ()
    gone_findings: tuple[FoundNeed, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.items or self.new_findings or self.gone_findings)


@dataclass(slots=True)
class ImpactReport:
    """How many cases were asked and how many change, and why others could not be asked, by problem.

    `newly_refused` and `newly_held` are of those that change.
    """

    examined: int = 0
    changed: int = 0
    newly_refused: int = 0
    newly_held: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)

    def count(self, impact: CaseImpact | GatewayError) -> None:
        """Count a case that was asked, or that could not be."""
        if isinstance(impact, GatewayError):
            self.unreadable[impact.problem.id] = self.unreadable.get(impact.problem.id, 0) + 1
            return
        before, after = impact.admission
        self.examined += 1
        self.changed += bool(impact)
        self.newly_refused += after == _REFUSED != before
        self.newly_held += after == _HELD != before


def find_need_impact(
    engine: Engine, impact_rules: ImpactRules, since: datetime, until: datetime, report: ImpactReport
) -> Iterator[CaseImpact]:
    """Yield the changes by a new table for the cases opened in a period, refused ones as well.

    Every case is counted in `report`.
    """
    judging = _Judging(impact_rules, find_day(since, impact_rules.zone))
    position = TimedPosition(since, 0)
    while True:
        with read_transaction(engine) as conn:
            rows = cases.list_opened_between(conn, since, until, position, _BATCH)
            impacts = [_ask_case(conn, row, judging) for row in rows]
        for impact in impacts:
            report.count(impact)
            if isinstance(impact, CaseImpact) and impact:
                yield impact
        if len(rows) < _BATCH:
            return
        position = TimedPosition(rows[-1].opened_at, rows[-1].id)


class _Judging:
    """The tables before and after, each compiled once."""

    def __init__(self, impact_rules: ImpactRules, first: date) -> None:
        self.impact_rules = impact_rules
        self.before = impact_rules.rules.needs.get_index(test_editions=impact_rules.policy.test_edition)
        others = [table for table in self.before.tables if table.name != impact_rules.new.name]
        self.after = NeedIndex([*others, _begin_earlier(impact_rules.new, first)], self.before.book)

    def compare(self, goods: StoredGoods, case_impact: CaseImpact) -> CaseImpact:
        """Return the changes for the goods of a case."""
        rules, policy = self.impact_rules.rules, self.impact_rules.policy
        was, now = goods.judge(self.before, rules), goods.judge(self.after, rules)
        weighed = (
            weigh_need_judgement(was, self.before, policy),
            weigh_need_judgement(now, self.after, policy),
        )
        newly_told, untold = _compare_findings(*weighed)
        before, after = (_find_effect(judgement) for judgement in weighed)
        items = tuple(_compare_items(was, now, self.impact_rules.new))
        return replace(
            case_impact, items=items, admission=(before, after), new_findings=newly_told, gone_findings=untold
        )


def _begin_earlier(table: NeedTable, first: date) -> NeedTable:
    """Return a table as if it had been in force since the day `first`, with the rows of its own first day."""
    if first >= table.valid_from:
        return table
    rows = tuple(_begin_row_earlier(row, table.valid_from) for row in table.rows)
    return replace(table, valid_from=first, rows=rows)


def _begin_row_earlier(row: NeedRow, begins: date) -> NeedRow:
    since, until = row.valid_from or begins, row.valid_until or begins
    return replace(row, valid_from=None) if since <= begins <= until else row


def _ask_case(conn: Connection, row: CaseRow, judging: _Judging) -> CaseImpact | GatewayError:
    """Return the changes for a case, or the problem for which it could not be asked."""
    impact_rules = judging.impact_rules
    try:
        goods = load_stored_goods(conn, row, impact_rules.rules, impact_rules.zone)
    except GatewayError as error:
        return error
    case_columns = (row.number, row.functional_reference, row.declarant)
    if goods is None:
        return CaseImpact(*case_columns, find_day(row.opened_at, impact_rules.zone))
    return judging.compare(goods, CaseImpact(*case_columns, goods.day))


def _compare_items(was: NeedJudgement, now: NeedJudgement, new: NeedTable) -> Iterator[ItemImpact]:
    for old, later in zip(was.items, now.items, strict=True):
        needs = [_restore_first_day(need, new) for need in _select_needs(later, new)]
        difference = compare_needs(_select_needs(old, new), needs)
        if difference:
            changed = {need.law for need in (*difference.added, *(after for _, after in difference.changed))}
            lacking = dict.fromkeys(need.law for need in later.lacking if _is_of(need, new))
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
    """Return the findings that only `now` has, and the findings that only `was` has."""
    old, new = ({_make_key(finding): finding for finding in _list_found(weighed)} for weighed in (was, now))
    return (
        tuple(finding for key, finding in new.items() if key not in old),
        tuple(finding for key, finding in old.items() if key not in new),
    )


def _list_found(weighed: WeighedNeeds) -> Iterable[FoundNeed]:
    for effect, findings in (
        (_REFUSED, weighed.problems),
        (_HELD, weighed.missing),
        (_ADMITTED, weighed.warnings),
    ):
        yield from (FoundNeed(finding, effect) for finding in findings)


def _make_key(found_need: FoundNeed) -> tuple[str, ...]:
    """Return the key by which findings under two editions are compared.

    For a finding on a need the key leaves out the words, since they may name the edition.
    """
    finding = found_need.finding
    subject = finding.text
    if finding.need is not None:
        subject = (
            f"{finding.need.law} {finding.need.table.partition('@')[0]} {' '.join(finding.need.documents)}"
        )
    return found_need.effect, finding.problem.id, finding.pointer, subject


def load_calendar_edition(
    change: DatabaseChange, edition: CalendarEdition | TermEdition, content: bytes
) -> bool:
    """Store a checked edition with its audit and evidence; return whether it was not stored already.

    Raises GW709 where the edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own. Deadlines that are known stay as they are.
    """
    kind = "terms" if isinstance(edition, TermEdition) else "calendar"
    stored = dated_editions.find_calendar_edition(change.conn, kind, edition.name, edition.edition)
    if _is_stored(change, stored, edition, CALENDAR_WRONG):
        return False
    row_count = len(edition.terms) if isinstance(edition, TermEdition) else len(edition.special)
    new = _make_row(edition, row_count, content)
    dated_editions.insert_calendar_edition(change.conn, kind, new, change.at, change.by)
    description = {"kind": kind, "valid_from": new.valid_from, "valid_until": new.valid_until}
    description |= {"rows": str(new.row_count)}
    record_evidence(
        change.conn, "calendar", "calendars", edition.label, edition.sha256, description, change.at
    )
    change.record_change(f"{kind} {edition.label}", after=description | {"sha256": edition.sha256})
    deadlines.wake_unknown(change.conn, change.at)
    return True


def load_need_table(change: DatabaseChange, table: NeedTable, content: bytes) -> bool:
    """Store a checked table with its audit and evidence; return whether it was not stored already.

    Raises GW512 where an edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own.
    """
    stored = dated_editions.find_need_table(change.conn, table.name, table.edition)
    if _is_stored(change, stored, table, NEED_TABLE_WRONG):
        return False
    new = _make_row(table, len(table.rows), content)
    dated_editions.insert_need_table(change.conn, new, change.at, change.by)
    description = {"valid_from": new.valid_from, "valid_until": new.valid_until, "rows": new.row_count}
    record_evidence(change.conn, "need_table", "needs", table.label, table.sha256, description, change.at)
    change.record_change(f"table of needs {table.label}", after=description | {"sha256": table.sha256})
    return True


def _is_stored(
    change: DatabaseChange,
    stored: CalendarEditionRow | NeedTableRow | None,
    edition: _Edition,
    wrong_content: Problem,
) -> bool:
    """Return whether an edition is stored already; raise the problem where it has another content there."""
    if stored is None:
        return False
    if stored.sha256 != edition.sha256:
        detail = (
            f"the edition {edition.label} was loaded already with another content, at "
            f"{stored.loaded_at.isoformat()} by {stored.loaded_by}: give the correction another edition"
        )
        raise GatewayError(wrong_content, detail, edition.label)
    change.leave_unchanged()
    return True


def _make_row(edition: _Edition, row_count: int, content: bytes) -> NewEdition:
    until = edition.valid_until.isoformat() if edition.valid_until else None
    begins = edition.valid_from.isoformat()
    return NewEdition(edition.name, edition.edition, begins, until, row_count, edition.sha256, content)
