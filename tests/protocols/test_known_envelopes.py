"""Envelopes like one before: opened without being read, with the same result; any change is noticed.

Whatever is opened so in the tests is opened as a whole, too, and compared (`tests.kit.known_messages`).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.agreements import Encryption, PModeIndex, Reliability, Security
from gateway.agreements.pmode_values import PullTerms
from gateway.errors import GatewayError
from gateway.message_model import (
    NEXT_MSH,
    ErrorEntry,
    ErrorSignal,
    MessageProperty,
    Payload,
)
from gateway.protocols import Parcel
from gateway.protocols.known_envelopes import message_opener
from gateway.protocols.known_envelopes.message_opener import EnvelopeMemory, find_sender_key, learn_envelope
from gateway.wire import DEFAULT_LIMITS, MimePart, read_multipart_related
from gateway.xmlsec import algorithms, signature_verifier
from tests.protocols import as4_samples, sample_parties
from tests.protocols.known_programs import (
    AS4,
    MESSAGES,
    PROGRAMS,
    RECEIPTS,
    Arrival,
    Program,
    Receiver,
    count,
    every_program,
    learned,
    make_receiver,
    quick,
    sent,
)


@pytest.fixture(params=PROGRAMS, ids=lambda one: one.name)
def receiver(request: pytest.FixtureRequest) -> Receiver:
    return make_receiver(request.param)


@pytest.fixture(params=MESSAGES, ids=lambda one: one.name)
def of_messages(request: pytest.FixtureRequest) -> Receiver:
    return make_receiver(request.param)


@pytest.fixture
def of_receipts() -> Receiver:
    return make_receiver(RECEIPTS)


def test_the_second_message_of_a_program_is_opened_by_its_envelope(receiver: Receiver) -> None:
    for number in range(1, 6):
        assert "unit" in receiver.open(receiver.program.send())
        assert receiver.envelopes.opened == number


def test_the_same_message_again_is_the_same(receiver: Receiver) -> None:
    assert "unit" in receiver.open(sent(receiver.program, 0))
    assert receiver.envelopes.opened == 1


@pytest.mark.long
def test_what_a_program_sends_in_turns_is_all_known(receiver: Receiver) -> None:
    program = receiver.program
    if program is RECEIPTS:
        kinds: list[dict[str, Any]] = [{"payloads": 0}, {"payloads": 1}, {"payloads": 3}]
    else:
        kinds = [{}, {"payloads": ()}, {"conversation_id": "c-0"}]
        kinds += [{"properties": ()}, {"conversation_id": ""}] if program is AS4 else [{"expires_at": None}]
    for kind in kinds:
        receiver.open(program.send(**kind))
    before = receiver.envelopes.opened
    for kind in kinds * 2:
        assert "unit" in receiver.open(program.send(**kind))
    assert receiver.envelopes.opened - before == 2 * len(kinds)


SPOILT = [
    (b"<%b:Action>", b"<%b:Action>x"),
    (b"<%b:Action>Acknowledgment", b"<%b:Action>MessageError"),
    (b"<%b:MessageId>", b"<%b:MessageId>n"),
    (b"<%b:MessageId>", b"<%b:MessageId> "),
    (b"<%b:MessageId>", b"<%b:MessageId>&#109;"),
    (b"<%b:RefToMessageId>m-", b"<%b:RefToMessageId>n-"),
    (b"<%b:Timestamp>2026", b"<%b:Timestamp>2025"),
    (b"<%b:ConversationId>c-", b"<%b:ConversationId>d-"),
    (b"<%b:CPAId>agreement-1", b"<%b:CPAId>agreement-2"),
    (b'href="cid:p1', b'href="cid:p3'),
    (b'URI="cid:p', b'URI="cid:q'),
    (b'URI=""', b'URI="cid:p3"'),
    (b"#sha256", b"#sha512"),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AA"),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AAAA"),
    (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    (b"</ds:SignatureValue>", b"&#13;</ds:SignatureValue>"),
    (b"</ds:SignatureValue>", b"=</ds:SignatureValue>"),
    (b"<a b='", b"<a c='"),
    (b"toPartyMSH", b"nextMSH"),
    (b"</eb:Acknowledgment>", b"</eb:Acknowledgment><eb:Acknowledgment/>"),
    (b":Body", b":Body x='y'"),
    (b">MII", b">MIJ"),
    (b"</ds:Signature>", b"</ds:Signature><!-- x -->"),
]


@pytest.mark.parametrize(("old", "new"), SPOILT, ids=[f"{old!r} to {new!r}" for old, new in SPOILT])
def test_what_is_spoilt_gets_the_same_answer_whatever_is_known(
    receiver: Receiver, old: bytes, new: bytes
) -> None:
    arrival = sent(receiver.program, 1)
    octets = sample_parties.octets(arrival.parcel)
    old, new = (one.replace(b"%b", receiver.program.prefix) for one in (old, new))
    for at in (place.start() for place in re.finditer(re.escape(old), octets)):
        receiver.open(arrival.change(octets[:at] + new + octets[at + len(old) :]))
    assert receiver.envelopes.opened == 0


def test_everything_that_is_spoilt_is_in_an_envelope() -> None:
    every = [(one.prefix, sample_parties.octets(sent(one, 1).parcel)) for one in PROGRAMS]
    for old, _ in SPOILT:
        assert any(old.replace(b"%b", prefix) in octets for prefix, octets in every)


OCTETS = st.binary(max_size=8) | st.text("ab1=<>\"'&#;/", max_size=8).map(str.encode)


@pytest.mark.long
@every_program
@quick
@given(at=st.integers(0, 10_000), length=st.integers(0, 12), octets=OCTETS)
def test_random_changes_get_the_same_answer_whatever_is_known(
    program: Program, at: int, length: int, octets: bytes
) -> None:
    body = sample_parties.octets(sent(program, 1).parcel)
    at %= len(body)
    make_receiver(program).open(sent(program, 1).change(body[:at] + octets + body[at + length :]))


@pytest.mark.long
@every_program
@quick
@given(source=st.integers(0, 10_000), target=st.integers(0, 10_000), length=st.integers(1, 200))
def test_octets_of_a_known_envelope_elsewhere_get_the_same_answer(
    program: Program, source: int, target: int, length: int
) -> None:
    first, second = (sample_parties.octets(sent(program, number).parcel) for number in (0, 1))
    source, target = source % len(first), target % len(second)
    body = second[:target] + first[source : source + length] + second[target + length :]
    make_receiver(program).open(sent(program, 1).change(body))


def swap_texts(first: Any, second: Any) -> None:
    first.text, second.text = second.text, first.text


def swap_attributes(first: Any, second: Any) -> None:
    for name in set(first.attrib) & set(second.attrib):
        first.attrib[name], second.attrib[name] = second.attrib[name], first.attrib[name]


def copy_text(first: Any, second: Any) -> None:
    second.text = first.text


def empty(first: Any, _second: Any) -> None:
    first.text = None


def double(first: Any, _second: Any) -> None:
    first.addnext(deepcopy(first))


def leave_out(first: Any, _second: Any) -> None:
    first.getparent().remove(first)


def move(first: Any, second: Any) -> None:
    if second not in (first, *first.iterdescendants()):
        second.append(first)


CHANGES = [swap_texts, swap_attributes, copy_text, empty, double, leave_out, move]


@pytest.mark.night
@every_program
@settings(quick, max_examples=200)
@given(
    change=st.sampled_from(CHANGES),
    first=st.integers(1, 200),
    second=st.integers(1, 200),
    source=st.booleans(),
)
def test_changed_structure_gets_the_same_answer_whatever_is_known(
    program: Program, change: Callable[[Any, Any], None], first: int, second: int, *, source: bool
) -> None:
    """Values and elements are swapped, copied, emptied, doubled, left out, or moved between messages."""
    root, other = (etree.fromstring(sent(program, number).find_envelope()) for number in (1, 0))
    elements, others = list(root.iter("*"))[1:], list(other.iter("*"))[1:]
    chosen = others[second % len(others)] if source else elements[second % len(elements)]
    change(elements[first % len(elements)], chosen)
    arrival = sent(program, 1)
    parts = read_multipart_related(arrival.parcel.get_header("Content-Type"), arrival.parcel.body).attachments
    make_receiver(program).open(arrival.pack(etree.tostring(root), tuple(parts)))


VALUES = st.sampled_from(
    [
        *("a", "a--b", "A.b", "_x", "=", "AAAA", "x" * 255, "learned-0-value", "now"),
        *("2026-11-20T24:00:00Z", "2026-11-20T08:59:59", "2026-11-20T08:59:59.1234567+14:00"),
        "2026-02-30T00:00:00Z",
    ]
) | st.text("abcXYZ019+/=.@:_-TZ", min_size=1, max_size=40)


def draw_values(program: Program, data: st.DataObject) -> list[bytes]:
    """Return values of a second envelope, some of them others; digests and signature are its own."""
    values = learned(program).template.match(sent(program, 1).find_envelope())
    assert values is not None
    digests = [number for number, value in enumerate(values) if re.fullmatch(rb"[\w+/]{43}=|.{200,}", value)]
    return [
        value if number in digests else data.draw(st.just(value) | VALUES.map(str.encode))
        for number, value in enumerate(values)
    ]


def sign_values(program: Program, values: list[bytes]) -> bytes:
    """Return an envelope with these values, rightly signed; raise for one that cannot be read."""
    template, core = learned(program).template, program.core
    signature = core.read_envelope(template.fill(values), "strict", DEFAULT_LIMITS).signature
    for reference, octets in zip(signature.references, signature.canonical_forms, strict=True):
        if octets is not None:
            place = values.index(base64.b64encode(reference.digest_value))
            values[place] = base64.b64encode(hashlib.sha256(octets).digest())
    signature = core.read_envelope(template.fill(values), "strict", DEFAULT_LIMITS).signature
    value = sample_parties.issued("broker1").signer.sign(signature.signed_info)
    values[values.index(base64.b64encode(signature.value))] = base64.b64encode(value)
    return template.fill(values)


@pytest.mark.long
@every_program
@quick
@given(data=st.data())
def test_whatever_a_sender_signs_is_opened_both_ways_alike(program: Program, data: st.DataObject) -> None:
    values, arrival = draw_values(program, data), sent(program, 1)
    old = learned(program).template.match(arrival.find_envelope())
    assert old is not None
    names = dict(zip(old, values, strict=True))
    parts = read_multipart_related(arrival.parcel.get_header("Content-Type"), arrival.parcel.body).attachments
    try:
        document = sign_values(program, values)
        renamed = [replace(one, content_id=names[one.content_id.encode()].decode()) for one in parts]
        changed = arrival.pack(document, tuple(renamed)) if renamed else arrival.change(document)
    except GatewayError:
        return  # no such envelope can be read, or no such parts be written
    receiver = make_receiver(program)
    receiver.open(changed)
    receiver.open(replace(changed, sent=None))


@pytest.mark.night
@every_program
@quick
@given(data=st.data())
def test_an_envelope_with_any_values_is_read_as_the_readers_read_it(
    program: Program, data: st.DataObject
) -> None:
    document = learned(program).template.fill(draw_values(program, data))
    reading = learned(program).make_reading(document)
    if reading is not None:
        assert reading == program.core.read_envelope(document, "strict", DEFAULT_LIMITS)


@every_program
def test_an_envelope_with_wrong_values_is_not_read(program: Program) -> None:
    envelope = learned(program)
    values = envelope.template.match(sent(program, 1).find_envelope())
    assert values is not None

    def read(old: bytes, new: bytes) -> Any:
        return envelope.make_reading(envelope.template.fill([new if one == old else one for one in values]))

    identifier = next(one for one in values if re.match(rb"m-|[0-9a-f-]{8,}@|.*@", one))
    instant = next(one for one in values if one.startswith(b"2026-"))
    assert read(identifier, b"other@x") is not None
    assert read(identifier, b"") is None
    assert read(instant, b"2026-13-01T00:00:00Z") is None
    assert read(instant, b"yesterday") is None
    for numbers in (envelope.identifiers, envelope.content_ids):
        if len(numbers) > 1:
            assert read(values[numbers[0]], values[numbers[1]]) is None
    if envelope.identifiers:
        assert read(values[envelope.identifiers[0]], b"1st") is None


def test_a_value_of_base64_may_be_in_several_lines(receiver: Receiver) -> None:
    for number, wrap in enumerate((b"\n%b\n", b"  %b\n\t", b"%b")):
        arrival = receiver.program.send()
        octets = sample_parties.octets(arrival.parcel)
        (value,) = re.findall(rb"<ds:SignatureValue>([^<]*)", octets)
        lines = wrap % b"\n".join([value[:76], value[76:152], value[152:]])
        assert "unit" in receiver.open(arrival.change(octets.replace(value, lines)))
        assert receiver.envelopes.opened == number + 1


def test_an_encrypted_payload_is_refused_where_no_encryption_is_agreed(of_messages: Receiver) -> None:
    secret = b'<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"/>'
    payloads = (Payload("q1@x", "application/xml", secret), Payload("q2@x", "image/png", b"y"))
    of_messages.open(of_messages.program.send(payloads=payloads))


OTHERWISE: dict[str, dict[str, Any]] = {
    "limits": {"limits": replace(DEFAULT_LIMITS, parts=50)},
    "another signer": {"find_certificate_party": lambda _: "broker2"},
    "no signer": {"find_certificate_party": lambda _: None},
    "revoked": {"validate_certificate": sample_parties.judge("broker1")},
    "not for us": {"signers": {}},
    "no agreement": {"agreements": PModeIndex(())},
    "no party": {"find_party_name": lambda _: None},
}


@pytest.mark.parametrize("changes", OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_known_of_an_envelope_says_nothing_of_its_sender(
    receiver: Receiver, changes: dict[str, Any]
) -> None:
    judged = receiver.open(sent(receiver.program, 1), **changes)
    assert ("unit" in judged) == ("limits" in changes)
    assert receiver.envelopes.opened == 0


TERMS: dict[str, dict[str, Any]] = {
    "encryption": {"encryption": Encryption("XMLENC", ("aes128-gcm", "rsa-oaep"))},
    "a pinned certificate": {"security": Security(certificates=("00" * 32,))},
    "a pinned certificate of the answer": {"security": Security(reply_certificates=("00" * 32,))},
    "no repeats": {"reliability": Reliability("never", "never", "never")},
    "a channel that is pulled": {"pull": PullTerms()},
    "a request": {"mep": "two-way", "mep_binding": "push-and-pull"},
    "a reply": {"mep": "two-way", "mep_binding": "sync", "sync_reply_mode": "none"},
    "other algorithms": {"security": Security(signature_algorithms=("http://x",))},
    "a stronger algorithm": {"security": Security(signature_algorithms=(algorithms.RSA_SHA512,))},
    "a stronger hash": {"security": Security(hash_function=algorithms.SHA512)},
}


@pytest.mark.parametrize("changes", TERMS.values(), ids=TERMS)
def test_what_is_agreed_is_looked_at(receiver: Receiver, changes: dict[str, Any]) -> None:
    agreements = PModeIndex((replace(receiver.program.pmode, **changes),))
    judged = receiver.open(sent(receiver.program, 1), agreements=agreements)
    assert receiver.envelopes.opened == ("unit" in judged)


def test_an_envelope_is_known_for_one_policy(receiver: Receiver) -> None:
    security = replace(receiver.program.pmode.security, policy="legacy-norway")
    legacy = PModeIndex((replace(receiver.program.pmode, security=security),))
    for opened in (0, 1):
        assert "unit" in receiver.open(sent(receiver.program, 1), agreements=legacy)
        assert receiver.envelopes.opened == opened


def test_parts_are_those_that_the_envelope_names(of_messages: Receiver) -> None:
    arrival = sent(of_messages.program, 1)
    related = read_multipart_related(arrival.parcel.get_header("Content-Type"), arrival.parcel.body)
    other = MimePart({"content-type": "image/png"}, "p9@broker.example", "image/png", b"x")
    first, second = related.attachments
    for parts in ((first,), (first, second, other), (first, other), (second, first), ()):
        judged = of_messages.open(arrival.pack(related.root.content, parts))
        assert ("unit" in judged) == (parts == (second, first))


def test_a_receipt_has_no_parts(of_receipts: Receiver) -> None:
    arrival = sent(RECEIPTS, 1)
    part = MimePart({"content-type": "image/png"}, "p9@broker.example", "image/png", b"x")
    for parts, accepted in (((), True), ((part,), False)):
        assert ("unit" in of_receipts.open(arrival.pack(arrival.find_envelope(), parts))) == accepted
        assert of_receipts.envelopes.opened == 1


def test_the_soap_action_is_looked_at(of_messages: Receiver) -> None:
    parcel = sent(of_messages.program, 1).parcel
    of_messages.open(Arrival(Parcel({**parcel.headers, "SOAPAction": '"other"'}, parcel.body)))


def test_a_receipt_is_compared_with_what_was_sent(of_receipts: Receiver) -> None:
    arrival = RECEIPTS.send()
    assert arrival.sent is not None
    about, (first, second) = arrival.sent, arrival.sent.references
    others = [
        replace(about, references=(first,)),
        replace(about, references=(first, replace(second, digest=bytes(32)))),
        replace(about, references=(first, replace(second, uri="cid:other@hub.example"))),
        replace(about, unit=replace(about.unit, message_id="other@hub.example")),
        replace(about, unit=replace(about.unit, agreement="agreement-2")),
        replace(about, unit=replace(about.unit, receiver=sample_parties.FROM_HUB)),
    ]
    for other in others:
        assert "unit" not in of_receipts.open(replace(arrival, sent=other))
    assert of_receipts.envelopes.opened == 0
    assert "unit" in of_receipts.open(replace(arrival, sent=None))
    assert of_receipts.envelopes.opened == 1


def test_warnings_and_receipts_of_the_next_handler_are_read_whole(of_receipts: Receiver) -> None:
    names = ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    for _ in range(2):
        about, receipt = RECEIPTS.make_receipt()
        entry = ErrorEntry(code="Inconsistent", severity="Warning", location="/x", description="odd")
        header = {name: getattr(receipt, name) for name in names}
        warning = ErrorSignal(**header, ref_to_message_id=receipt.ref_to_message_id, errors=(entry,))
        assert "unit" in of_receipts.open(RECEIPTS.seal(about, receipt, warning))
        of_receipts.open(RECEIPTS.seal(about, replace(receipt, actor=NEXT_MSH)))
    assert of_receipts.envelopes.opened == 0


def test_what_is_said_twice_must_be_the_same_again() -> None:
    receiver = make_receiver(AS4)
    for name, text, opened in (("a@x", "a@x", 0), ("b@x", "b@x", 1), ("c@x", "d@x", 1)):
        said = (MessageProperty("number", text),)
        assert "unit" in receiver.open(AS4.send(message_id=name, properties=said))
        assert receiver.envelopes.opened == opened


def add_block(program: Program, block: bytes) -> bytes:
    document = sent(program, 1).find_envelope()
    place = document.index(b"</soap12:Header>" if program is AS4 else b"</soap:Header>")
    return document[:place] + block + document[place:]


@pytest.mark.parametrize("program", MESSAGES, ids=lambda one: one.name)
def test_an_envelope_with_many_identifiers_is_not_learned(program: Program) -> None:
    for number, is_learned in ((20, True), (100, False)):
        elements = b"".join(b'<a Id="x%d"/>' % one for one in range(number))
        document = add_block(program, b'<q:b xmlns:q="urn:q">' + elements + b"</q:b>")
        assert (program.learn(document) is not None) == is_learned


@pytest.mark.parametrize("size", [100, 40_000])
def test_a_large_envelope_is_not_learned(size: int) -> None:
    receiver = make_receiver(AS4)
    block = b"<q:b xmlns:q='urn:q'>%b</q:b></soap12:Header>" % (b"x" * size)
    for _ in range(2):
        arrival = AS4.send()
        octets = sample_parties.octets(arrival.parcel).replace(b"</soap12:Header>", block)
        assert "unit" in receiver.open(arrival.change(octets))
    assert receiver.envelopes.opened == (size == 100)


UNCERTAIN = [
    (b'href="cid:p1.%d@broker.example"', b"href='cid:p1.%d@broker.example'"),
    (b"</%b:MessageId>", b"<!-- x --></%b:MessageId>"),
    (b"<%b:MessageId>m-", b"<%b:MessageId>m&#45;"),
    (b"<%b:Action>", b'<%b:Action xmlns:id="m-%d@broker.example">'),
]


@pytest.mark.parametrize(("old", "new"), UNCERTAIN)
@pytest.mark.parametrize("program", MESSAGES, ids=lambda one: one.name)
def test_what_a_template_cannot_say_is_not_learned(program: Program, old: bytes, new: bytes) -> None:
    number = next(count)
    payload = Payload(f"p1.{number}@broker.example", "a/b", b"x")
    document = program.send(message_id=f"m-{number}@broker.example", payloads=(payload,)).find_envelope()
    old, new = (one.replace(b"%b", program.prefix).replace(b"%d", b"%d" % number) for one in (old, new))
    assert old in document
    assert is_learned(program, document)
    assert not is_learned(program, document.replace(old, new))
    assert not is_learned(program, b"<!-->x<-->" + document)


def is_learned(program: Program, document: bytes) -> bool:
    try:
        return program.learn(document) is not None
    except GatewayError:
        return False


@every_program
def test_an_envelope_whose_reading_depends_on_a_value_is_not_learned(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = sent(program, 1).find_envelope()
    assert is_learned(program, document)
    monkeypatch.setattr(message_opener.KnownEnvelope, "make_reading", lambda *_: object())
    assert not is_learned(program, document)


def test_an_envelope_whose_certificate_is_not_in_it_is_not_learned() -> None:
    parcel = as4_samples.change_tree(sent(AS4, 1).parcel, lambda root: root[0][0].remove(root[0][0][0]))
    assert not is_learned(AS4, Arrival(parcel).find_envelope())


@every_program
def test_only_what_was_verified_is_learned(program: Program) -> None:
    """The certificate in an envelope is a claim; a foreign block may name another one."""
    receiver = Receiver(program)
    arrival = program.send()
    octets = sample_parties.octets(arrival.parcel)
    unsigned = re.sub(rb"<ds:Signature[ >].*</ds:Signature>", b"", octets)
    assert "unit" not in receiver.open(arrival.change(unsigned))
    block = b"<q:b xmlns:q='urn:q'><q:BinarySecurityToken>" + b"A" * 90 + b"</q:BinarySecurityToken></q:b>"
    judged = receiver.open(arrival.change(octets.replace(b"</soap12:Header>", block + b"</soap12:Header>")))
    assert "unit" in judged
    assert bool(receiver.envelopes._memory._states_by_sender) == (program is not AS4)


@pytest.mark.long
def test_a_sender_of_whom_no_two_envelopes_are_alike_is_learned_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []

    def count_learned(*words: Any) -> Any:
        tried.append(words)
        return learn_envelope(*words)

    monkeypatch.setattr(message_opener, "learn_envelope", count_learned)
    receiver = Receiver(AS4)
    for number in range(40):
        receiver.open(AS4.send(properties=(MessageProperty("number", str(number)),)))
    assert len(tried) == 16


def test_a_memory_is_bounded() -> None:
    memory: EnvelopeMemory[int] = EnvelopeMemory()
    for number in range(20):
        memory.add_envelope(b"a", number)
    assert memory.list_envelopes(b"a") == tuple(range(19, 11, -1))
    for number in range(300):
        memory.add_envelope(str(number).encode(), number)
    assert memory.list_envelopes(b"a") == ()
    assert memory.list_envelopes(b"43") == ()
    assert memory.list_envelopes(b"44") == (44,)
    # In time each sender may try again.
    assert [memory.record_unknown_envelope(b"b") for _ in range(20)] == [True] * 16 + [False] * 4
    assert [memory.record_unknown_envelope(b"b") for _ in range(180)].count(True) == 3


def test_a_sender_is_told_by_the_end_of_its_certificate() -> None:
    assert find_sender_key(b"abc</ds:X509Certificate>") == b"abc"
    assert find_sender_key(b"x" * 99 + b"</wsse:BinarySecurityToken><a/>") == b"x" * 64
    assert find_sender_key(b"abc") == b""


@every_program
def test_a_forged_message_like_many_envelopes_costs_two_verifications(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many envelopes it is like, the first is tried, and then the message is read as a whole."""
    receiver, arrival = Receiver(program), sent(program, 1)
    for _ in range(8):
        receiver.envelopes._memory.add_envelope(
            find_sender_key(arrival.find_envelope()), replace(learned(program))
        )
    octets = sample_parties.octets(arrival.parcel)
    value = re.search(rb"<ds:SignatureValue>(.{8})", octets)
    assert value is not None
    forged = arrival.change(octets.replace(value[1], b"AAAABBBB"))
    assert "unit" in receiver.open(arrival)
    assert receiver.envelopes.opened == 1
    verified = itertools.count()
    verify = signature_verifier.verify_value_of_checked_key

    def verify_and_count(*words: Any) -> bool:
        next(verified)
        return verify(*words)

    monkeypatch.setattr(signature_verifier, "verify_value_of_checked_key", verify_and_count)
    assert receiver.open(forged)[0] == "GW202"
    # The receiver opens it as a whole once more.
    assert next(verified) == 3
