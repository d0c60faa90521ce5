"""What is sent under an agreement that this version does not read waits for it, and is sent once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import GatewayError
from gateway.operations import load_unchecked_agreement
from gateway.store import write_transaction
from tests.flows.craft import without_applications
from tests.flows.test_sent_order import ORDERED
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT
from tests.kit.odd_rows import add_later_term
from tests.kit.story import Story, unreachable

NAME = "urn:example:agreement:broker1-hub:2026"


def load_again(story: Story) -> None:
    with write_transaction(story.house.engine) as conn:
        load_unchecked_agreement(conn, AGREEMENT, "agreement.yaml", story.clock())


def make_agreement_unread(story: Story) -> None:
    add_later_term(story.house.engine, NAME)


def tick_often(story: Story) -> None:
    """Let more attempts pass than are agreed, and less time than a message has to live."""
    for _ in range(12):
        story.tick(minutes=1)


def get_waiting_times(story: Story) -> list[timedelta]:
    """Return in how long each delivery that waits for its agreement is attempted again."""
    waiting = [row for row in story.deliveries(state="QUEUED") if row.problem == "GW906"]
    return [datetime.fromisoformat(str(row.due_at)) - story.clock() for row in waiting]


@BOTH
def test_a_result_that_is_not_sealed_yet_waits(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.submit(story.submission(without_applications), attach=False)
    make_agreement_unread(story)
    tick_often(story)
    assert (story.inbox.octets, story.deliveries(state="FAILED")) == ([], [])
    load_again(story)
    story.tick(minutes=6)
    story.tick(minutes=6)
    assert len(story.inbox.documents("Result")) == 1


@BOTH
def test_a_sealed_message_waits_and_is_posted_once(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.inbox.answers.append(unreachable())
    story.submit(story.submission(without_applications), attach=False)
    story.tick(seconds=1)
    assert len(story.inbox.octets) == 1
    (before,) = story.deliveries(agent="msh", state="QUEUED")
    make_agreement_unread(story)
    tick_often(story)
    (waiting,) = story.deliveries(agent="msh")
    assert (waiting.state, waiting.problem, waiting.tries) == ("QUEUED", "GW906", before.tries)
    assert len(story.inbox.octets) == 1
    load_again(story)
    story.tick(minutes=6)
    assert len(story.inbox.octets) == 2
    assert [row.state for row in story.deliveries(agent="msh")] == ["DELIVERED"]


def test_a_message_whose_receipt_was_not_understood_is_not_posted_again_and_again(engine: Engine) -> None:
    """It is with the partner, whose receipt nobody can verify: it has not failed, and no repeat helps."""
    story = Story(engine, customs=False)

    def become_unread(_: Any) -> HttpAnswer:
        make_agreement_unread(story)
        return story.inbox._receipt(_)

    story.inbox.answers.append(become_unread)
    story.submit(story.submission(without_applications), attach=False)
    tick_often(story)
    assert len(story.inbox.octets) == 1
    assert story.deliveries(state="FAILED") == []
    load_again(story)
    story.tick(minutes=6)
    assert [row.state for row in story.deliveries(agent="msh")] == ["DELIVERED"]


@pytest.mark.long
def test_an_ordered_message_that_was_posted_ends_and_those_behind_it_wait(engine: Engine) -> None:
    """It has no other end than its tries: after weeks its partner may take a repeat for a new message."""
    story = Story(engine, agreement=ORDERED)
    story.inbox.answers.append(unreachable())
    for _ in range(2):
        story.submit(b"<a/>", attach=False, conversation_id="talk")
    story.tick()
    make_agreement_unread(story)
    for _ in range(60):
        story.tick(minutes=5)
    first, second = (row for row in story.deliveries(agent="msh") if row.subject_type == "case")
    assert (first.state, first.problem) == ("FAILED", "GW604")
    assert (second.state, second.problem, second.tries) == ("QUEUED", "GW906", 0)
    assert len(story.inbox.octets) == 1
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, ORDERED, "agreement.yaml", story.clock())
    story.tick(minutes=6)
    assert [row.state for row in story.deliveries(agent="msh")] == ["FAILED", "DELIVERED"]


@BOTH
def test_a_receipt_for_a_message_of_an_unread_agreement_is_asked_for_again(engine: Engine) -> None:
    """No error may be sent about a receipt: the status alone says that it was not taken."""
    story = Story(engine, customs=False)
    receipts = []

    def keep_receipt(opened: Any) -> HttpAnswer:
        core, context = story.inbox.broker.core, story.inbox.broker.context()
        receipts.append(core.seal((core.make_receipt(opened, context),), opened.pmode, context))
        return HttpAnswer(204, {}, b"")

    story.inbox.answers.append(keep_receipt)
    story.submit(story.submission(without_applications), attach=False)
    story.tick(seconds=1)
    make_agreement_unread(story)
    story.hub.refresh_snapshot()
    refusal = story.house.post(receipts[0])
    assert (refusal.status, refusal.body) == (503, b"")
    assert [row.state for row in story.deliveries(agent="msh")] == ["AWAITING_RECEIPT"]
    load_again(story)
    story.hub.refresh_snapshot()
    assert story.house.post(receipts[0]).status == 204
    assert [row.state for row in story.deliveries(agent="msh")] == ["DELIVERED"]


def test_it_is_tried_again_within_five_minutes(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.submit(story.submission(without_applications), attach=False)
    make_agreement_unread(story)
    for _ in range(10):
        story.tick(minutes=5)
        assert max(get_waiting_times(story)) <= timedelta(minutes=5)


def test_a_message_whose_time_is_over_meanwhile_is_not_sent(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.inbox.answers.append(unreachable())
    story.submit(story.submission(without_applications), attach=False)
    story.tick(seconds=1)
    make_agreement_unread(story)
    (row,) = story.deliveries(agent="msh")
    assert row.expires_at is not None
    story.tick(seconds=(row.expires_at - story.clock()).total_seconds() + 60)
    (row,) = story.deliveries(agent="msh")
    assert row.state == "FAILED"
    assert len(story.inbox.octets) == 1


def test_an_idle_hub_finds_that_its_agreement_is_read_again(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.inbox.answers.append(unreachable())
    story.submit(story.submission(without_applications), attach=False)
    story.tick(seconds=1)
    make_agreement_unread(story)
    story.tick(minutes=6)
    with pytest.raises(GatewayError, match="GW906"):
        story.hub.get_snapshot().book.find_by_id(NAME, "x")
    load_again(story)
    (delivery,) = story.deliveries(agent="msh", state="QUEUED")
    assert delivery.problem == "GW906"
    story.clock.forward(minutes=6)
    # No upkeep of the hub: the attempt itself looks.
    while story.worker.run_once():
        pass
    assert [row.state for row in story.deliveries(agent="msh")] == ["DELIVERED"]
