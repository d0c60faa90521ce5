"""The quantity of a decision beside what was declared: in units of the table, not above without a reason."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.cases import (
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    DeclaredQuantity,
    QuantityVerdict,
    check_decided_quantities,
    compare_decided_quantity,
    list_decision_units,
)
from gateway.errors import GatewayError
from tests.kit.house import bundle

UNITS = bundle().units
PIECES = DeclaredQuantity(Decimal(1950), "NMB")
MASS = DeclaredQuantity(Decimal(600), "KGM")
NET, GROSS = DeclaredQuantity(Decimal(2), "TNE"), DeclaredQuantity(Decimal("2100.5"), "KGM")


def decide(quantity: str | None, unit: str | None, item: int = 1) -> Decision:
    amount = None if quantity is None else Decimal(quantity)
    return Decision(item, "05", DecisionCode.APPROVED, "P-1", quantity=amount, unit=unit)


@pytest.mark.parametrize(
    ("quantity", "unit", "declared", "verdict"),
    [
        (None, None, (PIECES,), "fits"),
        ("5000", "pieces", (PIECES, MASS), "unit unknown"),
        ("5", "kgm", (MASS,), "unit unknown"),
        ("5", "", (DeclaredQuantity(Decimal(9), ""),), "unit unknown"),
        ("5", None, (), "unit unknown"),
        ("1950", "NMB", (PIECES, MASS), "fits"),
        ("1950.000001", "NMB", (PIECES, MASS), "above"),
        ("1", "NMB", (MASS,), "unit unknown"),
        ("600", "KGM", (PIECES, MASS), "fits"),
        ("0.6", "TNE", (PIECES, MASS), "fits"),
        ("0.600001", "TNE", (PIECES, MASS), "above"),
        ("1000", "LBR", (MASS,), "fits"),
        ("1323", "LBR", (MASS,), "above"),
        ("2100.5", "KGM", (NET, GROSS), "fits"),
        ("2100.5", "KGM", (GROSS, NET), "fits"),
        ("2100.6", "KGM", (NET, GROSS), "above"),
        ("1", "LTR", (PIECES, MASS), "other kind"),
        ("1", "H87", (PIECES,), "other kind"),
        ("9999999", "LTR", (), "fits"),
    ],
)
def test_a_quantity_is_compared_in_the_units_of_the_table(quantity, unit, declared, verdict):
    assert compare_decided_quantity(decide(quantity, unit), declared, UNITS) == QuantityVerdict(verdict)


def test_the_units_to_choose_from_begin_with_the_declared_ones():
    units = list_decision_units((PIECES, MASS), UNITS)
    assert units[:2] == ("NMB", "KGM")
    assert {"TNE", "LBR"} < {*units}
    assert len(units) == len({*units})
    assert "LTR" not in units
    assert list_decision_units((DeclaredQuantity(Decimal(1), ""),), UNITS) == ()


GOODS = {1: (PIECES, MASS), 2: (MASS,)}


def check(*decisions: Decision, text: str = "") -> None:
    check_decided_quantities(
        DecisionAct(DecisionPurpose.DECIDE, decisions, "remark", None, text), GOODS, UNITS
    )


def test_what_is_above_is_refused_without_a_reason_at_its_place():
    check(decide("1950", "NMB"), decide("600", "KGM", 2))
    with pytest.raises(GatewayError, match=r"601 KGM for item 2 is more than the declared 600 KGM") as caught:
        check(decide("1950", "NMB"), decide("601", "KGM", 2))
    assert (caught.value.problem.id, caught.value.location) == ("GW404", "Decision[2]/quantity")
    with pytest.raises(GatewayError, match="cannot be compared with the declared 1950 NMB or 600 KGM"):
        check(decide("5000", "H87"), text=" \n")
    check(decide("5000", "H87"), decide("601", "KGM", 2), text="Loose goods are counted with.")


def test_no_reason_helps_a_unit_that_nobody_can_convert():
    with pytest.raises(
        GatewayError, match="5000 pieces for item 1: the table of units has no such unit"
    ) as caught:
        check(decide("5000", "pieces"), text="They are many.")
    assert caught.value.location == "Decision[1]/unit"
