"""Of several notices of customs about one case, that which was issued last counts, of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from gateway.hub.customs.late_decisions import find_leading_notice
from tests.kit.house import START

RESULTS = frozenset({"cleared", "refused", "cancelled"})
ANSWERS = frozenset({"accepted", "error"})


@dataclass(frozen=True)
class StoredNotice:
    """What is looked at of a stored notice of customs."""

    id: int
    kind: str
    minute: int = 0
    number: str = "K1"

    @property
    def issued_at(self) -> datetime:
        return START + timedelta(minutes=self.minute)


@pytest.mark.parametrize(
    ("rows", "kinds", "leading"),
    [
        ([], RESULTS, None),
        ([StoredNotice(1, "accepted")], RESULTS, None),
        ([StoredNotice(1, "cleared", 0), StoredNotice(2, "cancelled", 5)], RESULTS, 2),
        ([StoredNotice(1, "cleared", 5), StoredNotice(2, "cancelled", 0)], RESULTS, 1),
        # Of one instant the highest number counts, whichever was stored last.
        ([StoredNotice(1, "cleared", 0, "K2"), StoredNotice(2, "refused", 0, "K1")], RESULTS, 1),
        # An answer, however late, does not hide a result, nor a result an answer.
        ([StoredNotice(1, "cleared", 0), StoredNotice(2, "error", 5)], RESULTS, 1),
        ([StoredNotice(1, "cleared", 5), StoredNotice(2, "accepted", 0)], ANSWERS, 2),
    ],
)
def test_the_last_issued_notice_of_its_kind_counts_in_whatever_order_they_came(
    rows: list[Any], kinds: frozenset[str], leading: int | None
) -> None:
    for order in permutations(rows):
        assert find_leading_notice(order, kinds) == leading
