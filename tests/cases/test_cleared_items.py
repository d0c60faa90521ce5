"""Which items a result of customs clears."""

from __future__ import annotations

import pytest

from gateway.cases import ClearedItem, list_cleared_items


@pytest.mark.parametrize(
    ("named_items", "cleared"),
    [
        ([], {1, 2, 3}),
        ([ClearedItem(2, "5EC")], {2}),
        ([ClearedItem(1, "5EC"), ClearedItem(3, "5EC")], {1, 3}),
        ([ClearedItem(1, "5EC"), ClearedItem(3, "03")], {1}),
        ([ClearedItem(1, "03")], set()),
    ],
)
def test_named_items_are_cleared_by_the_code_of_the_result_and_all_where_none_is_named(
    named_items: list[ClearedItem], cleared: set[int]
) -> None:
    assert list_cleared_items("5EC", named_items, [1, 2, 3]) == cleared
