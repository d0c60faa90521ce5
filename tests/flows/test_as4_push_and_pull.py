"""Two-Way/Push-and-Pull as one exchange: the request is pushed, and its reply is pulled (core §2.2.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import Parcel, ProtocolContext, SentUnit, as4
from gateway.store import messages, read_transaction
from tests.flows.craft import without_applications
from tests.flows.test_as4 import read_errors, result_delivery
from tests.flows.test_as4_pull import PULLED, ask, seal
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.story import Story

EXCHANGE = (
    PULLED.replace(b"deliver_to: case}", b"deliver_to: case, mep_binding: push-and-pull}")
    .replace(b"action: Result,", b"action: Result, mep_binding: push-and-pull,")
    .replace(b"action: Notice,", b"action: Notice, mep_binding: push-and-pull,")
)


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False, agreement=EXCHANGE)


def build_context(story: Story, sent: UserMessage) -> ProtocolContext:
    """Return the context of the broker, which has sent one message."""
    parcel = story.broker.seal(sent)
    return replace(
        story.broker.context(),
        has_all_sent_messages=True,
        find_sent_parcel=lambda _, about: parcel if about == sent.message_id else None,
    )


@BOTH_AT_LANDING
def test_the_reply_to_a_pushed_request_is_pulled_and_refers_to_it(story: Story) -> None:
    request = story.submit(story.submission(without_applications), attach=False, sync_reply=True)
    story.tick(seconds=1)
    context, actions = build_context(story, request), []
    other = build_context(story, replace(request, message_id="m9@broker.example"))
    while True:
        asked = ask(story.broker)
        answer = story.house.post(seal(story.broker, asked))
        reply = Parcel(answer.headers, MemoryBody(answer.body))
        opened = as4.open_units(reply, context, SentUnit(asked))
        if not isinstance(opened.unit, UserMessage):
            break
        assert opened.unit.ref_to_message_id == request.message_id
        assert opened.unit.conversation_id == request.conversation_id
        with pytest.raises(GatewayError, match="GW307 no message of ours has this id"):
            as4.open_units(reply, other, SentUnit(asked))
        actions.append(opened.unit.action)
        receipt = as4.make_receipt(opened, context)
        assert isinstance(receipt, Receipt)
        assert story.house.post(seal(story.broker, receipt)).status == 204
        story.tick(seconds=1)
    assert actions[-1] == "Result"
    assert (result_delivery(story).state, story.case().state) == ("DELIVERED", "CLOSED")


def test_a_request_that_is_a_reply_is_refused_and_not_stored(story: Story) -> None:
    unit = replace(story.broker.message("Submit"), ref_to_message_id="m0@hub.example")
    answer = story.house.post(as4.seal((unit,), None, story.broker.context()))
    (error,) = read_errors(answer)
    assert (error["errorCode"], error["severity"]) == ("EBMS:0003", "failure")
    assert b"GW304 a request by push-and-pull refers to no message" in answer.body
    assert b"NonRepudiationInformation" not in answer.body
    with read_transaction(story.house.engine) as conn:
        assert messages.find_by_message_id(conn, "in", "broker1", unit.message_id) is None
