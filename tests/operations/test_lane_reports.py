"""The state of a lane: it follows from the attempts at its own deliveries, in every order of their ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.config import Settings
from gateway.errors import (
    DOCUMENT_INVALID,
    KEY_UNAVAILABLE,
    PARTNER_FAULT,
    REFUSED_FOR_GOOD,
    UNREACHABLE,
    GatewayError,
)
from gateway.operations import list_lane_reports
from gateway.operations.lane_reports import LaneFault, LaneReport, summarize_faults
from gateway.store import deliveries, read_transaction
from tests.flows.craft import reference
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.kit.story import Story, unreachable


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@dataclass(frozen=True)
class Ended:
    """Attempts that ended in one way."""

    problem: str | None
    first_at: datetime
    last_at: datetime
    outcome: str = "defer"
    is_answered: bool = False


FAULTS: list[tuple[list[Ended], LaneFault | None]] = [
    ([], None),
    ([Ended(None, later(1), later(2), "lease_lost")], None),
    ([Ended("GW601", later(1), later(9))], LaneFault("GW601", later(1), later(1))),
    ([Ended("GW806", later(1), later(9))], LaneFault("GW806", later(1), None)),
    # Ours first, then the partner's; and the other way round.
    (
        [Ended("GW806", later(1), later(2)), Ended("GW601", later(3), later(4))],
        LaneFault("GW601", later(1), later(3)),
    ),
    (
        [Ended("GW601", later(1), later(2)), Ended("GW806", later(3), later(4))],
        LaneFault("GW806", later(1), later(1)),
    ),
    # That all attempts are used up is not their cause.
    (
        [Ended("GW601", later(1), later(2)), Ended("GW604", later(3), later(4), "refuse")],
        LaneFault("GW601", later(1), later(1)),
    ),
    ([Ended("GW604", later(3), later(4), "refuse")], LaneFault("GW604", later(3), later(3))),
    # A message that was sent, and whose receipt did not come.
    ([Ended(None, later(3), later(4), "sent")], LaneFault("GW308", later(3), later(3))),
    # Refused for good: by the partner in its own words, or by nobody but the hub.
    ([Ended("GW602", later(1), later(2), "refuse", is_answered=True)], None),
    ([Ended("GW602", later(1), later(2), "refuse")], LaneFault("GW602", later(1), later(1))),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_follows_from_the_attempts_since_the_last_success(number: int) -> None:
    attempts, fault = FAULTS[number]
    assert summarize_faults(attempts) == fault


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
