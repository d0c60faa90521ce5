"""The outcome of a case is the same for every order of arrival and for every repetition."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cases import (
    CaseOutcome,
    Decision,
    DecisionCode,
    RankedDecision,
    RequestScope,
    WrittenOffQuantity,
    evaluate_case_outcome,
    is_decided,
    select_current_decisions,
)
from gateway.cases.case_outcome import evaluate_item_outcome

T0 = datetime(2026, 11, 20, 9, tzinfo=UTC)
A, C, R, N = (
    DecisionCode.APPROVED,
    DecisionCode.APPROVED_WITH_CONDITIONS,
    DecisionCode.REJECTED,
    DecisionCode.NOT_CONCERNED,
)


def standing(
    item: int,
    code: DecisionCode,
    *,
    request: str = "r1",
    law: str = "12",
    minute: int = 0,
    notice: str = "N1",
) -> RankedDecision:
    return RankedDecision(request, Decision(item, law, code), T0 + timedelta(minutes=minute), notice)


def concern(*items: int, request: str = "r1", laws: tuple[str, ...] = ("12",)) -> RequestScope:
    return RequestScope(request, frozenset(items), frozenset(laws))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((), A), ((N,), A), ((A,), A), ((A, C), C), ((C, N), C), ((A, R), R), ((R, C, N), R), ((N, A), A)],
)
def test_an_item_is_its_most_restrictive_decision(
    codes: tuple[DecisionCode, ...], expected: DecisionCode
) -> None:
    for order in permutations(codes):
        assert (
            evaluate_item_outcome([Decision(1, str(law), code) for law, code in enumerate(order)]) is expected
        )


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({1: A, 2: A}, CaseOutcome.APPROVED),
        ({1: A, 2: C}, CaseOutcome.APPROVED),
        ({1: N, 2: N}, CaseOutcome.APPROVED),
        ({1: A, 2: R}, CaseOutcome.PARTIAL),
        ({1: R, 2: N}, CaseOutcome.PARTIAL),
        ({1: R, 2: R}, CaseOutcome.REJECTED),
    ],
)
def test_a_case_is_its_items(codes: dict[int, DecisionCode], expected: CaseOutcome) -> None:
    decisions = [standing(item, code) for item, code in codes.items()]
    assert evaluate_case_outcome([1, 2], [concern(1, 2)], decisions) is expected


def test_an_item_that_nobody_is_asked_about_may_be_released() -> None:
    assert evaluate_case_outcome([1, 2], [concern(1)], [standing(1, R)]) is CaseOutcome.PARTIAL
    assert evaluate_case_outcome([1], [concern(1)], [standing(1, R)]) is CaseOutcome.REJECTED


def test_a_case_without_requests_is_approved() -> None:
    assert evaluate_case_outcome([1, 2, 3], [], []) is CaseOutcome.APPROVED


def test_a_request_is_open_until_each_item_is_decided_under_one_of_its_laws() -> None:
    request = concern(1, 2, laws=("01", "70"))
    assert not is_decided(request, [standing(1, A, law="01")])
    assert not is_decided(request, [standing(1, A, law="01"), standing(2, A, law="99")])
    assert not is_decided(request, [standing(1, A, law="01"), standing(2, A, law="70", request="r2")])
    assert is_decided(request, [standing(1, A, law="01"), standing(2, A, law="70")])
    assert evaluate_case_outcome([1, 2], [request], [standing(1, R, law="01")]) is None


def test_the_latest_notice_counts_and_the_number_decides_between_equal_times() -> None:
    later = standing(1, R, minute=5, notice="A")
    assert select_current_decisions([later, standing(1, A, notice="Z")]) == (later,)
    higher = standing(1, R, notice="N2")
    assert select_current_decisions([higher, standing(1, A, notice="N1")]) == (higher,)


decision_lists = st.lists(
    st.builds(
        standing,
        st.integers(1, 3),
        st.sampled_from(list(DecisionCode)),
        request=st.sampled_from(["r1", "r2"]),
        law=st.sampled_from(["12", "05"]),
        minute=st.integers(0, 2),
        notice=st.sampled_from(["N1", "N2"]),
    ),
    max_size=12,
)
CONCERNS = [concern(1, 2, laws=("12", "05")), concern(2, 3, request="r2", laws=("05",))]


@given(decisions=decision_lists, data=st.data())
def test_order_and_repetition_change_nothing(decisions: list[RankedDecision], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(decisions))
    repeated = (
        shuffled + data.draw(st.lists(st.sampled_from(decisions), max_size=5)) if decisions else shuffled
    )
    assert select_current_decisions(repeated) == select_current_decisions(decisions)
    assert evaluate_case_outcome([1, 2, 3], CONCERNS, repeated) == evaluate_case_outcome(
        [1, 2, 3], CONCERNS, decisions
    )


@given(decisions=decision_lists)
def test_every_permutation_of_few_decisions_agrees(decisions: list[RankedDecision]) -> None:
    few = decisions[:4]
    outcomes = {evaluate_case_outcome([1, 2, 3], CONCERNS, order) for order in permutations(few)}
    assert len(outcomes) == 1


def test_the_text_of_decisions_that_stored_digests_are_made_of_is_that_of_the_first_version() -> None:
    full = Decision(1, "01", C, "P-1", date(2026, 11, 20), Decimal("2.50"), "KGM", ("label it", "cool it"))
    ranked = RankedDecision("r1", full, T0, "N1", WrittenOffQuantity(unit="KGM"))
    told = (
        "Decision(item=1, law='01', decision=<DecisionCode.APPROVED_WITH_CONDITIONS: "
        "'APPROVED_WITH_CONDITIONS'>, number='P-1', date=datetime.date(2026, 11, 20), "
        "quantity=Decimal('2.50'), unit='KGM', conditions=('label it', 'cool it'))"
    )
    assert repr(full) == told
    assert repr(ranked) == (
        f"RankedDecision(request='r1', decision={told}, issued_at=datetime.datetime(2026, 11, 20, 9, 0, "
        "tzinfo=datetime.timezone.utc), notice_number='N1')"
    )
    # A field that the text leaves out would let two different decisions have one digest.
    assert [one.name for one in fields(Decision) if f"{one.name}=" not in told] == []
