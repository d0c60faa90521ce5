"""Judges the uses that child declarations state of certificates written off for their parent.

A child may name such a certificate with a quantity, and so may a child of the child. This uses nothing: the
quantity is a part of the one written off for the parent. All children of one parent together state at most
this quantity. A part that a child does not state itself may be stated by its own children. The functions run
when the requirements of the declared uses are locked, so that of two children at the same instant the second
sees the uses that the first states.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from gateway.cases import (
    DeclaredRelease,
    DeclaredUses,
    GrantedQuantity,
    RequirementBalance,
    RequirementUse,
    ValidatedChildUses,
    add_used_quantity,
    validate_child_uses,
)
from gateway.harmonize import UnitTable
from gateway.hub.completion.outside_decisions import list_counting_uses
from gateway.store import (
    AwaitedUseRow,
    NewRequirementUse,
    ReleaseFromParentRow,
    UseOfRequirementRow,
    item_releases,
    requirement_quantities,
    requirement_results,
)


def validate_stated_uses(
    conn: Connection,
    parent_id: int,
    release: DeclaredRelease,
    declared_uses: DeclaredUses,
    units: UnitTable,
    child_id: int | None = None,
) -> ValidatedChildUses:
    """Judge the uses of certificates in a child declaration by the quantities written off above it.

    `child_id` is its case (row id) if it has taken items of the parent before: then it is judged anew. A
    number that a case above it waits for is awaited by the child, too, even if the ledger has enough for the
    child alone.
    """
    waiting = tuple(use for use in declared_uses.uses if _is_awaited_by_case_or_above(conn, parent_id, use))
    judged_uses = replace(declared_uses, uses=tuple(use for use in declared_uses.uses if use not in waiting))
    if not judged_uses.uses:
        return ValidatedChildUses(judged_uses, waiting_uses=waiting)
    numbers = {use.number for use in judged_uses.uses}
    items = {item.number for item in release.items}
    written_off = [row for row in _list_uses_above(conn, parent_id, items) if row.number in numbers]
    stated_below = _list_uses_stated_below(
        conn, parent_id, {(row.item, row.requirement_id) for row in written_off}, child_id
    )
    judged = validate_child_uses(
        judged_uses, _make_balances(written_off, stated_below), release.parent, units
    )
    return replace(judged, waiting_uses=waiting)


def validate_awaited_use(
    conn: Connection, case_id: int, declared_uses: DeclaredUses, units: UnitTable
) -> ValidatedChildUses | None:
    """Judge the use of a number that a child declaration waited for, by the quantities written off above it.

    Returns None if a case above it waits for the number for this item, too: that case takes it first. In the
    result, `own_uses` has the use if it is to be judged by the ledger, as for every declaration.
    """
    (use,) = declared_uses.uses
    for release in _list_releases_of_item(conn, case_id, use.item):
        parent = int(release.parent_id)
        if _is_awaited_by_case_or_above(conn, parent, use):
            return None
        written_off = [row for row in _list_uses_above(conn, parent, {use.item}) if row.number == use.number]
        if written_off:
            # The uses that the case states by other lines count; the uses of its children are a part of them.
            stated_below = _list_uses_stated_below(
                conn, parent, {(row.item, row.requirement_id) for row in written_off}, None
            )
            return validate_child_uses(
                declared_uses, _make_balances(written_off, stated_below), release.parent, units
            )
    return ValidatedChildUses(declared_uses)


def list_lost_uses(conn: Connection, case_id: int) -> list[UseOfRequirementRow]:
    """Return the uses that a child states of numbers that a case above it waits for again."""
    lost = []
    for row in requirement_quantities.list_stated_uses(conn, [case_id]):
        use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit, row.pointer, row.agency)
        if any(
            _is_awaited_by_case_or_above(conn, release.parent_id, use)
            for release in _list_releases_of_item(conn, case_id, row.item)
        ):
            lost.append(row)
    return lost


def _is_awaited_by_case_or_above(conn: Connection, case_id: int, use: RequirementUse) -> bool:
    """Return whether a case, or a case above it, waits for the number of a use and has no use under it.

    Equal numbers of different agencies are different numbers.
    """
    own_uses = (*list_counting_uses(conn, case_id), *requirement_quantities.list_stated_uses(conn, [case_id]))
    if any(_is_same_number(use, row) for row in own_uses):
        return False
    waiting = requirement_results.list_awaited_uses(conn, case_id)
    if any(_is_same_number(use, row) for row in waiting):
        return True
    return any(
        _is_awaited_by_case_or_above(conn, row.parent_id, use)
        for row in _list_releases_of_item(conn, case_id, use.item)
    )


def _is_same_number(use: RequirementUse, row: AwaitedUseRow | UseOfRequirementRow) -> bool:
    """Return whether a stored line is of the same item and number, and of no other agency."""
    return (row.item, row.number) == (use.item, use.number) and (
        not use.agency or row.agency in (None, "", use.agency)
    )


def _list_releases_of_item(conn: Connection, case_id: int, item: int) -> list[ReleaseFromParentRow]:
    """Return the releases by which a case has taken an item of its parent: one row for each measure."""
    return [row for row in item_releases.list_releases_into(conn, case_id) if row.item == item]


def store_stated_uses(
    conn: Connection,
    child: int,
    stated_uses: Iterable[tuple[RequirementUse, RequirementBalance]],
    at: datetime,
) -> None:
    """Store the uses that an admitted child states of quantities written off above it."""
    new = [
        NewRequirementUse(balance.requirement_id, child, use.item, use.pointer, f"{use.quantity:f}", use.unit)
        for use, balance in stated_uses
    ]
    requirement_quantities.insert_stated_uses(conn, new, at)


def _list_uses_above(conn: Connection, case_id: int, items: Collection[int]) -> list[UseOfRequirementRow]:
    """Return the uses written off for these items of a case, and those it states of the cases above it.

    If a case does not state a use of the case above it, the use of the case above is returned.
    """
    own_uses = [row for row in list_counting_uses(conn, case_id) if row.item in items]
    stated_uses = [
        row for row in requirement_quantities.list_stated_uses(conn, [case_id]) if row.item in items
    ]
    stated_keys = {(row.item, row.requirement_id) for row in stated_uses}
    items_by_parent: dict[int, set[int]] = defaultdict(set)
    for row in item_releases.list_releases_into(conn, case_id):
        if row.item in items:
            items_by_parent[row.parent_id].add(row.item)
    inherited = [
        row
        for parent, released_items in items_by_parent.items()
        for row in _list_uses_above(conn, parent, released_items)
    ]
    return [
        *own_uses,
        *stated_uses,
        *(row for row in inherited if (row.item, row.requirement_id) not in stated_keys),
    ]


def _list_uses_stated_below(
    conn: Connection, case_id: int, use_keys: set[tuple[int, int]], excluded_child_id: int | None
) -> list[UseOfRequirementRow]:
    """Return the uses that the children of a case state of the quantities written off for it or above it.

    `use_keys` are items, each with its requirement (row id). Where a case states nothing itself, the uses
    that its own children state count, and those of the other children of its parent. `excluded_child_id` is a
    child (row id) that is left out, or None.
    """
    if not use_keys:
        return []
    stated_rows = _list_uses_of_children(conn, case_id, use_keys, excluded_child_id)
    own_keys = {(row.item, row.requirement_id) for row in list_counting_uses(conn, case_id)}
    own_keys |= {
        (row.item, row.requirement_id) for row in requirement_quantities.list_stated_uses(conn, [case_id])
    }
    for parent in sorted({row.parent_id for row in item_releases.list_releases_into(conn, case_id)}):
        stated_rows += _list_uses_stated_below(conn, parent, use_keys - own_keys, case_id)
    return stated_rows


def _list_uses_of_children(
    conn: Connection, case_id: int, use_keys: set[tuple[int, int]], excluded_child_id: int | None
) -> list[UseOfRequirementRow]:
    """Return the uses that the children of a case state; where a child states none, those of its children.

    `use_keys` are items, each with its requirement (row id); `excluded_child_id` is a child that is left out.
    """
    stated_rows: list[UseOfRequirementRow] = []
    open_keys_by_case: dict[int, set[tuple[int, int]]] = {case_id: use_keys}
    while open_keys_by_case:
        pairs = [
            row
            for row in item_releases.list_children_of(conn, open_keys_by_case)
            if row.child_id != excluded_child_id
        ]
        children_uses = requirement_quantities.list_stated_uses(conn, [row.child_id for row in pairs])
        below: dict[int, set[tuple[int, int]]] = {}
        for pair in pairs:
            below[pair.child_id] = below.get(pair.child_id, set()) | open_keys_by_case[pair.parent_id]
        newly_stated = [row for row in children_uses if (row.item, row.requirement_id) in below[row.case_id]]
        stated_rows += newly_stated
        for row in newly_stated:
            below[row.case_id] = below[row.case_id] - {(row.item, row.requirement_id)}
        open_keys_by_case = {child: rest for child, rest in below.items() if rest}
    return stated_rows


def _make_balances(
    written_off: Sequence[UseOfRequirementRow], stated_below: Sequence[UseOfRequirementRow]
) -> list[tuple[int, RequirementBalance]]:
    """Return, for each item and requirement, the balance of quantities written off above a child.

    Granted is what the cases above have written off, used is what their children state of it.
    """
    granted: dict[tuple[int, int, str, str], list[GrantedQuantity]] = defaultdict(list)
    for row in written_off:
        amount = GrantedQuantity(Decimal(row.quantity), row.unit)
        granted[row.item, row.requirement_id, row.agency, row.number].append(amount)
    used: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for row in stated_below:
        item_key = row.item, row.requirement_id
        used[item_key] = add_used_quantity(used[item_key], row.unit, Decimal(row.quantity))
    return [
        (item, RequirementBalance(
            agency,
            number,
            tuple(amounts),
            {unit: Decimal(sum_) for unit, sum_ in used[item, key].items()},
            requirement_id=key,
        ))
        for (item, key, agency, number), amounts in granted.items()
    ]  # fmt: skip
