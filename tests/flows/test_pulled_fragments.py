"""A Result in fragments on a pulled channel: each is receipted, and the receipt of the whole ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import LocalAgent, MshAgent
from gateway.hub import Hub
from gateway.hub.completion import operator_actions
from gateway.message_model import read_octets
from gateway.store import lanes, messages, write_transaction
from tests.flows.test_as4_pull import PULLED, ask, seal
from tests.kit.databases import in_turn
from tests.kit.kills import die_at
from tests.kit.sent_fragments import PULLED_SMALL, PulledStory, replace_terms
from tests.kit.story import PLAN


def begin(engine: Engine, folder: Path, agreement: bytes = PULLED_SMALL) -> PulledStory:
    made = PulledStory(engine, folder, agreement)
    made.file()
    made.tick(seconds=1)
    return made


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> PulledStory:
    return begin(engine, tmp_path)


def count_sent(story: PulledStory) -> dict[int, int]:
    """Return how often each fragment was handed out; none with other octets."""
    sent = story.sent_octets()
    assert {len(set(found)) for found in sent.values()} <= {1}
    return {number: len(found) for number, found in sent.items()}


def check_closed(story: PulledStory) -> None:
    assert (story.whole().state, story.group().state) == ("DELIVERED", "RECEIPTED")
    assert story.case().state == "CLOSED"
    assert not story.deliveries(state="FAILED")


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_result_is_pulled_one_fragment_after_the_other(
    engine: Engine, tmp_path: Path, compression: str
) -> None:
    story = begin(engine, tmp_path, replace_terms(compression, agreement=PULLED))
    count = story.group().count
    assert {row.lane.partition(":")[0] for row in story.pieces_of()} == {"pull"}
    assert story.pull_all() == list(range(1, count + 1))
    assert count > 1
    assert {row.state for row in story.pieces_of()} == {"DELIVERED"}
    # Its receiver has not said that it has joined it.
    assert (story.whole().state, story.case().state) == ("AWAITING_RECEIPT", "DECIDED")
    assert story.post_receipt().status == 204
    check_closed(story)
    rows = story.read(lambda conn: messages.list_messages(conn, direction="out", kind="UserMessage"))
    (part,) = story.read(lambda conn: messages.load_payloads(conn, rows[0].id))
    assert read_octets(story.joiner.got[-1].payloads[0].octets) == read_octets(part.octets)
    assert story.pull_all() == []


@pytest.mark.long
def test_a_fragment_without_receipt_is_there_again_and_no_other(story: PulledStory) -> None:
    count = story.group().count
    assert story.pull_all(lose=(2, 4)) == list(range(1, count + 1))
    story.tick(seconds=299)
    assert story.pull_all() == []
    story.tick(seconds=2)
    assert story.pull_all() == [2, 4]
    assert {number for number, times in count_sent(story).items() if times == 2} == {2, 4}
    story.post_receipt()
    check_closed(story)


@pytest.mark.long
def test_a_fragment_that_is_never_receipted_fails_the_whole(story: PulledStory) -> None:
    for _ in range(4):
        story.pull_all(lose=(3,))
        story.tick(seconds=301)
    assert story.pull_all() == []
    assert (story.whole().state, story.group().state) == ("FAILED", "FAILED")
    assert "fragment 3" in story.whole().last_sentence
    before = count_sent(story)
    assert before[3] == 4
    # The octets are the same, and only what has no receipt goes again.
    story.operate(operator_actions.requeue_delivery, story.whole().id)
    story.tick(seconds=1)
    assert story.pull_all() == [3]
    story.post_receipt()
    check_closed(story)


@in_turn
@pytest.mark.long
def test_what_nobody_pulls_ends_with_its_time(story: PulledStory) -> None:
    story.tick(hours=119)
    assert story.whole().state == "AWAITING_RECEIPT"
    story.tick(hours=2)
    story.tick(seconds=1)
    assert story.whole().state == "FAILED"
    assert {row.state for row in story.pieces_of()} == {"CANCELLED"}
    assert story.pull_all() == []


@pytest.mark.long
def test_without_receipt_of_the_whole_it_fails(story: PulledStory) -> None:
    story.pull_all()
    for _ in range(2):
        story.tick(hours=61)
    assert (story.whole().state, story.whole().problem) == ("FAILED", "GW604")


@pytest.mark.long
@pytest.mark.parametrize("joined", [True, False])
def test_nothing_is_handed_out_of_a_message_that_has_ended(story: PulledStory, *, joined: bool) -> None:
    """The receipt of one fragment is lost, and the whole has ended before it is there again."""
    story.pull_all(lose=(2,))
    (story.post_receipt if joined else story.post_error)()
    assert story.whole().state == ("DELIVERED" if joined else "FAILED")
    story.tick(seconds=301)
    assert story.pull_all() == []
    assert [row.state for row in story.pieces_of() if row.state != "DELIVERED"] == ["CANCELLED"]


@pytest.mark.long
def test_a_former_round_is_not_handed_out_beside_the_new_one(story: PulledStory) -> None:
    story.pull_all(lose=(2,))
    story.post_error()
    story.operate(operator_actions.requeue_delivery, story.whole().id)
    story.tick(seconds=301)
    assert story.pull_all() == [2]
    story.post_receipt()
    check_closed(story)
    assert [row.state for row in story.pieces_of() if row.state != "DELIVERED"] == ["CANCELLED"]


@in_turn
@pytest.mark.long
def test_a_receipt_of_another_fragment_or_of_another_party_ends_nothing(story: PulledStory) -> None:
    first = story.take(story.pull())
    second = story.take(story.pull())
    foreign = type(first)(200, first.headers, first.body.replace(b"DigestValue>", b"DigestValue>A", 1))
    assert b"EBMS:" in story.acknowledge(foreign).body
    assert not story.pieces_of("DELIVERED")
    for receipt in (first, first, second, second):
        assert story.acknowledge(receipt).status == 204
    assert len(story.pieces_of("DELIVERED")) == 2


@pytest.mark.long
def test_a_refused_fragment_fails_the_whole(story: PulledStory) -> None:
    story.take(story.pull())
    answer = story.pull()
    opened = story.joiner.open(dict(answer.headers), answer.body)
    assert story.acknowledge(story.joiner.refuse(opened)).status == 204
    story.tick(seconds=1)
    assert (story.whole().state, story.whole().problem) == ("FAILED", "GW602")
    assert story.pull_all() == []


@pytest.mark.long
def test_a_held_channel_hands_out_nothing(story: PulledStory) -> None:
    lane: Any = story.pieces_of()[0].lane
    with write_transaction(story.hub.engine, "held") as conn:
        lanes.hold_lane(conn, lane, story.clock(), "op", "why")
    assert story.pull_all() == []
    with write_transaction(story.hub.engine, "released") as conn:
        lanes.release_lane(conn, lane, story.clock())
    assert story.pull_all()


@in_turn
@pytest.mark.long
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
@pytest.mark.parametrize("place", ["conclude.result", "fragments.queued"])
def test_killed_while_it_is_queued_it_is_pulled_once(
    engine: Engine, tmp_path: Path, place: str, side: str
) -> None:
    story = PulledStory(engine, tmp_path)
    story.file()

    def tick(hub: Hub) -> None:
        story.hub = hub
        story.agents["local"] = LocalAgent(hub, PLAN)
        story.agents["msh"] = MshAgent(hub, None)  # type: ignore[arg-type]
        story.worker = story.new_worker("child")
        story.tick(seconds=1)

    die_at(story, f"{place}.{side}", tick)
    story.tick(seconds=301)
    assert story.pull_all() == list(range(1, story.group().count + 1))
    story.post_receipt()
    check_closed(story)


@in_turn
@pytest.mark.long
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_killed_while_it_is_pulled_it_goes_on(story: PulledStory, side: str) -> None:
    count = story.group().count
    first = story.acknowledge(story.take(story.pull()))
    assert first.status == 204

    die_at(story, f"pull.hand_out.{side}", pull_from(story))
    receipt = story.take(story.pull())

    def receive(hub: Hub) -> None:
        story.house.hub = hub
        story.acknowledge(receipt)

    die_at(story, f"signals.settled.{side}", receive)
    story.pull_all()
    # What was handed out before the kill is there again when its receipt is late.
    story.tick(seconds=301)
    story.pull_all()
    assert set(count_sent(story)) == set(range(1, count + 1))
    die_at(story, f"signals.settled.{side}", lambda hub: post_whole(story, hub))
    story.post_receipt()
    check_closed(story)
    assert story.evidence("delivery", story.whole().id) == ["NRR"]


def post_whole(story: PulledStory, hub: Hub) -> None:
    story.house.hub = hub
    story.post_receipt()


@in_turn
@pytest.mark.long
@pytest.mark.parametrize("place", ["pull.hand_out", "fragments.failed"])
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_killed_while_it_fails_it_fails_once(story: PulledStory, place: str, side: str) -> None:
    story.pull_all(lose=(2,))
    if place == "pull.hand_out":
        # The fragment is dropped by the request that is killed.
        story.post_error()
        story.tick(seconds=301)
        die_at(story, f"{place}.{side}", pull_from(story))
    else:
        answer = story.sent_octets()[2][0]
        opened = story.joiner.open(read_headers(story, answer), answer)
        story.acknowledge(story.joiner.refuse(opened))

        def tick(hub: Hub) -> None:
            story.agents["local"] = LocalAgent(hub, PLAN)
            story.worker = story.new_worker("child")
            story.tick(seconds=1)

        die_at(story, f"{place}.{side}", tick)
        story.tick(seconds=301)
    assert story.pull_all() == []
    assert (story.whole().state, story.group().state) == ("FAILED", "FAILED")
    assert {row.state for row in story.pieces_of()} == {"DELIVERED", "CANCELLED"}


def pull_from(story: PulledStory) -> Callable[[Hub], None]:
    """Return what asks a process once, by a request that nobody else makes."""
    asked = seal(story.broker, ask(story.broker))

    def post(hub: Hub) -> None:
        story.house.post(asked, hub)

    return post


def read_headers(story: PulledStory, content: bytes) -> dict[str, str]:
    """Return the headers with which octets were pulled."""
    kept = (json.loads(path.read_text()) for path in story.joiner.folder.iterdir())
    return next(dict(one["headers"]) for one in kept if bytes.fromhex(one["body"]) == content)
