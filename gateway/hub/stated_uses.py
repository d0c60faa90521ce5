"""Judges what child declarations state of certificates that are written off for their parent.

A child may name such a certificate with a quantity, and so may a child of the child. Nothing is used by
that: it is a part of what is written off above. All children of one parent state at most as much together.
What a child does not state itself, its own children may. The functions run when the requirements of the
claim are locked, so that of two children at the same instant the second sees what the first states.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    ClaimedRequirements,
    GrantedQuantity,
    JudgedChildClaim,
    ReleaseClaim,
    RequirementBalance,
    RequirementUse,
    add_used_quantity,
    judge_child_claim,
)
from gateway.harmonize import UnitTable
from gateway.hub.completion import list_counting_uses
from gateway.store import (
    NewRequirementUse,
    item_releases,
    requirement_quantities,
    requirement_results,
)

__all__ = ["judge_awaited_use", "judge_stated_uses", "list_lost_uses", "store_stated_uses"]


def judge_stated_uses(
    conn: Connection,
    parent: int,
    taken: ReleaseClaim,
    claim: ClaimedRequirements,
    units: UnitTable,
    child: int | None = None,
) -> JudgedChildClaim:
    """Judge what a child declaration names of certificates beside what is written off above it.

    `child` is its case (row id), where it has taken items of the parent before: it is judged anew. What a
    case above it waits for it waits for, too, also where the ledger has enough for the child alone.
    """
    waiting = tuple(use for use in claim.uses if _is_awaited_first(conn, parent, use))
    rest = replace(claim, uses=tuple(use for use in claim.uses if use not in waiting))
    if not rest.uses:
        return JudgedChildClaim(rest, waiting=waiting)
    numbers = {use.number for use in rest.uses}
    items = {one.number for one in taken.items}
    there = [row for row in _list_above(conn, parent, items) if row.number in numbers]
    gone = _list_stated(conn, parent, {(row.item, row.requirement_id) for row in there}, child)
    judged = judge_child_claim(rest, _make_balances(there, gone), taken.parent, units)
    return replace(judged, waiting=waiting)


def judge_awaited_use(
    conn: Connection, case_id: int, claim: ClaimedRequirements, units: UnitTable
) -> JudgedChildClaim | None:
    """Judge the use of a number that a child declaration waited for, beside what is written off above it.

    None where a case above it waits for the number of this item, too: that one has it first. What the
    child may use itself, as every declaration, is `own`.
    """
    (use,) = claim.uses
    for taken in _list_taken(conn, case_id, use.item):
        parent = int(taken.parent_id)
        if _is_awaited_first(conn, parent, use):
            return None
        there = [row for row in _list_above(conn, parent, {use.item}) if row.number == use.number]
        if there:
            # What it has stated itself by another line counts, and what its children state is a part of it.
            gone = _list_stated(conn, parent, {(row.item, row.requirement_id) for row in there}, None)
            return judge_child_claim(claim, _make_balances(there, gone), taken.parent, units)
    return JudgedChildClaim(claim)


def list_lost_uses(conn: Connection, case_id: int) -> list[Row[Any]]:
    """Return what a child states of numbers that a case above it waits for again: it has nothing of them."""
    lost = []
    for row in requirement_quantities.list_stated_uses(conn, [case_id]):
        use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit, row.pointer, row.agency)
        if any(_is_awaited_first(conn, one.parent_id, use) for one in _list_taken(conn, case_id, row.item)):
            lost.append(row)
    return lost


def _is_awaited_first(conn: Connection, case_id: int, use: RequirementUse) -> bool:
    """Return whether a case waits for the number of an item, and has nothing under it; or one above it.

    The number of an agency that the lines name is another one than that of another agency.
    """
    mine = (*list_counting_uses(conn, case_id), *requirement_quantities.list_stated_uses(conn, [case_id]))
    if any(_is_same_number(use, row) for row in mine):
        return False
    waiting = requirement_results.list_awaited_uses(conn, case_id)
    if any(_is_same_number(use, row) for row in waiting):
        return True
    return any(_is_awaited_first(conn, row.parent_id, use) for row in _list_taken(conn, case_id, use.item))


def _is_same_number(use: RequirementUse, row: Row[Any]) -> bool:
    """Return whether a stored line is of the same item and number, and of no other agency."""
    return (row.item, row.number) == (use.item, use.number) and (
        not use.agency or row.agency in (None, "", use.agency)
    )


def _list_taken(conn: Connection, case_id: int, item: int) -> list[Row[Any]]:
    """Return what a case has taken of an item, with its parent; one row at most."""
    return [row for row in item_releases.list_releases_into(conn, case_id) if row.item == item]


def store_stated_uses(
    conn: Connection, child: int, stated: Iterable[tuple[RequirementUse, RequirementBalance]], at: datetime
) -> None:
    """Store what an admitted child states of what is written off above it."""
    new = [
        NewRequirementUse(balance.key, child, use.item, use.pointer, f"{use.quantity:f}", use.unit)
        for use, balance in stated
    ]
    requirement_quantities.insert_stated_uses(conn, new, at)


def _list_above(conn: Connection, case_id: int, items: Collection[int]) -> list[Row[Any]]:
    """Return what is written off for these items of a case, or what it states of the cases above it.

    What it does not state of them is theirs.
    """
    mine = [row for row in list_counting_uses(conn, case_id) if row.item in items]
    stated = [row for row in requirement_quantities.list_stated_uses(conn, [case_id]) if row.item in items]
    named = {(row.item, row.requirement_id) for row in stated}
    taken: dict[int, set[int]] = defaultdict(set)
    for row in item_releases.list_releases_into(conn, case_id):
        if row.item in items:
            taken[row.parent_id].add(row.item)
    above = [row for parent, these in taken.items() for row in _list_above(conn, parent, these)]
    return [*mine, *stated, *(row for row in above if (row.item, row.requirement_id) not in named)]


def _list_stated(
    conn: Connection, case_id: int, wanted: set[tuple[int, int]], without: int | None
) -> list[Row[Any]]:
    """Return what the children of a case state of what is written off for it, or above it.

    `wanted` are items, each with its requirement (row id). Where a case states nothing itself, its own
    children do, and so do the other children of its parent.
    """
    if not wanted:
        return []
    found = _list_below(conn, case_id, wanted, without)
    own = {(row.item, row.requirement_id) for row in list_counting_uses(conn, case_id)}
    own |= {
        (row.item, row.requirement_id) for row in requirement_quantities.list_stated_uses(conn, [case_id])
    }
    for parent in sorted({row.parent_id for row in item_releases.list_releases_into(conn, case_id)}):
        found += _list_stated(conn, parent, wanted - own, case_id)
    return found


def _list_below(
    conn: Connection, case_id: int, wanted: set[tuple[int, int]], without: int | None
) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    open_at: dict[int, set[tuple[int, int]]] = {case_id: wanted}
    while open_at:
        pairs = [row for row in item_releases.list_children_of(conn, open_at) if row.child_id != without]
        told = requirement_quantities.list_stated_uses(conn, [row.child_id for row in pairs])
        below: dict[int, set[tuple[int, int]]] = {}
        for row in pairs:
            below[row.child_id] = below.get(row.child_id, set()) | open_at[row.parent_id]
        stated = [row for row in told if (row.item, row.requirement_id) in below[row.case_id]]
        found += stated
        for row in stated:
            below[row.case_id] = below[row.case_id] - {(row.item, row.requirement_id)}
        open_at = {child: rest for child, rest in below.items() if rest}
    return found


def _make_balances(
    there: Sequence[Row[Any]], gone: Sequence[Row[Any]]
) -> list[tuple[int, RequirementBalance]]:
    granted: dict[tuple[int, int, str, str], list[GrantedQuantity]] = defaultdict(list)
    for row in there:
        amount = GrantedQuantity(Decimal(row.quantity), row.unit)
        granted[row.item, row.requirement_id, row.agency, row.number].append(amount)
    used: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for row in gone:
        place = row.item, row.requirement_id
        used[place] = add_used_quantity(used[place], row.unit, Decimal(row.quantity))
    return [
        (item, RequirementBalance(
            agency,
            number,
            tuple(amounts),
            {unit: Decimal(sum_) for unit, sum_ in used[item, key].items()},
            key=key,
        ))
        for (item, key, agency, number), amounts in granted.items()
    ]  # fmt: skip
