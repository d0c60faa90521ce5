"""The state of a lane: it follows from the attempts at its own deliveries, in every order of their ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.config import Settings
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import (
    DOCUMENT_INVALID,
    KEY_UNAVAILABLE,
    OUR_MISTAKE,
    PARTNER_FAULT,
    RECEIPT_MISSING,
    REFUSED_FOR_GOOD,
    UNREACHABLE,
    GatewayError,
)
from gateway.operations import list_lane_faults, list_lane_reports
from gateway.operations.lane_reports import LaneReport
from gateway.store import (
    InsufficientStorageError,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    lanes,
    make_attempt_outcome,
    read_transaction,
    write_transaction,
)
from tests.flows.craft import reference
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.kit.story import Story, unreachable


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def read_lane(story: Story, name: str) -> LaneReport:
    settings = Settings()
    with read_transaction(story.house.engine) as conn:
        return next(lane for lane in list_lane_reports(conn, settings) if lane.name == name)


def describe_lane(story: Story, name: str = "KPTA") -> tuple[Any, ...]:
    lane = read_lane(story, name)
    return lane.state, lane.problem, lane.failing_since


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@BOTH
def test_refusals_of_what_a_partner_sends_are_not_the_state_of_its_lane(story: Story) -> None:
    story.submit()
    story.tick()
    for is_signed in (True, False):
        story.hub.tally.count_refusal("KPTA", GatewayError(DOCUMENT_INVALID), is_signed=is_signed)
    story.hub.tally.store_counts()
    assert describe_lane(story) == ("good", None, None)


@BOTH
def test_a_lane_has_the_problem_of_its_own_attempts(story: Story) -> None:
    story.say(
        "KPTA", unreachable(), GatewayError(PARTNER_FAULT, "busy", theirs="HTTP status 503"), unreachable()
    )
    story.submit()
    story.tick()
    assert describe_lane(story) == ("retrying", UNREACHABLE.id, START)
    story.tick(minutes=1)
    assert describe_lane(story) == ("retrying", PARTNER_FAULT.id, START)
    story.tick(minutes=2)
    assert describe_lane(story) == ("retrying", UNREACHABLE.id, START)
    story.tick(minutes=9)
    assert describe_lane(story) == ("good", None, None)


@BOTH
def test_a_lane_whose_attempts_are_used_up_has_their_cause(story: Story) -> None:
    story.say("KPTA", *[unreachable()] * 4)
    story.submit()
    for _ in range(5):
        story.tick(minutes=9)
    assert describe_lane(story) == ("failing", UNREACHABLE.id, later(9))
    # Another call is taken: the failed one is left, and is all that is wrong.
    story.submit(story.submission(reference("B1-2")))
    story.tick()
    assert describe_lane(story) == ("failing", "GW604", None)
    story.operate(deliveries.give_up_delivery, story.delivery(lane="KPTA", state="FAILED").id)
    assert describe_lane(story) == ("good", None, None)


@BOTH
def test_an_answer_ends_the_fault_of_a_lane(story: Story) -> None:
    """An agency that refuses a call for good in its own words is there."""
    refusal = GatewayError(REFUSED_FOR_GOOD, "no", theirs="fault Client: no such law")
    story.say("KPTA", unreachable(), refusal)
    story.submit()
    story.tick()
    story.tick(minutes=1)
    assert describe_lane(story) == ("failing", REFUSED_FOR_GOOD.id, None)
    story.say("KPTA", unreachable())
    story.submit(story.submission(reference("B1-2")))
    story.tick(minutes=1)
    assert describe_lane(story) == ("failing", UNREACHABLE.id, later(2))


@BOTH
def test_a_problem_of_the_hub_is_the_problem_of_the_lane_and_not_of_the_partner(story: Story) -> None:
    story.say("KPTA", GatewayError(KEY_UNAVAILABLE, "the token is away"))
    story.submit()
    story.tick()
    assert describe_lane(story) == ("retrying", KEY_UNAVAILABLE.id, START)


@BOTH
def test_attempts_that_are_used_up_because_of_the_hub_are_no_fault_of_the_partner(story: Story) -> None:
    story.say("KPTA", *[GatewayError(OUR_MISTAKE, "a mistake")] * 4)
    story.submit()
    for _ in range(5):
        story.tick(minutes=9)
    assert story.delivery(lane="KPTA").state == "FAILED"
    lane = read_lane(story, "KPTA")
    assert (lane.state, lane.problem) == ("failing", OUR_MISTAKE.id)
    with read_transaction(story.house.engine) as conn:
        rows = lanes.find_lanes(conn, ["KPTA"]).values()
        assert list_lane_faults(conn, rows)["KPTA"].partner_since is None


@BOTH
def test_what_an_operator_does_with_other_deliveries_brings_no_fault_back(story: Story) -> None:
    """A call fails and is held; the agency refuses another one in its own words: it is there, for good."""
    refusal = GatewayError(REFUSED_FOR_GOOD, "no", theirs="fault Client: no such law")
    story.say("KPTA", unreachable(), refusal)
    story.submit()
    story.tick()
    first = story.delivery(lane="KPTA").id
    story.operate(deliveries.hold_delivery, first)
    story.submit(story.submission(reference("B1-2")))
    story.tick(minutes=3)
    second = story.delivery(lane="KPTA", state="FAILED").id
    for act in (deliveries.requeue_delivery, deliveries.hold_delivery, deliveries.cancel_delivery):
        story.operate(act, second)
        assert read_lane(story, "KPTA").failing_since is None
    assert describe_lane(story) == ("waiting", None, None)


@BOTH
def test_the_fault_of_a_lane_of_messages_lasts_until_a_receipt(story: Story) -> None:
    # The handler takes the messages and sends no receipt; later it sends them.
    story.inbox.answers.extend([HttpAnswer(204, {}, b"")] * 20)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    assert story.deliveries(lane="msh:broker1", state="AWAITING_RECEIPT")
    assert describe_lane(story, "msh:broker1") == ("good", None, None)
    story.tick(minutes=6)
    since = story.clock()
    # It is sent again at once, and waits again: the fault is not over.
    assert {row.tries for row in story.deliveries(lane="msh:broker1", state="AWAITING_RECEIPT")} == {2}
    assert describe_lane(story, "msh:broker1") == ("retrying", RECEIPT_MISSING.id, since)
    story.inbox.answers.clear()
    story.tick(minutes=6)
    assert describe_lane(story, "msh:broker1") == ("good", None, None)


@BOTH
def test_a_failure_after_a_success_begins_anew(story: Story) -> None:
    for number in range(3):
        story.say("KPTA", unreachable())
        story.submit(story.submission(reference(f"B1-{number}")))
        story.tick(minutes=1)
        assert describe_lane(story) == ("retrying", UNREACHABLE.id, story.clock())
        story.tick(minutes=1)
        assert describe_lane(story) == ("good", None, None)


@BOTH
def test_a_fault_whose_deliveries_were_given_up_does_not_come_back(story: Story) -> None:
    story.say("KPTA", unreachable())
    story.submit()
    story.tick()
    story.operate(deliveries.cancel_delivery, story.delivery(lane="KPTA").id)
    assert describe_lane(story) == ("good", None, None)
    story.clock.forward(hours=20)
    story.say("KPTA", GatewayError(KEY_UNAVAILABLE, "the token is away"))
    story.submit(story.submission(reference("B1-2")))
    story.tick()
    assert describe_lane(story) == ("retrying", KEY_UNAVAILABLE.id, story.clock())
    with read_transaction(story.house.engine) as conn:
        assert lanes.find_lanes(conn, ["KPTA"])["KPTA"].partner_failing_since is None


@BOTH
def test_a_failure_that_is_stored_later_keeps_its_cause(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.say("KPTA", *[GatewayError(OUR_MISTAKE, "a mistake")] * 4)
    story.submit()
    for _ in range(3):
        story.tick(minutes=9)
    fail_delivery = delivery_leases.fail_delivery
    failures = [InsufficientStorageError("the disk is full")]

    def fail_once(*arguments: Any) -> bool:
        if failures:
            raise failures.pop()
        return fail_delivery(*arguments)

    monkeypatch.setattr(delivery_leases, "fail_delivery", fail_once)
    story.tick(minutes=9)
    story.tick(seconds=1)
    lane = read_lane(story, "KPTA")
    assert failures == []
    assert (lane.state, lane.problem, lane.failing_since) == ("failing", OUR_MISTAKE.id, later(9))


@BOTH
def test_a_message_that_the_hub_gives_up_itself_is_no_answer_of_the_partner(story: Story) -> None:
    """The whole of a split message fails with its fragments: nobody has answered."""
    story.say("KPTA", unreachable())
    story.submit()
    story.tick()
    delivery = story.delivery(lane="KPTA").id
    for problem in (GatewayError(UNREACHABLE), GatewayError(REFUSED_FOR_GOOD, "no", theirs="no")):
        assert describe_lane(story) == ("retrying", UNREACHABLE.id, START)
        with write_transaction(story.house.engine) as conn:
            outcome = make_attempt_outcome(problem)
            assert delivery_maintenance.apply_receipt_or_error(conn, delivery, START, "receive", outcome)
            deliveries.requeue_delivery(conn, delivery, START, "kim")
    assert describe_lane(story) == ("waiting", None, None)
