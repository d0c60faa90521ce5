"""Two-Way exchanges of AS4 with a pulled leg: request and reply are held together (core §2.2.8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.agreements import PMode, PModeIndex
from gateway.agreements.pmode_values import PullTerms
from gateway.errors import GatewayError
from gateway.message_model import Party, Receipt, UserMessage
from gateway.protocols import Parcel, ProtocolContext, SentUnit, as4, make_pull_request
from tests.protocols import as4_samples, sample_parties

CHANNEL = "urn:example:replies"
PULL = PullTerms("certificate")
PLAIN = {**as4_samples.TERMS, "mpc": None}
THERE = sample_parties.pmode("there", **PLAIN, mep_binding="push-and-pull")
BACK = sample_parties.pmode(
    "back",
    **{**PLAIN, "mpc": CHANNEL},
    action="Result",
    from_party=THERE.to_party,
    from_role=THERE.to_role,
    to_party=THERE.from_party,
    to_role=THERE.from_role,
    endpoint=None,
    reply_endpoint="http://hub.example/msh",
    pull=PULL,
    mep_binding="push-and-pull",
)
OTHER = replace(THERE, id="other", service="urn:other")
LOOSE = replace(THERE, id="loose", action="Loose", mep_binding=None)
#: The same agreement and service: from another partner, and to another one.
FROM_ANOTHER = replace(THERE, id="from another", from_party=(sample_parties.OTHER,))
TO_ANOTHER = replace(THERE, id="to another", to_party=(sample_parties.OTHER,))
BOOK = (THERE, BACK, OTHER, LOOSE, FROM_ANOTHER, TO_ANOTHER)
REQUEST = replace(as4_samples.message(), mpc=None, service_type=None)
REPLY = replace(
    REQUEST,
    message_id="m-2@x",
    sender=sample_parties.FROM_HUB,
    receiver=sample_parties.FROM_BROKER,
    action="Result",
    ref_to_message_id=REQUEST.message_id,
)


def build(pmodes: tuple[PMode, ...] = BOOK, *, knows: bool = True) -> ProtocolContext:
    return sample_parties.context(agreements=PModeIndex(pmodes), has_all_sent_messages=knows)


def send(unit: UserMessage, pmode: PMode | None, pmodes: tuple[PMode, ...] = BOOK) -> Parcel:
    return as4.seal((unit,), pmode, build(pmodes))


def take(reply: UserMessage, context: ProtocolContext) -> UserMessage:
    """Return what is opened of a pulled reply, which is sealed as it is, whatever is agreed."""
    named = replace(reply, mpc=CHANNEL, agreement_type=BACK.agreement_type)
    asked = make_pull_request(BACK, context)
    opened = as4.open_units(as4.seal((named,), None, context), context, SentUnit(asked))
    assert isinstance(opened.unit, UserMessage)
    return opened.unit


def sent_context(request: UserMessage = REQUEST, pmode: PMode = THERE, **changes: Any) -> ProtocolContext:
    parcel = send(request, pmode)
    return replace(
        build(**changes), find_sent_parcel=lambda _, about: parcel if about == REQUEST.message_id else None
    )


def test_a_request_refers_to_nothing_and_its_reply_to_it() -> None:
    request = as4_samples.verify(send(replace(REQUEST, ref_to_message_id="m-0@x"), THERE)).unit
    assert isinstance(request, UserMessage)
    assert request.ref_to_message_id is None
    reply = as4_samples.verify(send(REPLY, BACK)).unit
    assert isinstance(reply, UserMessage)
    assert (reply.ref_to_message_id, reply.mpc) == (REQUEST.message_id, CHANNEL)
    with pytest.raises(GatewayError, match=r"GW901 .*a reply by push-and-pull to no message"):
        send(replace(REPLY, ref_to_message_id=None), BACK)


def test_a_reply_to_a_request_of_ours_is_taken() -> None:
    assert take(REPLY, sent_context()).ref_to_message_id == REQUEST.message_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ref_to_message_id": None}, "GW304 .*a reply by push-and-pull refers to its request"),
        ({"ref_to_message_id": "m-9@x"}, "GW307 .*no message of ours has this id .*RefToMessageId"),
        ({"conversation_id": "another"}, "GW304 .*its request is of another conversation"),
    ],
)
def test_a_reply_that_is_none_of_ours_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(GatewayError, match=said):
        take(replace(REPLY, **changes), sent_context())


@pytest.mark.parametrize(
    ("request_", "pmode"),
    [
        (replace(REQUEST, service="urn:other"), OTHER),
        (replace(REQUEST, action="Loose"), LOOSE),
        (replace(REQUEST, sender=Party((sample_parties.OTHER,), "Applicant")), FROM_ANOTHER),
        (replace(REQUEST, receiver=Party((sample_parties.OTHER,), "Hub")), TO_ANOTHER),
    ],
    ids=["another service", "no exchange", "from another partner", "to another partner"],
)
def test_what_a_reply_refers_to_is_the_request_of_its_exchange(request_: UserMessage, pmode: PMode) -> None:
    with pytest.raises(GatewayError, match=r"GW307 .*it is no request by push-and-pull"):
        take(REPLY, sent_context(request_, pmode))


def test_a_request_that_is_no_longer_agreed_has_no_replies() -> None:
    with pytest.raises(GatewayError, match=r"GW307 .*it is no request"):
        take(REPLY, sent_context(pmodes=(BACK, OTHER)))


def test_a_receipt_is_no_request() -> None:
    context = build()
    opened = as4.open_units(send(REQUEST, THERE), context)
    receipt = as4.make_receipt(opened, context)
    assert isinstance(receipt, Receipt)
    parcel = as4.seal((receipt,), None, context)
    with pytest.raises(GatewayError, match=r"GW307 .*it is no request"):
        take(REPLY, replace(context, find_sent_parcel=lambda *_: parcel))


def test_who_does_not_know_all_that_was_sent_takes_a_reply_to_another_request() -> None:
    context = sent_context(knows=False)
    assert take(replace(REPLY, ref_to_message_id="m-9@x"), context).ref_to_message_id == "m-9@x"
    with pytest.raises(GatewayError, match=r"GW304"):
        take(replace(REPLY, ref_to_message_id=None), context)


def test_a_request_that_refers_to_a_message_is_refused() -> None:
    parcel = send(replace(REQUEST, ref_to_message_id="m-0@x"), None)
    context = build()
    with pytest.raises(
        GatewayError, match=r"GW304 .*a request by push-and-pull refers to no message"
    ) as told:
        as4.open_units(parcel, context)
    answer = as4.reject_parcel(told.value, parcel, context)
    assert answer.error_signal is not None
    assert answer.error_signal.errors[0].code == "EBMS:0003"


def test_by_pull_and_push_the_pulled_message_is_the_request() -> None:
    there = replace(THERE, mep_binding="pull-and-push")
    back = replace(BACK, mep_binding="pull-and-push")
    assert (there.leg, back.leg) == ("reply", "request")
    book = (there, back)
    asked = as4_samples.verify(send(REPLY, back, book)).unit
    assert isinstance(asked, UserMessage)
    assert asked.ref_to_message_id is None
    parcel = send(replace(REPLY, ref_to_message_id=None), back, book)
    context = replace(
        build(book), find_sent_parcel=lambda _, about: parcel if about == REPLY.message_id else None
    )
    good = replace(REQUEST, ref_to_message_id=REPLY.message_id)
    opened = as4.open_units(send(good, there, book), context)
    assert isinstance(opened.unit, UserMessage)
    with pytest.raises(GatewayError, match=r"GW307"):
        as4.open_units(send(replace(good, ref_to_message_id="m-9@x"), there, book), context)
