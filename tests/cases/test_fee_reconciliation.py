"""A statement of the payment provider is compared exactly with what the hub has recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from gateway.cases import FeeMovement, read_money, read_statement, reconcile_statement
from gateway.errors import STATEMENT_WRONG, GatewayError

HEAD = "date,kind,reference,order,amount,currency\n"
PAID = FeeMovement("payment", "P-1", "F-1", read_money("30000", "KRW"), date(2026, 11, 20))


def compare(statement: str, *recorded: FeeMovement) -> list[tuple[str, str, int]]:
    found = reconcile_statement(read_statement(HEAD + statement), recorded)
    return [(one.difference, one.reference, one.line) for one in found]


@pytest.mark.parametrize(
    ("statement", "recorded", "found"),
    [
        ("2026-11-20,payment,P-1,F-1,30000,KRW\n", [PAID], []),
        ("20261120,payment,P-1,F-1,30000,KRW\n", [PAID], []),
        ("", [PAID], [("missing there", "P-1", 0)]),
        ("2026-11-20,payment,P-9,F-1,30000,KRW\n", [], [("missing here", "P-9", 2)]),
        ("2026-11-20,payment,P-1,F-1,30001,KRW\n", [PAID], [("different amount", "P-1", 2)]),
        ("2026-11-20,payment,P-1,F-1,30000.00,USD\n", [PAID], [("different amount", "P-1", 2)]),
        ("2026-11-20,payment,P-1,F-2,30000,KRW\n", [PAID], [("different order", "P-1", 2)]),
        ("2026-11-20,payment,P-1,F-1,30000,KRW\n" * 2, [PAID], [("listed twice", "P-1", 3)]),
        (
            "2026-11-20,payment,P-1,F-1,30000,KRW\n",
            [replace(PAID, reason="paid twice")],
            [("paid twice", "P-1", 0)],
        ),
        ("2026-11-20,payment,P-1,F-1,30000,KRW\n", [PAID, PAID], [("recorded twice", "P-1", 0)]),
        (
            "2026-11-20,payment,P-1,F-1,30000,KRW\n",
            [PAID, PAID, PAID],
            [("recorded twice", "P-1", 0), ("recorded twice", "P-1", 0)],
        ),
        (
            "2026-11-20,refund,P-1,F-1,30000,KRW\n",
            [PAID],
            [("missing here", "P-1", 2), ("missing there", "P-1", 0)],
        ),
    ],
)
def test_every_difference_is_told(
    statement: str, recorded: list[FeeMovement], found: list[tuple[str, str, int]]
) -> None:
    assert compare(statement, *recorded) == found


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("date,kind\n", "line 1"),
        (HEAD + "2026-11-31,payment,P-1,F-1,30000,KRW\n", "line 2"),
        (HEAD + "２０261120,payment,P-1,F-1,30000,KRW\n", "line 2"),
        (HEAD + "20260231,payment,P-1,F-1,30000,KRW\n", "line 2"),
        (HEAD + "2026-W47-5,payment,P-1,F-1,30000,KRW\n", "line 2"),
        (HEAD + "2026-11-20,gift,P-1,F-1,30000,KRW\n", "line 2"),
        (HEAD + "2026-11-20,payment,,F-1,30000,KRW\n", "line 2"),
        (HEAD + "2026-11-20,payment,P-1,,30000,KRW\n", "line 2"),
        (HEAD + f"2026-11-20,payment,P-1,{'F' * 201},30000,KRW\n", "line 2"),
        (HEAD + "2026-11-20,payment,P-1,F-1\t,30000,KRW\n", "line 2"),
        (HEAD + "2026-11-20,payment,P-1,F-1,30000.5,KRW\n", "line 2"),
        (HEAD + "2026-11-20,payment,P-1\n", "line 2"),
    ],
)
def test_a_line_that_cannot_be_compared_is_named(text: str, where: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read_statement(text)
    assert (refused.value.problem, refused.value.location) == (STATEMENT_WRONG, where)
