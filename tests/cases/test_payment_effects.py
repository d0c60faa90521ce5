"""What a payment does to its fee: it counts, comes too late, or is too much; another sum is refused."""

from __future__ import annotations

import pytest

from gateway.cases import Money, choose_payment_effect, read_money
from gateway.errors import GatewayError
from gateway.state_machines import FEE

DUE = read_money("30000", "KRW")
EFFECTS = {
    "LEVIED": "counted",
    "ORDERED": "counted",
    "PAID": "excess",
    "CONFIRMED": "excess",
    "CANCELLED": "late",
    "REFUNDING": "excess",
    "REFUNDED": "excess",
    "PARTLY_REFUNDED": "excess",
}


def test_each_state_of_a_fee_has_its_effect() -> None:
    assert {state: choose_payment_effect(state, DUE, DUE) for state in EFFECTS} == EFFECTS
    assert EFFECTS.keys() == FEE.transitions.keys() | FEE.final_states


@pytest.mark.parametrize("state", EFFECTS)
@pytest.mark.parametrize(
    ("due", "paid"),
    [
        (DUE, read_money("29999", "KRW")),
        (DUE, read_money("30001", "KRW")),
        (DUE, read_money("30000", "USD")),
        (None, DUE),
    ],
)
def test_another_sum_or_currency_than_due_is_refused_in_each_state(
    state: str, due: Money | None, paid: Money
) -> None:
    with pytest.raises(GatewayError) as refused:
        choose_payment_effect(state, due, paid)
    assert (refused.value.problem.id, refused.value.location) == ("GW712", "amount")
