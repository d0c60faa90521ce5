"""Compares the quantity of a decision with the declared quantity of its item.

A certificate is used up by declarations, in units that can be converted to its own. So its unit is one of the
table of units, or one that was declared. A quantity above the declared one, or one that cannot be compared
with it, may be right; then the decision needs a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from gateway.cases.agency_notices import Decision
from gateway.cases.officer_acts import DecisionAct
from gateway.errors import RULE_BROKEN, GatewayError
from gateway.harmonize import UnitTable


class QuantityVerdict(StrEnum):
    """The result of comparing the quantity of a decision with the declared quantity."""

    FITS = "fits"  #: No quantity is stated, none was declared, or it is not above the declared quantity.
    ABOVE = "above"  #: More than was declared.
    OTHER_KIND = "other kind"  #: In a unit to which nothing that was declared can be converted.
    UNIT_UNKNOWN = "unit unknown"  #: Neither the table of units nor the declaration has the unit.


@dataclass(frozen=True, slots=True)
class DeclaredQuantity:
    """How much of an item was declared, in a unit; an item may have several, such as pieces and net mass."""

    quantity: Decimal
    unit: str


def list_decision_units(declared_quantities: Sequence[DeclaredQuantity], units: UnitTable) -> tuple[str, ...]:
    """Return the units to which a declared quantity can be converted, the declared units first."""
    declared_units = [amount.unit for amount in declared_quantities if amount.unit]
    convertible_units = [code for unit in declared_units for code in units.list_convertible_units(unit)]
    return tuple(dict.fromkeys([*declared_units, *convertible_units]))


def compare_decided_quantity(
    decision: Decision, declared_quantities: Sequence[DeclaredQuantity], units: UnitTable
) -> QuantityVerdict:
    """Return how the quantity of a decision compares with the declared quantity of its item.

    Of several declared quantities that can be converted to its unit the largest one counts.
    """
    if decision.quantity is None:
        return QuantityVerdict.FITS
    unit = decision.unit or ""
    if units.get(unit) is None and unit not in {amount.unit for amount in declared_quantities if amount.unit}:
        return QuantityVerdict.UNIT_UNKNOWN
    if not declared_quantities:
        return QuantityVerdict.FITS
    converted_amounts = (_convert_declared_quantity(amount, unit, units) for amount in declared_quantities)
    max_amount = max(
        (converted_amount for converted_amount in converted_amounts if converted_amount is not None),
        default=None,
    )
    if max_amount is None:
        return QuantityVerdict.OTHER_KIND
    return QuantityVerdict.FITS if Fraction(decision.quantity) <= max_amount else QuantityVerdict.ABOVE


def _convert_declared_quantity(
    declared_quantity: DeclaredQuantity, unit: str, units: UnitTable
) -> Fraction | None:
    """Return a declared quantity in another unit; one that the table does not have, in itself only."""
    amount = Fraction(declared_quantity.quantity)
    return (
        amount
        if declared_quantity.unit == unit
        else units.convert_quantity(amount, declared_quantity.unit, unit)
    )


def check_decided_quantities(
    act: DecisionAct, declared_quantities: Mapping[int, Sequence[DeclaredQuantity]], units: UnitTable
) -> None:
    """Check the quantities of an act against the declared quantities of each item.

    Raises GW404 for a unit that is unknown, and for a quantity above the declared one, or in another kind of
    unit, where the act has no text for the applicant that gives the reason.
    """
    for position, decision in enumerate(act.decisions, start=1):
        item_quantities = declared_quantities.get(decision.item, ())
        verdict = compare_decided_quantity(decision, item_quantities, units)
        if decision.quantity is None or verdict is QuantityVerdict.FITS:
            continue
        decision_text = f"{decision.quantity:f} {decision.unit or 'without a unit'} for item {decision.item}"
        if verdict is QuantityVerdict.UNIT_UNKNOWN:
            detail = f"{decision_text}: the table of units has no such unit"
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]/unit")
        if not act.text.strip():
            declared_text = " or ".join(
                f"{amount.quantity:f} {amount.unit}".strip() for amount in item_quantities
            )
            relation_text = "is more than" if verdict is QuantityVerdict.ABOVE else "cannot be compared with"
            detail = (
                f"{decision_text} {relation_text} the declared {declared_text}: give the applicant the reason"
            )
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]/quantity")
