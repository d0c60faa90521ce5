"""Computes the quantity left of a requirement, and whether the quantities of a declaration fit into it.

A requirement is an approval or certificate with a number and a quantity. A declaration names the number (WCO
D005) and the quantity that it uses (WCO 502). Quantities are compared exactly, in the units of one dimension.
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

from gateway.cases.declaration_validation import Finding
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
from gateway.wire import (
    WCO_DEC,
    PointerIndex,
    are_opposite,
    describe_direction,
    read_declared_direction,
    read_leaf_text,
)

_DEC: Final = f"{{{WCO_DEC}}}"
_SHIPMENT: Final = f"{_DEC}GoodsShipment"
_USED_QUANTITY: Final = f"{_DEC}WriteOff/{_DEC}QuantityQuantity"
#: A remainder that is no finite decimal is written with this many decimals, rounded down.
_MAX_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class RequirementUse:
    """The use of a requirement by one line of a declaration; `pointer` is the place of the quantity.

    `agency` is the agency that issued the requirement, where the line names the agency. With `in_time` the
    last day of the requirement is not checked: the declaration used the same quantity of the requirement
    before.
    """

    item: int
    number: str
    quantity: Decimal
    unit: str
    pointer: str = ""
    agency: str = ""
    in_time: bool = False


@dataclass(frozen=True, slots=True)
class DeclaredUses:
    """The uses of requirements by a declaration, and the ids of its importer and exporter, where given.

    `day` is the day on which it arrived, where that is known; `direction` is import or export, None where its
    type says neither.
    """

    uses: tuple[RequirementUse, ...] = ()
    importer: str = ""
    exporter: str = ""
    day: date | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class GrantedQuantity:
    """A quantity that an agency granted, in its unit."""

    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class RequirementBalance:
    """A requirement: the quantities granted and used (by unit), who may use it, and until which day.

    If `holder` is empty, every declaration may use it. `requirement_id` is its row id in the store. An
    `unlimited` requirement was approved without a quantity: it cannot run out. A `suspended` one waits until
    its agency says whether it cancels the application. A `reopened` one was approved for an application that
    was amended later: it is valid again when its agency approves the application again. One that `rejects`
    carries an agency's decision that rejects the items that use it. `direction` is that of the declaration
    for which it was approved; None where that is not known, as for a requirement that was registered.
    """

    agency: str
    number: str
    granted: tuple[GrantedQuantity, ...]
    used: Mapping[str, Decimal] = field(default_factory=dict)
    holder: str = ""
    valid_until: date | None = None
    revoked: bool = False
    requirement_id: int = 0
    unlimited: bool = False
    suspended: bool = False
    reopened: bool = False
    rejects: bool = False
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class ValidatedUses:
    """The result of judging declared uses: those that can be written off, each with its requirement.

    The ledger does not know the numbers of the `unknown_uses` uses yet. The `idle_uses` uses are not written
    off, and do not refuse the declaration.
    """

    usable_uses: tuple[tuple[RequirementUse, RequirementBalance], ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    unknown_uses: tuple[RequirementUse, ...] = ()
    idle_uses: tuple[RequirementUse, ...] = ()


def read_declared_uses(declaration: etree._Element, agencies: Container[str] = ()) -> DeclaredUses:
    """Return the uses of a schema-valid declaration: each AdditionalDocument of an item with a used quantity.

    Its Submitter names the agency, where that is the code of one of `agencies`; another name is ignored. A
    use of zero is none. Raises GW402 for a quantity that is no number or a sequence number that is none,
    GW404 for a negative quantity.
    """
    pointers = PointerIndex()
    uses = tuple(
        use
        for item in declaration.findall(f"{_SHIPMENT}/{_DEC}GovernmentAgencyGoodsItem")
        for document in item.findall(f"{_DEC}AdditionalDocument")
        if (use := _read_use(item, document, pointers, agencies)) is not None
    )
    importer = _read_text(declaration, f"{_SHIPMENT}/{_DEC}Importer/{_DEC}ID")
    exporter = _read_text(declaration, f"{_DEC}Exporter/{_DEC}ID")
    return DeclaredUses(uses, importer, exporter, direction=read_declared_direction(declaration))


def _read_use(
    item: etree._Element, document: etree._Element, pointers: PointerIndex, agencies: Container[str]
) -> RequirementUse | None:
    """Return the use of a certificate that an AdditionalDocument of `item` states; None if it states none."""
    used_element, number = document.find(_USED_QUANTITY), _read_text(document, f"{_DEC}ID")
    if used_element is None or not number:
        return None
    pointer = pointers.get_pointer(used_element)
    quantity = _read_number(read_leaf_text(used_element), pointer)
    if quantity < 0:
        raise GatewayError(RULE_BROKEN, "a declaration cannot use less than nothing", pointer)
    if quantity == 0:
        return None
    sequence_number = _read_number(_read_text(item, f"{_DEC}SequenceNumeric"), pointers.get_pointer(item))
    unit, issuer = (
        used_element.get("unitCode", "").strip(),
        _read_text(document, f"{_DEC}Submitter/{_DEC}Name"),
    )
    agency = issuer if issuer in agencies else ""
    return RequirementUse(int(sequence_number), number, quantity, unit, pointer, agency)


def _read_number(text: str, pointer: str) -> Decimal:
    """Return a finite number; raise GW402 at `pointer` for another text."""
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is no number", pointer)
    return number


def _read_text(element: etree._Element, path: str) -> str:
    child = element.find(path)
    return "" if child is None else read_leaf_text(child).strip()


def _describe_unknown_requirement(number: str, agency: str) -> str:
    """Return the text for a number that the ledger does not know; `agency` may be empty."""
    requirement = f"{number} of {agency}" if agency else number
    return f"the ledger does not know requirement {requirement}; nothing is written off"


def describe_awaited_requirement(
    number: str, agency: str, item: int, *, has_certificate: bool
) -> tuple[Problem, str]:
    """Return the problem and its text for a number that an item waits for: unknown, or nothing is left."""
    if not has_certificate:
        return REQUIREMENT_UNKNOWN, _describe_unknown_requirement(number, agency)
    detail = (
        f"nothing of requirement {number} is written off for item {item} yet: too little is left, "
        "or it cannot be used now"
    )
    return QUANTITY_NOT_LEFT, detail


def validate_declared_uses(
    declared_uses: DeclaredUses, balances: Iterable[RequirementBalance], day: date, units: UnitTable
) -> ValidatedUses:
    """Judge every use of a declaration, in its order, by the requirements that the ledger knows.

    Uses of one requirement add up. A number that the ledger does not know is a warning.
    """
    balances_by_number: dict[str, list[RequirementBalance]] = defaultdict(list)
    for balance in balances:
        balances_by_number[balance.number].append(balance)
    used_by_requirement: dict[tuple[str, str], dict[str, Decimal]] = {}
    usable_uses, problems, warnings, unknown_uses = [], [], [], []
    for use in declared_uses.uses:
        candidates = [
            candidate
            for candidate in balances_by_number.get(use.number, [])
            if use.agency in ("", candidate.agency)
        ]
        if not candidates:
            detail = _describe_unknown_requirement(use.number, use.agency)
            warnings.append(Finding(REQUIREMENT_UNKNOWN, detail, use.pointer))
            unknown_uses.append(use)
            continue
        requirement = _choose_requirement(use, candidates, declared_uses, day)
        if isinstance(requirement, Finding):
            problems.append(requirement)
            continue
        used_quantities = used_by_requirement.setdefault(
            (requirement.agency, requirement.number), dict(requirement.used)
        )
        finding = _find_shortage(use, requirement, used_quantities, units)
        if finding is None:
            used_quantities[use.unit] = used_quantities.get(use.unit, Decimal(0)) + use.quantity
            usable_uses.append((use, requirement))
        else:
            problems.append(finding)
    return ValidatedUses(tuple(usable_uses), tuple(problems), tuple(warnings), tuple(unknown_uses))


def _choose_requirement(
    use: RequirementUse, candidates: Sequence[RequirementBalance], declared_uses: DeclaredUses, day: date
) -> RequirementBalance | Finding:
    """Return the requirement that a use means, or the reason why it may not use it."""
    holders = {"", declared_uses.importer, declared_uses.exporter}
    own_balances = [balance for balance in candidates if balance.holder in holders]
    if not own_balances:
        detail = f"requirement {use.number} was issued to another importer or exporter"
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    permitted_balances = [
        balance for balance in own_balances if not are_opposite(balance.direction, declared_uses.direction)
    ]
    if not permitted_balances:
        detail = (
            f"requirement {use.number} of {own_balances[0].agency} is for {own_balances[0].direction}; "
            f"this is {describe_direction(declared_uses.direction)}"
        )
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if len(permitted_balances) > 1:
        agencies = " and ".join(sorted(balance.agency for balance in permitted_balances))
        detail = f"{agencies} have each issued a requirement {use.number}; name one in Submitter/Name"
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    (chosen,) = permitted_balances
    if chosen.suspended:
        detail = (
            f"requirement {use.number} is suspended until {chosen.agency} answers: it is asked whether it "
            "cancels the application that it approved so"
        )
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.reopened:
        detail = (
            f"requirement {use.number} of {chosen.agency} cannot be used until {chosen.agency} decides "
            "again: its application was amended"
        )
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.revoked:
        detail = f"requirement {use.number} of {chosen.agency} is revoked"
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if chosen.valid_until is not None and day > chosen.valid_until and not use.in_time:
        detail = f"requirement {use.number} of {chosen.agency} was valid until {chosen.valid_until}"
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    return chosen


def _find_shortage(
    use: RequirementUse, requirement: RequirementBalance, used: Mapping[str, Decimal], units: UnitTable
) -> Finding | None:
    """Return a finding if the quantity of `use` is not left (GW411) or not comparable (GW412).

    `used` is the quantity of `requirement` that is used so far, by unit.
    """
    if requirement.unlimited:
        return None
    name = f"requirement {use.number} of {requirement.agency}"
    incomparable = _find_incomparable_use(requirement.granted, used, units)
    if incomparable is not None:
        detail = (
            f"{name}: {incomparable} of it is used, which the table of units in force cannot compare "
            "with what was granted; so nobody knows what is left"
        )
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    remaining = compute_remaining_quantity(requirement.granted, used, use.unit, units)
    if remaining is None:
        granted = " and ".join(sorted({quantity.unit or "no unit" for quantity in requirement.granted}))
        detail = f"{name} is in {granted}, which cannot be converted to {use.unit or 'no unit'}"
        return Finding(REQUIREMENT_NOT_USABLE, detail, use.pointer)
    if Fraction(use.quantity) <= remaining:
        return None
    detail = f"{name}: {use.quantity:f} {use.unit} used, {format_left_quantity(remaining)} {use.unit} left"
    return Finding(QUANTITY_NOT_LEFT, detail, use.pointer)


def _find_incomparable_use(
    granted_quantities: Sequence[GrantedQuantity], used_quantities: Mapping[str, Decimal], units: UnitTable
) -> str | None:
    """Return the text of a used quantity that cannot be compared with the granted ones; None without one.

    When it was used it could be: a later table of units lacks the unit. To leave it out of the sum would let
    the certificate be used twice.
    """
    is_complete = all(units.get(quantity_granted.unit) is not None for quantity_granted in granted_quantities)
    for unit, quantity in used_quantities.items():
        is_comparable = any(
            _convert_quantity(quantity, quantity_granted.unit, unit, units) is not None
            for quantity_granted in granted_quantities
        )
        if quantity > 0 and not is_comparable and not (is_complete and units.get(unit) is not None):
            return f"{quantity:f} {unit}".strip()
    return None


def select_granted_quantities(
    decided_quantities: Iterable[tuple[Hashable, GrantedQuantity]], units: UnitTable
) -> tuple[GrantedQuantity, ...]:
    """Return the quantity of each subject once: the goods that two laws allow are the same goods.

    A subject is one item of one application. Where its quantities differ, the smallest one holds.
    """
    min_quantities: dict[tuple[Hashable, str], GrantedQuantity] = {}
    for subject, granted in decided_quantities:
        unit = units.get(granted.unit)
        key = (subject, granted.unit if unit is None else unit.dimension)
        earlier_quantity = min_quantities.get(key)
        if earlier_quantity is None or _is_smaller(granted, earlier_quantity, units):
            min_quantities[key] = granted
    return tuple(min_quantities.values())


def _is_smaller(quantity: GrantedQuantity, earlier_quantity: GrantedQuantity, units: UnitTable) -> bool:
    converted = _convert_quantity(quantity.quantity, quantity.unit, earlier_quantity.unit, units)
    return converted is not None and converted < Fraction(earlier_quantity.quantity)


def compute_remaining_quantity(
    granted_quantities: Iterable[GrantedQuantity],
    used_quantities: Mapping[str, Decimal],
    unit: str,
    units: UnitTable,
) -> Fraction | None:
    """Return the exact remaining quantity in `unit`, at least zero; None if its dimension was not granted.

    A requirement whose items were granted in several dimensions has a remainder in each.
    """
    converted_amounts = [
        _convert_quantity(quantity.quantity, quantity.unit, unit, units) for quantity in granted_quantities
    ]
    granted_amounts = [amount for amount in converted_amounts if amount is not None]
    if not granted_amounts:
        return None
    used_amounts = (
        _convert_quantity(quantity, used_unit, unit, units) for used_unit, quantity in used_quantities.items()
    )
    remaining_amount = sum(granted_amounts, Fraction(0)) - sum(
        (amount for amount in used_amounts if amount is not None), Fraction(0)
    )
    return max(remaining_amount, Fraction(0))


def _convert_quantity(quantity: Decimal, from_unit: str, to_unit: str, units: UnitTable) -> Fraction | None:
    """Return a quantity in another unit; a unit that the table does not have is converted to itself only."""
    number = Fraction(quantity)
    return number if from_unit == to_unit else units.convert_quantity(number, from_unit, to_unit)


def format_left_quantity(remainder: Fraction) -> str:
    """Return a remainder as a decimal: exact, or rounded down where it is no finite decimal."""
    exact = format_decimal(remainder)
    if exact is not None:
        return exact
    rounded = round_fraction(remainder, _MAX_DECIMALS, "down")
    return format_decimal(rounded if rounded is not None else Fraction(0)) or "0"


def add_used_quantity(used_quantities: Mapping[str, str], unit: str, quantity: Decimal) -> dict[str, str]:
    """Return the used quantities by unit after one was added; a negative quantity takes a use back.

    The sum is exact. A unit whose used quantity is zero is left out.
    """
    new_quantity = Fraction(used_quantities.get(unit, "0")) + Fraction(quantity)
    other_quantities = {name: value for name, value in used_quantities.items() if name != unit}
    return other_quantities | ({unit: format_decimal(new_quantity) or ""} if new_quantity else {})
