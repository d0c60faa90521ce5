"""Each notice of an application counts, or it is told why not and which one counts instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from gateway.cases import (
    DatedNotice,
    Decision,
    DecisionCode,
    DecisionDifference,
    DecisionEffect,
    DemandEffect,
    NoticeReplay,
    NoticeToReplay,
    PlaceDifference,
    ReplayedApplication,
    StatusCode,
    describe_decisions,
    find_differences,
    replay_notices,
)

#: The first instant of a day in Korea.
DAY = datetime(2026, 11, 19, 15, tzinfo=UTC)
AT_TEN = DAY + timedelta(hours=10)
MINUTE = timedelta(minutes=1)
A, R = DecisionCode.APPROVED, DecisionCode.REJECTED
APPLICATION = ReplayedApplication("A1", (1,))
CODES = {
    "R01": StatusCode("R01", "approved", "agency", "approved", "decide", final=True),
    "R03": StatusCode("R03", "cancelled", "agency", "revoked", "decide", final=True),
    "R04": StatusCode("R04", "rejected", "agency", "rejected", "decide", final=True),
    "C04": StatusCode("C04", "received", "agency", "pending", "acknowledge"),
    "D01": StatusCode("D01", "supplement", "agency", "query", "ask"),
    "E01": StatusCode("E01", "inspection", "agency", "inspection", "inspect"),
    "E02": StatusCode("E02", "inspected", "agency", "pending", "inspected"),
}


def decide(
    number: str,
    code: DecisionCode,
    at: datetime = AT_TEN,
    *,
    certificate: str | None = None,
    of_day: bool = False,
    status: str = "",
    items: tuple[int, ...] = (1,),
) -> NoticeToReplay:
    """Return a notice that decides items; one `of_day` states no time."""
    decisions = tuple(Decision(item, "01", code, certificate) for item in items)
    status = status or ("R01" if code is A else "R04")
    dated = DatedNotice(
        stored=0,
        number=number,
        issued_at=DAY if of_day else at,
        states_day=of_day,
        rejections=describe_decisions(decisions),
        certificates=frozenset([certificate] if certificate else []),
        follows=CODES[status].follows_issue,
    )
    return NoticeToReplay(dated, status, at, decisions)


def say(number: str, status: str, at: datetime = AT_TEN) -> NoticeToReplay:
    """Return a notice without decisions."""
    return NoticeToReplay(DatedNotice(0, number, at, states_day=False), status, at)


def store(*notices: NoticeToReplay) -> list[NoticeToReplay]:
    return [
        replace(notice, dated=replace(notice.dated, stored=row))
        for row, notice in enumerate(notices, start=1)
    ]


def list_effects(replay: NoticeReplay) -> list[tuple[str, str, str | None]]:
    """Return number, effect and replacement of the first decision of each notice, in their order."""
    return [
        (one.notice.number, one.decisions[0].effect.value, one.decisions[0].replaced_by)
        for one in replay.notices
    ]


def play(
    *notices: NoticeToReplay, application: ReplayedApplication = APPLICATION
) -> list[tuple[str, str, str | None]]:
    return list_effects(replay_notices(application, store(*notices), CODES))


def list_outcomes(
    notices: Sequence[NoticeToReplay], application: ReplayedApplication = APPLICATION
) -> list[tuple[int, str | None, tuple[str, ...]]]:
    items = replay_notices(application, store(*notices), CODES).items
    return [(one.item, one.outcome and one.outcome.value, one.notice_numbers) for one in items]


def test_of_the_same_second_notice_ten_counts_in_either_arrival() -> None:
    for order in permutations((decide("9", A), decide("10", R))):
        assert play(*order) == [("9", "lower_number", "10"), ("10", "counts", None)]
        assert list_outcomes(order) == [(1, "REJECTED", ("10",))]


def test_a_later_notice_replaces_an_earlier_one() -> None:
    late, early = decide("1", A, AT_TEN + MINUTE), decide("2", R)
    assert play(late, early) == [("2", "replaced", "1"), ("1", "counts", None)]


def test_of_numbers_that_compare_as_equal_the_last_stored_counts() -> None:
    assert play(decide("R01", A), decide("R1", R)) == [
        ("R01", "stored_earlier", "R1"),
        ("R1", "counts", None),
    ]


def test_a_cancellation_of_the_day_counts_after_the_approval_of_the_morning() -> None:
    approval = decide("9", A, certificate="P-9")
    cancellation = decide("10", R, certificate="P-9", of_day=True, status="R03")
    for order in permutations((approval, cancellation)):
        assert play(*order) == [("9", "replaced", "10"), ("10", "counts", None)]
        replay = replay_notices(APPLICATION, store(*order), CODES)
        assert replay.notices[1].counts_at == AT_TEN + timedelta(milliseconds=1)
        assert [one.rank for one in replay.notices] == [1, 2]


def test_a_notice_of_a_day_may_have_its_place_below_another_one() -> None:
    assert play(decide("10", A, certificate="P-10"), decide("9", A, certificate="P-9", of_day=True)) == [
        ("9", "below_in_day", "10"),
        ("10", "counts", None),
    ]


def test_a_decision_that_an_amendment_has_outdated_replaces_nothing() -> None:
    outdated = replace(decide("10", R, AT_TEN + MINUTE), outdated=frozenset({(1, "01")}))
    assert play(decide("9", A), outdated) == [("9", "counts", None), ("10", "outdated", None)]


def test_nothing_counts_of_a_cancelled_application() -> None:
    cancelled = replace(APPLICATION, is_cancelled=True)
    notices = decide("9", A), decide("10", A)
    assert play(*notices, application=cancelled) == [
        ("9", "lower_number", "10"),
        ("10", "cancelled", None),
    ]
    assert list_outcomes(notices, cancelled) == [(1, None, ())]
    assert replay_notices(cancelled, store(*notices), CODES).ranked_decisions == ()


@pytest.mark.parametrize(("code", "effect"), [(A, "withdrawn"), (R, "counts")])
def test_of_a_withdrawn_declaration_only_approvals_do_not_count(code: DecisionCode, effect: str) -> None:
    withdrawn = replace(APPLICATION, is_withdrawn=True)
    assert play(decide("9", code), application=withdrawn) == [("9", effect, None)]


def test_each_decision_of_a_notice_is_judged_alone() -> None:
    both, second = decide("9", A, items=(1, 2)), decide("10", R, items=(2,))
    application = ReplayedApplication("A1", (1, 2, 3))
    replay = replay_notices(application, store(both, second), CODES)
    assert [one.effect for one in replay.notices[0].decisions] == [
        DecisionEffect.COUNTS,
        DecisionEffect.LOWER_NUMBER,
    ]
    assert list_outcomes((both, second), application) == [
        (1, "APPROVED", ("9",)),
        (2, "REJECTED", ("10",)),
        (3, None, ()),
    ]


def test_an_application_without_notices_has_no_outcome() -> None:
    assert list_outcomes(()) == [(1, None, ())]


def list_demands(
    *notices: NoticeToReplay, amended_after: int = 0
) -> list[tuple[str, str | None, str | None]]:
    application = replace(APPLICATION, amended_after=amended_after)
    return [
        (one.notice.number, one.demand and one.demand.value, one.demand_replaced_by)
        for one in replay_notices(application, store(*notices), CODES).notices
    ]


def test_the_latest_question_is_told_in_either_arrival() -> None:
    for order in permutations((say("9", "D01"), say("10", "D01"))):
        assert list_demands(*order) == [("9", "replaced", "10"), ("10", "latest", None)]


def test_an_inspection_is_over_when_its_agency_says_so() -> None:
    order, end = say("1", "E01"), say("2", "E02", AT_TEN + MINUTE)
    assert list_demands(order, say("0", "C04")) == [("0", None, None), ("1", "latest", None)]
    later_question = say("3", "D01", AT_TEN + 2 * MINUTE)
    assert list_demands(order, end, later_question) == [
        ("1", "replaced", "2"),
        ("2", None, None),
        ("3", "latest", None),
    ]


def test_a_question_before_the_amendment_is_over() -> None:
    assert list_demands(say("1", "D01"), say("2", "D01", AT_TEN + MINUTE), amended_after=1) == [
        ("1", DemandEffect.AMENDED.value, None),
        ("2", "latest", None),
    ]


def test_a_status_code_that_nobody_knows_demands_nothing() -> None:
    assert list_demands(say("1", "X99")) == [("1", None, None)]


def test_the_database_may_say_otherwise_than_the_notices() -> None:
    subject = frozenset({(1, "01")})
    of_day = replace(decide("8", A, of_day=True, items=(2,)), stored_place=DAY + MINUTE)
    stored = store(decide("9", A), replace(decide("10", R), superseded=subject), of_day)
    replay = replay_notices(APPLICATION, stored, CODES)
    assert list(find_differences(stored, replay)) == [
        PlaceDifference("8", DAY + MINUTE, DAY),
        DecisionDifference(1, "01", ("9",), ("10",)),
    ]


def test_what_the_hub_stored_in_this_order_does_not_differ() -> None:
    stored = store(replace(decide("9", A), superseded=frozenset({(1, "01")})), decide("10", R))
    stored = [replace(notice, stored_place=AT_TEN) for notice in stored]
    assert list(find_differences(stored, replay_notices(APPLICATION, stored, CODES))) == []
