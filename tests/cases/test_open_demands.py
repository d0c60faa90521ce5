"""Which demands of an agency are open follows from its notices, and from what the applicant did since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.cases import DemandNotice, NoticeIssue, OpenDemands, find_demanded_state

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
DEADLINE = START + timedelta(days=3)


def make_notice(event: str, minute: int, *, received: int | None = None, days: int = 0) -> DemandNotice:
    """Make a notice of this minute, received at once or in another minute, with a deadline in some days."""
    issued_at = START + timedelta(minutes=minute)
    received_at = START + timedelta(minutes=minute if received is None else received)
    deadline = START + timedelta(days=days) if days else None
    return DemandNotice(minute, event, f"N{minute}", issued_at, received_at, deadline)


def apply_all(*notices: DemandNotice, amended_after: int = 0) -> OpenDemands:
    """Return the open demands after notices that arrive in this order."""
    demands = OpenDemands(amended_after=amended_after)
    for count, notice in enumerate(notices, start=1):
        demands = demands.apply_notice(notice, notices[:count])
    return demands


def list_open(demands: OpenDemands) -> dict[str, str]:
    return {event: demand.number for event, demand in demands.by_event.items()}


def test_the_question_that_was_issued_last_is_open_in_each_order_of_arrival() -> None:
    former, latter = make_notice("ask", 1), make_notice("ask", 2)
    assert list_open(apply_all(former, latter)) == {"ask": "N2"}
    assert list_open(apply_all(latter, former)) == {"ask": "N2"}


def test_an_inspection_is_open_until_the_agency_says_that_it_is_over() -> None:
    order, end = make_notice("inspect", 1), make_notice("inspected", 2)
    assert list_open(apply_all(order)) == {"inspect": "N1"}
    assert list_open(apply_all(order, end)) == {}
    assert list_open(apply_all(end, order)) == {}
    assert list_open(apply_all(order, end, make_notice("inspect", 3))) == {"inspect": "N3"}


def test_a_later_notice_of_an_inspection_without_a_deadline_keeps_that_of_the_order() -> None:
    demands = apply_all(make_notice("inspect", 1, days=3), make_notice("inspect", 2))
    assert demands.by_event["inspect"].deadline == DEADLINE
    assert demands.by_event["inspect"].latest_issue.number == "N2"


def test_what_was_demanded_before_an_amendment_is_no_inspection() -> None:
    assert list_open(apply_all(make_notice("inspect", 1), amended_after=1)) == {}
    assert list_open(apply_all(make_notice("inspect", 2), amended_after=1)) == {"inspect": "N2"}


def test_a_fee_is_open_until_the_next_demand_and_an_earlier_demand_that_comes_late_does_not_end_it() -> None:
    fee = make_notice("fee", 2)
    assert list_open(apply_all(fee)) == {"fee": "N2"}
    assert list_open(apply_all(fee, make_notice("ask", 3))) == {"ask": "N3"}
    assert list_open(apply_all(fee, make_notice("inspect", 1))) == {"fee": "N2", "inspect": "N1"}


def test_a_supplement_answers_what_was_received_before_it_and_ends_no_inspection() -> None:
    demands = apply_all(make_notice("ask", 1, received=5), make_notice("inspect", 2, received=5))
    assert list_open(demands.apply_supplement(START + timedelta(minutes=4))) == {"ask": "N1", "inspect": "N2"}
    assert list_open(demands.apply_supplement(START + timedelta(minutes=5))) == {"inspect": "N2"}


def test_the_last_demand_or_fee_says_what_the_application_waits_for() -> None:
    demands = apply_all(make_notice("ask", 1), make_notice("inspect", 2))
    assert find_demanded_state(demands) == "INSPECTION"
    assert find_demanded_state(demands, [NoticeIssue(START, "N0")]) == "INSPECTION"
    assert find_demanded_state(demands, [NoticeIssue(START + timedelta(minutes=3), "N3")]) == "FEE_DUE"
    assert find_demanded_state(OpenDemands(), [NoticeIssue(START, "N0")]) == "FEE_DUE"
    assert find_demanded_state(OpenDemands()) is None


def test_demands_are_the_same_when_they_are_read_from_the_database() -> None:
    demands = apply_all(make_notice("ask", 1), make_notice("inspect", 2, days=3), amended_after=1)
    assert OpenDemands.restore(demands.describe()) == demands
