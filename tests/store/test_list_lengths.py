"""Lists of statements have few lengths, and say the same."""

from __future__ import annotations

import pytest

from gateway.store.list_lengths import lengthen_list


@pytest.mark.parametrize(
    ("number", "length"), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (500, 512), (1024, 1024), (1025, 1025)]
)
def test_a_list_is_as_long_as_a_power_of_two(number: int, length: int) -> None:
    values = list(range(number))
    found = lengthen_list(values)
    assert len(found) == length
    assert found[:number] == values
    assert set(found) == set(values)


def test_lists_of_many_lengths_have_few() -> None:
    assert len({len(lengthen_list(range(number))) for number in range(1, 1025)}) == 11
