"""Judges the uses of certificates in a declaration by the quantities that are written off for it already.

A quantity that was written off for an item of an amended declaration stays written off: neither the last day
of the certificate nor a later decision of its agency is checked again for it. A larger use, and one of
another certificate or item, is judged like a use in a new declaration. An item that has lost its certificate
does not block an amendment that leaves the item unchanged: an item that its certificate rejects stays
rejected and uses nothing, and one that is approved without its quantity stays approved without it. A use that
a child declaration states of a certificate of its parent is written off for the parent: all children of one
parent together state at most the quantity that is written off for the parent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from gateway.cases.declaration_validation import Finding
from gateway.cases.requirement_balance import (
    DeclaredUses,
    JudgedDeclaredUses,
    RequirementBalance,
    RequirementUse,
    judge_declared_uses,
)
from gateway.harmonize import UnitTable


@dataclass(frozen=True, slots=True)
class FormerUse:
    """The use of a requirement (row `key`) by one line of the declaration before the amendment.

    `stands` is False for a use that was given back because the item was rejected. It is `lost` if the item
    was approved later and the quantity was not available any more. A use that `waits` was never written off,
    or could not be written off again.
    """

    item: int
    key: int
    quantity: Decimal
    unit: str
    stands: bool = True
    lost: bool = False
    waits: bool = False


def free_former_uses(
    balances: Iterable[RequirementBalance], former: Iterable[FormerUse]
) -> tuple[RequirementBalance, ...]:
    """Return requirements with the quantities that a declaration gives back of its former uses."""
    return tuple(
        _add_uses(
            balance, [(use.unit, -use.quantity) for use in former if use.stands and use.key == balance.key]
        )
        for balance in balances
    )


def _add_uses(balance: RequirementBalance, amounts: Iterable[tuple[str, Decimal]]) -> RequirementBalance:
    used = dict(balance.used)
    for unit, quantity in amounts:
        used[unit] = used.get(unit, Decimal(0)) + quantity
    return replace(balance, used=used)


def judge_amended_uses(
    declared_uses: DeclaredUses,
    former: Sequence[FormerUse],
    balances: Sequence[RequirementBalance],
    on: date,
    units: UnitTable,
    rejected: Collection[int] = (),
) -> JudgedDeclaredUses:
    """Judge every use of an amended declaration; `balances` have no use of its former version.

    Items in `rejected` use nothing, nor do items that their certificates still reject. The former uses of an
    item that is no longer rejected are judged again, except for the last day.
    """
    idle = set(rejected) | _list_rejected_again(declared_uses, former, balances, units)
    waiting = _list_unknown(declared_uses, balances, idle)
    counted = replace(declared_uses, uses=tuple(use for use in declared_uses.uses if use.item not in idle))
    judged = _judge_counting_uses(counted, former, balances, on, units)
    still_rejected = tuple(use for use in declared_uses.uses if use.item in idle and use not in waiting)
    return replace(judged, unknown=(*judged.unknown, *waiting), idle=(*still_rejected, *judged.idle))


def _list_rejected_again(
    declared_uses: DeclaredUses,
    former: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> set[int]:
    """Return the items whose certificate still rejects them, and which use no more of it than before."""
    rejected = [use for use in former if not use.stands]
    if not rejected:
        return set()
    lines = list_former_lines(declared_uses, rejected, balances, units)
    return {declared_uses.uses[index].item for index, balance in lines if balance.rejects}


def _list_unknown(
    declared_uses: DeclaredUses, balances: Iterable[RequirementBalance], items: Collection[int]
) -> tuple[RequirementUse, ...]:
    """Return the uses of these items whose certificates the ledger does not know yet."""
    ledger_certificates = {(balance.number, name) for balance in balances for name in ("", balance.agency)}
    return tuple(
        use
        for use in declared_uses.uses
        if use.item in items and (use.number, use.agency) not in ledger_certificates
    )


def _judge_counting_uses(
    declared_uses: DeclaredUses,
    former: Sequence[FormerUse],
    balances: Sequence[RequirementBalance],
    on: date,
    units: UnitTable,
) -> JudgedDeclaredUses:
    if not former:
        return judge_declared_uses(declared_uses, balances, on, units)
    counted = [use for use in former if use.stands]
    unchanged_balances = dict(list_former_lines(declared_uses, counted, balances, units))
    not_waiting = [use for use in former if not use.waits]
    in_time = dict(list_former_lines(declared_uses, not_waiting, balances, units))
    changed_uses = {
        index: replace(use, in_time=index in in_time)
        for index, use in enumerate(declared_uses.uses)
        if index not in unchanged_balances
    }
    unchanged_amounts: dict[int, list[tuple[str, Decimal]]] = defaultdict(list)
    for index, balance in unchanged_balances.items():
        unchanged_amounts[balance.key].append(
            (declared_uses.uses[index].unit, declared_uses.uses[index].quantity)
        )
    remaining = [_add_uses(balance, unchanged_amounts[balance.key]) for balance in balances]
    judged = judge_declared_uses(
        replace(declared_uses, uses=tuple(changed_uses.values())), remaining, on, units
    )
    balances_by_key = {balance.key: balance for balance in balances}
    accepted = [(declared_uses.uses[index], balance) for index, balance in unchanged_balances.items()]
    accepted += [(use, balances_by_key[balance.key]) for use, balance in judged.usable]
    not_restored = {(use.item, use.key) for use in former if use.lost}
    unchanged = {
        declared_uses.uses[index].pointer: declared_uses.uses[index]
        for index, balance in in_time.items()
        if index in changed_uses and (declared_uses.uses[index].item, balance.key) in not_restored
    }
    waiting = _list_waiting(declared_uses, former, balances, units)
    problems = tuple(
        finding for finding in judged.problems if finding.pointer not in unchanged.keys() | waiting.keys()
    )
    idle = tuple(unchanged[finding.pointer] for finding in judged.problems if finding.pointer in unchanged)
    waiting_problems = [
        finding for finding in judged.problems if finding.pointer in waiting.keys() - unchanged.keys()
    ]
    return replace(
        judged,
        usable=tuple(accepted),
        problems=problems,
        warnings=(*judged.warnings, *waiting_problems),
        unknown=(*judged.unknown, *(waiting[finding.pointer] for finding in waiting_problems)),
        idle=idle,
    )


def _list_waiting(
    declared_uses: DeclaredUses,
    former: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> dict[str, RequirementUse]:
    """Return by pointer the uses that waited before and are no larger: they may wait on.

    An item with a part of its quantity written off does not wait: both parts are judged together.
    """
    waits = [use for use in former if use.waits]
    part = {(use.item, use.key) for use in former if not use.waits}
    lines = list_former_lines(declared_uses, waits, balances, units) if waits else []
    return {
        declared_uses.uses[index].pointer: declared_uses.uses[index]
        for index, balance in lines
        if (declared_uses.uses[index].item, balance.key) not in part
    }


@dataclass(frozen=True, slots=True)
class JudgedChildUses:
    """The judged uses of a child: its own, those it states of its parent's certificates, and their problems.

    The numbers of the `waiting` uses are awaited by a case above it, too, which gets them first.
    """

    own_uses: DeclaredUses
    parent_uses: tuple[tuple[RequirementUse, RequirementBalance], ...] = ()
    problems: tuple[Finding, ...] = ()
    waiting: tuple[RequirementUse, ...] = ()


def judge_child_uses(
    declared_uses: DeclaredUses,
    parent_balances: Iterable[tuple[int, RequirementBalance]],
    parent: str,
    units: UnitTable,
) -> JudgedChildUses:
    """Judge the uses of a child declaration by the quantities written off for its parent (a case number).

    `parent_balances` has the certificates that are written off for each item of the parent: `granted` is the
    quantity that is written off, `used` the quantity that other children of the parent state. All lines of an
    item that use one certificate are compared together.
    """
    balances: dict[int, list[RequirementBalance]] = defaultdict(list)
    for item, balance in parent_balances:
        balances[item].append(balance)
    unknown: list[RequirementUse] = []
    accepted: list[tuple[RequirementUse, RequirementBalance]] = []
    problems: list[Finding] = []
    for item in dict.fromkeys(use.item for use in declared_uses.uses):
        item_uses = replace(declared_uses, uses=tuple(use for use in declared_uses.uses if use.item == item))
        judged = judge_declared_uses(item_uses, balances[item], date.min, units)
        unknown += judged.unknown
        accepted += judged.usable
        suffix = f" of what is written off for item {item} of case {parent}"
        problems += (replace(finding, detail=finding.detail + suffix) for finding in judged.problems)
    unknown_uses = tuple(use for use in declared_uses.uses if use in unknown)
    return JudgedChildUses(replace(declared_uses, uses=unknown_uses), tuple(accepted), tuple(problems))


def list_former_lines(
    declared_uses: DeclaredUses,
    former: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> list[tuple[int, RequirementBalance]]:
    """Return the indexes of the declared uses that are no larger than before, each with its requirement.

    All lines of an item that use one requirement are compared together.
    """
    before: dict[tuple[int, int], list[tuple[str, Decimal]]] = defaultdict(list)
    for former_use in former:
        before[former_use.item, former_use.key].append((former_use.unit, former_use.quantity))
    holders = {"", declared_uses.importer, declared_uses.exporter}
    indexes_by_subject: dict[tuple[int, int], list[int]] = defaultdict(list)
    chosen = {balance.key: balance for balance in balances}
    uses = declared_uses.uses
    for position, use in enumerate(uses):
        candidates = [balance for balance in balances if _is_same(use, balance, before, holders)]
        if len(candidates) == 1:
            indexes_by_subject[use.item, candidates[0].key].append(position)
    return sorted(
        (
            (position, chosen[subject[1]])
            for subject, indexes in indexes_by_subject.items()
            if _is_within([(uses[index].unit, uses[index].quantity) for index in indexes],
                          before[subject], units)
            for position in indexes
        ),
        key=lambda line: line[0],
    )  # fmt: skip


def _is_same(
    use: RequirementUse,
    balance: RequirementBalance,
    before: Mapping[tuple[int, int], object],
    holders: Collection[str],
) -> bool:
    return (
        (use.number, use.agency or balance.agency) == (balance.number, balance.agency)
        and (use.item, balance.key) in before
        and balance.holder in holders
    )


def _is_within(
    declared_amounts: Iterable[tuple[str, Decimal]], before: Iterable[tuple[str, Decimal]], units: UnitTable
) -> bool:
    there = _sum_dimensions(before, units)
    return all(
        quantity <= there.get(dimension, Fraction(0))
        for dimension, quantity in _sum_dimensions(declared_amounts, units).items()
    )


def _sum_dimensions(
    amounts: Iterable[tuple[str, Decimal]], units: UnitTable
) -> dict[tuple[str, bool], Fraction]:
    """Return the sum of each dimension; a unit that the table does not have is one of its own."""
    sums: dict[tuple[str, bool], Fraction] = {}
    for code, quantity in amounts:
        unit = units.get(code)
        key, factor = ((code, False), 1) if unit is None else ((unit.dimension, True), unit.factor)
        sums[key] = sums.get(key, Fraction(0)) + Fraction(quantity) * factor
    return sums
