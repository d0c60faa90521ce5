"""Reads what decides the items of a case beside its applications: results without one, and the parent.

A case has results by the requirements that it uses. What an item gave back because it was rejected still
counts for it: else the rejection would end with itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    APPROVING,
    DecidedRequest,
    Decision,
    DecisionCode,
    GrantedQuantity,
    RankedDecision,
    RequirementResult,
    WrittenQuantity,
    add_used_quantity,
    read_subjects,
    select_current_decisions,
    select_law_results,
)
from gateway.harmonize import UnitTable, format_decimal
from gateway.hub.completion.stored_decisions import list_standing_numbers, make_standing_decisions
from gateway.state_machines import REQUEST
from gateway.store import (
    agency_requests,
    decisions,
    item_releases,
    requirement_quantities,
    requirement_results,
)

__all__ = [
    "list_all_decisions",
    "list_cancelled_above",
    "list_cases_above",
    "list_counting_uses",
    "list_inherited_requests",
    "list_outside_decisions",
    "list_outside_requests",
    "list_requests_above",
    "list_told_decisions",
    "load_requirement_results",
    "make_result_name",
    "read_result_decision",
    "select_inherited_subjects",
]

#: Stands before the row of a requirement where a decision has the number of its application.
_PREFIX: Final = "requirement:"
#: The same for a decision on an application of the parent case.
_PARENT: Final = "parent:"
#: No application was made, so there is no document.
_NO_DOCUMENT: Final = "-"


def load_requirement_results(conn: Connection, wanted: Collection[int]) -> tuple[RequirementResult, ...]:
    """Return all results about requirements (row ids), superseded ones too."""
    return tuple(_make_result(row) for row in requirement_results.list_results(conn, wanted))


def read_result_decision(row: Row[Any]) -> Decision:
    """Return the decision of a stored result, with the number of its requirement."""
    return Decision(
        item=row.item,
        law=row.law,
        decision=DecisionCode(row.decision),
        number=row.number,
        date=row.date,
        quantity=None if row.quantity is None else Decimal(row.quantity),
        unit=row.unit,
        conditions=tuple(row.conditions),
    )


def _make_result(row: Row[Any]) -> RequirementResult:
    said = read_result_decision(row)
    return RequirementResult(row.requirement_id, row.agency, said, row.issued_at, row.notice_no)


def list_outside_decisions(conn: Connection, case_id: int) -> tuple[RankedDecision, ...]:
    """Return what decides the items of a case beside its own applications.

    These are results without an application under numbers that it uses, each with the quantity that the
    item uses in one unit, and for a child declaration the decisions on its items in the parent case. Most
    cases have neither, and are asked once.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return ()
    uses: dict[int, dict[int, list[Row[Any]]]] = defaultdict(lambda: defaultdict(list))
    for use in list_counting_uses(conn, case_id):
        uses[use.requirement_id][use.item].append(use)
    found = select_law_results(load_requirement_results(conn, uses)) if uses else ()
    said = [
        decision
        for one in found
        for mine in uses[one.subject].values()
        for decision in _make_item_decisions(one, mine)
    ]
    # What the case uses itself is told of it, not what its parent uses of the same certificate.
    own = {one.subject for one in said}
    above = [one for one in _list_inherited_decisions(conn, case_id) if one.subject not in own]
    return (*said, *_select_covering(conn, case_id, above))


def _select_covering(
    conn: Connection, case_id: int, above: Sequence[RankedDecision]
) -> Iterator[RankedDecision]:
    """Yield decisions above a child without certificates of which nothing is written off there.

    The item was rejected above by what the child has decided anew: its certificate approves nothing of the
    child then. Where the child has the rejection as well, the approval is told beside it.
    """
    bare = {one.decision.item for one in above if _is_bare_approval(one)}
    if bare:
        bare -= {one.decision.item for one in above if one.decision.decision is DecisionCode.REJECTED}
        bare -= {item for _, items in list_cancelled_above(conn, case_id) for item in items}
    return (one for one in above if one.decision.item not in bare or not _is_bare_approval(one))


def _is_bare_approval(one: RankedDecision) -> bool:
    """Return whether a certificate approves of which nothing is written off."""
    return one.written is not None and not one.written.amounts and one.decision.decision in APPROVING


def list_counting_uses(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the uses of a case by which results count for it: what a rejected item gave back does, too.

    What is used since results count for an application has the certificate of that application.
    """
    return [
        use
        for use in requirement_quantities.list_uses_of_case(conn, case_id)
        if (use.returned_at is None or use.return_reason == "rejected")
        and (use.applied_since is None or use.used_at <= use.applied_since)
    ]


def list_all_decisions(
    conn: Connection, case_id: int, asked: Sequence[Row[Any]] | None = None
) -> tuple[RankedDecision, ...]:
    """Return all decisions that count for a case: on its applications, and beside them.

    `asked` are its applications, where the caller has just read them.
    """
    if asked is None:
        asked = agency_requests.list_by_case(conn, case_id)
    rows = decisions.list_by_case(conn, case_id)
    own = make_standing_decisions(rows, list_standing_numbers(asked))
    return (*own, *list_outside_decisions(conn, case_id))


def _list_inherited_decisions(conn: Connection, case_id: int) -> Iterator[RankedDecision]:
    """Yield the decisions in force of the parent about the items that a child has taken.

    What the child applies for itself is decided anew.
    """
    taken = item_releases.list_releases_into(conn, case_id)
    if not taken:
        return
    anew = _list_own_subjects(conn, case_id)
    for parent, items in _group_items(taken).items():
        asked = {row.number: row for row in agency_requests.list_by_case(conn, parent)}
        for one in select_current_decisions(list_all_decisions(conn, parent)):
            if one.decision.item in items and (one.decision.item, one.decision.law) not in anew:
                row = asked.get(one.request)
                name = one.request if row is None else f"{_PARENT}{row.number}:{row.agency}:{row.document}"
                written = None if one.written is None else replace(one.written, above=True)
                yield replace(one, request=name, written=written)


def select_inherited_subjects(
    conn: Connection, case_id: int, above: int, subjects: Collection[tuple[int, str]]
) -> set[tuple[int, str]]:
    """Return of which items and laws the decisions on a case (row id `above`) count for another one.

    They count for the case itself, and for each child with the item that does not apply for it itself.
    """
    if case_id == above:
        return set(subjects)
    anew = _list_own_subjects(conn, case_id)
    found: set[tuple[int, str]] = set()
    for parent, items in _group_items(item_releases.list_releases_into(conn, case_id)).items():
        wanted = {(item, law) for item, law in subjects if item in items} - anew
        if wanted:
            found |= select_inherited_subjects(conn, parent, above, wanted)
    return found


def list_cancelled_above(conn: Connection, case_id: int) -> tuple[tuple[Row[Any], frozenset[int]], ...]:
    """Return the cancelled applications of the parent of a case, and of those above it, that it depends on.

    Each has the items that the case has taken and does not apply for itself: nobody approves them any more.
    """
    return tuple(list_inherited_requests(conn, case_id, {"CANCELLED"}))


def list_inherited_requests(
    conn: Connection, case_id: int, states: Collection[str] = REQUEST.states
) -> Iterator[tuple[Row[Any], frozenset[int]]]:
    """Yield the applications above a case, in one of these states, that are about items which it has taken.

    Each with those items that the case does not apply for itself.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return
    for request in list_requests_above(conn, case_id):
        if request.state in states:
            about = set(read_subjects(request.required))
            mine = select_inherited_subjects(conn, case_id, request.case_id, about)
            if mine:
                yield request, frozenset(item for item, _ in mine)


def list_requests_above(conn: Connection, case_id: int) -> Iterator[Row[Any]]:
    """Yield the applications of the parent of a case, and of those above it."""
    for parent in list_cases_above(conn, case_id):
        yield from agency_requests.list_by_case(conn, parent)


def list_cases_above(conn: Connection, case_id: int) -> Iterator[int]:
    """Yield the parent (row id) of a case, and those above it."""
    for parent in sorted({row.parent_id for row in item_releases.list_releases_into(conn, case_id)}):
        yield parent
        yield from list_cases_above(conn, parent)


def _list_own_subjects(conn: Connection, case_id: int) -> set[tuple[int, str]]:
    """Return each item and law for which a case has an application of its own."""
    return {
        (int(item), str(law))
        for row in agency_requests.list_by_case(conn, case_id)
        for item, law in row.required
    }


def _group_items(taken: Iterable[Row[Any]]) -> dict[int, set[int]]:
    items: dict[int, set[int]] = defaultdict(set)
    for row in taken:
        items[row.parent_id].add(row.item)
    return items


def _make_item_decisions(result: RequirementResult, uses: Sequence[Row[Any]]) -> Iterator[RankedDecision]:
    """Yield what a result decides for an item with these uses of its requirement, once for each unit."""
    used: dict[str, str] = {}
    for use in uses:
        used = add_used_quantity(used, use.unit, Decimal(use.quantity))
    amounts = (GrantedQuantity(Decimal(one.quantity), one.unit) for one in uses if one.returned_at is None)
    written = WrittenQuantity(tuple(amounts), result.decision.unit)
    name = make_result_name(result.subject, result.agency)
    for place, (unit, quantity) in enumerate(sorted(used.items())):
        decision = replace(result.decision, item=uses[0].item, quantity=Decimal(quantity), unit=unit)
        # A further unit is a subject of its own: else it would take the place of the first.
        request = name if not place else f"{name}:{_NO_DOCUMENT}:{unit}"
        yield RankedDecision(request, decision, result.issued_at, result.notice_number, written)


def list_told_decisions(current: Iterable[RankedDecision], units: UnitTable) -> tuple[RankedDecision, ...]:
    """Return the decisions in force of a case as they are told: with the quantities that are written off.

    Several lines that use one certificate for an item are told as their sum in the unit of the certificate,
    or, where the table cannot convert them exactly, as one decision for each unit. An approval for which
    nothing is written off is told without number and quantity; one of a certificate that is written off for
    the parent is told without quantity.
    """
    told: list[RankedDecision] = []
    seen: set[tuple[str, int, str]] = set()
    for one in current:
        if one.written is None:
            told.append(one)
            continue
        subject = (":".join(one.request.split(":")[:3]), one.decision.item, one.decision.law)
        if subject not in seen:
            seen.add(subject)
            told += (replace(one, decision=decision) for decision in _tell_written(one, one.written, units))
    return tuple(told)


def _tell_written(one: RankedDecision, written: WrittenQuantity, units: UnitTable) -> Iterator[Decision]:
    bare = replace(one.decision, quantity=None, unit=None)
    if not written.amounts and one.decision.decision in APPROVING:
        yield replace(bare, number=None)
    elif not written.amounts or written.above:
        yield bare
    else:
        for unit, quantity in _sum_amounts(written, units).items():
            yield replace(bare, quantity=Decimal(quantity), unit=unit)


def _sum_amounts(written: WrittenQuantity, units: UnitTable) -> dict[str, str]:
    """Return the sums of what is written off by unit; one line alone stays in its unit."""
    sums: dict[str, str] = {}
    for one in written.amounts:
        quantity, unit = one.quantity, one.unit
        if len(written.amounts) > 1 and written.unit is not None and unit != written.unit:
            converted = units.convert_quantity(Fraction(quantity), unit, written.unit)
            exact = None if converted is None else format_decimal(converted)
            if exact is not None:
                quantity, unit = Decimal(exact), written.unit
        sums = add_used_quantity(sums, unit, quantity)
    return sums


def make_result_name(requirement: int, agency: str) -> str:
    """Return what stands for the number of an application where a requirement (row id) has results."""
    return f"{_PREFIX}{requirement}:{agency}"


def list_outside_requests(standing: Iterable[RankedDecision]) -> dict[str, DecidedRequest]:
    """Return in whose name the decisions beside the applications are told, by the name of their request."""
    found = {}
    for name in {one.request for one in standing if one.request.startswith((_PREFIX, _PARENT))}:
        _, _, agency, *document = name.split(":")
        found[name] = DecidedRequest(name, document[0] if document else _NO_DOCUMENT, agency)
    return found
