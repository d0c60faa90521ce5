"""Killed at each commit of a message in fragments, the hub loses none of it and joins it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import LocalAgent
from gateway.hub import Hub
from gateway.message_model import ErrorSignal, Receipt
from gateway.store import ObjectFolder, get_database_state
from tests.kit.databases import in_turn
from tests.kit.fragments import FragmentStory
from tests.kit.kills import die_at
from tests.kit.story import PLAN

pytestmark = pytest.mark.long
SIDES = ("before_commit", "after_commit")


@pytest.fixture
def story(engine: Engine) -> FragmentStory:
    return FragmentStory(engine)


def work(story: FragmentStory) -> Callable[[Hub], None]:
    """Return what a process does that works for a while."""

    def tick(hub: Hub) -> None:
        story.hub = hub
        story.agents["local"] = LocalAgent(hub, PLAN)
        story.worker = story.new_worker("child")
        story.tick(seconds=1)

    return tick


def finish(story: FragmentStory) -> list[Any]:
    """Let the leases of the dead process end, and return what the sender heard."""
    story.tick(seconds=121)
    story.tick(seconds=61)
    return [one.unit for one in story.ears.heard]


@in_turn
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_fragment_is_acknowledged_when_it_is_stored(story: FragmentStory, side: str, number: int) -> None:
    plan = story.plan()
    assert plan.fragment_count == 5
    story.send(plan, [one for one in range(1, 6) if one < number])
    parcel = story.seal(plan, number)
    die_at(story, f"receive.message.{side}", lambda hub: story.house.post(parcel, hub))
    assert len(story.fragments()) == (number if side == "after_commit" else number - 1)
    story.send(plan)
    heard = finish(story)
    assert [type(one) for one in heard] == [Receipt]
    assert len(story.joined()) == 1


@in_turn
@pytest.mark.parametrize("side", SIDES)
def test_a_message_is_joined_once(story: FragmentStory, side: str, tmp_path: Any) -> None:
    get_database_state(story.house.engine).objects = ObjectFolder(tmp_path / "payloads")
    plan = story.plan(story.large(3_000_000), 10**6)
    story.send(plan)
    die_at(story, f"fragments.joined.{side}", work(story))
    get_database_state(story.house.engine).objects = ObjectFolder(tmp_path / "payloads")
    heard = finish(story)
    assert [type(one) for one in heard] == [Receipt]
    (row,) = story.joined()
    assert row.message_id == plan.unit.message_id
    assert [one.state for one in story.groups()] == ["JOINED"]


@in_turn
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", ["fragments.refused", "fragments.dropped"])
def test_a_wrong_message_is_refused_once(story: FragmentStory, place: str, side: str) -> None:
    plan = story.plan()
    story.send(replace(plan, unit=replace(plan.unit, conversation_id="another")))
    die_at(story, f"{place}.{side}", work(story))
    heard = finish(story)
    assert [type(one) for one in heard] == [ErrorSignal]
    assert [one.state for one in story.groups()] == ["REFUSED"]
    assert all(row.purged_at is not None for row in story.fragments())


@in_turn
@pytest.mark.parametrize("side", SIDES)
def test_an_incomplete_message_ends_once(story: FragmentStory, side: str) -> None:
    plan = story.plan()
    story.send(plan, [2])
    story.clock.forward(seconds=3600)
    die_at(story, f"fragments.expired.{side}", work(story))
    heard = finish(story)
    assert [(type(one), one.errors[0].code) for one in heard] == [(ErrorSignal, "EBMS:0051")]
    assert [one.code for one in story.groups()] == ["EBMS:0051"]


@in_turn
@pytest.mark.parametrize("side", SIDES)
def test_a_contradiction_ends_a_group_once(story: FragmentStory, side: str) -> None:
    plan = story.plan()
    story.send(plan, [1])
    again = story.seal(plan, 1, "another@broker1.example")
    die_at(story, f"receive.message.{side}", lambda hub: story.house.post(again, hub))
    assert [one.state for one in story.groups()] == ["REFUSED" if side == "after_commit" else "OPEN"]
    story.house.post(again)
    heard = finish(story)
    assert [(type(one), one.errors[0].code) for one in heard] == [(ErrorSignal, "EBMS:0042")]


@in_turn
def test_a_task_of_a_joined_message_ends(story: FragmentStory) -> None:
    """A second task for the same group finds it joined, and changes nothing."""
    from gateway.hub.outbox.local_tasks import enqueue_task
    from gateway.store import write_transaction

    plan = story.plan()
    story.send(plan)
    story.tick(seconds=1)
    (group,) = story.groups()
    with write_transaction(story.house.engine) as conn:
        enqueue_task(conn, "join_fragments", "fragments", group.id, "again", story.clock())
    die_at(story, "fragments.joined_before.after_commit", work(story))
    finish(story)
    assert len(story.joined()) == 1
    assert not story.tasks("FAILED")
