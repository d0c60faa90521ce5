"""Certificates of the requirement ledger and their uses, for an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    RequirementBalance,
    compute_left_quantity,
    format_left_quantity,
    select_current_decisions,
    select_current_results,
)
from gateway.harmonize import UnitTable, load_unit_table
from gateway.hub import (
    list_outside_decisions,
    list_outside_requests,
    list_told_decisions,
    load_requirement_balances,
    load_requirement_results,
    open_active_mappings,
)
from gateway.store import requirement_quantities

__all__ = [
    "describe_case_results",
    "describe_requirement_results",
    "describe_requirement_uses",
    "describe_requirements",
]


def describe_requirements(
    conn: Connection, rows: Sequence[Row[Any]], units: UnitTable
) -> list[dict[str, Any]]:
    """Return requirements with what was granted, what is used, and what is left in each granted unit.

    `left` names one unit of each dimension: what is left in kilograms is left in tonnes as well.
    """
    balances = load_requirement_balances(conn, rows, units)
    return [_describe_one(row, one, units) for row, one in zip(rows, balances, strict=True)]


def _describe_one(row: Row[Any], balance: RequirementBalance, units: UnitTable) -> dict[str, Any]:
    granted: dict[str, Decimal] = {}
    for one in balance.granted:
        granted[one.unit] = granted.get(one.unit, Decimal(0)) + one.quantity
    return {
        "id": row.id,
        "number": row.number,
        "agency": row.agency,
        "source": "decision" if row.registered_at is None else "registered",
        "holder": row.holder,
        "granted": _write_amounts(granted),
        "used": _write_amounts(balance.used),
        "left": _write_left(balance, granted, units),
        "valid_until": row.valid_until,
        "laws": row.laws or [],
        "revoked": balance.revoked,
        "suspended": balance.suspended,
        "reopened": balance.reopened,
        "added_at": row.added_at,
    }


def _write_amounts(amounts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    return [{"quantity": f"{quantity:f}", "unit": unit} for unit, quantity in amounts.items()]


def _write_left(
    balance: RequirementBalance, granted: Iterable[str], units: UnitTable
) -> list[dict[str, str]]:
    left: dict[str, dict[str, str]] = {}
    for unit in granted:
        known = units.get(unit)
        amount = compute_left_quantity(balance.granted, balance.used, unit, units)
        if amount is not None:
            told = {"quantity": format_left_quantity(amount), "unit": unit}
            left.setdefault(unit if known is None else known.dimension, told)
    return list(left.values())


def describe_requirement_uses(conn: Connection, requirement: int) -> list[dict[str, Any]]:
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
        for row in requirement_quantities.list_uses(conn, requirement)
    ]


def describe_requirement_results(conn: Connection, requirement: int) -> list[dict[str, Any]]:
    """Return what the agency said of a requirement (row id) without an application, as received.

    Of the rows about one item and law the one that is `current` counts.
    """
    said = load_requirement_results(conn, [requirement])
    current = select_current_results(said)
    return [
        {
            "notice": one.notice_number,
            "issued_at": one.issued_at,
            "item": one.decision.item,
            "law": one.decision.law,
            "decision": one.decision.decision.value,
            "date": one.decision.date,
            "quantity": None if one.decision.quantity is None else f"{one.decision.quantity:f}",
            "unit": one.decision.unit,
            "conditions": list(one.decision.conditions),
            "current": one in current,
        }
        for one in said
    ]


def describe_case_results(conn: Connection, case: Row[Any]) -> list[dict[str, Any]]:
    """Return what results without an application decide for the items of a case.

    `quantity` is what stands written off for the case, as the Result and customs are told; None where
    nothing is, or where it is written off for the parent of a child declaration.
    """
    outside = list_outside_decisions(conn, case.id)
    said = select_current_decisions(one for one in outside if one.request.startswith("requirement:"))
    if not said:
        return []
    named = list_outside_requests(said)
    numbers = {(one.request, one.decision.item, one.decision.law): one.decision.number for one in said}
    units = load_unit_table(open_active_mappings(conn, case.opened_at))
    return [
        {
            "item": one.decision.item,
            "law": one.decision.law,
            "decision": one.decision.decision.value,
            "agency": named[one.request].organisation,
            # An approval for which nothing is written off is told without number; here it is named.
            "number": numbers[one.request, one.decision.item, one.decision.law],
            "quantity": None if one.decision.quantity is None else f"{one.decision.quantity:f}",
            "unit": one.decision.unit,
            "conditions": list(one.decision.conditions),
            "notice": one.notice_number,
            "issued_at": one.issued_at,
        }
        for one in list_told_decisions(said, units)
    ]
