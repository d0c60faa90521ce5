"""Envelopes like one before: opened in less time with the same result; any change is noticed."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agreements import PMode, PModeIndex, Reliability, Security
from gateway.agreements.pmode_values import Encryption, PullTerms
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, MessageProperty, Payload, UserMessage
from gateway.protocols import (
    EnvelopeMemory,
    Parcel,
    ProtocolContext,
    as4,
    ebms2,
    known_envelope,
    known_messages,
)
from gateway.protocols.as4 import known_messages as as4_messages
from gateway.protocols.as4 import message_opening as as4_opening
from gateway.protocols.as4.known_envelope import AS4_ENVELOPES
from gateway.protocols.ebms2 import known_messages as ebms2_messages
from gateway.protocols.ebms2 import message_opening as ebms2_opening
from gateway.protocols.ebms2.known_envelope import EBMS2_ENVELOPES
from gateway.protocols.known_envelope import EnvelopeKind, learn_envelope, read_known_envelope
from gateway.wire import (
    DEFAULT_LIMITS,
    WSU,
    MimePart,
    fill_template,
    read_multipart_related,
    write_multipart_related,
)
from tests.kit.known_messages import compare_with_whole, describe
from tests.protocols import as4_samples, sample_parties

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
count = itertools.count(1)
Memory = EnvelopeMemory[Any]


@dataclass(frozen=True)
class Protocol:
    """One protocol: what its messages look like, and the modules that are tried."""

    name: str
    core: Any
    pmode: PMode
    message: UserMessage
    opening: ModuleType
    messages: ModuleType
    kind: EnvelopeKind[Any]
    prefix: bytes

    def context(self, memory: Memory | None = None, **changes: Any) -> ProtocolContext:
        given = {"agreements": PModeIndex((self.pmode,)), "envelopes": memory}
        return sample_parties.context(**{**given, **changes})

    def make_message(self, **changes: Any) -> UserMessage:
        """Return another message of the same program: ids, time, conversation and contents are new."""
        number = next(count)
        good = replace(
            self.message,
            message_id=f"m-{number}@broker.example",
            timestamp=sample_parties.NOW - timedelta(seconds=number % 50, milliseconds=1),
            conversation_id=f"c-{number}",
            payloads=(
                Payload(f"p1.{number}@broker.example", "application/xml", f"<a b='{number}'>가</a>".encode()),
                Payload(
                    f"p2.{number}@broker.example", "application/octet-stream", bytes([number % 256] * 99)
                ),
            ),
        )
        return replace(good, **changes)

    def seal(self, unit: UserMessage | None = None) -> Parcel:
        sealed: Parcel = self.core.seal((unit or self.make_message(),), self.pmode, self.context())
        return sealed

    def find_envelope(self, parcel: Parcel) -> bytes:
        return read_multipart_related(parcel.get_header("Content-Type"), parcel.body).root.content

    def learn(self, document: bytes) -> Any:
        return learn_envelope(self.kind, document, "strict", DEFAULT_LIMITS)

    def judge(self, parcel: Parcel, where: ProtocolContext) -> Any:
        """Return what a message says, or why it is refused."""
        try:
            return describe(self.core.open(parcel, where))
        except GatewayError as refused:
            return refused.problem.id, refused.detail, refused.location


PROTOCOLS = (
    Protocol(
        "as4", as4, sample_parties.pmode("as4", **as4_samples.TERMS), as4_samples.message(),
        as4_opening, as4_messages, AS4_ENVELOPES, b"eb3",
    ),
    Protocol(
        "ebms2", ebms2, sample_parties.pmode("ebms2", reliability=Reliability()), sample_parties.message(),
        ebms2_opening, ebms2_messages, EBMS2_ENVELOPES, b"eb",
    ),
)  # fmt: skip
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)


@cache
def sealed(protocol: Protocol, number: int) -> Parcel:
    return protocol.seal()


@cache
def known(protocol: Protocol) -> Any:
    found = protocol.learn(protocol.find_envelope(sealed(protocol, 0)))
    assert found is not None
    return found


@dataclass
class Taken:
    """Counts the messages that were opened by a known envelope; each is opened as an unknown one, too."""

    protocol: Protocol
    opened: int = 0
    memory: Memory = field(default_factory=EnvelopeMemory)

    def __call__(self, *words: Any) -> Any:
        open_known = self.protocol.messages.open_known_message
        found = compare_with_whole(open_known, self.protocol.opening)(*words)
        self.opened += found is not None
        return found

    def open(self, parcel: Parcel, **changes: Any) -> Any:
        """Open a parcel with what is remembered; return what it says, or the problem."""
        return self.protocol.judge(parcel, self.protocol.context(self.memory, **changes))

    def judge(self, parcel: Parcel, **changes: Any) -> Any:
        """Open a parcel as if it were the first."""
        return self.protocol.judge(parcel, self.protocol.context(**changes))


@pytest.fixture(params=PROTOCOLS, ids=lambda one: one.name)
def taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    counter = Taken(request.param)
    monkeypatch.setattr(counter.protocol.opening, "open_known_message", counter)
    assert "unit" in counter.open(sealed(counter.protocol, 0))
    assert counter.opened == 0
    return counter


def test_the_second_message_of_a_program_is_opened_by_its_envelope(taken: Taken) -> None:
    for number in range(1, 6):
        parcel = taken.protocol.seal()
        found = taken.open(parcel)
        assert "unit" in found
        assert found == taken.judge(parcel)
        assert taken.opened == number


def test_the_same_message_again_is_the_same(taken: Taken) -> None:
    parcel = sealed(taken.protocol, 0)
    assert taken.open(parcel) == taken.judge(parcel)
    assert taken.opened == 1


def test_what_a_program_sends_in_turns_is_all_known(taken: Taken) -> None:
    make = taken.protocol.make_message
    kinds: list[Callable[[], UserMessage]] = [
        make,
        lambda: make(payloads=()),
        lambda: make(payloads=make().payloads[:1]),
        lambda: make(conversation_id="c-0"),
    ]
    if taken.protocol.name == "as4":
        kinds += [lambda: make(properties=()), lambda: make(conversation_id="")]
    else:
        kinds += [
            lambda: make(ref_to_message_id=f"r-{next(count)}@hub.example"),
            lambda: make(expires_at=None),
        ]
    for kind in kinds:
        taken.open(taken.protocol.seal(kind()))
    before = taken.opened
    for kind in kinds * 2:
        assert "unit" in taken.open(taken.protocol.seal(kind()))
    assert taken.opened - before == 2 * len(kinds)


SPOILT = [
    (b"<%b:Action>Submit", b"<%b:Action>Other"),
    (b"<%b:MessageId>m-", b"<%b:MessageId>n-"),
    (b"<%b:MessageId>m-", b"<%b:MessageId> m-"),
    (b"<%b:MessageId>m-", b"<%b:MessageId>&#109;-"),
    (b"<%b:Timestamp>2026", b"<%b:Timestamp>2025"),
    (b"<%b:ConversationId>c-", b"<%b:ConversationId>d-"),
    (b'href="cid:p1', b'href="cid:p3'),
    (b'URI="cid:p1', b'URI="cid:p3'),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AA"),
    (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    (b"</ds:SignatureValue>", b"&#13;</ds:SignatureValue>"),
    (b"</ds:SignatureValue>", b"=</ds:SignatureValue>"),
    (b"<a b='", b"<a c='"),
    (b":Body", b":Body x='y'"),
    (b">MII", b">MIJ"),
    (b"</ds:Signature>", b"</ds:Signature><!-- x -->"),
]


@pytest.mark.parametrize(("old", "new"), SPOILT, ids=[f"{old!r} to {new!r}" for old, new in SPOILT])
def test_what_is_spoilt_gets_the_same_answer_whatever_is_known(taken: Taken, old: bytes, new: bytes) -> None:
    parcel = sealed(taken.protocol, 1)
    octets = sample_parties.octets(parcel)
    old, new = (one.replace(b"%b", taken.protocol.prefix) for one in (old, new))
    assert old in octets
    wrong = Parcel(parcel.headers, MemoryBody(octets.replace(old, new, 1)))
    assert taken.open(wrong) == taken.judge(wrong)
    assert taken.opened == 0


OCTETS = st.binary(max_size=8) | st.text("ab1=<>\"'&#;/", max_size=8).map(str.encode)


@every_protocol
@quick
@given(at=st.integers(0, 10_000), length=st.integers(0, 12), octets=OCTETS)
def test_random_changes_get_the_same_answer_whatever_is_known(
    protocol: Protocol, at: int, length: int, octets: bytes
) -> None:
    memory: Memory = EnvelopeMemory()
    protocol.core.open(sealed(protocol, 0), protocol.context(memory))
    body = sample_parties.octets(sealed(protocol, 1))
    at %= len(body)
    changed = MemoryBody(body[:at] + octets + body[at + length :])
    parcel = Parcel(sealed(protocol, 1).headers, changed)
    assert protocol.judge(parcel, protocol.context(memory)) == protocol.judge(parcel, protocol.context())


@every_protocol
@quick
@given(source=st.integers(0, 10_000), target=st.integers(0, 10_000), length=st.integers(1, 200))
def test_octets_of_a_known_envelope_elsewhere_get_the_same_answer(
    protocol: Protocol, source: int, target: int, length: int
) -> None:
    memory: Memory = EnvelopeMemory()
    protocol.core.open(sealed(protocol, 0), protocol.context(memory))
    one, other = (sample_parties.octets(sealed(protocol, number)) for number in (0, 1))
    source, target = source % len(one), target % len(other)
    body = other[:target] + one[source : source + length] + other[target + length :]
    parcel = Parcel(sealed(protocol, 1).headers, MemoryBody(body))
    assert protocol.judge(parcel, protocol.context(memory)) == protocol.judge(parcel, protocol.context())


def test_a_signature_value_in_several_lines_is_a_value(taken: Taken) -> None:
    for number, wrap in enumerate((b"\n%b\n", b"  %b\n\t", b"%b")):
        parcel = taken.protocol.seal()
        octets = sample_parties.octets(parcel)
        (value,) = re.findall(rb"<ds:SignatureValue>([^<]*)", octets)
        lines = wrap % b"\n".join([value[:76], value[76:152], value[152:]])
        parcel = Parcel(parcel.headers, MemoryBody(octets.replace(value, lines)))
        assert "unit" in taken.open(parcel)
        assert taken.opened == number + 1


def test_an_encrypted_payload_is_refused_where_no_encryption_is_agreed(taken: Taken) -> None:
    secret = b'<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"/>'
    payloads = (Payload("q1@x", "application/xml", secret), Payload("q2@x", "image/png", b"y"))
    parcel = taken.protocol.seal(taken.protocol.make_message(payloads=payloads))
    assert taken.open(parcel) == taken.judge(parcel)


@every_protocol
def test_what_is_beside_the_root_is_not_learned(protocol: Protocol) -> None:
    """A value in a comment could be two hyphens."""
    document = protocol.find_envelope(sealed(protocol, 1))
    assert protocol.learn(document) is not None
    assert protocol.learn(b"<!-->x<-->" + document) is None


def add_block(protocol: Protocol, parcel: Parcel, block: bytes) -> bytes:
    document = protocol.find_envelope(parcel)
    place = document.index(b"</soap12:Header>" if protocol.name == "as4" else b"</soap:Header>")
    return document[:place] + block + document[place:]


@every_protocol
def test_an_envelope_with_many_identifiers_or_long_forms_is_not_learned(protocol: Protocol) -> None:
    parcel = sealed(protocol, 1)
    few, many = (
        b'<q:b xmlns:q="urn:q">' + b"".join(b'<a Id="x%d"/>' % one for one in range(number)) + b"</q:b>"
        for number in (20, 100)
    )
    assert protocol.learn(add_block(protocol, parcel, few)) is not None
    assert protocol.learn(add_block(protocol, parcel, many)) is None
    long = b"<q:b xmlns:q='urn:q' wsu:Id='x' xmlns:wsu='%b'>%b</q:b>" % (WSU.encode(), b"<q:c/>" * 6000)
    assert protocol.learn(add_block(protocol, parcel, long)) is None


def test_forms_together_are_bounded() -> None:
    """A namespace that is declared above stands in the exclusive form of each element that uses it."""
    protocol = PROTOCOLS[0]
    blocks = [
        b'<q:b xmlns:q="urn:q" xmlns:p="urn:%b" xmlns:wsu="%b" wsu:Id="extra">%b</q:b>'
        % (b"u" * 900, WSU.encode(), b"<p:a/>" * number)
        for number in (10, 100)
    ]
    for block, learned in zip(blocks, (True, False), strict=True):
        document = add_block(protocol, sealed(protocol, 1), block)
        (first,) = re.findall(rb"<ds:Reference URI=\"#body.*?</ds:Reference>", document)
        document = document.replace(first, first + re.sub(rb"#body-[0-9a-f]*", b"#extra", first))
        assert (protocol.learn(document) is not None) == learned


@pytest.mark.parametrize("taken", PROTOCOLS[:1], ids=["as4"], indirect=True)
def test_what_is_said_of_another_sender_is_not_kept(taken: Taken) -> None:
    """A foreign block is not signed by AS4: whoever repeats a message may add one."""
    before = dict(taken.memory._senders)
    parcel = taken.protocol.seal()
    block = b"<q:b xmlns:q='urn:q'><q:BinarySecurityToken>" + b"A" * 90 + b"</q:BinarySecurityToken></q:b>"
    octets = sample_parties.octets(parcel).replace(b"</soap12:Header>", block + b"</soap12:Header>")
    changed = Parcel(parcel.headers, MemoryBody(octets))
    assert "unit" in taken.open(changed)
    assert dict(taken.memory._senders) == before


def sign_again(protocol: Protocol, message: Any, parcel: Parcel) -> Parcel:
    """Return the parcel with the values of `message` instead of its own, rightly signed."""
    known_signature, values = message.envelope.signature, list(message.values)
    numbers = message.envelope.numbers
    old = read_known_envelope(protocol.kind, message.envelope, protocol.find_envelope(parcel))
    assert old is not None
    names = {old.values[one].decode(): values[one].decode() for one in numbers.content_ids}
    parts = [
        replace(one, content_id=names[one.content_id])
        for one in read_multipart_related(parcel.get_header("Content-Type"), parcel.body).attachments
    ]
    for one in known_signature.references:
        if one.form is not None:
            octets = fill_template(one.form, values)
            values[one.digest_number] = base64.b64encode(hashlib.sha256(octets).digest())
    signed_info = fill_template(known_signature.signed_info, values)
    signature = sample_parties.issued("broker1").signer.sign(signed_info)
    values[numbers.signature] = base64.b64encode(signature)
    root = fill_template(message.envelope.template, values)
    kind = parcel.get_header("Content-Type").partition('type="')[2].partition('"')[0]
    media_type, body = write_multipart_related(root, parts, "boundary", "root@x", kind)
    return Parcel({**parcel.headers, "Content-Type": media_type}, MemoryBody(body))


ODD = st.sampled_from(
    ["a", "a--b", "A.b", "_x", "x" * 512, "x" * 255, "learned-0-value", "=", "2026-11-20T24:00:00Z"]
)
TIMES = st.sampled_from(
    [
        "2026-11-20T08:59:59",
        "2026-11-20T08:59:59.1234567+14:00",
        "2026-02-30T00:00:00Z",
        "2026-11-20T24:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "now",
    ]
)


@every_protocol
@quick
@given(data=st.data())
def test_whatever_a_sender_signs_is_opened_both_ways_alike(protocol: Protocol, data: st.DataObject) -> None:
    memory: Memory = EnvelopeMemory()
    protocol.core.open(sealed(protocol, 0), protocol.context(memory))
    parcel = sealed(protocol, 1)
    message = read_known_envelope(protocol.kind, known(protocol), protocol.find_envelope(parcel))
    assert message is not None
    numbers, values = known(protocol).numbers, list(message.values)
    times = (numbers.timestamp, numbers.expires)
    for number in range(len(values)):
        if number not in (*numbers.digests, numbers.signature):
            other = TIMES if number in times else ODD | VALUES.map(bytes.decode)
            values[number] = data.draw(st.just(values[number]) | other.map(str.encode))
    try:
        changed = sign_again(protocol, replace(message, values=values), parcel)
    except GatewayError:
        return  # no such parts can be written
    assert protocol.judge(changed, protocol.context(memory)) == protocol.judge(changed, protocol.context())


VALUES = st.text("abcXYZ019+/=.@:_-TZ", min_size=1, max_size=40).map(str.encode)


@every_protocol
@quick
@given(data=st.data())
def test_an_envelope_with_any_values_is_read_as_the_readers_read_it(
    protocol: Protocol, data: st.DataObject
) -> None:
    """Its signature is wrong: what is compared is what the envelope says."""
    honest = read_known_envelope(protocol.kind, known(protocol), protocol.find_envelope(sealed(protocol, 1)))
    assert honest is not None
    values = [data.draw(st.just(one) | VALUES) for one in honest.values]
    # Their readers look at the digests first.
    for number in (*known(protocol).numbers.digests, known(protocol).numbers.signature):
        values[number] = honest.values[number]
    document = fill_template(known(protocol).template, values)
    message = read_known_envelope(protocol.kind, known(protocol), document)
    if message is not None:
        whole = protocol.kind.read(document, "strict", DEFAULT_LIMITS)
        assert whole is not None
        assert message.content == whole.content


@every_protocol
def test_an_envelope_with_wrong_values_is_not_read(protocol: Protocol) -> None:
    template, numbers = known(protocol).template, known(protocol).numbers
    document = protocol.find_envelope(sealed(protocol, 1))
    honest = read_known_envelope(protocol.kind, known(protocol), document)
    assert honest is not None
    values = honest.values

    def read(number: int, value: bytes) -> Any:
        changed = [*values]
        changed[number] = value
        return read_known_envelope(protocol.kind, known(protocol), fill_template(template, changed))

    assert read(numbers.message_id, b"other@x") is not None
    assert read(numbers.message_id, b"") is None
    assert read(numbers.timestamp, b"2026-13-01T00:00:00Z") is None
    assert read(numbers.timestamp, b"yesterday") is None
    assert read(numbers.content_ids[0], values[numbers.content_ids[1]]) is None
    if numbers.identifiers:
        assert read(numbers.identifiers[0], values[numbers.identifiers[1]]) is None
        assert read(numbers.identifiers[0], b"1st") is None


OTHERWISE: dict[str, dict[str, Any]] = {
    "limits": {"limits": replace(DEFAULT_LIMITS, parts=50)},
    "another signer": {"find_certificate_party": lambda _: "broker2"},
    "no signer": {"find_certificate_party": lambda _: None},
    "revoked": {"validate_certificate": sample_parties.judge("broker1")},
    "not for us": {"keys": {}},
    "no agreement": {"agreements": PModeIndex(())},
    "no party": {"find_party_name": lambda _: None},
}


@pytest.mark.parametrize("changes", OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_known_of_an_envelope_says_nothing_of_its_sender(
    taken: Taken, changes: dict[str, Any]
) -> None:
    parcel = sealed(taken.protocol, 1)
    assert taken.open(parcel, **changes) == taken.judge(parcel, **changes)
    assert taken.opened == 0


XMLENC = Encryption("XMLENC", ("aes128-gcm", "rsa-oaep"))
TERMS: dict[str, dict[str, Any]] = {
    "encryption": {"encryption": XMLENC},
    "a pinned certificate": {"security": Security(certificates=("00" * 32,))},
    "no repeats": {"reliability": Reliability("never", "never", "never")},
    "a channel that is pulled": {"pull": PullTerms()},
    "a request": {"mep": "two-way", "mep_binding": "push-and-pull"},
    "a reply": {"mep": "two-way", "mep_binding": "sync", "sync_reply_mode": "none"},
    "other algorithms": {"security": Security(signature_algorithms=("http://x",))},
}


@pytest.mark.parametrize("changes", TERMS.values(), ids=TERMS)
def test_what_is_agreed_is_looked_at(taken: Taken, changes: dict[str, Any]) -> None:
    parcel = sealed(taken.protocol, 1)
    agreements = PModeIndex((replace(taken.protocol.pmode, **changes),))
    wanted = taken.judge(parcel, agreements=agreements)
    assert taken.open(parcel, agreements=agreements) == wanted
    assert taken.opened == ("unit" in wanted)


def test_parts_are_those_that_the_envelope_names(taken: Taken) -> None:
    parcel = sealed(taken.protocol, 1)
    related = read_multipart_related(parcel.get_header("Content-Type"), parcel.body)
    kind = parcel.get_header("Content-Type").partition('type="')[2].partition('"')[0]
    other = MimePart({"content-type": "image/png"}, "p9@broker.example", "image/png", b"x")
    first, second = related.attachments
    for parts in ((first,), (first, second, other), (first, other), (second, first), ()):
        media_type, body = write_multipart_related(related.root.content, parts, "b", "root@x", kind)
        changed = Parcel({**parcel.headers, "Content-Type": media_type}, MemoryBody(body))
        wanted = taken.judge(changed)
        assert taken.open(changed) == wanted
        assert ("unit" in wanted) == (parts == (second, first))


def test_the_soap_action_is_looked_at(taken: Taken) -> None:
    parcel = sealed(taken.protocol, 1)
    changed = Parcel({**parcel.headers, "SOAPAction": '"other"'}, parcel.body)
    assert taken.open(changed) == taken.judge(changed)


def test_what_an_envelope_says_twice_in_different_things_is_not_learned() -> None:
    protocol = PROTOCOLS[0]
    twice = (MessageProperty("number", "m-twice@broker.example"),)
    unit = protocol.make_message(message_id="m-twice@broker.example", properties=twice)
    assert protocol.learn(protocol.find_envelope(protocol.seal(unit))) is None


def test_an_envelope_whose_form_depends_on_a_value_is_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms of the first envelope are compared, too: here they are those of another one."""
    protocol = PROTOCOLS[0]
    document = protocol.find_envelope(sealed(protocol, 1))
    assert protocol.learn(document) is not None
    monkeypatch.setattr(known_envelope, "has_known_forms", lambda *_: False)
    for one in PROTOCOLS:
        assert one.learn(one.find_envelope(sealed(one, 1))) is None


def test_an_envelope_is_known_for_one_policy(taken: Taken) -> None:
    parcel = sealed(taken.protocol, 1)
    legacy = PModeIndex((replace(taken.protocol.pmode, security=Security(policy="legacy-norway")),))
    for opened in (0, 1):
        assert taken.open(parcel, agreements=legacy) == taken.judge(parcel, agreements=legacy)
        assert taken.opened == opened


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'href="cid:p1.%d@broker.example"', b"href='cid:p1.%d@broker.example'"),
        (b"</%b:MessageId>", b"<!-- x --></%b:MessageId>"),
        (b"<%b:MessageId>m-", b"<%b:MessageId>m&#45;"),
    ],
)
@every_protocol
def test_what_a_template_cannot_say_is_not_learned(protocol: Protocol, old: bytes, new: bytes) -> None:
    number = next(count)
    parcel = protocol.seal(
        protocol.make_message(payloads=(Payload(f"p1.{number}@broker.example", "a/b", b"x"),))
    )
    old, new = (one.replace(b"%b", protocol.prefix).replace(b"%d", b"%d" % number) for one in (old, new))
    document = protocol.find_envelope(parcel)
    assert protocol.learn(document) is not None
    assert old in document
    assert protocol.learn(document.replace(old, new)) is None


def test_an_envelope_whose_certificate_is_not_in_it_is_not_learned() -> None:
    parcel = as4_samples.change_tree(sealed(PROTOCOLS[0], 1), lambda root: root[0][0].remove(root[0][0][0]))
    assert PROTOCOLS[0].learn(PROTOCOLS[0].find_envelope(parcel)) is None


def test_a_sender_of_whom_no_two_envelopes_are_alike_is_learned_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protocol, learned = PROTOCOLS[0], []
    memory: Memory = EnvelopeMemory()

    def count_learned(*words: Any) -> Any:
        learned.append(words)
        return learn_envelope(*words)

    monkeypatch.setattr(known_messages, "learn_envelope", count_learned)
    for number in range(40):
        marked = (MessageProperty("number", str(number)),)
        protocol.core.open(protocol.seal(protocol.make_message(properties=marked)), protocol.context(memory))
    assert len(learned) == 16


def test_messages_that_are_not_opened_by_envelopes_are_not_learned() -> None:
    """Of a reply is looked for what it answers."""
    answer = replace(PROTOCOLS[0].pmode, mep="two-way", mep_binding="sync", sync_reply_mode="none")
    protocol, memory = replace(PROTOCOLS[0], pmode=answer), EnvelopeMemory[Any]()
    assert answer.leg == "reply"
    unit = protocol.make_message(ref_to_message_id="r-1@hub.example")
    assert "unit" in protocol.judge(protocol.seal(unit), protocol.context(memory))
    assert not memory._senders


def test_an_envelope_that_another_thread_has_learned_is_kept_once(taken: Taken) -> None:
    (sender,) = taken.memory._senders
    (envelope,) = taken.memory.list_envelopes(sender)
    taken.memory.add(sender, replace(envelope))
    assert len(taken.memory.list_envelopes(sender)) == 1


@dataclass(frozen=True)
class Kept:
    """What is kept in the tests of a memory."""

    key: int
    size: int = 1


def test_a_memory_is_bounded_and_keeps_what_is_met() -> None:
    memory: EnvelopeMemory[Kept] = EnvelopeMemory()
    first = Kept(0)
    for number in range(20):
        memory.add(b"a", Kept(number) if number else first)
        memory.note_met(b"a", first)
    assert [one.key for one in memory.list_envelopes(b"a")] == [0, *range(19, 4, -1)]
    for number in range(600):
        memory.add(str(number).encode(), Kept(number))
        memory.note_met(b"a", first)
    assert len(memory.list_envelopes(b"a")) == 16
    assert memory.list_envelopes(b"599") == (Kept(599),)
    assert memory.list_envelopes(b"89") == (Kept(89),)
    assert memory.list_envelopes(b"88") == ()


def test_what_a_memory_keeps_has_room() -> None:
    memory: EnvelopeMemory[Kept] = EnvelopeMemory()
    for number in range(40):
        memory.add(str(number).encode(), Kept(number, 2 * 1024 * 1024))
    assert sum(bool(memory.list_envelopes(str(number).encode())) for number in range(40)) == 16
    for number in range(100, 140):
        memory.add(b"39", Kept(number, 2 * 1024 * 1024))
    assert memory._size == 16 * 2 * 1024 * 1024


def test_a_sender_has_credit_for_what_was_met() -> None:
    memory: EnvelopeMemory[Kept] = EnvelopeMemory()
    assert [memory.take_credit(b"a") for _ in range(20)] == [True] * 16 + [False] * 4
    memory.add(b"a", Kept(1))
    for _ in range(16):
        memory.note_met(b"a", Kept(1))
    assert [memory.take_credit(b"a") for _ in range(4)] == [True, True, False, False]
    # In time each sender may try again.
    assert [memory.take_credit(b"a") for _ in range(200)].count(True) == 3


def test_a_sender_is_told_by_its_certificate_and_protocol() -> None:
    find = EnvelopeMemory.find_sender
    assert find("as4", b"<x>abc</x>", b"x>") == b"as4<x>abc"
    assert find("as4", b"abc</ds:X509Certificate>", b"X509Certificate>") == b"as4abc"
    assert find("as4", b"abc", b"X509Certificate>") == b""
