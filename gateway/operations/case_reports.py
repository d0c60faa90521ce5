"""Reports of a case for operators: decisions, times, releases, requirements and fees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    CaseOutcome,
    DecisionCode,
    FeeMovement,
    RequirementBalance,
    compute_remaining_quantity,
    format_left_quantity,
    select_current_decisions,
    select_current_results,
)
from gateway.errors import APPLICATION_CANCELLED
from gateway.harmonize import UnitTable, format_decimal, load_unit_table
from gateway.hub import (
    list_cancelled_above,
    list_outside_decisions,
    list_outside_requests,
    list_reported_decisions,
    load_requirement_balances,
    load_requirement_results,
    open_active_mappings,
    read_movement_money,
)
from gateway.operations.replaced_decisions import find_replacement
from gateway.store import (
    CaseRow,
    DeadlineRow,
    DecisionWithTextRow,
    FeeOfCaseRow,
    FeeRow,
    MovementOfFeeRow,
    ReleaseFromParentRow,
    ReleaseToChildRow,
    RequestWithFeesRow,
    RequirementRow,
    cases,
    deadlines,
    decisions,
    fee_searches,
    fees,
    item_releases,
    read_columns,
    requirement_quantities,
)
from gateway.wire import begin_day, end_day, find_day


class NoEffect(StrEnum):
    """Why a stored decision does not count for its case."""

    SUPERSEDED = "superseded"
    CANCELLED = "the application is cancelled"
    WITHDRAWN = "the declaration is withdrawn"


def describe_decisions(
    conn: Connection, case: CaseRow, applications: Sequence[RequestWithFeesRow]
) -> list[dict[str, Any]]:
    """Return the decisions on the `applications` of a case as plain values.

    `counts` says whether a decision has an effect; if it has none, `no_effect` is the reason. Of a superseded
    one, `superseded_by_notice` is the number of the notice that counts, and `never_counted` says whether that
    one counted already when the decision came.
    """
    requests = {row.id: row for row in applications}
    descriptions = []
    stored_decisions = decisions.list_by_case(conn, case.id)
    for row in stored_decisions:
        replacement = find_replacement(row, stored_decisions)
        no_effect = explain_no_effect(case, requests[row.request_id], row)
        reason = f"{APPLICATION_CANCELLED.id} {no_effect}" if no_effect is NoEffect.CANCELLED else no_effect
        effect = {
            "request": requests[row.request_id].number,
            "counts": no_effect is None,
            "no_effect": reason,
            "superseded_by_notice": replacement and replacement.notice_number,
            "never_counted": replacement is not None and not replacement.has_counted,
        }
        descriptions.append(read_columns(row) | effect)
    return descriptions


def explain_no_effect(
    case: CaseRow, request: RequestWithFeesRow, decision: DecisionWithTextRow
) -> NoEffect | None:
    """Return why a stored decision does not count for its case; None where it counts.

    The decision was superseded, its application was cancelled (GW410), or it approves items of a withdrawn
    case.
    """
    if decision.superseded_by is not None:
        return NoEffect.SUPERSEDED
    if request.state == "CANCELLED":
        return NoEffect.CANCELLED
    if case.outcome == CaseOutcome.WITHDRAWN and DecisionCode(decision.decision) in APPROVING_CODES:
        return NoEffect.WITHDRAWN
    return None


def read_case_deadlines(conn: Connection, case_id: int) -> list[dict[str, Any]]:
    """Return the deadlines of a case in the order in which they began, with application and agency."""
    return [read_columns(row) for row in deadlines.list_by_case(conn, case_id)]


def describe_releases(conn: Connection, case: CaseRow) -> dict[str, Any]:
    """Return the item releases between a case and its child and parent declarations, by key.

    `released` has the releases to child declarations, also those given back. `stays` has the rest of each
    measure of an item of which a part was released. `taken` has the releases that a child holds of its
    parent, and `inherited` the decisions of the parent that count for the child. `inherited_cancellations`
    has the cancelled applications of the parent, or of a case above it (`parent`), with the items that are
    not approved any more. `removed` has the items that amendments took out of the declaration, each with
    the reason.
    """
    releases_to_children = item_releases.list_releases_from(conn, case.id)
    releases_from_parent = item_releases.list_releases_into(conn, case.id)
    units = (
        load_unit_table(open_active_mappings(conn, case.opened_at)) if releases_to_children else UnitTable()
    )
    return {
        "released": [read_columns(row) for row in releases_to_children],
        "stays": list(_compute_remaining_quantities(releases_to_children, units).values()),
        "removed": list((case.detail or {}).get("removed_items", ())),
        "taken": [read_columns(row) for row in releases_from_parent],
        "inherited": _list_inherited(conn, case, releases_from_parent),
        "inherited_cancellations": [
            {
                "application": row.number,
                "agency": row.agency,
                "document": row.document,
                "items": sorted(items),
                "parent": _find_case_number(conn, row.case_id),
            }
            for row, items in list_cancelled_above(conn, case.id)
        ],
    }


def _find_case_number(conn: Connection, case_id: int) -> str | None:
    parent = cases.find_by_id(conn, case_id)
    return None if parent is None else str(parent.number)


def _list_inherited(
    conn: Connection, case: CaseRow, releases_from_parent: Sequence[ReleaseFromParentRow]
) -> list[dict[str, Any]]:
    """Return the decisions on applications of other cases that count for a child, each with its parent."""
    if not releases_from_parent:
        return []
    parents = {row.item: row.parent for row in releases_from_parent}
    outside_decisions = [
        outside for outside in list_outside_decisions(conn, case.id) if outside.request.startswith("parent:")
    ]
    outside_requests = list_outside_requests(outside_decisions)
    return [
        {
            "item": outside.decision.item,
            "law": outside.decision.law,
            "decision": outside.decision.decision.value,
            "number": outside.decision.number,
            "agency": outside_requests[outside.request].organisation,
            "document": outside_requests[outside.request].document,
            "parent": parents[outside.decision.item],
        }
        for outside in sorted(outside_decisions, key=lambda outside: outside.subject[1:])
    ]


def _compute_remaining_quantities(
    releases: Sequence[ReleaseToChildRow], units: UnitTable
) -> dict[tuple[int, str], dict[str, Any]]:
    """Return the quantity of each item and measure that was not released, in the unit of the whole."""
    released_quantities: dict[tuple[int, str], Fraction] = {}
    remaining = {}
    for release_row in releases:
        item_measure = (release_row.item, release_row.measure)
        if release_row.returned_at is None:
            released_quantity = Fraction(Decimal(release_row.quantity))
            is_same_unit = release_row.unit == release_row.whole_unit
            converted_quantity = (
                released_quantity
                if is_same_unit
                else units.convert_quantity(released_quantity, release_row.unit, release_row.whole_unit)
            )
            released_quantities[item_measure] = released_quantities.get(item_measure, Fraction(0)) + (
                converted_quantity or 0
            )
        rest_quantity = format_decimal(
            Fraction(Decimal(release_row.whole)) - released_quantities.get(item_measure, Fraction(0))
        )
        remaining[item_measure] = {
            "item": release_row.item,
            "measure": release_row.measure,
            "quantity": rest_quantity,
            "unit": release_row.whole_unit,
        }
    return remaining


def describe_requirements(
    conn: Connection, requirement_rows: Sequence[RequirementRow], units: UnitTable
) -> list[dict[str, Any]]:
    """Return requirements with the quantities that are granted, used, and left in each granted unit.

    `left` names one unit of each dimension: a quantity left in kilograms is left in tonnes as well.
    """
    balances = load_requirement_balances(conn, requirement_rows, units)
    return [
        _describe_requirement(row, balance, units)
        for row, balance in zip(requirement_rows, balances, strict=True)
    ]


def _describe_requirement(
    requirement_row: RequirementRow, balance: RequirementBalance, units: UnitTable
) -> dict[str, Any]:
    """Return a certificate as plain values, with the granted, used and remaining quantities of `balance`."""
    granted_quantities: dict[str, Decimal] = {}
    for grant in balance.granted:
        granted_quantities[grant.unit] = granted_quantities.get(grant.unit, Decimal(0)) + grant.quantity
    return {
        "id": requirement_row.id,
        "number": requirement_row.number,
        "agency": requirement_row.agency,
        "source": "decision" if requirement_row.registered_at is None else "registered",
        "holder": requirement_row.holder,
        "granted": _describe_amounts(granted_quantities),
        "used": _describe_amounts(balance.used),
        "left": _describe_amounts_left(balance, granted_quantities, units),
        "valid_until": requirement_row.valid_until,
        "laws": requirement_row.laws or [],
        "revoked": balance.revoked,
        "suspended": balance.suspended,
        "reopened": balance.reopened,
        "added_at": requirement_row.added_at,
    }


def _describe_amounts(amounts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    return [{"quantity": f"{quantity:f}", "unit": unit} for unit, quantity in amounts.items()]


def _describe_amounts_left(
    balance: RequirementBalance, granted_units: Iterable[str], units: UnitTable
) -> list[dict[str, str]]:
    """Return the remaining quantities, one for each dimension, in the first of its `granted_units`."""
    amounts_left: dict[str, dict[str, str]] = {}
    for unit in granted_units:
        unit_row = units.get(unit)
        amount = compute_remaining_quantity(balance.granted, balance.used, unit, units)
        if amount is not None:
            quantity = {"quantity": format_left_quantity(amount), "unit": unit}
            amounts_left.setdefault(unit if unit_row is None else unit_row.dimension, quantity)
    return list(amounts_left.values())


def describe_requirement_uses(conn: Connection, requirement_id: int) -> list[dict[str, Any]]:
    """Return the last 50 uses of a requirement (row id), the newest first."""
    return [
        {
            "case": row.case_number,
            "item": row.item,
            "quantity": row.quantity,
            "unit": row.unit,
            "pointer": row.pointer,
            "used_at": row.used_at,
            "returned_at": row.returned_at,
            "return_reason": row.return_reason,
        }
        for row in requirement_quantities.list_uses(conn, requirement_id)
    ]


def describe_requirement_results(conn: Connection, requirement_id: int) -> list[dict[str, Any]]:
    """Return the agency's results for a requirement (row id) without an application, as received.

    Of the results about one item and law only one counts: its `current` is True.
    """
    results = load_requirement_results(conn, [requirement_id])
    current_results = select_current_results(results)
    return [
        {
            "notice": decision_result.notice_number,
            "issued_at": decision_result.issued_at,
            "item": decision_result.decision.item,
            "law": decision_result.decision.law,
            "decision": decision_result.decision.decision.value,
            "date": decision_result.decision.date,
            "quantity": None
            if decision_result.decision.quantity is None
            else f"{decision_result.decision.quantity:f}",
            "unit": decision_result.decision.unit,
            "conditions": list(decision_result.decision.conditions),
            "current": decision_result in current_results,
        }
        for decision_result in results
    ]


def describe_case_results(conn: Connection, case: CaseRow) -> list[dict[str, Any]]:
    """Return the decisions of results without an application on the items of a case.

    `quantity` is the amount that is written off for the case, as the Result and the messages to customs state
    it; None where nothing is written off, or where it is written off for the parent of a child declaration.
    """
    outside_decisions = list_outside_decisions(conn, case.id)
    current_decisions = select_current_decisions(
        outside_decision
        for outside_decision in outside_decisions
        if outside_decision.request.startswith("requirement:")
    )
    if not current_decisions:
        return []
    outside_requests = list_outside_requests(current_decisions)
    numbers = {
        (
            outside_decision.request,
            outside_decision.decision.item,
            outside_decision.decision.law,
        ): outside_decision.decision.number
        for outside_decision in current_decisions
    }
    units = load_unit_table(open_active_mappings(conn, case.opened_at))
    return [
        {
            "item": outside_decision.decision.item,
            "law": outside_decision.decision.law,
            "decision": outside_decision.decision.decision.value,
            "agency": outside_requests[outside_decision.request].organisation,
            # The Result has no number for an approval without a quantity written off; this report has it.
            "number": numbers[
                outside_decision.request, outside_decision.decision.item, outside_decision.decision.law
            ],
            "quantity": None
            if outside_decision.decision.quantity is None
            else f"{outside_decision.decision.quantity:f}",
            "unit": outside_decision.decision.unit,
            "conditions": list(outside_decision.decision.conditions),
            "notice": outside_decision.notice_number,
            "issued_at": outside_decision.issued_at,
        }
        for outside_decision in list_reported_decisions(current_decisions, units)
    ]


_FEE_COLUMNS = (
    *("id", "number", "application", "case_number", "agency", "kind", "gate", "state", "amount", "currency"),
    *("due_on", "payment_notice", "refundable", "levied_at", "ordered_at", "paid_at", "told_at", "address"),
)
_MOVEMENT_COLUMNS = (
    *("kind", "reference", "state", "amount", "currency", "reason", "at", "moved_at", "payment"),
    "provider_reference",
)


def describe_fees(conn: Connection, fee_rows: Sequence[FeeOfCaseRow]) -> list[dict[str, Any]]:
    """Return fees as plain values, each with the time (`due_at`) and the state (`deadline`) of its deadline.

    Both are None for a fee that has no deadline or an unknown one.
    """
    last_deadlines = find_fee_deadlines(conn, fee_rows)
    return [
        {name: getattr(row, name) for name in _FEE_COLUMNS}
        | _describe_deadline(last_deadlines.get(row.number))
        for row in fee_rows
    ]


def find_fee_deadlines(conn: Connection, fee_rows: Sequence[FeeRow]) -> dict[str, DeadlineRow]:
    """Return the last deadline of each fee that has one, by the number of the fee."""
    if not fee_rows:
        return {}
    fee_deadlines = deadlines.list_of_fees(conn, {row.case_id for row in fee_rows})
    fee_numbers = {(row.request_id, row.number): row.number for row in fee_rows}
    numbered_deadlines = (
        (fee_numbers.get((deadline.request_id, deadline.cause)), deadline) for deadline in fee_deadlines
    )
    return {number: deadline for number, deadline in numbered_deadlines if number is not None}


def _describe_deadline(deadline_row: DeadlineRow | None) -> dict[str, Any]:
    return {
        "due_at": None if deadline_row is None else deadline_row.due_at,
        "deadline": None if deadline_row is None else deadline_row.state,
    }


def describe_movements(conn: Connection, fee_id: int) -> list[dict[str, Any]]:
    """Return the payments and refunds of a fee (row id), oldest first."""
    return [
        {name: getattr(row, name) for name in _MOVEMENT_COLUMNS} for row in fees.list_movements(conn, fee_id)
    ]


def describe_case_fees(conn: Connection, case_id: int) -> list[dict[str, Any]]:
    """Return the fees of a case (row id) with the payments and refunds of each, oldest first."""
    return [
        fee | {"movements": describe_movements(conn, fee["id"])}
        for fee in describe_fees(conn, fee_searches.list_by_case(conn, case_id))
    ]


def list_recorded_movements(
    conn: Connection, first_day: date, last_day: date, zone: tzinfo
) -> tuple[FeeMovement, ...]:
    """Return the payments and refunds at the provider from the first day to the last one, both in a zone."""
    since, until = begin_day(first_day, zone), end_day(last_day, zone)
    return tuple(_make_movement(row, zone) for row in fees.list_movements_between(conn, since, until))


def _make_movement(movement_row: MovementOfFeeRow, zone: tzinfo) -> FeeMovement:
    """Return a stored payment or refund with its day in `zone`; it has a reason only if it does not count."""
    assert movement_row.moved_at is not None, "a movement in a period has a time"
    return FeeMovement(
        movement_row.kind,
        movement_row.provider_reference or movement_row.reference,
        movement_row.fee_number,
        read_movement_money(movement_row),
        find_day(movement_row.moved_at, zone),
        reason=movement_row.reason if movement_row.state == "NOT_COUNTED" else "",
    )
