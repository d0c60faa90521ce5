"""How an item left its application, which decision is current, and which stored line is that of a use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import RequirementUse
from gateway.hub.requirements.granted_certificates import _describe_removal, _is_current_decision
from gateway.hub.requirements.stated_uses import _is_same_number

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
EARLIER, LATER = START, START + timedelta(minutes=1)
LAW = "FOOD"


@pytest.mark.parametrize(
    ("required", "removed", "times", "expected"),
    [
        ([], [[1, LAW], [2, LAW]], {1: LATER, 2: LATER}, False),
        ([], [[1, LAW], [2, LAW]], {1: LATER, 2: EARLIER}, False),
        ([], [[1, LAW], [2, LAW]], {1: EARLIER, 2: LATER}, True),
        ([], [[1, LAW]], {1: EARLIER, 3: LATER}, False),
        ([[3, LAW]], [[1, LAW]], {1: LATER}, True),
        ([], [[1, LAW]], {}, True),
        ([], [[1, LAW]], {3: LATER}, True),
        ([], None, {}, True),
    ],
)
def test_an_item_left_its_application_with_the_last_ones_or_alone(
    required: list[Any], removed: list[Any] | None, times: dict[int, datetime], expected: bool
) -> None:
    """Where nobody knows when it left, no agency was asked: it left alone."""
    row: Any = SimpleNamespace(item=1, required=required, removed=removed)
    assert _describe_removal(row, times).has_remaining_items is expected


@pytest.mark.parametrize(
    ("named", "stored", "expected"),
    [
        ("", "KFDA", True),
        ("", None, True),
        ("KFDA", "KFDA", True),
        ("KFDA", None, True),
        ("KFDA", "", True),
        ("KFDA", "KPTA", False),
    ],
)
def test_a_number_is_the_same_unless_another_agency_is_named(
    named: str, stored: str | None, expected: bool
) -> None:
    use = RequirementUse(1, "C", Decimal(40), "KGM", "/1", named)
    line: Any = SimpleNamespace(item=1, number="C", agency=stored)
    assert _is_same_number(use, line) is expected
    assert not _is_same_number(use, SimpleNamespace(item=2, number="C", agency=stored))
    assert not _is_same_number(use, SimpleNamespace(item=1, number="D", agency=stored))


@pytest.mark.parametrize(
    ("row_id", "outdated_at", "outdated_decision", "expected"),
    [
        (5, None, None, True),
        (5, None, 4, True),
        (5, None, 5, False),
        (5, None, 6, False),
        (5, LATER, 4, False),
    ],
)
def test_a_decision_is_current_after_the_last_outdated_one(
    row_id: int, outdated_at: datetime | None, outdated_decision: int | None, expected: bool
) -> None:
    row: Any = SimpleNamespace(id=row_id, outdated_at=outdated_at)
    assert _is_current_decision(row, outdated_decision) is expected
