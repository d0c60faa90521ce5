"""Judges what a declaration uses of certificates beside what is written off for it already.

What was written off for an item of an amended declaration stays: neither the last day of the certificate
nor what its agency has granted since is asked about as much as that. A larger use, and one of another
certificate or item, is judged as that of a new declaration. What a child declaration states of a
certificate that its parent uses for the item is written off for the parent: it is at most as much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from gateway.cases.requirement_balance import (
    ClaimedRequirements,
    GrantedQuantity,
    JudgedClaim,
    RequirementBalance,
    RequirementFinding,
    RequirementUse,
    judge_requirement_claim,
)
from gateway.harmonize import UnitTable

__all__ = ["FormerUse", "free_former_uses", "judge_amended_claim", "judge_child_claim", "list_former_lines"]


@dataclass(frozen=True, slots=True)
class FormerUse:
    """What one line of the declaration before the amendment uses of a requirement (row `key`).

    One that does not stand was given back because the item was rejected.
    """

    item: int
    key: int
    quantity: Decimal
    unit: str
    stands: bool = True


def free_former_uses(
    known: Iterable[RequirementBalance], former: Iterable[FormerUse]
) -> tuple[RequirementBalance, ...]:
    """Return requirements as they are when a declaration gives back what it uses."""
    return tuple(
        _add_uses(one, [(use.unit, -use.quantity) for use in former if use.stands and use.key == one.key])
        for one in known
    )


def _add_uses(balance: RequirementBalance, amounts: Iterable[tuple[str, Decimal]]) -> RequirementBalance:
    used = dict(balance.used)
    for unit, quantity in amounts:
        used[unit] = used.get(unit, Decimal(0)) + quantity
    return replace(balance, used=used)


def judge_amended_claim(
    claim: ClaimedRequirements,
    former: Sequence[FormerUse],
    known: Sequence[RequirementBalance],
    on: date,
    units: UnitTable,
) -> JudgedClaim:
    """Judge every use of an amended declaration; `known` is what is left without its former uses.

    What an item used that is rejected now, or was, is judged again, but for the last day.
    """
    if not former:
        return judge_requirement_claim(claim, known, on, units)
    standing = [one for one in former if one.stands]
    kept = dict(list_former_lines(claim, standing, known, units))
    in_time = dict(list_former_lines(claim, former, known, units)).keys()
    rest = {
        place: replace(use, in_time=place in in_time)
        for place, use in enumerate(claim.uses)
        if place not in kept
    }
    gone: dict[int, list[tuple[str, Decimal]]] = defaultdict(list)
    for place, balance in kept.items():
        gone[balance.key].append((claim.uses[place].unit, claim.uses[place].quantity))
    left = [_add_uses(one, gone[one.key]) for one in known]
    judged = judge_requirement_claim(replace(claim, uses=tuple(rest.values())), left, on, units)
    before = {one.key: one for one in known}
    taken = [(claim.uses[place], balance) for place, balance in kept.items()]
    taken += [(use, before[balance.key]) for use, balance in judged.taken]
    return replace(judged, taken=tuple(taken))


def judge_child_claim(
    claim: ClaimedRequirements, above: Iterable[RequirementUse], parent: str, units: UnitTable
) -> tuple[ClaimedRequirements, tuple[RequirementFinding, ...]]:
    """Return what a child uses itself, and the problems of what it states of its parent's certificates.

    `above` is what is written off for the parent (its number), each use with its agency. All lines of an
    item that use one certificate are compared together.
    """
    known: dict[int, dict[tuple[str, str], list[GrantedQuantity]]] = defaultdict(lambda: defaultdict(list))
    for one in above:
        known[one.item][one.agency, one.number].append(GrantedQuantity(one.quantity, one.unit))
    own: list[RequirementUse] = []
    problems: list[RequirementFinding] = []
    for item in dict.fromkeys(use.item for use in claim.uses):
        mine = replace(claim, uses=tuple(use for use in claim.uses if use.item == item))
        balances = [RequirementBalance(*name, tuple(amounts)) for name, amounts in known[item].items()]
        judged = judge_requirement_claim(mine, balances, date.min, units)
        own += judged.unknown
        words = f" of what is written off for item {item} of case {parent}"
        problems += (replace(one, detail=one.detail + words) for one in judged.problems)
    kept = tuple(use for use in claim.uses if use in own)
    return replace(claim, uses=kept), tuple(problems)


def list_former_lines(
    claim: ClaimedRequirements,
    former: Iterable[FormerUse],
    known: Sequence[RequirementBalance],
    units: UnitTable,
) -> list[tuple[int, RequirementBalance]]:
    """Return the uses of a claim (their places) that are no larger than before, each with its requirement.

    All lines of an item that use one requirement are compared together.
    """
    before: dict[tuple[int, int], list[tuple[str, Decimal]]] = defaultdict(list)
    for one in former:
        before[one.item, one.key].append((one.unit, one.quantity))
    holders = {"", claim.importer, claim.exporter}
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    chosen = {one.key: one for one in known}
    for place, use in enumerate(claim.uses):
        mine = [one for one in known if _is_same(use, one, before, holders)]
        if len(mine) == 1:
            places[use.item, mine[0].key].append(place)
    return sorted(
        (
            (place, chosen[subject[1]])
            for subject, found in places.items()
            if _is_within([(claim.uses[one].unit, claim.uses[one].quantity) for one in found],
                          before[subject], units)
            for place in found
        ),
        key=lambda one: one[0],
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
    wanted: Iterable[tuple[str, Decimal]], before: Iterable[tuple[str, Decimal]], units: UnitTable
) -> bool:
    there = _sum_dimensions(before, units)
    return all(
        quantity <= there.get(dimension, Fraction(0))
        for dimension, quantity in _sum_dimensions(wanted, units).items()
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
