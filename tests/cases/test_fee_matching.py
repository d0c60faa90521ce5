"""Which fee a notice has ended follows from the issue times of all notices of its kind."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cases import FeeNoticeEvent, match_fee_ends

START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def word(number: str, minute: int, step: str = "levy", names: str = "") -> FeeNoticeEvent:
    return FeeNoticeEvent(number, START + timedelta(minutes=minute), step, names)


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        ([word("A", 1), word("B", 2), word("E", 3, "confirm")], {"B": "E"}),
        ([word("A", 1), word("E", 2, "confirm"), word("B", 3)], {"A": "E"}),
        ([word("E", 1, "cancel"), word("A", 2)], {}),
        ([word("A", 1), word("E", 1, "cancel")], {"A": "E"}),
        ([word("A", 1, names="F"), word("B", 2), word("E", 3, "cancel", "F")], {"A": "E"}),
        ([word("A", 1, names="F"), word("B", 2), word("E", 3, "cancel", "G")], {}),
        ([word("A", 1), word("B", 2), word("E", 3, "confirm"), word("C", 4, "cancel")], {"B": "E", "A": "C"}),
        ([word("A", 1), word("E", 2, "confirm"), word("C", 3, "cancel")], {"A": "E"}),
        ([word("B", 1), word("A", 1), word("E", 3, "cancel")], {"B": "E"}),
    ],
)
def test_each_end_is_about_the_last_fee_that_was_due(
    said: list[FeeNoticeEvent], ended: dict[str, str]
) -> None:
    for order in itertools.permutations(said):
        assert {levy: end.number for levy, end in match_fee_ends(order).items()} == ended
