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
    RequirementBalance,
    RequirementUse,
    ValidatedUses,
    validate_declared_uses,
)
from gateway.harmonize import UnitTable


@dataclass(frozen=True, slots=True)
class FormerUse:
    """The use of a requirement (row `requirement_id`) by one line of the declaration before the amendment.

    `is_written_off` is False for a use that was given back because the item was rejected. It is `is_lost` if
    the item was approved later and the quantity was not available any more. A use that `is_waiting` was never
    written off, or could not be written off again.
    """

    item: int
    requirement_id: int
    quantity: Decimal
    unit: str
    is_written_off: bool = True
    is_lost: bool = False
    is_waiting: bool = False


def subtract_former_uses(
    balances: Iterable[RequirementBalance], former_uses: Iterable[FormerUse]
) -> tuple[RequirementBalance, ...]:
    """Return balances whose used quantities do not contain the written-off former uses of a declaration."""
    return tuple(
        _add_uses(
            balance,
            [
                (use.unit, -use.quantity)
                for use in former_uses
                if use.is_written_off and use.requirement_id == balance.requirement_id
            ],
        )
        for balance in balances
    )


def _add_uses(balance: RequirementBalance, amounts: Iterable[tuple[str, Decimal]]) -> RequirementBalance:
    """Return `balance` with these amounts (unit, quantity) added to its used quantities."""
    used_amounts = dict(balance.used)
    for unit, quantity in amounts:
        used_amounts[unit] = used_amounts.get(unit, Decimal(0)) + quantity
    return replace(balance, used=used_amounts)


def validate_amended_uses(
    declared_uses: DeclaredUses,
    former_uses: Sequence[FormerUse],
    balances: Sequence[RequirementBalance],
    day: date,
    units: UnitTable,
    rejected_items: Collection[int] = (),
) -> ValidatedUses:
    """Judge every use of an amended declaration; `balances` have no use of its former version.

    Items in `rejected_items` use nothing, nor do items that their certificates still reject. The former uses
    of an item that is no longer rejected are judged again, except for the last day.
    """
    idle_items = set(rejected_items) | _list_still_rejected_items(declared_uses, former_uses, balances, units)
    unknown_uses = _list_uses_without_certificate(declared_uses, balances, idle_items)
    counted_uses = replace(
        declared_uses, uses=tuple(use for use in declared_uses.uses if use.item not in idle_items)
    )
    validated_uses = _validate_counting_uses(counted_uses, former_uses, balances, day, units)
    rejected_uses = tuple(
        use for use in declared_uses.uses if use.item in idle_items and use not in unknown_uses
    )
    return replace(
        validated_uses,
        unknown_uses=(*validated_uses.unknown_uses, *unknown_uses),
        idle_uses=(*rejected_uses, *validated_uses.idle_uses),
    )


def _list_still_rejected_items(
    declared_uses: DeclaredUses,
    former_uses: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> set[int]:
    """Return the items whose certificate still rejects them, and which use no more of it than before."""
    rejected_uses = [use for use in former_uses if not use.is_written_off]
    if not rejected_uses:
        return set()
    covered_uses = list_covered_uses(declared_uses, rejected_uses, balances, units)
    return {declared_uses.uses[index].item for index, balance in covered_uses if balance.rejects}


def _list_uses_without_certificate(
    declared_uses: DeclaredUses, balances: Iterable[RequirementBalance], items: Collection[int]
) -> tuple[RequirementUse, ...]:
    """Return the uses of these items whose certificates the ledger does not know yet."""
    ledger_certificates = {(balance.number, name) for balance in balances for name in ("", balance.agency)}
    return tuple(
        use
        for use in declared_uses.uses
        if use.item in items and (use.number, use.agency) not in ledger_certificates
    )


def _validate_counting_uses(
    declared_uses: DeclaredUses,
    former_uses: Sequence[FormerUse],
    balances: Sequence[RequirementBalance],
    day: date,
    units: UnitTable,
) -> ValidatedUses:
    """Judge the uses of items that count, by the former uses that were written off.

    Uses that need no more than before are usable as they are; the other ones must fit what remains. One that
    does not is idle if its former use was lost, and only gets a warning if its former use is waiting.
    """
    if not former_uses:
        return validate_declared_uses(declared_uses, balances, day, units)
    written_off_uses = [use for use in former_uses if use.is_written_off]
    unchanged_balances = dict(list_covered_uses(declared_uses, written_off_uses, balances, units))
    started_uses = [use for use in former_uses if not use.is_waiting]
    timely_balances = dict(list_covered_uses(declared_uses, started_uses, balances, units))
    changed_uses = {
        index: replace(use, in_time=index in timely_balances)
        for index, use in enumerate(declared_uses.uses)
        if index not in unchanged_balances
    }
    unchanged_amounts: dict[int, list[tuple[str, Decimal]]] = defaultdict(list)
    for index, balance in unchanged_balances.items():
        unchanged_amounts[balance.requirement_id].append(
            (declared_uses.uses[index].unit, declared_uses.uses[index].quantity)
        )
    remaining_balances = [
        _add_uses(balance, unchanged_amounts[balance.requirement_id]) for balance in balances
    ]
    validated_uses = validate_declared_uses(
        replace(declared_uses, uses=tuple(changed_uses.values())), remaining_balances, day, units
    )
    balances_by_key = {balance.requirement_id: balance for balance in balances}
    usable_uses = [(declared_uses.uses[index], balance) for index, balance in unchanged_balances.items()]
    usable_uses += [
        (use, balances_by_key[balance.requirement_id]) for use, balance in validated_uses.usable_uses
    ]
    lost_subjects = {(use.item, use.requirement_id) for use in former_uses if use.is_lost}
    unchanged_uses = {
        declared_uses.uses[index].pointer: declared_uses.uses[index]
        for index, balance in timely_balances.items()
        if index in changed_uses and (declared_uses.uses[index].item, balance.requirement_id) in lost_subjects
    }
    waiting_uses = _list_waiting_uses(declared_uses, former_uses, balances, units)
    problems = tuple(
        finding
        for finding in validated_uses.problems
        if finding.pointer not in unchanged_uses.keys() | waiting_uses.keys()
    )
    idle_uses = tuple(
        unchanged_uses[finding.pointer]
        for finding in validated_uses.problems
        if finding.pointer in unchanged_uses
    )
    waiting_problems = [
        finding
        for finding in validated_uses.problems
        if finding.pointer in waiting_uses.keys() - unchanged_uses.keys()
    ]
    return replace(
        validated_uses,
        usable_uses=tuple(usable_uses),
        problems=problems,
        warnings=(*validated_uses.warnings, *waiting_problems),
        unknown_uses=(
            *validated_uses.unknown_uses,
            *(waiting_uses[finding.pointer] for finding in waiting_problems),
        ),
        idle_uses=idle_uses,
    )


def _list_waiting_uses(
    declared_uses: DeclaredUses,
    former_uses: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> dict[str, RequirementUse]:
    """Return, by pointer, the uses that waited before and are not larger now: they continue to wait.

    An item with a part of its quantity written off does not wait: both parts are judged together.
    """
    waiting_uses = [use for use in former_uses if use.is_waiting]
    partly_written_off = {(use.item, use.requirement_id) for use in former_uses if not use.is_waiting}
    covered_uses = list_covered_uses(declared_uses, waiting_uses, balances, units) if waiting_uses else []
    return {
        declared_uses.uses[index].pointer: declared_uses.uses[index]
        for index, balance in covered_uses
        if (declared_uses.uses[index].item, balance.requirement_id) not in partly_written_off
    }


@dataclass(frozen=True, slots=True)
class ValidatedChildUses:
    """The judged uses of a child: its own, those it states of its parent's certificates, and their problems.

    The numbers of the `waiting_uses` uses are awaited by a case above it, too, which gets them first.
    """

    own_uses: DeclaredUses
    parent_uses: tuple[tuple[RequirementUse, RequirementBalance], ...] = ()
    problems: tuple[Finding, ...] = ()
    waiting_uses: tuple[RequirementUse, ...] = ()


def validate_child_uses(
    declared_uses: DeclaredUses,
    parent_balances: Iterable[tuple[int, RequirementBalance]],
    parent_number: str,
    units: UnitTable,
) -> ValidatedChildUses:
    """Judge the uses of a child declaration by the quantities written off for its parent (a case number).

    `parent_balances` has the certificates that are written off for each item of the parent: `granted` is the
    quantity that is written off, `used` the quantity that other children of the parent state. All lines of an
    item that use one certificate are compared together.
    """
    balances_by_item: dict[int, list[RequirementBalance]] = defaultdict(list)
    for item, balance in parent_balances:
        balances_by_item[item].append(balance)
    unmatched_uses: list[RequirementUse] = []
    parent_uses: list[tuple[RequirementUse, RequirementBalance]] = []
    problems: list[Finding] = []
    for item in dict.fromkeys(use.item for use in declared_uses.uses):
        item_uses = replace(declared_uses, uses=tuple(use for use in declared_uses.uses if use.item == item))
        validated_uses = validate_declared_uses(item_uses, balances_by_item[item], date.min, units)
        unmatched_uses += validated_uses.unknown_uses
        parent_uses += validated_uses.usable_uses
        suffix = f" of what is written off for item {item} of case {parent_number}"
        problems += (replace(finding, detail=finding.detail + suffix) for finding in validated_uses.problems)
    unknown_uses = tuple(use for use in declared_uses.uses if use in unmatched_uses)
    return ValidatedChildUses(replace(declared_uses, uses=unknown_uses), tuple(parent_uses), tuple(problems))


def list_covered_uses(
    declared_uses: DeclaredUses,
    former_uses: Iterable[FormerUse],
    balances: Sequence[RequirementBalance],
    units: UnitTable,
) -> list[tuple[int, RequirementBalance]]:
    """Return the indexes of the declared uses that are not larger than the former ones, with the balance.

    All lines of an item that use one requirement are compared together.
    """
    former_amounts: dict[tuple[int, int], list[tuple[str, Decimal]]] = defaultdict(list)
    for former_use in former_uses:
        former_amounts[former_use.item, former_use.requirement_id].append(
            (former_use.unit, former_use.quantity)
        )
    holders = {"", declared_uses.importer, declared_uses.exporter}
    indexes_by_subject: dict[tuple[int, int], list[int]] = defaultdict(list)
    balances_by_id = {balance.requirement_id: balance for balance in balances}
    uses = declared_uses.uses
    for position, use in enumerate(uses):
        candidates = [
            balance for balance in balances if _is_former_requirement(use, balance, former_amounts, holders)
        ]
        if len(candidates) == 1:
            indexes_by_subject[use.item, candidates[0].requirement_id].append(position)
    return sorted(
        (
            (position, balances_by_id[subject[1]])
            for subject, indexes in indexes_by_subject.items()
            if _are_amounts_covered([(uses[index].unit, uses[index].quantity) for index in indexes],
                          former_amounts[subject], units)
            for position in indexes
        ),
        key=lambda line: line[0],
    )  # fmt: skip


def _is_former_requirement(
    use: RequirementUse,
    balance: RequirementBalance,
    former_amounts: Mapping[tuple[int, int], object],
    holders: Collection[str],
) -> bool:
    """Return whether `use` names the requirement `balance`, which its item used before, too."""
    return (
        (use.number, use.agency or balance.agency) == (balance.number, balance.agency)
        and (use.item, balance.requirement_id) in former_amounts
        and balance.holder in holders
    )


def _are_amounts_covered(
    declared_amounts: Iterable[tuple[str, Decimal]],
    former_amounts: Iterable[tuple[str, Decimal]],
    units: UnitTable,
) -> bool:
    """Return whether the declared quantities do not exceed the former ones in any dimension of `units`."""
    former_sums = _sum_by_dimension(former_amounts, units)
    return all(
        quantity <= former_sums.get(dimension, Fraction(0))
        for dimension, quantity in _sum_by_dimension(declared_amounts, units).items()
    )


def _sum_by_dimension(
    amounts: Iterable[tuple[str, Decimal]], units: UnitTable
) -> dict[tuple[str, bool], Fraction]:
    """Return the sum of each dimension; a unit that the table does not have is one of its own."""
    sums: dict[tuple[str, bool], Fraction] = {}
    for unit_code, quantity in amounts:
        unit = units.get(unit_code)
        dimension, factor = ((unit_code, False), 1) if unit is None else ((unit.dimension, True), unit.factor)
        sums[dimension] = sums.get(dimension, Fraction(0)) + Fraction(quantity) * factor
    return sums
