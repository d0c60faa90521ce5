"""Judges what a declaration uses of certificates beside what is written off for it already.

What was written off for an item of an amended declaration stays: neither the last day of the certificate
nor what its agency has granted since is asked about as much as that. A larger use, and one of another
certificate or item, is judged as that of a new declaration. What the declaration does not have any more
stands in no amendment's way where it is unchanged: an item that is rejected by its certificate stays so
and uses nothing, and one that is approved without its quantity goes on without it. What a child
declaration states of a certificate that its parent uses for the item is written off for the parent: all
children of one parent state at most as much.
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
    JudgedClaim,
    RequirementBalance,
    RequirementFinding,
    RequirementUse,
    judge_requirement_claim,
)
from gateway.harmonize import UnitTable

__all__ = [
    "FormerUse",
    "JudgedChildClaim",
    "free_former_uses",
    "judge_amended_claim",
    "judge_child_claim",
    "list_former_lines",
]


@dataclass(frozen=True, slots=True)
class FormerUse:
    """What one line of the declaration before the amendment uses of a requirement (row `key`).

    One that does not stand was given back because the item was rejected. It is `lost` where the item has
    been approved since, and nothing was left. One that `waits` was never written off, or could not be again.
    """

    item: int
    key: int
    quantity: Decimal
    unit: str
    stands: bool = True
    lost: bool = False
    waits: bool = False


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
    rejected: Collection[int] = (),
) -> JudgedClaim:
    """Judge every use of an amended declaration; `known` is what is left without its former uses.

    Items in `rejected` use nothing, and neither do those that their certificates keep rejecting. What an
    item used that is rejected no more is judged again, but for the last day.
    """
    idle = set(rejected) | _list_rejected_again(claim, former, known, units)
    waiting = _list_unknown(claim, known, idle)
    counted = replace(claim, uses=tuple(use for use in claim.uses if use.item not in idle))
    judged = _judge_counting_uses(counted, former, known, on, units)
    kept = tuple(use for use in claim.uses if use.item in idle and use not in waiting)
    return replace(judged, unknown=(*judged.unknown, *waiting), idle=(*kept, *judged.idle))


def _list_rejected_again(
    claim: ClaimedRequirements,
    former: Iterable[FormerUse],
    known: Sequence[RequirementBalance],
    units: UnitTable,
) -> set[int]:
    """Return the items that use again, no larger, a certificate by which they were and are rejected."""
    gone = [one for one in former if not one.stands]
    if not gone:
        return set()
    lines = list_former_lines(claim, gone, known, units)
    return {claim.uses[place].item for place, balance in lines if balance.rejects}


def _list_unknown(
    claim: ClaimedRequirements, known: Iterable[RequirementBalance], items: Collection[int]
) -> tuple[RequirementUse, ...]:
    """Return what these items use of certificates that nobody knows yet."""
    there = {(one.number, name) for one in known for name in ("", one.agency)}
    return tuple(use for use in claim.uses if use.item in items and (use.number, use.agency) not in there)


def _judge_counting_uses(
    claim: ClaimedRequirements,
    former: Sequence[FormerUse],
    known: Sequence[RequirementBalance],
    on: date,
    units: UnitTable,
) -> JudgedClaim:
    if not former:
        return judge_requirement_claim(claim, known, on, units)
    standing = [one for one in former if one.stands]
    kept = dict(list_former_lines(claim, standing, known, units))
    had = [one for one in former if not one.waits]
    in_time = dict(list_former_lines(claim, had, known, units))
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
    lost = {(one.item, one.key) for one in former if one.lost}
    unchanged = {
        claim.uses[place].pointer: claim.uses[place]
        for place, balance in in_time.items()
        if place in rest and (claim.uses[place].item, balance.key) in lost
    }
    waiting = _list_waiting(claim, former, known, units)
    problems = tuple(one for one in judged.problems if one.pointer not in unchanged.keys() | waiting.keys())
    idle = tuple(unchanged[one.pointer] for one in judged.problems if one.pointer in unchanged)
    again = [one for one in judged.problems if one.pointer in waiting.keys() - unchanged.keys()]
    return replace(
        judged,
        taken=tuple(taken),
        problems=problems,
        warnings=(*judged.warnings, *again),
        unknown=(*judged.unknown, *(waiting[one.pointer] for one in again)),
        idle=idle,
    )


def _list_waiting(
    claim: ClaimedRequirements,
    former: Iterable[FormerUse],
    known: Sequence[RequirementBalance],
    units: UnitTable,
) -> dict[str, RequirementUse]:
    """Return the uses, by their places, that waited before and are no larger: they may go on to wait.

    Not so an item that has a part of its quantity: what is written off is judged with the rest.
    """
    waits = [one for one in former if one.waits]
    part = {(one.item, one.key) for one in former if not one.waits}
    lines = list_former_lines(claim, waits, known, units) if waits else []
    return {
        claim.uses[place].pointer: claim.uses[place]
        for place, balance in lines
        if (claim.uses[place].item, balance.key) not in part
    }


@dataclass(frozen=True, slots=True)
class JudgedChildClaim:
    """What a child uses itself, what it states of its parent's certificates, and the problems of that.

    For the `waiting` ones a case above it waits, too: that has the number first.
    """

    own: ClaimedRequirements
    stated: tuple[tuple[RequirementUse, RequirementBalance], ...] = ()
    problems: tuple[RequirementFinding, ...] = ()
    waiting: tuple[RequirementUse, ...] = ()


def judge_child_claim(
    claim: ClaimedRequirements,
    above: Iterable[tuple[int, RequirementBalance]],
    parent: str,
    units: UnitTable,
) -> JudgedChildClaim:
    """Judge what a child uses beside what is written off for its parent (its number) already.

    `above` has for each item the certificates that are written off there: as `granted` what is written
    off, as `used` what other children of the parent state of it. All lines of an item that use one
    certificate are compared together.
    """
    known: dict[int, list[RequirementBalance]] = defaultdict(list)
    for item, balance in above:
        known[item].append(balance)
    own: list[RequirementUse] = []
    stated: list[tuple[RequirementUse, RequirementBalance]] = []
    problems: list[RequirementFinding] = []
    for item in dict.fromkeys(use.item for use in claim.uses):
        mine = replace(claim, uses=tuple(use for use in claim.uses if use.item == item))
        judged = judge_requirement_claim(mine, known[item], date.min, units)
        own += judged.unknown
        stated += judged.taken
        words = f" of what is written off for item {item} of case {parent}"
        problems += (replace(one, detail=one.detail + words) for one in judged.problems)
    kept = tuple(use for use in claim.uses if use in own)
    return JudgedChildClaim(replace(claim, uses=kept), tuple(stated), tuple(problems))


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
