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
from gateway.evidence import record_register_leaf
from gateway.hub import (
    DecisionRules,
    NeedsAssessment,
    StoredGoods,
    apply_need_policy,
    load_stored_goods,
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
from gateway.operations.check_findings import find_record_problem
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

_PAGE_SIZE: Final = 100
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
    new_table: NeedTable


@dataclass(frozen=True, slots=True)
class ItemImpact:
    """How the needs of one goods item change.

    `lacking_laws` are the laws that come or change, and that nothing of the case answers any more: neither an
    application, nor a disclaimer, nor a certificate.
    """

    item: GoodsItem
    difference: NeedDifference
    lacking_laws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdmissionFinding:
    """A finding of the admission, with its effect: ``refused``, ``held``, or ``admitted``."""

    finding: NeedFinding
    effect: str


@dataclass(frozen=True, slots=True)
class CaseImpact:
    """One examined case: how its needs change, and which findings its admission gains and loses.

    `new_findings` are the findings that are new, `gone_findings` those that are gone. `admission` is the
    effect on the submission before and after: ``admitted``, ``held`` or ``refused``.
    """

    case_number: str
    reference: str
    declarant: str
    assessment_day: date
    items: tuple[ItemImpact, ...] = ()
    admission: tuple[str, str] = (_ADMITTED, _ADMITTED)
    new_findings: tuple[AdmissionFinding, ...] = ()
    gone_findings: tuple[AdmissionFinding, ...] = ()

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

    def count_case(self, impact: CaseImpact | GatewayError) -> None:
        """Count a case that was asked, or that could not be."""
        if isinstance(impact, GatewayError):
            self.unreadable[impact.problem.id] = self.unreadable.get(impact.problem.id, 0) + 1
            return
        effect_before, effect_after = impact.admission
        self.examined += 1
        self.changed += bool(impact)
        self.newly_refused += effect_after == _REFUSED != effect_before
        self.newly_held += effect_after == _HELD != effect_before


def find_need_impact(
    engine: Engine, impact_rules: ImpactRules, since: datetime, until: datetime, report: ImpactReport
) -> Iterator[CaseImpact]:
    """Yield the changes by a new table for the cases opened in a period, refused ones as well.

    Every case is counted in `report`.
    """
    comparison = _TableComparison(impact_rules, find_day(since, impact_rules.zone))
    position = TimedPosition(since, 0)
    while True:
        with read_transaction(engine) as conn:
            case_rows = cases.list_opened_between(conn, since, until, position, _PAGE_SIZE)
            impacts = [_compare_case(conn, case_row, comparison) for case_row in case_rows]
        for impact in impacts:
            report.count_case(impact)
            if isinstance(impact, CaseImpact) and impact:
                yield impact
        if len(case_rows) < _PAGE_SIZE:
            return
        position = TimedPosition(case_rows[-1].opened_at, case_rows[-1].id)


class _TableComparison:
    """The tables before and after, each compiled once."""

    def __init__(self, impact_rules: ImpactRules, first_day: date) -> None:
        self.impact_rules = impact_rules
        self.index_before = impact_rules.rules.needs.get_index(test_editions=impact_rules.policy.test_edition)
        unchanged_tables = [
            table for table in self.index_before.tables if table.name != impact_rules.new_table.name
        ]
        self.index_after = NeedIndex(
            [*unchanged_tables, _begin_earlier(impact_rules.new_table, first_day)], self.index_before.book
        )

    def compare_goods(self, goods: StoredGoods, case_impact: CaseImpact) -> CaseImpact:
        """Return the changes for the goods of a case."""
        rules, policy = self.impact_rules.rules, self.impact_rules.policy
        judgement_before, judgement_after = (
            goods.judge_needs(self.index_before, rules),
            goods.judge_needs(self.index_after, rules),
        )
        weighed_needs = (
            apply_need_policy(judgement_before, self.index_before, policy),
            apply_need_policy(judgement_after, self.index_after, policy),
        )
        new_findings, gone_findings = _compare_findings(*weighed_needs)
        effect_before, effect_after = (_find_admission_effect(judgement) for judgement in weighed_needs)
        items = tuple(_compare_items(judgement_before, judgement_after, self.impact_rules.new_table))
        return replace(
            case_impact,
            items=items,
            admission=(effect_before, effect_after),
            new_findings=new_findings,
            gone_findings=gone_findings,
        )


def _begin_earlier(table: NeedTable, first_day: date) -> NeedTable:
    """Return a table as if it was in force since `first_day`, with the rows of its own first day."""
    if first_day >= table.valid_from:
        return table
    rows = tuple(_begin_row_earlier(row, table.valid_from) for row in table.rows)
    return replace(table, valid_from=first_day, rows=rows)


def _begin_row_earlier(row: NeedRow, table_start: date) -> NeedRow:
    row_start, row_end = row.valid_from or table_start, row.valid_until or table_start
    return replace(row, valid_from=None) if row_start <= table_start <= row_end else row


def _compare_case(
    conn: Connection, case_row: CaseRow, comparison: _TableComparison
) -> CaseImpact | GatewayError:
    """Return the changes for a case, or the problem for which it could not be asked."""
    impact_rules = comparison.impact_rules
    case_columns = (case_row.number, case_row.functional_reference, case_row.declarant)
    try:
        goods = load_stored_goods(conn, case_row, impact_rules.rules, impact_rules.zone)
        if goods is None:
            return CaseImpact(*case_columns, find_day(case_row.opened_at, impact_rules.zone))
        return comparison.compare_goods(goods, CaseImpact(*case_columns, goods.day))
    except Exception as failure:
        return find_record_problem(failure)


def _compare_items(
    judgement_before: NeedJudgement, judgement_after: NeedJudgement, new_table: NeedTable
) -> Iterator[ItemImpact]:
    """Yield each item whose needs by the new table differ, with the changed laws that it does not satisfy.

    Only needs by the table of this name count. Both judgements are of the same declaration.
    """
    for item_before, item_after in zip(judgement_before.items, judgement_after.items, strict=True):
        needs = [_restore_first_day(need, new_table) for need in _select_needs(item_after, new_table)]
        difference = compare_needs(_select_needs(item_before, new_table), needs)
        if difference:
            changed_laws = {
                need.law for need in (*difference.added, *(after for _, after in difference.changed))
            }
            lacking_laws = dict.fromkeys(
                need.law for need in item_after.lacking if _is_of_table(need, new_table)
            )
            yield ItemImpact(
                item_after.item, difference, tuple(law for law in lacking_laws if law in changed_laws)
            )


def _select_needs(item: ItemNeeds, table: NeedTable) -> list[DocumentNeed]:
    return [need for need, _ in item.needs if _is_of_table(need, table)]


def _is_of_table(need: DocumentNeed, table: NeedTable) -> bool:
    return need.table.partition("@")[0] == table.name


def _restore_first_day(need: DocumentNeed, new_table: NeedTable) -> DocumentNeed:
    """Return a need of the new table with its true first day."""
    return replace(need, valid_from=max(need.valid_from, new_table.valid_from))


def _find_admission_effect(weighed_needs: NeedsAssessment) -> str:
    if weighed_needs.problems:
        return _REFUSED
    return _HELD if weighed_needs.missing else _ADMITTED


def _compare_findings(
    needs_before: NeedsAssessment, needs_after: NeedsAssessment
) -> tuple[tuple[AdmissionFinding, ...], tuple[AdmissionFinding, ...]]:
    """Return the findings that only `needs_after` has, and the findings that only `needs_before` has."""
    findings_before, findings_after = (
        {_make_finding_key(finding): finding for finding in _list_admission_findings(weighed_needs)}
        for weighed_needs in (needs_before, needs_after)
    )
    return (
        tuple(finding for key, finding in findings_after.items() if key not in findings_before),
        tuple(finding for key, finding in findings_before.items() if key not in findings_after),
    )


def _list_admission_findings(weighed_needs: NeedsAssessment) -> Iterable[AdmissionFinding]:
    """Yield the findings of an assessment, each with its effect: refused, held or admitted."""
    for effect, findings in (
        (_REFUSED, weighed_needs.problems),
        (_HELD, weighed_needs.missing),
        (_ADMITTED, weighed_needs.warnings),
    ):
        yield from (AdmissionFinding(finding, effect) for finding in findings)


def _make_finding_key(admission_finding: AdmissionFinding) -> tuple[str, ...]:
    """Return the key by which findings under two editions are compared.

    For a finding on a need the key leaves out the words, since they may name the edition.
    """
    finding = admission_finding.finding
    finding_subject = finding.text
    if finding.need is not None:
        finding_subject = (
            f"{finding.need.law} {finding.need.table.partition('@')[0]} {' '.join(finding.need.documents)}"
        )
    return admission_finding.effect, finding.problem.id, finding.pointer, finding_subject


def load_calendar_edition(
    change: DatabaseChange, edition: CalendarEdition | TermEdition, file_octets: bytes
) -> bool:
    """Store a checked edition with its audit and evidence; return whether it was not stored already.

    Raises GW709 where the edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own. Deadlines that are known stay as they are.
    """
    edition_kind = "terms" if isinstance(edition, TermEdition) else "calendar"
    stored_row = dated_editions.find_calendar_edition(
        change.conn, edition_kind, edition.name, edition.edition
    )
    if _check_stored_edition(change, stored_row, edition, CALENDAR_WRONG):
        return False
    row_count = len(edition.terms) if isinstance(edition, TermEdition) else len(edition.special)
    new_edition = _make_new_edition(edition, row_count, file_octets)
    dated_editions.insert_calendar_edition(change.conn, edition_kind, new_edition, change.at, change.actor)
    description = {
        "kind": edition_kind,
        "valid_from": new_edition.valid_from,
        "valid_until": new_edition.valid_until,
    }
    description |= {"rows": str(new_edition.row_count)}
    record_register_leaf(
        change.conn, "calendar", "calendars", edition.label, edition.sha256, description, change.at
    )
    change.record_change(f"{edition_kind} {edition.label}", after=description | {"sha256": edition.sha256})
    deadlines.wake_unknown(change.conn, change.at)
    return True


def load_need_table(change: DatabaseChange, table: NeedTable, file_octets: bytes) -> bool:
    """Store a checked table with its audit and evidence; return whether it was not stored already.

    Raises GW512 where an edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own.
    """
    stored_row = dated_editions.find_need_table(change.conn, table.name, table.edition)
    if _check_stored_edition(change, stored_row, table, NEED_TABLE_WRONG):
        return False
    new_edition = _make_new_edition(table, len(table.rows), file_octets)
    dated_editions.insert_need_table(change.conn, new_edition, change.at, change.actor)
    description = {
        "valid_from": new_edition.valid_from,
        "valid_until": new_edition.valid_until,
        "rows": new_edition.row_count,
    }
    record_register_leaf(
        change.conn, "need_table", "needs", table.label, table.sha256, description, change.at
    )
    change.record_change(f"table of needs {table.label}", after=description | {"sha256": table.sha256})
    return True


def _check_stored_edition(
    change: DatabaseChange,
    stored: CalendarEditionRow | NeedTableRow | None,
    edition: _Edition,
    content_problem: Problem,
) -> bool:
    """Return whether an edition is stored already; raise the problem where it has another content there."""
    if stored is None:
        return False
    if stored.sha256 != edition.sha256:
        detail = (
            f"the edition {edition.label} was loaded already with another content, at "
            f"{stored.loaded_at.isoformat()} by {stored.loaded_by}: give the correction another edition"
        )
        raise GatewayError(content_problem, detail, edition.label)
    change.leave_unchanged()
    return True


def _make_new_edition(edition: _Edition, row_count: int, file_octets: bytes) -> NewEdition:
    last_day = edition.valid_until.isoformat() if edition.valid_until else None
    first_day = edition.valid_from.isoformat()
    return NewEdition(
        edition.name, edition.edition, first_day, last_day, row_count, edition.sha256, file_octets
    )
