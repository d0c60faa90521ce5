"""What has left a decided case in child declarations, and what stays, for an operator."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row

from gateway.harmonize import UnitTable, format_decimal, load_unit_table
from gateway.hub import (
    list_cancelled_above,
    list_outside_decisions,
    list_outside_requests,
    open_active_mappings,
)
from gateway.store import cases, item_releases

__all__ = ["describe_releases"]


def describe_releases(conn: Connection, case: Row[Any]) -> dict[str, Any]:
    """Return `released` (what children have taken, given back too), `stays`, `taken`, and more.

    `stays` has each measure of an item of which something has left. `taken` is what a child has of its
    parent, `inherited` the decisions of the parent that count for it, `inherited_cancellations` the cancelled
    applications of the parent, or of one above it (`parent`), with the items that nobody approves any more,
    `removed` the items that amendments took out of the declaration, each with the reason.
    """
    released = item_releases.list_releases_from(conn, case.id)
    taken = item_releases.list_releases_into(conn, case.id)
    units = load_unit_table(open_active_mappings(conn, case.opened_at)) if released else UnitTable()
    return {
        "released": [dict(row._mapping) for row in released],
        "stays": list(_compute_rest(released, units).values()),
        "removed": list((case.detail or {}).get("removed_items", ())),
        "taken": [dict(row._mapping) for row in taken],
        "inherited": _list_inherited(conn, case, taken),
        "inherited_cancellations": [
            {
                "application": row.number,
                "agency": row.agency,
                "document": row.document,
                "items": sorted(items),
                "parent": _find_number(conn, row.case_id),
            }
            for row, items in list_cancelled_above(conn, case.id)
        ],
    }


def _find_number(conn: Connection, case: int) -> str | None:
    found = cases.find_by_id(conn, case)
    return None if found is None else str(found.number)


def _list_inherited(conn: Connection, case: Row[Any], taken: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return the decisions on applications of other cases that count for a child, each with its parent."""
    if not taken:
        return []
    parents = {row.item: row.parent for row in taken}
    said = [one for one in list_outside_decisions(conn, case.id) if one.request.startswith("parent:")]
    named = list_outside_requests(said)
    return [
        {
            "item": one.decision.item,
            "law": one.decision.law,
            "decision": one.decision.decision.value,
            "number": one.decision.number,
            "agency": named[one.request].organisation,
            "document": named[one.request].document,
            "parent": parents[one.decision.item],
        }
        for one in sorted(said, key=lambda one: one.subject[1:])
    ]


def _compute_rest(released: Sequence[Row[Any]], units: UnitTable) -> dict[tuple[int, str], dict[str, Any]]:
    gone: dict[tuple[int, str], Fraction] = {}
    rest = {}
    for row in released:
        key = (row.item, row.measure)
        if row.returned_at is None:
            amount = Fraction(Decimal(row.quantity))
            same = row.unit == row.whole_unit
            told = amount if same else units.convert_quantity(amount, row.unit, row.whole_unit)
            gone[key] = gone.get(key, Fraction(0)) + (told or 0)
        left = format_decimal(Fraction(Decimal(row.whole)) - gone.get(key, Fraction(0)))
        rest[key] = {"item": row.item, "measure": row.measure, "quantity": left, "unit": row.whole_unit}
    return rest
