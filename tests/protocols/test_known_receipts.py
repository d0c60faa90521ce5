"""Receipts like one before: opened in less time with the same result; any change is noticed."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agreements import PModeIndex
from gateway.agreements.pmode_values import Encryption
from gateway.errors import GatewayError
from gateway.message_model import NEXT_MSH, ErrorEntry, ErrorSignal, MemoryBody, Payload, Receipt, Unit
from gateway.protocols import EnvelopeMemory, Parcel, SentUnit, ebms2
from gateway.protocols.ebms2 import known_messages
from gateway.protocols.ebms2 import message_opening as opening
from gateway.protocols.ebms2.known_envelope import EBMS2_ENVELOPES
from gateway.protocols.known_envelope import learn_envelope, read_known_envelope
from gateway.wire import DEFAULT_LIMITS, MimePart, fill_template, write_multipart_related
from tests.kit.known_messages import compare_with_whole, describe
from tests.protocols import sample_parties

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
count = itertools.count(1)
Memory = EnvelopeMemory[Any]


@dataclass(frozen=True)
class Exchange:
    """What we sent, and the receipt that came back."""

    sent: SentUnit
    receipt: Parcel


def make_receipts(count_of_payloads: int = 1, **changes: Any) -> tuple[SentUnit, tuple[Unit, ...]]:
    """Return what we sent of a new message, and what its receiver says of it."""
    number = next(count)
    message = sample_parties.message(
        message_id=f"m-{number}@hub.example",
        conversation_id=f"c-{number}",
        sender=sample_parties.FROM_HUB,
        receiver=sample_parties.FROM_BROKER,
        action="Result",
        payloads=tuple(
            Payload(f"p{one}.{number}@hub.example", "application/xml", f"<a b='{number}'/>".encode())
            for one in range(count_of_payloads)
        ),
    )
    parcel = ebms2.seal((message,), sample_parties.RESULT, sample_parties.context())
    there = sample_parties.context(now=sample_parties.NOW + timedelta(milliseconds=number))
    receipt = ebms2.make_receipt(ebms2.open(parcel, there), there)
    assert parcel.sent is not None
    changed = {"timestamp": receipt.timestamp + timedelta(seconds=1), **changes}
    return parcel.sent, (replace(receipt, **changed),)


def seal(sent: SentUnit, units: tuple[Unit, ...]) -> Exchange:
    sealed = ebms2.seal(units, sample_parties.RESULT, sample_parties.context())
    return Exchange(sent, Parcel(sealed.headers, sealed.body))


def exchange(**changes: Any) -> Exchange:
    return seal(*make_receipts(**changes))


@cache
def exchanged(number: int) -> Exchange:
    return exchange()


def judge(told: Exchange, memory: Memory | None = None, **changes: Any) -> Any:
    """Return what a receipt says, or why it is refused."""
    try:
        context = sample_parties.context(envelopes=memory, **changes)
        return describe(ebms2.open(told.receipt, context, told.sent))
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location


def change(told: Exchange, octets: bytes) -> Exchange:
    return replace(told, receipt=Parcel(told.receipt.headers, MemoryBody(octets)))


@dataclass
class Taken:
    """Counts the receipts that were opened by a known envelope."""

    opened: int = 0
    memory: Memory = field(default_factory=EnvelopeMemory)

    def __call__(self, *words: Any) -> Any:
        found = compare_with_whole(known_messages.open_known_message, opening)(*words)
        self.opened += found is not None
        return found

    def judge(self, told: Exchange, **changes: Any) -> Any:
        """Judge a receipt with what is remembered; it must be what is said of one that is read whole."""
        found = judge(told, self.memory, **changes)
        assert found == judge(told, **changes)
        return found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    counter = Taken()
    monkeypatch.setattr(opening, "open_known_message", counter)
    assert "unit" in counter.judge(exchanged(0))
    assert counter.opened == 0
    return counter


def test_the_second_receipt_of_a_program_is_opened_by_its_envelope(taken: Taken) -> None:
    for number in range(1, 6):
        assert "unit" in taken.judge(exchange())
        assert taken.opened == number


def test_a_receipt_that_is_posted_is_opened_by_its_envelope(taken: Taken) -> None:
    """Nothing is expected on its connection: what it answers is looked for when it was opened."""
    told = exchange()
    context = sample_parties.context(envelopes=taken.memory)
    opened = ebms2.open(told.receipt, context)
    assert taken.opened == 1
    ebms2.check_answer(opened, told.sent)
    with pytest.raises(GatewayError, match="another message"):
        ebms2.check_answer(opened, exchanged(0).sent)


def test_what_a_program_answers_in_turns_is_all_known(taken: Taken) -> None:
    kinds: list[dict[str, Any]] = [{}, {"count_of_payloads": 0}, {"count_of_payloads": 3}]
    for kind in kinds:
        assert "unit" in taken.judge(exchange(**kind))
    before = taken.opened
    for kind in kinds * 2:
        assert "unit" in taken.judge(exchange(**kind))
    assert taken.opened - before == 2 * len(kinds)


def test_a_receipt_names_its_message_beside_the_header_alone(taken: Taken) -> None:
    for known in (0, 1):
        told = exchange()
        unsigned = re.sub(
            rb"<eb:RefToMessageId>[^<]*</eb:RefToMessageId></eb:MessageData>",
            b"</eb:MessageData>",
            sample_parties.octets(told.receipt),
        )
        digest = re.findall(rb"<ds:DigestValue>([^<]*)", unsigned)[-1]
        signed = sign_octets(unsigned, digest)
        assert "unit" in taken.judge(change(told, signed))
        assert taken.opened == known


def sign_octets(envelope: bytes, digest: bytes) -> bytes:
    """Return a changed envelope with its own digest instead of `digest`, rightly signed."""
    (signature,) = re.findall(rb"<ds:Signature>.*</ds:Signature>", envelope)
    form = envelope.replace(signature, b"").replace(b"<ds:XPath xmlns:soap=" + SOAP, b"<ds:XPath")
    envelope = envelope.replace(digest, base64.b64encode(hashlib.sha256(form).digest()))
    (info,) = re.findall(rb"<ds:SignedInfo>(.*)</ds:SignedInfo>", envelope)
    (root,) = re.findall(rb"<soap:Envelope( xmlns[^>]*)>", envelope)
    info = b"<ds:SignedInfo%b>%b</ds:SignedInfo>" % (
        root,
        info.replace(b"<ds:XPath xmlns:soap=" + SOAP, b"<ds:XPath"),
    )
    value = base64.b64encode(sample_parties.issued("broker1").signer.sign(info))
    return re.sub(rb"(?<=<ds:SignatureValue>)[^<]*", value, envelope)


SOAP = b'"http://schemas.xmlsoap.org/soap/envelope/"'

SPOILT = [
    (b"<eb:Action>Ack", b"<eb:Action>Bck"),
    (b"<eb:Action>Acknowledgment", b"<eb:Action>MessageError"),
    (b"<eb:MessageId>m", b"<eb:MessageId>n"),
    (b"<eb:MessageId>m", b"<eb:MessageId>&#109;"),
    (b"<eb:RefToMessageId>m-", b"<eb:RefToMessageId>n-"),
    (b"<eb:RefToMessageId>m-", b"<eb:RefToMessageId> m-"),
    (b"<eb:Timestamp>2026", b"<eb:Timestamp>2025"),
    (b"<eb:ConversationId>c-", b"<eb:ConversationId>d-"),
    (b"<eb:CPAId>agreement-1", b"<eb:CPAId>agreement-2"),
    (b'URI="cid:p0', b'URI="cid:p3'),
    (b'URI=""', b'URI="cid:p3"'),
    (b"#sha256", b"#sha512"),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AA"),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AAAA"),
    (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    (b"</ds:SignatureValue>", b"=</ds:SignatureValue>"),
    (b"toPartyMSH", b"nextMSH"),
    (b"eb:Acknowledgment ", b"eb:Acknowledgment eb:id='x' "),
    (b"</eb:Acknowledgment>", b"</eb:Acknowledgment><eb:Acknowledgment/>"),
    (b":Body", b":Body x='y'"),
    (b">MII", b">MIJ"),
    (b"</ds:Signature>", b"</ds:Signature><!-- x -->"),
]


@pytest.mark.parametrize(("old", "new"), SPOILT, ids=[f"{old!r} to {new!r}" for old, new in SPOILT])
def test_what_is_spoilt_gets_the_same_answer_whatever_is_known(taken: Taken, old: bytes, new: bytes) -> None:
    told = exchanged(1)
    octets = sample_parties.octets(told.receipt)
    for at in (found.start() for found in re.finditer(re.escape(old), octets)):
        taken.judge(change(told, octets[:at] + new + octets[at + len(old) :]))
    assert old in octets
    assert taken.opened == 0


OCTETS = st.binary(max_size=8) | st.text("ab1=<>\"'&#;/", max_size=8).map(str.encode)


@quick
@given(at=st.integers(0, 10_000), length=st.integers(0, 12), octets=OCTETS)
def test_random_changes_get_the_same_answer_whatever_is_known(at: int, length: int, octets: bytes) -> None:
    memory: Memory = EnvelopeMemory()
    judge(exchanged(0), memory)
    body = sample_parties.octets(exchanged(1).receipt)
    at %= len(body)
    told = change(exchanged(1), body[:at] + octets + body[at + length :])
    assert judge(told, memory) == judge(told)


@quick
@given(source=st.integers(0, 10_000), target=st.integers(0, 10_000), length=st.integers(1, 200))
def test_octets_of_a_known_receipt_elsewhere_get_the_same_answer(
    source: int, target: int, length: int
) -> None:
    memory: Memory = EnvelopeMemory()
    judge(exchanged(0), memory)
    one, other = (sample_parties.octets(exchanged(number).receipt) for number in (0, 1))
    source, target = source % len(one), target % len(other)
    told = change(exchanged(1), other[:target] + one[source : source + length] + other[target + length :])
    assert judge(told, memory) == judge(told)


@cache
def known() -> Any:
    found = learn_envelope(
        EBMS2_ENVELOPES, sample_parties.octets(exchanged(0).receipt), "strict", DEFAULT_LIMITS
    )
    assert found is not None
    return found


ODD = ["a", "a--b", "_x", "x" * 512, "x" * 257, "=", "AAAA", "2026-11-20T24:00:00Z", "2026-11-20T08:59:59"]
VALUES = st.sampled_from(ODD) | st.text("abcXYZ019+/=.@:_-TZ", min_size=1, max_size=40)


@quick
@given(data=st.data())
def test_whatever_a_sender_signs_is_opened_both_ways_alike(data: st.DataObject) -> None:
    memory: Memory = EnvelopeMemory()
    judge(exchanged(0), memory)
    told, numbers = exchanged(1), known().numbers
    message = read_known_envelope(EBMS2_ENVELOPES, known(), sample_parties.octets(told.receipt))
    assert message is not None
    values = list(message.values)
    for number in range(len(values)):
        if number not in (*numbers.digests, numbers.signature):
            values[number] = data.draw(st.just(values[number]) | VALUES.map(str.encode))
    signature = known().signature
    (reference,) = signature.references
    digest = hashlib.sha256(fill_template(reference.form, values)).digest()
    values[reference.digest_number] = base64.b64encode(digest)
    signed_info = fill_template(signature.signed_info, values)
    value = sample_parties.issued("broker1").signer.sign(signed_info)
    values[numbers.signature] = base64.b64encode(value)
    changed = change(told, fill_template(known().template, values))
    assert judge(changed, memory) == judge(changed)
    posted = sample_parties.context(envelopes=memory)
    # The suite compares whatever is opened by a known envelope; what it says is what was signed.
    try:
        opened = ebms2.open(changed.receipt, posted)
    except GatewayError:
        return
    assert opened.unit.message_id == values[numbers.message_id].decode()


@quick
@given(data=st.data())
def test_a_receipt_with_any_values_is_read_as_the_readers_read_it(data: st.DataObject) -> None:
    """Its signature is wrong: what is compared is what the envelope says."""
    numbers = known().numbers
    honest = read_known_envelope(EBMS2_ENVELOPES, known(), sample_parties.octets(exchanged(1).receipt))
    assert honest is not None
    values = [data.draw(st.just(one) | VALUES.map(str.encode)) for one in honest.values]
    for number in (*numbers.digests, numbers.signature):
        values[number] = honest.values[number]
    document = fill_template(known().template, values)
    message = read_known_envelope(EBMS2_ENVELOPES, known(), document)
    if message is not None:
        whole = EBMS2_ENVELOPES.read(document, "strict", DEFAULT_LIMITS)
        assert whole is not None
        assert message.content == whole.content


def test_a_receipt_is_compared_with_what_was_sent(taken: Taken) -> None:
    told = exchange()
    sent = told.sent
    (first, second) = sent.references
    assert isinstance(sent.unit.sender.ids, tuple)
    others = [
        replace(sent, references=(first,)),
        replace(sent, references=(first, replace(second, digest=bytes(32)))),
        replace(sent, references=(first, replace(second, uri="cid:other@hub.example"))),
        replace(sent, unit=replace(sent.unit, message_id="other@hub.example")),
        replace(sent, unit=replace(sent.unit, agreement="agreement-2")),
        replace(sent, unit=replace(sent.unit, receiver=sample_parties.FROM_HUB)),
    ]
    for other in others:
        assert "unit" not in taken.judge(replace(told, sent=other))
    assert taken.opened == 0


OTHERWISE: dict[str, dict[str, Any]] = {
    "limits": {"limits": replace(DEFAULT_LIMITS, parts=50)},
    "another signer": {"find_certificate_party": lambda _: "broker2"},
    "no signer": {"find_certificate_party": lambda _: None},
    "revoked": {"validate_certificate": sample_parties.judge("broker1")},
    "not for us": {"keys": {}},
    "no agreement": {"agreements": PModeIndex(())},
    "no party": {"find_party_name": lambda _: None},
    "another certificate is pinned": {
        "agreements": PModeIndex(
            (
                replace(
                    sample_parties.RESULT,
                    security=replace(sample_parties.RESULT.security, reply_certificates=("00" * 32,)),
                ),
            )
        )
    },
}


@pytest.mark.parametrize("changes", OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_known_of_a_receipt_says_nothing_of_its_sender(taken: Taken, changes: dict[str, Any]) -> None:
    found = taken.judge(exchanged(1), **changes)
    assert ("unit" in found) == ("limits" in changes)
    assert taken.opened == 0


def test_a_receipt_by_an_agreement_of_encrypted_payloads_has_none(taken: Taken) -> None:
    """Which P-Mode of an agreement a signal belongs to makes no difference to what is in it."""
    terms = Encryption("XMLENC", ("aes128-gcm", "rsa-oaep"))
    pmode = replace(sample_parties.RESULT, encryption=terms)
    assert "unit" in taken.judge(exchange(), agreements=PModeIndex((pmode,)))
    assert taken.opened == 1


def test_a_receipt_has_no_parts(taken: Taken) -> None:
    told = exchanged(1)
    part = MimePart({"content-type": "image/png"}, "p9@broker.example", "image/png", b"x")
    for parts, wanted in (((), True), ((part,), False)):
        root = sample_parties.octets(told.receipt)
        media_type, body = write_multipart_related(root, parts, "b", "root@x")
        packed = Parcel({**told.receipt.headers, "Content-Type": media_type}, MemoryBody(body))
        assert ("unit" in taken.judge(replace(told, receipt=packed))) == wanted
        assert taken.opened == 1


def test_warnings_and_receipts_of_the_next_handler_are_read_whole(taken: Taken) -> None:
    for _ in range(2):
        sent, (receipt,) = make_receipts()
        assert isinstance(receipt, Receipt)
        header = {
            name: getattr(receipt, name)
            for name in ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
        }
        entry = ErrorEntry(code="Inconsistent", severity="Warning", location="/x", description="odd")
        warning = ErrorSignal(**header, ref_to_message_id=receipt.ref_to_message_id, errors=(entry,))
        assert "unit" in taken.judge(seal(sent, (receipt, warning)))
        hop = replace(receipt, actor=NEXT_MSH)
        taken.judge(seal(sent, (hop,)))
    assert taken.opened == 0


def test_a_receipt_without_signature_is_not_learned(taken: Taken) -> None:
    before = dict(taken.memory._senders)
    told = exchange()
    unsigned = re.sub(rb"<ds:Signature>.*</ds:Signature>", b"", sample_parties.octets(told.receipt))
    assert "unit" not in taken.judge(change(told, unsigned))
    assert dict(taken.memory._senders) == before
