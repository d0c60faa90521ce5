"""The hub numbers its messages to a partner where an order is agreed (ebMS 2.0 chapter 9)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.hub.completion import operator_actions
from gateway.hub.intake.message_order import reset_sequence
from gateway.message_model import SequenceNumber
from gateway.store import messages, read_transaction, write_transaction
from tests.kit.databases import BOTH
from tests.kit.house import EBMS2
from tests.kit.story import QUIET, Story, unreachable

#: Results have an order; what the applicant sends has none.
ORDERED = QUIET.replace(
    b"action: Result}", b"action: Result, sync_reply_mode: none, reliability: {message_order: true}}"
)
TALK = "one-conversation"
FIRST, GONE = SequenceNumber(0, "Reset"), unreachable()


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, agreement=ORDERED)


def file(story: Story, number: int, conversation: str = TALK) -> None:
    """Send submissions that are refused: the result of each follows at once."""
    for _ in range(number):
        story.submit(b"<a/>", attach=False, conversation_id=conversation)


def numbers(story: Story) -> list[SequenceNumber | None]:
    """Return the numbers of the messages that the applicant has got, in the order of their arrival."""
    return [unit.sequence for unit in story.inbox.got]


def results(story: Story) -> list[Any]:
    return [row for row in story.deliveries(agent="msh") if row.subject_type == "case"]


def states(story: Story) -> list[str]:
    return [row.state for row in results(story)]


@pytest.mark.long
@BOTH
def test_each_conversation_is_numbered_from_zero(story: Story) -> None:
    file(story, 3)
    file(story, 2, "another")
    story.tick()
    found = {one: [] for one in (TALK, "another")}  # type: dict[str, list[SequenceNumber | None]]
    for unit in story.inbox.got:
        found[unit.conversation_id].append(unit.sequence)
    assert found[TALK] == [FIRST, SequenceNumber(1), SequenceNumber(2)]
    assert found["another"] == [FIRST, SequenceNumber(1)]


def test_one_message_of_a_conversation_is_under_way_at_a_time(story: Story) -> None:
    story.inbox.answers.append(GONE)
    file(story, 3)
    story.tick()
    assert numbers(story) == [FIRST]
    story.tick(minutes=6)
    assert numbers(story) == [FIRST, FIRST, SequenceNumber(1), SequenceNumber(2)]
    assert story.inbox.octets[0] == story.inbox.octets[1]


@pytest.mark.long
def test_after_a_message_that_was_given_up_the_next_begins_anew(story: Story) -> None:
    file(story, 1)
    story.tick()
    story.inbox.answers.extend([GONE] * 4)
    file(story, 3)
    story.tick()
    for _ in range(4):
        story.tick(minutes=6)
    # Sent once, then four times in vain; the others follow without a gap, in a new sequence.
    assert numbers(story)[5:] == [FIRST, SequenceNumber(1)]
    assert states(story) == ["DELIVERED", "FAILED", "DELIVERED", "DELIVERED"]
    sent = {unit.message_id for unit in story.inbox.got}
    assert {row.wire_id for row in results(story)} == sent
    check_stored_octets(story)
    again = [kind for one in (1, 2, 3, 4) for kind in story.evidence("case", one) if kind == "NRS"]
    assert len(again) == 6


def check_stored_octets(story: Story) -> None:
    """What is stored of each message is what was sent."""
    for row in results(story):
        with read_transaction(story.house.engine) as conn:
            message = messages.find_by_message_id(conn, "out", "hub", row.wire_id)
            assert message is not None
            _, content = messages.load_parcel(conn, message.id)
        assert content in story.inbox.octets
        assert message.parcel_sha256 == message.identity_sha256 == row.payload_sha256


def test_a_refused_message_is_given_up_too(story: Story) -> None:
    def refuse(opened: Any) -> HttpAnswer:
        context = story.broker.context()
        problem = GatewayError(NOT_SUPPORTED, "not today")
        signal = EBMS2.make_error_signal(problem, opened.unit, context)
        assert signal is not None
        parcel = EBMS2.seal((signal,), opened.pmode, context)
        body = parcel.body.open_stream().read()
        return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, body)

    story.inbox.answers.append(refuse)
    file(story, 2)
    story.tick()
    assert numbers(story) == [FIRST, FIRST]
    assert states(story) == ["FAILED", "DELIVERED"]
    assert len({unit.message_id for unit in story.inbox.got}) == 2


def given_up(story: Story, *, hold: bool) -> None:
    """Give up the second of four results; the third is held meanwhile where the test wants it."""
    file(story, 1)
    story.tick()
    story.inbox.answers.extend([GONE] * 4)
    file(story, 3)
    story.tick()
    if hold:
        story.operate(operator_actions.hold_delivery, results(story)[2].id)
    for _ in range(4):
        story.tick(minutes=6)


@pytest.mark.long
def test_a_requeued_message_has_its_old_place_while_no_later_one_was_sent(story: Story) -> None:
    given_up(story, hold=True)
    failed, held = results(story)[1], results(story)[2]
    story.operate(operator_actions.requeue_delivery, failed.id)
    story.operate(operator_actions.release_delivery, held.id)
    story.tick()
    assert numbers(story)[-3:] == [SequenceNumber(1), SequenceNumber(2), SequenceNumber(3)]
    assert states(story) == ["DELIVERED"] * 4
    assert len(set(story.inbox.octets)) == 4


@pytest.mark.long
def test_a_requeued_message_has_no_place_when_a_later_one_was_sent(story: Story) -> None:
    given_up(story, hold=False)
    with pytest.raises(GatewayError) as caught:
        story.operate(operator_actions.requeue_delivery, results(story)[1].id)
    assert caught.value.problem.id == "GW705"
    assert "has begun a new sequence" in caught.value.detail
    assert states(story) == ["DELIVERED", "FAILED", "DELIVERED", "DELIVERED"]


@pytest.mark.long
def test_a_cancelled_message_leaves_no_gap(story: Story) -> None:
    story.inbox.answers.append(GONE)
    file(story, 4)
    story.tick()
    # The second and the third were never sent, and the first is still under way.
    for row in results(story)[1:3]:
        story.operate(operator_actions.cancel_delivery, row.id)
    story.tick()
    assert numbers(story) == [FIRST]
    file(story, 1)
    story.tick(minutes=6)
    assert numbers(story) == [FIRST, FIRST, FIRST, SequenceNumber(1)]
    assert states(story) == ["DELIVERED", "CANCELLED", "CANCELLED", "DELIVERED", "DELIVERED"]


def test_a_message_after_a_cancelled_one_waits_for_those_under_way(story: Story) -> None:
    story.inbox.answers.append(GONE)
    file(story, 3)
    story.tick()
    for row in results(story)[1:]:
        story.operate(operator_actions.cancel_delivery, row.id)
    file(story, 1)
    story.tick(minutes=1)
    # The first may still arrive: a Reset waits until every message before it is accounted for.
    assert numbers(story) == [FIRST]
    story.tick(minutes=6)
    assert numbers(story) == [FIRST, FIRST, FIRST]
    assert states(story) == ["DELIVERED", "CANCELLED", "CANCELLED", "DELIVERED"]


def work(story: Story, number: int) -> None:
    worker = story.new_worker(f"w{number}")
    while worker.run_once():
        pass


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("many", [12, pytest.param(120, marks=pytest.mark.night)])
def test_numbers_have_no_gap_when_workers_race(engine: Engine, many: int) -> None:
    story = Story(engine, agreement=ORDERED)
    file(story, many)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: work(story, number), range(3)))
    story.tick()
    assert story.inbox.broken == []
    assert numbers(story) == [FIRST, *map(SequenceNumber, range(1, many))]
    check_stored_octets(story)


@pytest.mark.long
def test_an_operator_lets_the_next_message_begin_anew(story: Story) -> None:
    story.inbox.answers.append(GONE)
    file(story, 2)
    story.tick()
    with write_transaction(story.house.engine) as conn, pytest.raises(GatewayError) as caught:
        reset_sequence(conn, 1, story.clock(), "operator")
    assert caught.value.problem.id == "GW705"
    story.tick(minutes=6)
    with write_transaction(story.house.engine) as conn:
        done = reset_sequence(conn, 1, story.clock(), "operator")
    assert (done.number_before, done.number_after, done.moved) == (2, 0, ())
    file(story, 1)
    story.tick()
    assert numbers(story)[2:] == [SequenceNumber(1), FIRST]
