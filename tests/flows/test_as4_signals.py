"""Signals of AS4 by connections of their own: receipts and errors posted to us, and by us."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Party, Receipt
from gateway.protocols import Parcel, as4
from gateway.store import deliveries, payloads, read_transaction
from gateway.wire import WSSE
from tests.flows.craft import without_applications
from tests.flows.test_as4 import read_errors, result_delivery
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AS4, House, Neighbour
from tests.kit.story import Story

CALLBACK = AS4.replace(b"    mpc: urn", b"    reply_pattern: callback\n    mpc: urn")
NOT_YET = HttpAnswer(204, {}, b"")


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a case whose Result was posted, and whose receipt has not come."""
    found = Story(engine, customs=False, agreement=AS4)
    found.submit(found.submission(without_applications), attach=False, sync_reply=True)
    found.inbox.answers.append(NOT_YET)
    found.tick(seconds=1)
    assert result_delivery(found).state == "AWAITING_RECEIPT"
    return found


def open_result(story: Story) -> tuple[Any, Any]:
    """Return the Result as the broker opens it, and the broker's context."""
    row, context = result_delivery(story), story.broker.context()
    with read_transaction(story.house.engine) as conn:
        octets = payloads.get_payload_octets(conn, row.payload_sha256)
    return as4.open_units(Parcel(row.parameters["headers"], MemoryBody(octets)), context), context


@BOTH_AT_LANDING
def test_a_posted_receipt_ends_the_delivery_once_its_digests_are_compared(story: Story) -> None:
    opened, context = open_result(story)
    receipt = as4.make_receipt(opened, context)
    short = replace(receipt, references=receipt.references[1:])
    answer = story.house.post(as4.seal((short,), opened.pmode, context))
    assert read_errors(answer)[0]["errorCode"] == "EBMS:0302"
    assert b"<ds:SignatureValue>" in answer.body
    assert result_delivery(story).state == "AWAITING_RECEIPT"
    whole = as4.seal((receipt,), opened.pmode, context)
    assert story.house.post(whole).status == 204
    row = result_delivery(story)
    assert row.state == "DELIVERED"
    assert story.evidence("delivery", row.id) == ["NRR"]
    # The same receipt once more changes nothing.
    assert story.house.post(whole).status == 204
    assert story.evidence("delivery", row.id) == ["NRR"]


@BOTH_AT_LANDING
def test_a_receipt_of_another_signer_or_for_nothing_of_ours_is_refused(story: Story) -> None:
    opened, context = open_result(story)
    receipt = as4.make_receipt(opened, context)
    stranger = Neighbour("hub", story.clock, AS4).context().signers["hub"]
    forged = as4.seal((receipt,), opened.pmode, replace(context, signers={"broker1": stranger}))
    assert read_errors(story.house.post(forged))[0]["errorCode"] == "EBMS:0302"
    lost = as4.seal((replace(receipt, ref_to_message_id="none@hub.example"),), opened.pmode, context)
    (error,) = read_errors(story.house.post(lost))
    assert (error["errorCode"], error["refToMessageInError"]) == ("EBMS:0001", receipt.message_id)
    assert result_delivery(story).state == "AWAITING_RECEIPT"


def test_a_login_beside_the_signature_of_a_receipt_says_nothing(story: Story) -> None:
    opened, context = open_result(story)
    parcel = as4.seal((as4.make_receipt(opened, context),), opened.pmode, context)
    login = (
        f'<s:Security xmlns:s="{WSSE}" soap12:role="ebms"><s:UsernameToken><s:Username>x</s:Username>'
        "</s:UsernameToken></s:Security>"
    ).encode()
    octets = parcel.read_octets().replace(b"<soap12:Header>", b"<soap12:Header>" + login, 1)
    assert login in octets
    assert story.house.post(Parcel(parcel.headers, MemoryBody(octets))).status == 204
    assert result_delivery(story).state == "DELIVERED"


@BOTH_AT_LANDING
def test_a_posted_error_ends_the_delivery_when_it_is_signed(story: Story) -> None:
    opened, context = open_result(story)
    signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), opened.unit, context)
    assert signal is not None
    nobody = as4.seal((replace(signal, sender=Party(())),), None, context)
    assert story.house.post(nobody).status == 204
    assert result_delivery(story).state == "AWAITING_RECEIPT"
    unknown = as4.seal((replace(signal, ref_to_message_id="none@hub.example"),), opened.pmode, context)
    assert story.house.post(unknown).body == b""
    assert story.house.post(as4.seal((signal,), opened.pmode, context)).status == 204
    row = result_delivery(story)
    assert row.state == "FAILED"
    assert story.evidence("delivery", row.id)[0] == "refusal"


def test_a_signed_warning_ends_no_delivery(story: Story) -> None:
    opened, context = open_result(story)
    signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), opened.unit, context)
    assert signal is not None
    warning = replace(signal, errors=tuple(replace(entry, severity="Warning") for entry in signal.errors))
    assert story.house.post(as4.seal((warning,), opened.pmode, context)).status == 204
    assert result_delivery(story).state == "AWAITING_RECEIPT"
    receipt = as4.seal((as4.make_receipt(opened, context),), opened.pmode, context)
    assert story.house.post(receipt).status == 204
    assert result_delivery(story).state == "DELIVERED"


def test_of_errors_in_one_bundle_the_one_about_a_message_of_ours_counts(story: Story) -> None:
    opened, context = open_result(story)
    signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), opened.unit, context)
    assert signal is not None
    lost = replace(signal, message_id="other@broker1.example", ref_to_message_id="none@hub.example")
    assert story.house.post(as4.seal((lost, signal), opened.pmode, context)).status == 204
    assert result_delivery(story).state == "FAILED"


def test_receipt_and_error_are_posted_where_the_pmode_says_so(engine: Engine) -> None:
    house = House(engine, agreement=CALLBACK)
    broker = Neighbour("broker1", house.clock, CALLBACK)
    parcel = broker.seal(broker.message())
    assert house.post(parcel).status == 204
    for old, new in ((b"c-m1@", b"c-m2@"), (b' href="cid:', b' href="http://')):
        changed = Parcel(parcel.headers, MemoryBody(parcel.read_octets().replace(old, new, 1)))
        answer = house.post(changed)
        assert (answer.status, answer.body) == (204, b"")
    with read_transaction(engine) as conn:
        posts = [row for row in reversed(deliveries.list_deliveries(conn, agent="msh"))]
        octets = [payloads.get_payload_octets(conn, row.payload_sha256) for row in posts]
    assert {row.parameters["endpoint"] for row in posts} == {"http://127.0.0.1:8901/msh/as4"}
    sent = as4.read_sent_unit(parcel, broker.context().limits)
    found = [
        as4.open_units(Parcel(row.parameters["headers"], MemoryBody(content)), broker.context(), sent)
        for row, content in zip(posts, octets, strict=True)
    ]
    assert [type(one.unit) for one in found] == [Receipt, ErrorSignal, ErrorSignal]
    assert all(one.verified_signature is not None for one in found)
