"""Computes what is left of a requirement, and whether the quantities of a declaration fit.

A requirement is an approval or certificate with a number and a quantity. A declaration names the
number (WCO D005) and the quantity that it uses (WCO 502). Quantities are compared exactly, in the
units of one dimension.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

from lxml import etree

from gateway.errors import (
    DOCUMENT_INVALID,
    QUANTITY_NOT_LEFT,
    REQUIREMENT_NOT_USABLE,
    REQUIREMENT_UNKNOWN,
    RULE_BROKEN,
    GatewayError,
    Problem,
)
from gateway.harmonize import UnitTable, format_decimal, round_fraction
from gateway.wire import WCO_DEC, PointerIndex, read_leaf_text

__all__ = [
    "ClaimedRequirements",
    "GrantedQuantity",
    "JudgedClaim",
    "RequirementBalance",
    "RequirementFinding",
    "RequirementUse",
    "add_used_quantity",
    "compute_left_quantity",
    "describe_awaited_requirement",
    "format_left_quantity",
    "judge_requirement_claim",
    "read_requirement_claim",
    "select_granted_quantities",
]

_DEC: Final = f"{{{WCO_DEC}}}"
_SHIPMENT: Final = f"{_DEC}GoodsShipment"
_USED: Final = f"{_DEC}WriteOff/{_DEC}QuantityQuantity"
#: A remainder that is no finite decimal is told with so many decimals, rounded down.
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class RequirementUse:
    """What one line of a declaration uses of a requirement; `pointer` is the place of the quantity.

    `agency` is the one that issued it, where the line names it. With `in_time` the last day is not asked:
    the declaration used as much of it before.
    """

    item: int
    number: str
    quantity: Decimal
    unit: str
    pointer: str = ""
    agency: str = ""
    in_time: bool = False


@dataclass(frozen=True, slots=True)
class ClaimedRequirements:
    """What a declaration uses of requirements, and the ids of its importer and exporter, where given.

    `day` is the day on which it arrived, where that is known.
    """

    uses: tuple[RequirementUse, ...] = ()
    importer: str = ""
    exporter: str = ""
    day: date | None = None


@dataclass(frozen=True, slots=True)
class GrantedQuantity:
    """A quantity that an agency granted, in its unit."""

    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class RequirementBalance:
    """A requirement: what was granted, what is used (by unit), and who may use it until when.

    Without `holder` every declaration may use it. `key` is its row in the store. An `unlimited` one was
    approved without a quantity: nothing runs out. Of a `suspended` one the agency is asked whether it cancels
    the application. One that is `reopened` was approved for an application that was amended since: it is
    good again when its agency approves it again. By one that `rejects`, an agency rejects the items that
    use it.
    """

    agency: str
    number: str
    granted: tuple[GrantedQuantity, ...]
    used: Mapping[str, Decimal] = field(default_factory=dict)
    holder: str = ""
    valid_until: date | None = None
    revoked: bool = False
    key: int = 0
    unlimited: bool = False
    suspended: bool = False
    reopened: bool = False
    rejects: bool = False


@dataclass(frozen=True, slots=True)
class RequirementFinding:
    """A problem or a warning about one use."""

    problem: Problem
    detail: str
    pointer: str


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """The result of judging a claim: the uses that can be written off, each with its requirement.

    Of the `unknown` ones nobody knows the number yet. The `idle` ones are not written off, and refuse
    nothing.
    """

    taken: tuple[tuple[RequirementUse, RequirementBalance], ...]
    problems: tuple[RequirementFinding, ...]
    warnings: tuple[RequirementFinding, ...]
    unknown: tuple[RequirementUse, ...] = ()
    idle: tuple[RequirementUse, ...] = ()


def read_requirement_claim(declaration: etree._Element, agencies: Container[str] = ()) -> ClaimedRequirements:
    """Return what a schema-valid declaration uses: each AdditionalDocument of an item with a used quantity.

    Its Submitter names the agency, where that is the code of one of `agencies`; another name says
    nothing here. A use of zero is none. Raises GW402 for a quantity that is no number or a sequence
    number that is none, GW404 for a negative quantity.
    """
    places = PointerIndex()
    uses = tuple(
        use
        for item in declaration.findall(f"{_SHIPMENT}/{_DEC}GovernmentAgencyGoodsItem")
        for document in item.findall(f"{_DEC}AdditionalDocument")
        if (use := _read_use(item, document, places, agencies)) is not None
    )
    importer = _read_text(declaration, f"{_SHIPMENT}/{_DEC}Importer/{_DEC}ID")
    return ClaimedRequirements(uses, importer, _read_text(declaration, f"{_DEC}Exporter/{_DEC}ID"))


def _read_use(
    item: etree._Element, document: etree._Element, places: PointerIndex, agencies: Container[str]
) -> RequirementUse | None:
    used, number = document.find(_USED), _read_text(document, f"{_DEC}ID")
    if used is None or not number:
        return None
    pointer = places.get_pointer(used)
    quantity = _read_number(read_leaf_text(used), pointer)
    if quantity < 0:
        raise GatewayError(RULE_BROKEN, "a declaration cannot use less than nothing", pointer)
    if quantity == 0:
        return None
    sequence = _read_number(_read_text(item, f"{_DEC}SequenceNumeric"), places.get_pointer(item))
    unit, issuer = used.get("unitCode", "").strip(), _read_text(document, f"{_DEC}Submitter/{_DEC}Name")
    agency = issuer if issuer in agencies else ""
    return RequirementUse(int(sequence), number, quantity, unit, pointer, agency)


def _read_number(text: str, pointer: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is no number", pointer)
    return number


def _read_text(element: etree._Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else read_leaf_text(found).strip()


def _describe_unknown_requirement(number: str, agency: str) -> str:
    """Return what is said of a number that the ledger does not know; `agency` may be empty."""
    named = f"{number} of {agency}" if agency else number
    return f"the ledger does not know requirement {named}; nothing is written off"


def describe_awaited_requirement(
    number: str, agency: str, item: int, *, is_known: bool
) -> tuple[Problem, str]:
    """Return what is told of a number that an item waits for: nobody knows it, or nothing of it is free."""
    if not is_known:
        return REQUIREMENT_UNKNOWN, _describe_unknown_requirement(number, agency)
    words = (
        f"nothing of requirement {number} is written off for item {item} yet: too little is left, "
        "or it cannot be used now"
    )
    return QUANTITY_NOT_LEFT, words


def judge_requirement_claim(
    claim: ClaimedRequirements, known: Iterable[RequirementBalance], on: date, units: UnitTable
) -> JudgedClaim:
    """Judge every use of a declaration, in its order, by the requirements that the ledger knows.

    Uses of one requirement add up. A number that the ledger does not know is a warning.
    """
    by_number: dict[str, list[RequirementBalance]] = defaultdict(list)
    for balance in known:
        by_number[balance.number].append(balance)
    used: dict[tuple[str, str], dict[str, Decimal]] = {}
    taken, problems, warnings, unknown = [], [], [], []
    for use in claim.uses:
        candidates = [one for one in by_number.get(use.number, []) if use.agency in ("", one.agency)]
        if not candidates:
            detail = _describe_unknown_requirement(use.number, use.agency)
            warnings.append(RequirementFinding(REQUIREMENT_UNKNOWN, detail, use.pointer))
            unknown.append(use)
            continue
        chosen = _choose_requirement(use, candidates, {claim.importer, claim.exporter}, on)
        if isinstance(chosen, RequirementFinding):
            problems.append(chosen)
            continue
        total = used.setdefault((chosen.agency, chosen.number), dict(chosen.used))
        finding = _find_shortage(use, chosen, total, units)
        if finding is None:
            total[use.unit] = total.get(use.unit, Decimal(0)) + use.quantity
            taken.append((use, chosen))
        else:
            problems.append(finding)
    return JudgedClaim(tuple(taken), tuple(problems), tuple(warnings), tuple(unknown))


def _choose_requirement(
    use: RequirementUse, candidates: Sequence[RequirementBalance], holders: Container[str], on: date
) -> RequirementBalance | RequirementFinding:
    """Return the requirement that a use means, or the reason why it may not use it."""
    own = [one for one in candidates if not one.holder or one.holder in holders]
    if not own:
        detail = f"requirement {use.number} was issued to another importer or exporter"
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if len(own) > 1:
        agencies = " and ".join(sorted(one.agency for one in own))
        detail = f"{agencies} have each issued a requirement {use.number}; name one in Submitter/Name"
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    (chosen,) = own
    if chosen.suspended:
        detail = (
            f"requirement {use.number} is suspended until {chosen.agency} answers: it is asked whether it "
            "cancels the application that it approved so"
        )
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.reopened:
        detail = (
            f"requirement {use.number} of {chosen.agency} cannot be used until {chosen.agency} decides "
            "again: its application was amended"
        )
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.revoked:
        detail = f"requirement {use.number} of {chosen.agency} is revoked"
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.valid_until is not None and on > chosen.valid_until and not use.in_time:
        detail = f"requirement {use.number} of {chosen.agency} was valid until {chosen.valid_until}"
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    return chosen


def _find_shortage(
    use: RequirementUse, chosen: RequirementBalance, used: Mapping[str, Decimal], units: UnitTable
) -> RequirementFinding | None:
    if chosen.unlimited:
        return None
    name = f"requirement {use.number} of {chosen.agency}"
    lost = _find_lost_use(chosen.granted, used, units)
    if lost is not None:
        detail = (
            f"{name}: {lost} of it is used, which the table of units in force cannot compare with what was "
            "granted; so nobody knows what is left"
        )
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    left = compute_left_quantity(chosen.granted, used, use.unit, units)
    if left is None:
        granted = " and ".join(sorted({one.unit or "no unit" for one in chosen.granted}))
        detail = f"{name} is in {granted}, which cannot be converted to {use.unit or 'no unit'}"
        return RequirementFinding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if Fraction(use.quantity) <= left:
        return None
    detail = f"{name}: {use.quantity:f} {use.unit} used, {format_left_quantity(left)} {use.unit} left"
    return RequirementFinding(QUANTITY_NOT_LEFT, detail, use.pointer)


def _find_lost_use(
    granted: Sequence[GrantedQuantity], used: Mapping[str, Decimal], units: UnitTable
) -> str | None:
    """Return a used quantity that cannot be compared any more: its unit or that of the grant is unknown.

    When it was used it could be: a later table of units lacks the unit. To leave it out of the sum would let
    the certificate be used twice.
    """
    is_complete = all(units.get(one.unit) is not None for one in granted)
    for unit, quantity in used.items():
        compared = any(_convert(quantity, one.unit, unit, units) is not None for one in granted)
        if quantity > 0 and not compared and not (is_complete and units.get(unit) is not None):
            return f"{quantity:f} {unit}".strip()
    return None


def select_granted_quantities(
    decided: Iterable[tuple[Hashable, GrantedQuantity]], units: UnitTable
) -> tuple[GrantedQuantity, ...]:
    """Return the quantity of each subject once: the goods that two laws allow are the same goods.

    A subject is one item of one application. Where its quantities differ, the smallest one holds.
    """
    found: dict[tuple[Hashable, str], GrantedQuantity] = {}
    for subject, granted in decided:
        unit = units.get(granted.unit)
        key = (subject, granted.unit if unit is None else unit.dimension)
        known = found.get(key)
        if known is None or _is_smaller(granted, known, units):
            found[key] = granted
    return tuple(found.values())


def _is_smaller(one: GrantedQuantity, other: GrantedQuantity, units: UnitTable) -> bool:
    converted = _convert(one.quantity, one.unit, other.unit, units)
    return converted is not None and converted < Fraction(other.quantity)


def compute_left_quantity(
    granted: Iterable[GrantedQuantity], used: Mapping[str, Decimal], unit: str, units: UnitTable
) -> Fraction | None:
    """Return exactly what is left in a unit, never below zero; None if nothing was granted in its dimension.

    A requirement whose items were granted in several dimensions has a remainder in each.
    """
    found = [_convert(one.quantity, one.unit, unit, units) for one in granted]
    amounts = [one for one in found if one is not None]
    if not amounts:
        return None
    gone = (_convert(quantity, one, unit, units) for one, quantity in used.items())
    left = sum(amounts, Fraction(0)) - sum((one for one in gone if one is not None), Fraction(0))
    return max(left, Fraction(0))


def _convert(quantity: Decimal, origin: str, to: str, units: UnitTable) -> Fraction | None:
    """Return a quantity in another unit; a unit that the table does not have is converted to itself only."""
    number = Fraction(quantity)
    return number if origin == to else units.convert_quantity(number, origin, to)


def format_left_quantity(left: Fraction) -> str:
    """Return a remainder as a decimal: exact, or rounded down where it is no finite decimal."""
    exact = format_decimal(left)
    if exact is not None:
        return exact
    rounded = round_fraction(left, _DECIMALS, "down")
    return format_decimal(rounded if rounded is not None else Fraction(0)) or "0"


def add_used_quantity(used: Mapping[str, str], unit: str, quantity: Decimal) -> dict[str, str]:
    """Return what is used, by unit, after a use was added, or taken back by a negative quantity.

    The sum is exact. A unit of which nothing is used is left out.
    """
    total = Fraction(used.get(unit, "0")) + Fraction(quantity)
    rest = {name: value for name, value in used.items() if name != unit}
    return rest | ({unit: format_decimal(total) or ""} if total else {})
