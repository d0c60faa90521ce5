"""What an intermediary reads and writes of ebMS 2.0: nothing of it may reach beyond the next handler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.agreements import ForwardingRule, ForwardingTable
from gateway.errors import GatewayError
from gateway.message_model import (
    NEXT_MSH,
    AckRequest,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Party,
    PartyId,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, ebms2
from gateway.wire import DEFAULT_LIMITS
from tests.protocols import sample_parties

FAR = PartyId("far", sample_parties.T)
TO_FAR = Party((FAR,), "Hub")
RULE = ForwardingRule(FAR, "broker2", "http://far.example/msh", ("broker1",))
HOP_REQUEST = (
    f'<eb:AckRequested soap:actor="{NEXT_MSH}" soap:mustUnderstand="1" eb:signed="false" eb:version="2.0"/>'
)


def at_hop(*rules: ForwardingRule, **changes: Any) -> ProtocolContext:
    """Return the context of the handler `hub`, which passes messages on."""
    own = {"hub": sample_parties.keyring()["hub"]}
    return sample_parties.context(
        signers=own,
        forwarding=ForwardingTable(rules or (RULE,)),
        own_party=sample_parties.FROM_HUB,
        **changes,
    )


def sealed(**changes: Any) -> Parcel:
    unit = sample_parties.message(receiver=TO_FAR, **changes)
    return ebms2.seal((unit,), sample_parties.SUBMIT, sample_parties.context())


def octets(parcel: Parcel) -> bytes:
    return parcel.body.open_stream().read()  # type: ignore[no-any-return]


def edited(parcel: Parcel, before: bytes, after: bytes) -> Parcel:
    content = octets(parcel)
    assert before in content
    return replace(parcel, body=MemoryBody(content.replace(before, after, 1)))


def refusal(parcel: Parcel, context: ProtocolContext) -> str:
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, context)
    return caught.value.problem.id


def test_a_message_for_another_goes_on_by_its_rule() -> None:
    opened = ebms2.open_units(sealed(), at_hop())
    assert (opened.forwarding_rule, opened.pmode) == (RULE, None)
    assert opened.verified_signature is not None


def test_who_may_not_use_the_rule_is_refused() -> None:
    assert refusal(sealed(), at_hop(replace(RULE, senders=("hub",)))) == "GW317"
    assert refusal(sealed(), at_hop(replace(RULE, to=PartyId("else", "t")))) == "GW302"


def test_what_would_come_back_is_refused() -> None:
    back = replace(RULE, next_party="broker1", senders=("broker2",))
    assert refusal(sealed(), at_hop(back)) == "GW318"
    ours = ebms2.seal(
        (sample_parties.message(sender=sample_parties.FROM_HUB, receiver=TO_FAR),),
        sample_parties.SUBMIT,
        sample_parties.context(),
    )
    assert refusal(ours, at_hop(replace(RULE, senders=("hub",)))) == "GW318"


def test_an_unsigned_message_does_not_go_on() -> None:
    unit = sample_parties.message(receiver=TO_FAR)
    parcel = ebms2.seal((unit,), sample_parties.LOOSE, sample_parties.context())
    assert refusal(parcel, at_hop()) == "GW201"


#: The header of a message of one partner of the hop to another, and the rule by which it goes on.
BACK: dict[str, Any] = {
    "message_id": "back-1@other.example",
    "conversation_id": "c-1",
    "sender": Party((sample_parties.OTHER,), "Hub"),
    "receiver": sample_parties.FROM_BROKER,
    "agreement": "agreement-1",
    "timestamp": sample_parties.NOW,
}
ASKED = "m-1@broker.example"
ANSWERS = (
    Receipt(**BACK, ref_to_message_id=ASKED, received_at=sample_parties.NOW),
    ErrorSignal(**BACK, ref_to_message_id=ASKED, errors=(ErrorEntry("DeliveryFailure", "Error"),)),
    Pong(**BACK, ref_to_message_id=ASKED),
    StatusResponse(**BACK, ref_to_message_id=ASKED, queried_message_id="m-0@x", status="NotRecognized"),
)
QUESTIONS = (Ping(**BACK), StatusRequest(**BACK, queried_message_id="m-0@x"))
MESSAGE = sample_parties.message(**BACK, ref_to_message_id=ASKED, sync_reply=False)
BACKWARD = ForwardingRule(sample_parties.BROKER, "broker1", "http://broker.example/msh", ("broker2",))


def name_kind(unit: Unit) -> str:
    return type(unit).__name__


def open_passing(unit: Unit, *, signed: bool, sent_unit: SentUnit | None = None) -> OpenedMessage:
    """Open a message for another partner at the hop, in a post or in the HTTP answer to `sent_unit`."""
    keys = {"broker2": sample_parties.keyring()["broker2"]}
    context = sample_parties.context(signers=keys)
    if isinstance(unit, UserMessage):
        parcel = ebms2.seal((unit,), sample_parties.SUBMIT if signed else sample_parties.LOOSE, context)
    else:
        parcel = ebms2.seal_hop_signal(unit, context, is_signed=signed)  # type: ignore[arg-type]
    return ebms2.open_units(parcel, at_hop(BACKWARD), sent_unit)


@pytest.mark.parametrize("unit", [*ANSWERS, *QUESTIONS, MESSAGE], ids=name_kind)
def test_what_is_posted_goes_on_only_if_it_is_signed(unit: Unit) -> None:
    assert open_passing(unit, signed=True).forwarding_rule == BACKWARD
    with pytest.raises(GatewayError, match="GW201"):
        open_passing(unit, signed=False)


@pytest.mark.parametrize("unit", ANSWERS, ids=name_kind)
def test_an_unsigned_signal_in_the_http_answer_goes_on(unit: Unit) -> None:
    asked = sample_parties.message(
        message_id=ASKED, receiver=BACK["sender"], ack_requested=AckRequest(signed=False)
    )
    sent = ebms2.read_sent_unit(
        ebms2.seal((asked,), sample_parties.SUBMIT, sample_parties.context()), DEFAULT_LIMITS
    )
    opened = open_passing(unit, signed=False, sent_unit=sent)
    assert (opened.forwarding_rule, opened.verified_signature) == (BACKWARD, None)
    with pytest.raises(GatewayError, match="GW201"):
        open_passing(MESSAGE, signed=False, sent_unit=sent)


def test_a_message_of_another_signer_does_not_go_on() -> None:
    unit = sample_parties.message(receiver=TO_FAR)
    keys = {"broker1": sample_parties.keyring()["broker2"]}
    parcel = ebms2.seal((unit,), sample_parties.SUBMIT, sample_parties.context(signers=keys))
    assert refusal(parcel, at_hop()) == "GW209"


def test_a_payload_changed_on_the_way_is_refused_by_the_next() -> None:
    parcel = sealed()
    payload = ebms2.read_sent_unit(parcel, DEFAULT_LIMITS).unit.payloads[0]  # type: ignore[union-attr]
    changed = edited(parcel, payload.content, payload.content[:-1] + b"!")
    assert refusal(changed, at_hop()) in ("GW202", "GW204")


@pytest.mark.long
@pytest.mark.parametrize("sync_reply", ["keep", "add", "remove"])
@pytest.mark.parametrize("acknowledgment", ["never", "unsigned", "signed"])
@pytest.mark.parametrize("came", [None, AckRequest(signed=True), AckRequest(signed=False)])
@pytest.mark.parametrize("sync", [True, False])
def test_the_signature_is_good_after_every_hop(
    sync_reply: str, acknowledgment: str, came: AckRequest | None, sync: bool
) -> None:
    parcel = sealed(hop_ack_requested=came, sync_reply=sync)
    rule = replace(RULE, sync_reply=sync_reply, acknowledgment=acknowledgment)
    onward = ebms2.rewrite_for_next_hop(parcel, rule, DEFAULT_LIMITS)
    before, after = (ebms2.open_units(one, at_hop()) for one in (parcel, onward))
    assert after.identity == before.identity
    unit = after.unit
    assert isinstance(unit, UserMessage)
    assert unit.sync_reply is {"keep": sync, "add": True, "remove": False}[sync_reply]
    wanted = None if acknowledgment == "never" else AckRequest(signed=acknowledgment == "signed")
    assert unit.hop_ack_requested == wanted
    assert replace(unit, sync_reply=sync, hop_ack_requested=came) == before.unit
    # Taken out again, the octets of the envelope are those that came.
    plain = replace(RULE, sync_reply="remove")
    assert ebms2.packaging.open_package(
        ebms2.rewrite_for_next_hop(onward, plain, DEFAULT_LIMITS), DEFAULT_LIMITS
    ).envelope_octets == (
        ebms2.packaging.open_package(
            ebms2.rewrite_for_next_hop(parcel, plain, DEFAULT_LIMITS), DEFAULT_LIMITS
        ).envelope_octets
    )


def test_what_needs_no_change_goes_on_as_it_came() -> None:
    parcel = sealed()
    assert octets(ebms2.rewrite_for_next_hop(parcel, RULE, DEFAULT_LIMITS)) == octets(parcel)


def test_one_request_of_each_actor_and_no_second() -> None:
    both = sealed(hop_ack_requested=AckRequest(signed=True), ack_requested=AckRequest(signed=False))
    unit = ebms2.open_units(both, at_hop()).unit
    assert isinstance(unit, UserMessage)
    assert (unit.ack_requested, unit.hop_ack_requested) == (AckRequest(signed=False), AckRequest(signed=True))
    twice = edited(sealed(), b"<eb:AckRequested ", (HOP_REQUEST * 2).encode() + b"<eb:AckRequested ")
    assert refusal(twice, at_hop()) == "GW107"


@pytest.mark.parametrize(
    "smuggled",
    [
        HOP_REQUEST.replace("/>", "><eb:MessageData/></eb:AckRequested>"),
        HOP_REQUEST.replace("/>", ">words</eb:AckRequested>"),
        HOP_REQUEST.replace("eb:AckRequested", "eb:MessageOrder"),
        f'<x:Order xmlns:x="urn:x" soap:actor="{NEXT_MSH}">steal</x:Order>',
    ],
)
def test_nothing_is_smuggled_where_no_signature_covers_it(smuggled: str) -> None:
    parcel = edited(sealed(), b"<eb:AckRequested ", smuggled.encode() + b"<eb:AckRequested ")
    assert refusal(parcel, at_hop()) in ("GW107", "GW203", "GW304")


class Hop:
    """The hop, and what it says about a message to the broker that sent it."""

    def __init__(self, *, signed: bool = True, asked: bool = True) -> None:
        request = AckRequest(signed=signed) if asked else None
        self.parcel = sealed(hop_ack_requested=request)
        self.sent: SentUnit = ebms2.read_sent_unit(self.parcel, DEFAULT_LIMITS)
        self.opened: OpenedMessage = ebms2.open_units(self.parcel, at_hop())

    def receipt(self, signed: bool = True, **changes: Any) -> Parcel:
        made = ebms2.make_hop_receipt(self.opened, at_hop()) or ebms2.make_hop_receipt(Hop().opened, at_hop())
        assert made is not None
        return ebms2.seal_hop_signal(replace(made, **changes), at_hop(), is_signed=signed)

    def judge(self, parcel: Parcel, *, asked_for: bool = True) -> OpenedMessage:
        """Open a parcel as the broker does, on the connection of its message."""
        keys = {"broker1": sample_parties.keyring()["broker1"]}
        context = sample_parties.context(signers=keys)
        return ebms2.open_units(parcel, context, self.sent if asked_for else None)

    def problem(self, parcel: Parcel, *, asked_for: bool = True) -> str:
        with pytest.raises(GatewayError) as caught:
            self.judge(parcel, asked_for=asked_for)
        return caught.value.problem.id


def test_the_receipt_of_the_hop_is_its_own_and_nobody_elses() -> None:
    hop = Hop()
    unit = hop.judge(hop.receipt()).unit
    assert isinstance(unit, Receipt)
    assert (unit.actor, unit.sender.ids) == (NEXT_MSH, (sample_parties.HUB,))


def test_a_receipt_that_was_asked_signed_is_signed() -> None:
    hop = Hop()
    assert hop.problem(hop.receipt(signed=False)) == "GW309"
    assert hop.problem(hop.receipt(signed=False, references=())) == "GW309"
    loose = Hop(signed=False)
    assert isinstance(loose.judge(loose.receipt(signed=False)).unit, Receipt)


def test_by_a_post_the_receipt_of_a_hop_is_always_signed() -> None:
    hop = Hop(signed=False)
    assert hop.problem(hop.receipt(signed=False), asked_for=False) == "GW201"
    assert isinstance(hop.judge(hop.receipt(), asked_for=False).unit, Receipt)


def test_a_receipt_nobody_asked_for_is_refused() -> None:
    hop = Hop(asked=False)
    about = hop.sent.unit.message_id
    assert hop.problem(hop.receipt(ref_to_message_id=about, references=())) == "GW309"


def test_the_signed_header_names_the_message_not_the_block_outside() -> None:
    hop = Hop()
    foreign = hop.receipt(ref_to_message_id="other@x")
    head, _, tail = octets(foreign).rpartition(b"other@x")
    other = replace(foreign, body=MemoryBody(head + hop.sent.unit.message_id.encode() + tail))
    assert hop.problem(other) == "GW304"
    assert hop.problem(foreign) == "GW309"


def test_a_forged_receipt_is_refused() -> None:
    hop = Hop()
    made = ebms2.make_hop_receipt(hop.opened, at_hop())
    assert made is not None
    thief = sample_parties.context(signers={"broker2": sample_parties.keyring()["broker2"]})
    forged = ebms2.seal_hop_signal(made, thief, is_signed=True)
    assert hop.problem(forged) == "GW309"
    assert hop.problem(forged, asked_for=False) == "GW209"


def test_the_receipt_of_the_hop_repeats_the_digests_or_is_refused() -> None:
    hop = Hop()
    made = ebms2.make_hop_receipt(hop.opened, at_hop())
    assert made is not None
    assert made.references
    wrong = (replace(made.references[0], digest=b"\0" * 32), *made.references[1:])
    assert hop.problem(hop.receipt(references=wrong)) == "GW309"


def test_who_refuses_a_passing_message_is_the_hop_not_the_to_party() -> None:
    context = at_hop(replace(RULE, senders=("broker2x",)))
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(sealed(), context)
    answer = ebms2.reject_parcel(caught.value, sealed(), context)
    assert answer.error_signal is not None
    assert answer.error_signal.sender == sample_parties.FROM_HUB
