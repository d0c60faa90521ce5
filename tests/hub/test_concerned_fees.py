"""Which fee a notice is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import FeeNoticeEvent, NamedFee, Notice, StatusCode, read_money
from gateway.hub.fees.fee_notices import (
    _find_concerned_fee,
    _has_ended,
    _list_cancellations,
    _may_be_paid_later,
)
from gateway.hub.fees.matched_ends import FeeHistory, FeeMatch, find_kept_end, is_early_end

START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def make_fee(row_id: int, minute: int, state: str = "ORDERED", **changed: Any) -> Any:
    values: dict[str, Any] = {
        "id": row_id,
        "kind": "review",
        "gate": "",
        "state": state,
        "amount": "12000",
        "notice": f"L{row_id}",
        "payment_notice": "",
        "levied_at": START + timedelta(minutes=minute),
        "ended_at": None,
    }
    return SimpleNamespace(**values | changed)


def make_early_end(row_id: int, **changed: Any) -> Any:
    """Return what is kept of a cancellation whose levy has not come."""
    return make_fee(
        row_id, 1, "CANCELLED", notice=None, amount=None, ended_at=START + timedelta(minutes=1), **changed
    )


def find_fee(fees: Sequence[Any], step: str, minute: int, *, names: str = "", kind: str = "") -> int | None:
    """Return the row id of the fee that a notice of this step and minute is about."""
    event = FeeNoticeEvent("E", START + timedelta(minutes=minute), step, names)
    fee = _find_concerned_fee(fees, event, kind)
    return None if fee is None else fee.id


def test_a_confirmation_is_about_the_fee_that_was_paid_before_one_that_is_due() -> None:
    fees = [make_fee(1, 1, "PAID"), make_fee(2, 2)]
    assert find_fee(fees, "confirm", 9) == 1
    assert find_fee(fees, "cancel", 9) == 2


def test_a_notice_is_about_no_fee_that_was_levied_after_it() -> None:
    assert find_fee([make_fee(1, 5)], "cancel", 4) is None
    assert find_fee([make_fee(1, 5)], "cancel", 5) == 1
    assert find_fee([make_fee(1, 5, gate="forwarding")], "cancel", 4) == 1, "another clock levied it"


def test_a_notice_that_names_a_payment_notice_or_a_kind_is_about_no_other_fee() -> None:
    fees = [make_fee(1, 1, payment_notice="PN1"), make_fee(2, 2, payment_notice="PN2", kind="visit")]
    assert find_fee(fees, "cancel", 9, names="PN1") == 1
    assert find_fee(fees, "cancel", 9, names="PN3") is None
    assert find_fee(fees, "cancel", 9, kind="review") == 1
    assert find_fee(fees, "cancel", 9, kind="visit") == 2


def test_a_refund_is_of_a_fee_that_was_paid() -> None:
    fees = [make_fee(1, 1, "CONFIRMED"), make_fee(2, 2), make_fee(3, 3, "CANCELLED")]
    assert find_fee(fees, "refund", 9) == 1
    assert find_fee(fees[1:], "refund", 9) is None


@pytest.mark.parametrize(("step", "state"), [("refund", "PAID"), ("confirm", "PAID"), ("cancel", "ORDERED")])
def test_of_several_fees_the_last_one_is_meant(step: str, state: str) -> None:
    fees = [make_fee(1, 2, state), make_fee(2, 5, state), make_fee(3, 4, state)]
    assert find_fee(fees, step, 9) == 2
    assert find_fee(fees, step, 4) == 3
    assert find_fee([make_fee(1, 5, state, notice="L9"), make_fee(2, 5, state)], step, 9) == 1


def test_an_end_that_waits_for_its_levy_is_no_fee_yet() -> None:
    early_end = make_early_end(1)
    assert is_early_end(early_end)
    assert not is_early_end(make_fee(2, 1))
    assert not is_early_end(make_fee(3, 1, "CANCELLED", ended_at=START + timedelta(minutes=1)))
    assert find_fee([make_fee(4, 1, "CONFIRMED", notice=None, amount=None, ended_at=None)], "cancel", 9) == 4
    assert find_fee([early_end], "cancel", 9) is None


ENDED = make_fee(8, 1, "CANCELLED", payment_notice="PN1")
AMOUNT = NamedFee(read_money("12000", "KRW"))


@pytest.mark.parametrize(
    ("fees", "named_fee", "expected"),
    [
        ([ENDED, make_fee(9, 2)], NamedFee(None), True),
        ([ENDED, make_fee(9, 2, amount=None)], NamedFee(None), False),
        ([ENDED, make_fee(9, 2, payment_notice="PN2")], NamedFee(None, payment_notice="PN1"), False),
        ([ENDED, make_fee(9, 2, payment_notice="PN2")], NamedFee(None, payment_notice="PN2"), True),
        ([], NamedFee(None), False),
        ([], AMOUNT, True),
        ([], NamedFee(None, payment_notice="PN1"), True),
        ([make_early_end(8), make_early_end(9)], AMOUNT, True),
        ([make_early_end(8), make_early_end(9)], NamedFee(None), False),
        ([make_early_end(8), ENDED], AMOUNT, False),
        ([ENDED, make_early_end(9)], AMOUNT, False),
        ([ENDED, make_early_end(9, payment_notice="PN2")], NamedFee(None, payment_notice="PN2"), True),
        ([ENDED], AMOUNT, False),
    ],
)
def test_a_refund_waits_for_a_payment_while_a_fee_is_due_or_no_levy_has_come(
    fees: list[Any], named_fee: NamedFee, expected: bool
) -> None:
    assert _may_be_paid_later(fees, named_fee) is expected


@pytest.mark.parametrize(
    ("fees", "named", "expected"),
    [
        ([make_fee(7, 1), ENDED], "PN1", True),
        ([ENDED, make_fee(9, 2)], "PN1", True),
        ([ENDED], "PN2", False),
        ([ENDED], "", False),
        ([make_fee(9, 1)], "", False),
        ([make_early_end(8, payment_notice="PN1")], "PN1", False),
        ([make_fee(8, 6, "CANCELLED", payment_notice="PN1")], "PN1", False),
        ([], "PN1", False),
    ],
)
def test_an_end_adds_nothing_to_the_fee_that_it_names_and_that_had_ended(
    fees: list[Any], named: str, expected: bool
) -> None:
    notice = Notice("E", START + timedelta(minutes=5), "Y06", fee=NamedFee(None, payment_notice=named))
    assert _has_ended(fees, notice) is expected


@pytest.mark.parametrize(
    ("ended_by", "expected"),
    [(("E8", "E9"), 8), (("E0", "E9"), 9), (("E8", "E"), 9), (("E0", "E0"), None), ((), None)],
)
def test_a_levy_completes_its_own_end_or_one_that_is_of_another_fee(
    ended_by: tuple[str, ...], expected: int | None
) -> None:
    ends = [FeeNoticeEvent(name, START, "cancel", "") for name in ("E", "E8", "E9")]
    match = FeeMatch("review", {}, {f"L{place}": end for place, end in enumerate(ends)})
    fees = [
        make_fee(1, 1),
        make_early_end(2, ended_by="E0"),
        *(make_early_end(row_id, ended_by=name) for row_id, name in enumerate(ended_by, 8)),
    ]
    kept_end = find_kept_end(match, fees, ends[0])
    assert (None if kept_end is None else kept_end.id) == expected


def test_the_refund_of_a_part_is_no_cancellation() -> None:
    steps = {"Y06": "cancel", "Y08": "confirm", "Y16": "refund", "G03": ""}
    codes = {code: StatusCode(code, "", "agency", "", "", step) for code, step in steps.items()}
    notices: Any = [SimpleNamespace(number=f"N-{code}", status_code=code) for code in (*steps, "unknown")]
    assert _list_cancellations(FeeHistory(notices, codes)) == {"N-Y06"}
