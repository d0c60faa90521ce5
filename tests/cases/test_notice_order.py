"""Notices are ordered by their times, then by their numbers as people count them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.cases import Decision, DecisionCode, RankedDecision, select_current_decisions
from gateway.notice_order import order_notice, order_number

NOON = datetime(2026, 11, 20, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("9", "10"),
        ("P-9", "P-10"),
        ("P-9/R01/2026-11-20/A1", "P-9/R03/2026-11-20/A1"),
        ("P-9/R03/2026-11-20/A1", "P-10/R01/2026-11-20/A1"),
        ("2025-118", "2026-5"),
        ("A1-C09", "A1-C10"),
        ("P", "P-1"),
        ("P-1", "P-1a"),
        ("9" * 127, "1" + "0" * 127),
        ("제9호", "제10호"),
    ],
)
def test_runs_of_digits_are_numbers(lower: str, higher: str) -> None:
    assert order_number(lower) < order_number(higher)


@pytest.mark.parametrize(("number", "same"), [("R01", "R1"), ("P-007", "P-7"), ("A0", "A")])
def test_zeros_in_front_count_nothing(number: str, same: str) -> None:
    assert order_number(number) == order_number(same)


def test_only_ascii_digits_are_numbers() -> None:
    # As text: a full-width nine comes after a full-width one.
    assert order_number("P-\uff19") > order_number("P-\uff11\uff10")


def test_the_time_comes_before_the_number() -> None:
    assert order_notice(NOON, "10") < order_notice(NOON + timedelta(microseconds=1), "9")


def decide(number: str, code: DecisionCode) -> RankedDecision:
    return RankedDecision("A1", Decision(1, "01", code), NOON, number)


@pytest.mark.parametrize("names", [("9", "10"), ("10", "9")])
def test_the_decision_of_the_higher_number_is_in_force(names: tuple[str, str]) -> None:
    codes = {"9": DecisionCode.APPROVED, "10": DecisionCode.REJECTED}
    (current,) = select_current_decisions(decide(name, codes[name]) for name in names)
    assert current.notice_number == "10"


@pytest.mark.parametrize("names", [("R01", "R1"), ("R1", "R01")])
def test_equal_numbers_stay_in_the_order_stored(names: tuple[str, str]) -> None:
    codes = {"R01": DecisionCode.APPROVED, "R1": DecisionCode.REJECTED}
    (current,) = select_current_decisions(decide(name, codes[name]) for name in names)
    assert current.notice_number == names[1]
