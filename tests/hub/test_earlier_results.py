"""The notice that is made of what an agency said of a certificate before it had the application."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import DecisionCode
from gateway.hub.requirements.earlier_results import _make_notice

REQUIRED = [[2, "FOOD"], [3, "FOOD"], [3, "DRUG"]]


def make_result(decision: str, *, whole: bool) -> Any:
    return SimpleNamespace(
        notice_no="W-1",
        issued_at=datetime(2026, 11, 20, 9, tzinfo=UTC),
        status_code="G02",
        item=1,
        law="FOOD",
        decision=decision,
        number="K-1",
        date=None,
        quantity=None,
        unit=None,
        conditions=[],
        said={"text": "", "whole": whole},
    )


@pytest.mark.parametrize(
    ("decision", "whole", "expected"),
    [
        ("REJECTED", True, [(2, "FOOD"), (3, "FOOD"), (3, "DRUG")]),
        ("REJECTED", False, [(1, "FOOD")]),
        ("APPROVED", True, [(1, "FOOD")]),
    ],
)
def test_what_takes_back_a_whole_certificate_rejects_each_item_under_each_law(
    decision: str, whole: bool, expected: list[tuple[int, str]]
) -> None:
    request: Any = SimpleNamespace(required=REQUIRED)
    notice = _make_notice([make_result(decision, whole=whole)], request)
    assert [(one.item, one.law) for one in notice.decisions] == expected
    assert {one.decision for one in notice.decisions} == {DecisionCode[decision]}
