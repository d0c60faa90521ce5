"""Reads the decisions on a case from outside its applications: results without one, and the parent's.

A case has results by the requirements that it uses. A use that an item gave back because it was rejected
still counts for this: otherwise the rejection would end with the use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    DecidedRequest,
    Decision,
    DecisionCode,
    GrantedQuantity,
    RankedDecision,
    RequirementResult,
    WrittenOffQuantity,
    add_used_quantity,
    read_subjects,
    select_current_decisions,
    select_law_results,
)
from gateway.harmonize import UnitTable, format_decimal
from gateway.hub.completion.placed_results import DIRECTION_KEY
from gateway.hub.completion.standing_demands import (
    list_standing_numbers,
    make_standing_decisions,
    read_stored_decision,
)
from gateway.state_machines import REQUEST
from gateway.store import (
    ReleaseFromParentRow,
    RequestWithFeesRow,
    ResultOfRequirementRow,
    UseOfRequirementRow,
    agency_requests,
    decisions,
    item_releases,
    requirement_quantities,
    requirement_results,
)

#: Stands before the row of a requirement where a decision has the number of its application.
_REQUIREMENT_PREFIX: Final = "requirement:"
#: The same for a decision on an application of the parent case.
_PARENT_PREFIX: Final = "parent:"
#: No application was made, so there is no document.
_NO_DOCUMENT: Final = "-"


def load_requirement_results(
    conn: Connection, requirements: Collection[int]
) -> tuple[RequirementResult, ...]:
    """Return all results about requirements (row ids), superseded ones too."""
    return tuple(_make_result(row) for row in requirement_results.list_results(conn, requirements))


def _make_result(row: ResultOfRequirementRow) -> RequirementResult:
    """Return a stored result without an application as a value; its text is that of the agency."""
    decision = read_stored_decision(row)
    return RequirementResult(
        row.requirement_id,
        row.agency,
        decision,
        row.issued_at,
        row.notice_no,
        (row.said or {}).get("text", ""),
        (row.said or {}).get(DIRECTION_KEY),
    )


def list_outside_decisions(conn: Connection, case_id: int) -> tuple[RankedDecision, ...]:
    """Return the decisions on the items of a case that do not come from its own applications.

    These are results without an application under numbers that the case uses, each with the quantity that the
    item uses in one unit, and for a child declaration the decisions on its items in the parent case. Most
    cases have neither; for them this costs a single query.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return ()
    uses: dict[int, dict[int, list[UseOfRequirementRow]]] = defaultdict(lambda: defaultdict(list))
    for use in list_counting_uses(conn, case_id):
        uses[use.requirement_id][use.item].append(use)
    law_results = select_law_results(load_requirement_results(conn, uses)) if uses else ()
    item_decisions = [
        decision
        for result in law_results
        for item_uses in uses[result.requirement_id].values()
        for decision in _make_item_decisions(result, item_uses)
    ]
    # The case's own uses are reported, not its parent's uses of the same certificate.
    own_subjects = {ranked.subject for ranked in item_decisions}
    inherited = [
        ranked for ranked in _list_inherited_decisions(conn, case_id) if ranked.subject not in own_subjects
    ]
    return (*item_decisions, *_select_covering(conn, case_id, inherited))


def _select_covering(
    conn: Connection, case_id: int, inherited: Sequence[RankedDecision]
) -> Iterator[RankedDecision]:
    """Yield inherited decisions; leave out an approval by a certificate of which the parent uses nothing.

    `inherited` are the decisions of the cases above on the items of the child. The parent's item was rejected
    by a decision that the child replaces by its own: the certificate then approves nothing of the child.
    Where the child inherits the rejection as well, or the item was cancelled above, the approval is yielded,
    too.
    """
    bare = {ranked.decision.item for ranked in inherited if _is_bare_approval(ranked)}
    if bare:
        bare -= {
            ranked.decision.item for ranked in inherited if ranked.decision.decision is DecisionCode.REJECTED
        }
        bare -= {item for _, items in list_cancelled_above(conn, case_id) for item in items}
    return (
        ranked for ranked in inherited if ranked.decision.item not in bare or not _is_bare_approval(ranked)
    )


def _is_bare_approval(ranked: RankedDecision) -> bool:
    """Return whether a decision approves by a certificate of which no quantity is written off."""
    return (
        ranked.written_off is not None
        and not ranked.written_off.amounts
        and ranked.decision.decision in APPROVING_CODES
    )


def list_counting_uses(conn: Connection, case_id: int) -> Sequence[UseOfRequirementRow]:
    """Return the uses of a case by which results count for it, also those that a rejected item gave back.

    A use that began after results counted for an application is left out: it has the certificate of that
    application.
    """
    return [
        use
        for use in requirement_quantities.list_uses_of_case(conn, case_id)
        if (use.returned_at is None or use.return_reason == "rejected")
        and (use.applied_since is None or use.used_at <= use.applied_since)
    ]


def list_all_decisions(
    conn: Connection, case_id: int, requests: Sequence[RequestWithFeesRow] | None = None
) -> tuple[RankedDecision, ...]:
    """Return all decisions that count for a case: on its applications, and beside them.

    `requests` are its applications, where the caller has just read them.
    """
    if requests is None:
        requests = agency_requests.list_by_case(conn, case_id)
    rows = decisions.list_by_case(conn, case_id)
    own_decisions = make_standing_decisions(rows, list_standing_numbers(requests))
    return (*own_decisions, *list_outside_decisions(conn, case_id))


def _list_inherited_decisions(conn: Connection, case_id: int) -> Iterator[RankedDecision]:
    """Yield the decisions in force of the parent about the items that a child has taken.

    Items that the child applies for itself get decisions of their own.
    """
    releases = item_releases.list_releases_into(conn, case_id)
    if not releases:
        return
    own_subjects = _list_own_subjects(conn, case_id)
    for parent, items in _group_items(releases).items():
        requests_by_number = {row.number: row for row in agency_requests.list_by_case(conn, parent)}
        for ranked in select_current_decisions(list_all_decisions(conn, parent)):
            if (
                ranked.decision.item in items
                and (ranked.decision.item, ranked.decision.law) not in own_subjects
            ):
                row = requests_by_number.get(ranked.request)
                name = (
                    ranked.request
                    if row is None
                    else f"{_PARENT_PREFIX}{row.number}:{row.agency}:{row.document}"
                )
                written = None if ranked.written_off is None else replace(ranked.written_off, for_parent=True)
                yield replace(ranked, request=name, written_off=written)


def select_inherited_subjects(
    conn: Connection, case_id: int, ancestor_id: int, subjects: Collection[tuple[int, str]]
) -> set[tuple[int, str]]:
    """Return the pairs of item and law of `subjects` for which decisions on another case count for this one.

    `ancestor_id` is that other case (row id). Its decisions count for itself, and for each child that has
    taken the item and has no application of its own for it.
    """
    if case_id == ancestor_id:
        return set(subjects)
    own_subjects = _list_own_subjects(conn, case_id)
    inherited: set[tuple[int, str]] = set()
    for parent, items in _group_items(item_releases.list_releases_into(conn, case_id)).items():
        taken_subjects = {(item, law) for item, law in subjects if item in items} - own_subjects
        if taken_subjects:
            inherited |= select_inherited_subjects(conn, parent, ancestor_id, taken_subjects)
    return inherited


def list_cancelled_above(
    conn: Connection, case_id: int
) -> tuple[tuple[RequestWithFeesRow, frozenset[int]], ...]:
    """Return the cancelled applications of the parent of a case, and of those above it, that it depends on.

    Each has the items that the case has taken and does not apply for itself: no agency approves them any
    more.
    """
    return tuple(list_inherited_requests(conn, case_id, {"CANCELLED"}))


def list_inherited_requests(
    conn: Connection, case_id: int, states: Collection[str] = REQUEST.states
) -> Iterator[tuple[RequestWithFeesRow, frozenset[int]]]:
    """Yield the applications above a case, in one of these states, that are about items which it has taken.

    Each with those items that the case does not apply for itself.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return
    for request in list_requests_above(conn, case_id):
        if request.state in states:
            subjects = set(read_subjects(request.required))
            inherited = select_inherited_subjects(conn, case_id, request.case_id, subjects)
            if inherited:
                yield request, frozenset(item for item, _ in inherited)


def list_requests_above(conn: Connection, case_id: int) -> Iterator[RequestWithFeesRow]:
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


def _group_items(releases: Iterable[ReleaseFromParentRow]) -> dict[int, set[int]]:
    items: dict[int, set[int]] = defaultdict(set)
    for row in releases:
        items[row.parent_id].add(row.item)
    return items


def _make_item_decisions(
    result: RequirementResult, uses: Sequence[UseOfRequirementRow]
) -> Iterator[RankedDecision]:
    """Yield the decisions that a result without an application makes on one item, one for each unit.

    `uses` are the uses of the requirement by this item; their quantities are summed by unit. The quantity
    written off is that of the uses that were not given back.
    """
    used: dict[str, str] = {}
    for use in uses:
        used = add_used_quantity(used, use.unit, Decimal(use.quantity))
    amounts = (GrantedQuantity(Decimal(use.quantity), use.unit) for use in uses if use.returned_at is None)
    written_off = WrittenOffQuantity(tuple(amounts), result.decision.unit)
    name = make_result_name(result.requirement_id, result.agency)
    for position, (unit, quantity) in enumerate(sorted(used.items())):
        decision = replace(result.decision, item=uses[0].item, quantity=Decimal(quantity), unit=unit)
        # One decision is in force for each request, item and law: each further unit needs a request name of
        # its own, or its decision would replace that of the first unit.
        request_name = name if not position else f"{name}:{_NO_DOCUMENT}:{unit}"
        yield RankedDecision(
            request_name, decision, result.issued_at, result.notice_number, written_off, result.text
        )


def list_reported_decisions(
    current: Iterable[RankedDecision], units: UnitTable
) -> tuple[RankedDecision, ...]:
    """Return the decisions in force of a case as they are reported: with the quantities written off.

    Several lines that use one certificate for an item are reported as their sum in the unit of the
    certificate, or, where the table cannot convert them exactly, as one decision for each unit. An approval
    for which no quantity is written off is reported without number and quantity; one of a certificate that is
    written off for the parent is reported without quantity.
    """
    reported: list[RankedDecision] = []
    seen: set[tuple[str, int, str]] = set()
    for ranked in current:
        if ranked.written_off is None:
            reported.append(ranked)
            continue
        subject = (":".join(ranked.request.split(":")[:3]), ranked.decision.item, ranked.decision.law)
        if subject not in seen:
            seen.add(subject)
            reported += (
                replace(ranked, decision=decision)
                for decision in _make_reported_decisions(ranked, ranked.written_off, units)
            )
    return tuple(reported)


def _make_reported_decisions(
    ranked: RankedDecision, written_off: WrittenOffQuantity, units: UnitTable
) -> Iterator[Decision]:
    """Yield the decision of `ranked` as it is reported: with the quantities written off, one for each unit.

    An approval without a quantity written off has no number and quantity; another decision without one, and a
    decision whose quantity is written off for the parent case, has no quantity.
    """
    bare_decision = replace(ranked.decision, quantity=None, unit=None)
    if not written_off.amounts and ranked.decision.decision in APPROVING_CODES:
        yield replace(bare_decision, number=None)
    elif not written_off.amounts or written_off.for_parent:
        yield bare_decision
    else:
        for unit, quantity in _sum_amounts(written_off, units).items():
            yield replace(bare_decision, quantity=Decimal(quantity), unit=unit)


def _sum_amounts(written_off: WrittenOffQuantity, units: UnitTable) -> dict[str, str]:
    """Return the quantities written off, summed by unit; a single line keeps its own unit."""
    sums: dict[str, str] = {}
    for amount in written_off.amounts:
        quantity, unit = amount.quantity, amount.unit
        if len(written_off.amounts) > 1 and written_off.unit is not None and unit != written_off.unit:
            converted = units.convert_quantity(Fraction(quantity), unit, written_off.unit)
            exact = None if converted is None else format_decimal(converted)
            if exact is not None:
                quantity, unit = Decimal(exact), written_off.unit
        sums = add_used_quantity(sums, unit, quantity)
    return sums


def make_result_name(requirement: int, agency: str) -> str:
    """Return the name used in place of an application number if a requirement (row id) has results."""
    return f"{_REQUIREMENT_PREFIX}{requirement}:{agency}"


def list_outside_requests(ranked_decisions: Iterable[RankedDecision]) -> dict[str, DecidedRequest]:
    """Return the requests under whose names outside decisions are reported, by the name of the request."""
    requests = {}
    for name in {
        ranked.request
        for ranked in ranked_decisions
        if ranked.request.startswith((_REQUIREMENT_PREFIX, _PARENT_PREFIX))
    }:
        _, _, agency, *document = name.split(":")
        requests[name] = DecidedRequest(name, document[0] if document else _NO_DOCUMENT, agency)
    return requests
