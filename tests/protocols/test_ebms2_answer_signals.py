"""Receipts, errors and the other answers: made right, checked against what was sent, never in a loop."""

# ruff: noqa: E501  # a table of cases is read by its lines
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.message_model import (
    AckRequest,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Party,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    UserMessage,
)
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, ebms2
from gateway.wire import SoapFault, write_fault_envelope
from tests.protocols import sample_parties
from tests.protocols.message_mutation import Craft, swap_octets

ASKING = (
    "q-1@broker.example",
    "c-1",
    sample_parties.FROM_BROKER,
    sample_parties.FROM_HUB,
    "agreement-1",
    sample_parties.NOW,
)
ANSWER = (
    "s-1@hub.example",
    "c-1",
    sample_parties.FROM_HUB,
    sample_parties.FROM_BROKER,
    "agreement-1",
    sample_parties.NOW,
)


@pytest.fixture(scope="module")
def context() -> ProtocolContext:
    return sample_parties.context()


def exchange(unit: UserMessage, context: ProtocolContext) -> tuple[OpenedMessage, SentUnit]:
    """Return what the hub opened, and what the broker remembers of what it sent."""
    mode = sample_parties.BOOK.match_pmode(
        ebms2.find_message_header(ebms2.seal((unit,), None, context), context.limits).route,
        sample_parties.NOW,
    )  # type: ignore[union-attr]
    parcel = ebms2.seal((unit,), mode, context)
    return ebms2.open_units(parcel, context), ebms2.read_sent_unit(parcel, context.limits)


def test_a_receipt_answers_its_message_and_repeats_its_digests(context: ProtocolContext) -> None:
    opened, sent = exchange(sample_parties.message(), context)
    receipt = ebms2.make_receipt(opened, context)
    assert (receipt.sender, receipt.receiver) == (sample_parties.FROM_HUB, sample_parties.FROM_BROKER)
    assert (receipt.agreement, receipt.conversation_id) == ("agreement-1", "c-1")
    assert receipt.ref_to_message_id == "m-1@broker.example"
    assert receipt.received_at == receipt.timestamp == sample_parties.NOW
    assert receipt.references == sent.references
    assert [one.uri for one in receipt.references] == ["", "cid:p1@broker.example", "cid:p2@broker.example"]
    parcel = ebms2.seal((receipt,), opened.pmode, context)
    assert parcel.headers["Content-Type"] == "text/xml; charset=UTF-8"
    back = ebms2.open_units(parcel, context, sent)
    assert back.units == (receipt,)
    assert back.verified_signature is not None
    assert back.verified_signature.certificate == sample_parties.issued("hub").certificate


def test_an_unsigned_receipt_where_that_was_asked(context: ProtocolContext) -> None:
    opened, sent = exchange(sample_parties.message(ack_requested=AckRequest(signed=False)), context)
    receipt = ebms2.make_receipt(opened, context)
    assert receipt.references == ()
    back = ebms2.open_units(ebms2.seal((receipt,), opened.pmode, context), context, sent)
    assert (back.units, back.verified_signature) == ((receipt,), None)


def test_the_receipt_of_an_unsigned_message(context: ProtocolContext) -> None:
    opened, sent = exchange(
        sample_parties.message(action="Loose", sync_reply=False, ack_requested=AckRequest(False)), context
    )
    receipt = ebms2.make_receipt(opened, context)
    assert (receipt.references, sent.references) == ((), ())
    assert ebms2.open_units(ebms2.seal((receipt,), opened.pmode, context), context, sent).units == (receipt,)


def test_an_unsigned_message_gets_the_signed_receipt_that_it_asks_for(context: ProtocolContext) -> None:
    opened, sent = exchange(
        sample_parties.message(action="Loose", sync_reply=False, ack_requested=AckRequest(True)), context
    )
    receipt = ebms2.make_receipt(opened, context)
    assert (receipt.references, receipt.signature_requested) == ((), True)
    back = ebms2.open_units(ebms2.seal((receipt,), opened.pmode, context), context, sent)
    assert back.verified_signature is not None


def forged(
    change: Callable[[Receipt], Receipt], signer: str = "hub", **craft: object
) -> Callable[[Receipt], Craft]:
    return lambda receipt: Craft(change(receipt), signer=signer, **craft)  # type: ignore[arg-type]


def digest_of(change: Callable[[Receipt], tuple[object, ...]]) -> Callable[[Receipt], Craft]:
    return forged(lambda receipt: replace(receipt, references=change(receipt)))  # type: ignore[arg-type]


FORGED: list[tuple[str, Callable[[Receipt], Craft], str]] = [
    ("for another message", forged(lambda one: replace(one, ref_to_message_id="m-2@broker.example")), "GW309"),
    ("unsigned", forged(lambda one: one, signed=False), "GW309"),
    ("unsigned and without digests", forged(lambda one: replace(one, references=()), signed=False), "GW309"),
    ("without digests", digest_of(lambda one: ()), "GW309"),
    ("a digest is missing", digest_of(lambda one: one.references[:-1]), "GW309"),
    ("only the envelope", digest_of(lambda one: one.references[:1]), "GW309"),
    ("a digest too many", digest_of(lambda one: (*one.references, replace(one.references[1], uri="cid:x"))), "GW309"),
    ("a digest twice", digest_of(lambda one: (*one.references, one.references[1])), "GW309"),
    ("another digest", digest_of(lambda one: (replace(one.references[0], digest=b"\0" * 32), *one.references[1:])), "GW309"),
    ("another payload", digest_of(lambda one: (*one.references[:2], replace(one.references[2], uri="cid:x"))), "GW309"),
    (
        "another algorithm",
        digest_of(lambda one: (replace(one.references[0], digest_algorithm="urn:x"), *one.references[1:])),
        "GW309",
    ),
    ("signed by the sender itself", forged(lambda one: one, signer="broker1"), "GW309"),
    ("signed by a third party", forged(lambda one: one, signer="broker2"), "GW309"),
    (
        "of a third party",
        forged(lambda one: replace(one, sender=Party((sample_parties.OTHER,)), agreement="agreement-2", receiver=sample_parties.FROM_HUB), signer="broker2"),
        "GW309",
    ),
    ("changed after signing", forged(lambda one: one, tampered=swap_octets("<eb:ConversationId>c-1", "<eb:ConversationId>c-2")), "GW202"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "problem"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_a_receipt_that_does_not_match_is_refused(
    make: Callable[[Receipt], Craft], problem: str, context: ProtocolContext
) -> None:
    opened, sent = exchange(sample_parties.message(), context)
    parcel = make(ebms2.make_receipt(opened, context)).parcel(context)
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, context, sent)
    assert caught.value.problem.id == problem, caught.value
    refused = ebms2.reject_parcel(caught.value, parcel, context)
    assert (refused.http_status, refused.parcel, refused.error_signal) == (204, None, None)


@pytest.mark.parametrize("problem", [errors.NO_ROOM, errors.KEY_UNAVAILABLE, errors.AGREEMENT_UNREAD])
def test_a_receipt_that_is_refused_by_a_fault_of_ours_is_asked_for_again(
    problem: errors.Problem, context: ProtocolContext
) -> None:
    """Status 204 would say that it was taken."""
    opened, _ = exchange(sample_parties.message(), context)
    parcel = ebms2.seal((ebms2.make_receipt(opened, context),), opened.pmode, context)
    refused = ebms2.reject_parcel(GatewayError(problem), parcel, context)
    assert (refused.http_status, refused.parcel, refused.error_signal) == (503, None, None)


def test_an_unsigned_receipt_is_found_wanting_later_too(context: ProtocolContext) -> None:
    """An answer that comes by a POST of its own is opened first and held against its message then."""
    opened, sent = exchange(sample_parties.message(), context)
    receipt = ebms2.make_receipt(opened, context)
    bare = ebms2.open_units(Craft(receipt, signed=False).parcel(context), context)
    with pytest.raises(GatewayError) as caught:
        ebms2.check_answer(bare, sent)
    assert caught.value.problem is errors.RECEIPT_MISMATCH
    ebms2.check_answer(ebms2.open_units(Craft(receipt, signer="hub").parcel(context), context), sent)


def test_where_every_receipt_is_signed_an_unsigned_one_is_refused_at_once(context: ProtocolContext) -> None:
    mode = sample_parties.pmode("always", reliability=sample_parties.Reliability())
    strict = sample_parties.context(agreements=sample_parties.PModeIndex((mode,)))
    parcel = Craft(
        Receipt(*ANSWER, ref_to_message_id="x@y", received_at=sample_parties.NOW), signed=False
    ).parcel(context)
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, strict)
    assert caught.value.problem is errors.SIGNATURE_MISSING


def test_a_receipt_that_nobody_waits_for_opens_and_is_no_error(context: ProtocolContext) -> None:
    receipt = Receipt(*ANSWER, ref_to_message_id="never-sent@broker.example", received_at=sample_parties.NOW)
    opened = ebms2.open_units(ebms2.seal((receipt,), sample_parties.SUBMIT, context), context)
    assert opened.units == (receipt,)
    assert opened.pmode is sample_parties.SUBMIT


@pytest.mark.parametrize(
    "unit",
    [
        Receipt(*ANSWER, ref_to_message_id="m@x", received_at=sample_parties.NOW),
        ErrorSignal(*ANSWER, ref_to_message_id="m@x", errors=(ErrorEntry("Unknown", "Error"),)),
        ErrorSignal(*ANSWER, ref_to_message_id=None, errors=(ErrorEntry("Unknown", "Warning"),)),
        Pong(*ANSWER, ref_to_message_id="m@x"),
        StatusResponse(*ANSWER, ref_to_message_id="m@x", queried_message_id="n@x", status="Received"),
    ],
)
def test_an_answer_is_never_answered(unit: Receipt, context: ProtocolContext) -> None:
    problem = GatewayError(errors.HEADER_INVALID, "wrong")
    parcel = ebms2.seal((unit,), sample_parties.SUBMIT, context)
    assert ebms2.make_error_signal(problem, unit, context) is None
    assert ebms2.make_error_signal(problem, parcel, context) is None
    assert not ebms2.is_answerable(unit)
    assert ebms2.reject_parcel(problem, parcel, context).parcel is None


@pytest.mark.parametrize(
    "unit", [sample_parties.message(), Ping(*ASKING), StatusRequest(*ASKING, queried_message_id="m@x")]
)
def test_a_question_is_answered(unit: UserMessage, context: ProtocolContext) -> None:
    signal = ebms2.make_error_signal(GatewayError(errors.NOT_ALLOWED, "no", "here"), unit, context)
    assert signal is not None
    assert signal.errors == (ErrorEntry("SecurityFailure", "Error", "here", "GW212 no"),)
    assert (signal.sender, signal.receiver) == (unit.receiver, unit.sender)
    assert signal.ref_to_message_id == unit.message_id
    opened = ebms2.open_units(ebms2.seal((signal,), sample_parties.SUBMIT, context), context, SentUnit(unit))
    assert opened.units == (signal,)
    assert opened.verified_signature is not None


def test_what_is_our_fault_shows_no_inside(context: ProtocolContext) -> None:
    signal = ebms2.make_error_signal(
        GatewayError(errors.OUR_MISTAKE, "KeyError in /srv/x.py"), sample_parties.message(), context
    )
    assert signal is not None
    assert signal.errors[0].description == "GW901 internal error"
    answer = ebms2.make_fault_response(GatewayError(errors.KEY_UNAVAILABLE, "/srv/key.pem"))
    assert answer.parcel is not None
    assert b"/srv" not in sample_parties.octets(answer.parcel)
    assert (answer.http_status, ebms2.find_fault(answer.parcel, context.limits)) == (
        503,
        SoapFault("Server", "GW803 private key unavailable"),
    )


def test_an_error_description_can_always_be_read_back(context: ProtocolContext) -> None:
    problem = GatewayError(errors.HEADER_INVALID, " \x00\x1b[31m\r\n" + "x" * 5000 + "\ud800", "a\x00b")
    signal = ebms2.make_error_signal(problem, sample_parties.message(), context)
    assert signal is not None
    assert ebms2.open_units(ebms2.seal((signal,), None, context), context).units == (signal,)
    assert len(signal.errors[0].description) < 600


@pytest.mark.parametrize(
    ("code", "problem"),
    [("Client", "GW602"), ("MustUnderstand", "GW602"), ("Server", "GW603"), ("wsse:FailedCheck", "GW602")],
)
def test_a_fault_in_answer_is_final_or_not(code: str, problem: str, context: ProtocolContext) -> None:
    parcel = Parcel({"content-type": "text/xml"}, MemoryBody(write_fault_envelope(SoapFault(code, "no"))))
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, context, SentUnit(sample_parties.message()))
    assert caught.value.problem.id == problem


@pytest.mark.parametrize(
    "unit",
    [
        ErrorSignal(*ANSWER, ref_to_message_id="other@x", errors=(ErrorEntry("Unknown", "Error"),)),
        Pong(*ANSWER, ref_to_message_id="other@x"),
        StatusResponse(*ANSWER, ref_to_message_id="other@x", queried_message_id="n@x", status="Received"),
    ],
)
def test_an_answer_to_something_else_is_refused(unit: Pong, context: ProtocolContext) -> None:
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(ebms2.seal((unit,), None, context), context, SentUnit(sample_parties.message()))
    assert caught.value.problem is errors.REFERENCE_UNKNOWN


def test_ping_and_status(context: ProtocolContext) -> None:
    ping, question = Ping(*ASKING), StatusRequest(*ASKING, queried_message_id="m-1@broker.example")
    pong = ebms2.make_pong(ping, context)
    assert ebms2.open_units(
        ebms2.seal((pong,), sample_parties.SUBMIT, context), context, SentUnit(ping)
    ).units == (pong,)
    status = ebms2.make_status_response(question, "Processed", sample_parties.NOW, context)
    assert (status.queried_message_id, status.status, status.received_at) == (
        "m-1@broker.example",
        "Processed",
        sample_parties.NOW,
    )
    assert ebms2.open_units(
        ebms2.seal((status,), sample_parties.SUBMIT, context), context, SentUnit(question)
    ).units == (status,)


@pytest.mark.parametrize("kind", ["StatusRequest", "StatusResponse"])
def test_a_status_element_of_another_version_is_refused(kind: str, context: ProtocolContext) -> None:
    asked = StatusRequest(*ASKING, queried_message_id="m-1@broker.example")
    unit = (
        asked
        if kind == "StatusRequest"
        else ebms2.make_status_response(asked, "NotRecognized", None, context)
    )
    change = swap_octets(
        f'eb:version="2.0"><eb:RefToMessageId>{asked.queried_message_id}',
        f'eb:version="1.0"><eb:RefToMessageId>{asked.queried_message_id}',
    )
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(Craft(unit, signed=False, envelope=change).parcel(context), context)
    assert caught.value.problem is errors.HEADER_INCONSISTENT


def test_answers_go_where_the_agreement_says_and_nowhere_else(context: ProtocolContext) -> None:
    """Neither SyncReply nor any header names an address: `reply_endpoint` is the P-Mode's."""
    unit = sample_parties.message(sync_reply=False)
    later = sample_parties.pmode("later", sync_reply_mode="none")
    assert ebms2.has_synchronous_answer(unit, sample_parties.SUBMIT)
    assert not ebms2.has_synchronous_answer(unit, later)
    assert ebms2.has_synchronous_answer(sample_parties.message(), later)
    for message, mode, at_once in (
        (unit, sample_parties.SUBMIT, True),
        (unit, later, False),
        (sample_parties.message(), later, True),  # SyncReply asks for it
    ):
        there = sample_parties.context(agreements=sample_parties.PModeIndex((mode,)))
        parcel = ebms2.seal((message,), None, there)
        refused = ebms2.reject_parcel(GatewayError(errors.NOT_ALLOWED), parcel, there)
        assert (refused.pmode, refused.is_synchronous) == (mode, at_once)
    parcel = ebms2.seal((unit,), None, context)
    refused = ebms2.reject_parcel(GatewayError(errors.NOT_ALLOWED), parcel, context)
    assert refused.pmode is sample_parties.SUBMIT
