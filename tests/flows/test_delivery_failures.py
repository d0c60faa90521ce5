"""A sender whose acknowledged message never reached the application is told so, once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import local_agent
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub import queue_delivery_failure
from gateway.message_model import ErrorSignal, Party
from gateway.store import messages, read_transaction, write_transaction
from tests.kit.databases import BOTH
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import AGREEMENT, Away, signer_named
from tests.kit.story import Story

ASYNCHRONOUS = AGREEMENT.replace(b"mshSignalsOnly", b"none")
#: The agreement says nowhere where the applicant could be told anything.
NOWHERE = b"\n".join(line for line in AGREEMENT.splitlines() if b":8901/" not in line)
BEST_EFFORT = AGREEMENT.replace(b"ack_requested: always", b"ack_requested: per_message")


def broken(*_: Any) -> None:
    raise GatewayError(OUR_MISTAKE, "the disk of secrets at /srv/x is gone")


def give_up(story: Story, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """Let the admission of a submission fail until it is given up; return the MessageId."""
    with monkeypatch.context() as patched:
        patched.setitem(local_agent._TASKS, "admit", broken)
        sent = story.submit(**changes)
        for _ in range(6):
            story.tick(minutes=10)
    with read_transaction(story.house.engine) as conn:
        assert messages.find_by_id(conn, 1).state == "FAILED"  # type: ignore[union-attr]
    return sent.message_id


def told(story: Story) -> list[ErrorSignal]:
    """Return the DeliveryFailures that the broker has got by a POST, each verified."""
    opened = [story.broker.open(one) for one in story.inbox.signals]
    assert all(one.verified_signature is not None for one in opened)
    return [one.unit for one in opened if isinstance(one.unit, ErrorSignal)]


def stored_facts(story: Story) -> list[str]:
    return [kind for kind in story.evidence("message", 1) if kind == "DeliveryFailure"]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("agreement", [AGREEMENT, ASYNCHRONOUS], ids=["answers", "posts"])
def test_a_submission_that_cannot_be_admitted_is_a_delivery_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, agreement: bytes
) -> None:
    story = Story(engine, agreement=agreement)
    about = give_up(story, monkeypatch)
    (signal,) = told(story)
    (error,) = signal.errors
    assert (signal.ref_to_message_id, error.code, error.severity) == (about, "DeliveryFailure", "Error")
    assert isinstance(signal.sender, Party)
    # What went wrong in our house is nobody else's business.
    assert error.description == "GW604 the message is stored and was not processed"
    assert stored_facts(story) == ["DeliveryFailure"]


def test_nobody_is_told_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(engine)
    give_up(story, monkeypatch)
    with write_transaction(engine) as conn:
        assert not queue_delivery_failure(conn, 1, GatewayError(OUR_MISTAKE), story.clock())
    story.tick(minutes=5)
    assert len(told(story)) == 1


def test_what_may_have_been_delivered_is_a_warning(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    with write_transaction(engine) as conn:
        assert queue_delivery_failure(conn, 1, GatewayError(OUR_MISTAKE), story.clock(), is_certain=False)
    story.tick()
    assert [one.highest_severity for one in told(story)] == ["Warning"]


@pytest.mark.long
def test_no_error_tells_of_a_message_of_ours_or_of_none(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    with read_transaction(engine) as conn:
        ours = [row.id for row in messages.list_messages(conn, direction="out")]
    assert ours
    with write_transaction(engine) as conn:
        for message in (*ours, 10_000):
            assert not queue_delivery_failure(conn, message, GatewayError(OUR_MISTAKE), story.clock())


def test_who_asked_for_no_acknowledgment_is_told_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine, agreement=BEST_EFFORT.replace(b"mshSignalsOnly", b"none"))
    give_up(story, monkeypatch, ack_requested=None)
    assert told(story) == []
    assert stored_facts(story) == ["DeliveryFailure"]


def test_without_an_address_the_evidence_says_that_nobody_was_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine, agreement=NOWHERE)
    give_up(story, monkeypatch)
    assert story.inbox.signals == []
    assert stored_facts(story) == ["DeliveryFailure"]


def test_without_the_key_the_failure_waits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(engine)
    sent = story.submit()
    story.hub.signer = Away()
    with write_transaction(engine) as conn:
        queue_delivery_failure(conn, 1, GatewayError(OUR_MISTAKE), story.clock())
    story.tick()
    assert story.inbox.signals == []
    story.hub.signer = signer_named("hub")
    story.tick(minutes=1)
    assert [one.ref_to_message_id for one in told(story)] == [sent.message_id]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_a_process_that_ends_at_the_commit_tells_it_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    story = Story(engine)
    story.submit()
    with write_transaction(engine) as conn:
        queue_delivery_failure(conn, 1, GatewayError(OUR_MISTAKE), story.clock())
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.engine.kill_at_failpoint", ending_at("failures.told", side))
        with pytest.raises(EndedError):
            story.tick()
    story.worker = story.new_worker("w2")
    for _ in range(3):
        story.tick(minutes=2)
    assert len(told(story)) == 1
    assert stored_facts(story) == ["DeliveryFailure"]
