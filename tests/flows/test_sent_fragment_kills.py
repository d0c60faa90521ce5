"""Killed at each commit of a message that goes in fragments, the hub sends the same octets and ends once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import LocalAgent, MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.hub import Hub
from gateway.hub.completion import operator_actions
from tests.flows.test_sent_fragments import REFUSED
from tests.kit.databases import in_turn
from tests.kit.kills import die_at
from tests.kit.sent_fragments import SplitStory
from tests.kit.story import PLAN

pytestmark = pytest.mark.long
SIDES = ("before_commit", "after_commit")


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> SplitStory:
    made = SplitStory(engine, tmp_path)
    made.file()
    return made


def work(story: SplitStory, repeats: int = 0) -> Callable[[Hub], None]:
    """Return what a process does that works for a while, and through so many intervals of repeats."""

    def tick(hub: Hub) -> None:
        story.hub = hub
        story.agents["local"] = LocalAgent(hub, PLAN)
        story.agents["msh"] = MshAgent(hub, story.joiner)  # type: ignore[arg-type]
        story.worker = story.new_worker("child")
        story.tick(seconds=1)
        for _ in range(repeats):
            story.tick(seconds=301)

    return tick


def finish(story: SplitStory) -> None:
    """Let the leases of the dead process end, send what is left, and post the receipt of the whole."""
    for _ in range(2):
        story.tick(seconds=301)
    check_octets(story)
    story.post_receipt()
    assert (story.whole().state, story.group().state) == ("DELIVERED", "RECEIPTED")
    assert story.case().state == "CLOSED"
    assert len(story.joiner.receipts) == 1
    assert not story.deliveries(state="FAILED")


def check_octets(story: SplitStory) -> None:
    """Check that every fragment was sent, and none with other octets."""
    sent = story.sent_octets()
    assert set(sent) == set(range(1, story.group().count + 1))
    assert {len(set(found)) for found in sent.values()} == {1}


@in_turn
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", ["conclude.result", "fragments.queued", "signals.settled"])
def test_a_message_is_sent_once(story: SplitStory, place: str, side: str) -> None:
    die_at(story, f"{place}.{side}", work(story))
    finish(story)
    times = [len(found) for found in story.sent_octets().values()]
    # What was posted, and whose receipt was not stored, is posted again.
    lost = (place, side) == ("signals.settled", "before_commit")
    assert sum(times) == len(times) + lost


@in_turn
def test_what_was_posted_is_posted_again_with_the_same_octets(story: SplitStory) -> None:
    die_at(story, "msh.after_post", work(story))
    finish(story)


@in_turn
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", ["signals.settled", "delivery.failed", "fragments.failed"])
def test_a_failed_message_fails_once(story: SplitStory, place: str, side: str) -> None:
    signed = place == "signals.settled"
    # What nobody has signed ends nothing before the last repeat.
    story.joiner.answer_to = {1: story.joiner.refuse if signed else REFUSED}
    die_at(story, f"{place}.{side}", work(story, 0 if signed else 5))
    for _ in range(3):
        story.tick(seconds=301)
    assert (story.whole().state, story.whole().problem) == ("FAILED", "GW602" if signed else "GW604")
    assert story.group().state == "FAILED"
    assert {row.state for row in story.pieces_of()} <= {"DELIVERED", "CANCELLED"}
    assert story.evidence("delivery", story.whole().id) == ["DeliveryFailure"]
    assert [row.id for row in story.deliveries(state="FAILED")] == [story.whole().id]
    story.joiner.answer_to = {}
    story.operate(operator_actions.requeue_delivery, story.whole().id)
    die_at(story, f"fragments.queued.{side}", work(story))
    finish(story)


@in_turn
@pytest.mark.parametrize("side", SIDES)
def test_the_receipt_of_the_whole_is_stored_once(story: SplitStory, side: str) -> None:
    story.tick(seconds=1)

    def receive(hub: Hub) -> None:
        story.house.hub = hub
        story.post_receipt()

    die_at(story, f"signals.settled.{side}", receive)
    finish(story)


@in_turn
@pytest.mark.parametrize("side", SIDES)
def test_a_fragment_behind_the_receipt_ends(story: SplitStory, side: str) -> None:
    story.joiner.answer_to = {2: lambda _opened: HttpAnswer(503, {}, b"")}
    story.tick(seconds=1)
    story.post_receipt()
    story.clock.forward(seconds=301)
    die_at(story, f"fragments.unwanted.{side}", work(story))
    for _ in range(2):
        story.tick(seconds=301)
    assert {row.state for row in story.pieces_of()} == {"DELIVERED", "CANCELLED"}
    assert story.case().state == "CLOSED"
    assert {len(found) for found in story.sent_octets().values()} == {1}
