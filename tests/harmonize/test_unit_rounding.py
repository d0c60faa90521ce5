"""What becomes of a quantity that lies exactly half way between two that can be written."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.harmonize.language.unit_table import ROUNDING_NAMES, round_fraction


@pytest.mark.parametrize(
    ("number", "decimals", "half_up", "half_even", "down", "up"),
    [
        ("0.5", 0, "1", "0", "0", "1"),
        ("1.5", 0, "2", "2", "1", "2"),
        ("-0.5", 0, "-1", "0", "0", "-1"),
        ("0.25", 1, "0.3", "0.2", "0.2", "0.3"),
        ("0.4535", 3, "0.454", "0.454", "0.453", "0.454"),
        ("7", 0, "7", "7", "7", "7"),
    ],
)
def test_a_half_is_rounded_as_the_name_of_the_rounding_says(
    number: str, decimals: int, half_up: str, half_even: str, down: str, up: str
) -> None:
    expected = {"half_up": half_up, "half_even": half_even, "down": down, "up": up}
    rounded = {name: round_fraction(Fraction(number), decimals, name) for name in expected}
    assert rounded == {name: Fraction(text) for name, text in expected.items()}
    exact = Fraction(number) if Fraction(number) * 10**decimals % 1 == 0 else None
    assert round_fraction(Fraction(number), decimals, "exact") == exact
    assert {*expected, "exact"} == set(ROUNDING_NAMES)
