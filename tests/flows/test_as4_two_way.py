"""Two-Way exchanges of AS4: the Result refers to its submission, and may be in the HTTP answer to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import Parcel, as4
from tests.flows.test_as4 import read_errors
from tests.flows.test_sync_responses import Asking
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AS4

SYNC = (b"\n".join(line for line in AS4.splitlines() if b"broker1-notice" not in line) + b"\n").replace(
    b"action: Submit, ", b"action: Submit, sync_reply_mode: signalsAndResponse, "
)


@pytest.fixture
def asking(engine: Engine) -> Asking:
    return Asking(engine, SYNC)


@BOTH_AT_LANDING
def test_receipt_and_result_are_in_the_answer_to_the_submission(asking: Asking) -> None:
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    answer = waiting.read_response()
    units = asking.open(answer)
    assert [type(one) for one in units] == [UserMessage, Receipt]
    assert (units[0].ref_to_message_id, units[0].action) == (asking.unit.message_id, "Result")
    assert units[1].ref_to_message_id == asking.unit.message_id
    assert units[0].message_id != units[1].message_id
    waiting.mark_response_given()
    # The Result is acknowledged as any other: by a receipt that is posted.
    assert asking.result().state == "AWAITING_RECEIPT"
    assert answer is not None
    context = asking.story.broker.context()
    result = as4.verify_parcel(Parcel(answer.headers, MemoryBody(answer.body)), "strict", context)
    receipt = as4.make_receipt(result, context)
    assert asking.story.house.post(as4.seal((receipt,), None, context)).status == 204
    assert asking.result().state == "DELIVERED"
    assert asking.story.case().state == "CLOSED"


def test_a_response_that_is_not_agreed_or_answers_another_message_is_refused(asking: Asking) -> None:
    broker = asking.story.broker
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    answer = waiting.read_response()
    assert answer is not None
    parcel = Parcel(answer.headers, MemoryBody(answer.body))

    def refuse(sent: Any) -> str:
        with pytest.raises(GatewayError) as caught:
            as4.open_units(parcel, broker.context(), sent)
        return str(caught.value)

    sent = as4.read_sent_unit(asking.parcel, broker.context().limits)
    store = broker.message(mpc="urn:example:channel:store")
    assert refuse(replace(sent, unit=store)).startswith("GW311 a business message in an HTTP answer")
    other = replace(sent, unit=replace(sent.unit, message_id="m9@x"))
    assert refuse(other).startswith("GW307 the response is to another message")
    forged = replace(sent, references=sent.references[1:])
    assert refuse(forged).startswith("GW309")


def test_a_refused_submission_is_told_at_once(asking: Asking) -> None:
    body = asking.parcel.read_octets().replace(b">Submit<", b">Submix<", 1)
    answer = asking.story.house.post(Parcel(asking.parcel.headers, MemoryBody(body)))
    assert read_errors(answer)[0]["errorCode"] == "EBMS:0010"
