"""AS4 envelopes like one before: opened in less time with the same result; any change is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agreements import PModeIndex, Security
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, MessageProperty, Payload, UserMessage
from gateway.protocols import EnvelopeMemory, Parcel, ProtocolContext, as4
from gateway.protocols.as4 import known_messages, message_opening
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.known_envelope import KnownEnvelope, learn_envelope, read_known_envelope
from gateway.protocols.as4.packaging import find_messaging
from gateway.wire import DEFAULT_LIMITS, fill_template, parse_xml, read_envelope
from tests.kit.known_messages import compare_with_whole, describe
from tests.protocols import as4_samples, sample_parties

PMODE = sample_parties.pmode("as4", **as4_samples.TERMS)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = itertools.count(1)


def context(memory: EnvelopeMemory[Any] | None = None, **changes: Any) -> ProtocolContext:
    given = {"agreements": PModeIndex((PMODE,)), "envelopes": memory}
    return sample_parties.context(**{**given, **changes})


def make_message(**changes: Any) -> UserMessage:
    """Return another message of the same program: ids, time, conversation and contents are new."""
    number = next(numbers)
    return replace(
        as4_samples.message(),
        message_id=f"m-{number}@broker.example",
        timestamp=sample_parties.NOW - timedelta(seconds=number % 50, milliseconds=1),
        conversation_id=f"c-{number}",
        payloads=(
            Payload(f"p1.{number}@broker.example", "application/xml", f"<a b='{number}'>가</a>".encode()),
            Payload(f"p2.{number}@broker.example", "application/octet-stream", bytes([number % 256] * 99)),
        ),
        **changes,
    )


def seal(unit: UserMessage | None = None) -> Parcel:
    return as4.seal((unit or make_message(),), PMODE, context())


@cache
def sealed(number: int) -> Parcel:
    return seal()


def find_envelope(parcel: Parcel) -> bytes:
    return as4_samples.find_envelope(sample_parties.octets(parcel))


@cache
def known() -> KnownEnvelope:
    found = learn_envelope(find_envelope(sealed(0)), "strict", DEFAULT_LIMITS)
    assert found is not None
    return found


class Taken:
    """Counts the messages that were opened by a known envelope; each is opened as an unknown one as well."""

    def __init__(self) -> None:
        self.opened = 0
        self.memory: EnvelopeMemory[Any] = EnvelopeMemory()
        self._open = compare_with_whole(known_messages.open_known_message)

    def __call__(self, *words: Any) -> Any:
        found = self._open(*words)
        self.opened += found is not None
        return found

    def open(self, parcel: Parcel, **changes: Any) -> Any:
        """Open a parcel with what is remembered; return what it says, or the problem."""
        return judge(parcel, context(self.memory, **changes))


def judge(parcel: Parcel, where: ProtocolContext) -> Any:
    try:
        return describe(as4.open(parcel, where))
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    counter = Taken()
    monkeypatch.setattr(message_opening, "open_known_message", counter)
    counter.open(sealed(0))
    assert counter.opened == 0
    return counter


def test_the_second_message_of_a_program_is_opened_by_its_envelope(taken: Taken) -> None:
    for number in range(1, 6):
        parcel = seal()
        assert taken.open(parcel) == judge(parcel, context())
        assert taken.opened == number


def test_the_same_message_again_is_the_same(taken: Taken) -> None:
    assert taken.open(sealed(0)) == judge(sealed(0), context())
    assert taken.opened == 1


def test_what_a_program_sends_in_turns_is_all_known(taken: Taken) -> None:
    kinds: list[Callable[[], UserMessage]] = [
        make_message,
        lambda: make_message(ref_to_message_id=f"r-{next(numbers)}@hub.example"),
        lambda: replace(make_message(), properties=()),
        lambda: replace(make_message(), payloads=()),
        lambda: replace(make_message(), conversation_id=""),
    ]
    for kind in kinds:
        taken.open(seal(kind()))
    before = taken.opened
    for kind in kinds * 2:
        assert "unit" in taken.open(seal(kind()))
    assert taken.opened - before == 2 * len(kinds)


def spoil(parcel: Parcel, old: bytes, new: bytes) -> Parcel:
    octets = sample_parties.octets(parcel)
    assert octets.count(old) >= 1, old
    return Parcel(parcel.headers, MemoryBody(octets.replace(old, new, 1)))


SPOILT = [
    (b"<eb3:Action>Submit", b"<eb3:Action>Other"),
    (b"<eb3:MessageId>m-", b"<eb3:MessageId>n-"),
    (b"<eb3:Timestamp>2026", b"<eb3:Timestamp>2025"),
    (b"<eb3:ConversationId>c-", b"<eb3:ConversationId>d-"),
    (b'name="originalSender">C1', b'name="originalSender">C2'),
    (b'href="cid:p1', b'href="cid:p3'),
    (b'URI="cid:p1', b'URI="cid:p3'),
    (b"<ds:DigestValue>", b"<ds:DigestValue>AA"),
    (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    (b"</ds:SignatureValue>", b" </ds:SignatureValue>"),
    (b'wsu:Id="body-', b'wsu:Id="other-'),
    (b"<a b='", b"<a c='"),
    (b"<soap12:Body", b"<!-- x --><soap12:Body"),
    (b"</soap12:Body>", b"x</soap12:Body>"),
    (b"<eb3:MessageId>m-", b"<eb3:MessageId> m-"),
    (b"<eb3:MessageId>m-", b"<eb3:MessageId>&#109;-"),
    (b"MIID", b"MIIC"),
]


@pytest.mark.parametrize(("old", "new"), SPOILT, ids=[f"{old!r} to {new!r}" for old, new in SPOILT])
def test_what_is_spoilt_gets_the_same_answer_whatever_is_known(taken: Taken, old: bytes, new: bytes) -> None:
    parcel = sealed(1)
    if old not in sample_parties.octets(parcel):
        old, new = b"MII", b"MIJ"
    wrong = spoil(parcel, old, new)
    assert taken.open(wrong) == judge(wrong, context())
    assert taken.opened == 0


@quick
@given(
    st.integers(0, 10_000),
    st.integers(0, 12),
    st.binary(max_size=8) | st.text("ab1=<>\"'&#;/", max_size=8).map(str.encode),
)
def test_random_changes_get_the_same_answer_whatever_is_known(at: int, length: int, octets: bytes) -> None:
    memory: EnvelopeMemory[Any] = EnvelopeMemory()
    as4.open(sealed(0), context(memory))
    body = sample_parties.octets(sealed(1))
    at %= len(body)
    parcel = Parcel(sealed(1).headers, MemoryBody(body[:at] + octets + body[at + length :]))
    assert judge(parcel, context(memory)) == judge(parcel, context())


@quick
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 200))
def test_octets_of_a_known_envelope_in_another_place_get_the_same_answer(
    source: int, target: int, length: int
) -> None:
    memory: EnvelopeMemory[Any] = EnvelopeMemory()
    as4.open(sealed(0), context(memory))
    one, other = sample_parties.octets(sealed(0)), sample_parties.octets(sealed(1))
    source, target = source % len(one), target % len(other)
    body = other[:target] + one[source : source + length] + other[target + length :]
    parcel = Parcel(sealed(1).headers, MemoryBody(body))
    assert judge(parcel, context(memory)) == judge(parcel, context())


VALUES = st.text("abcXYZ019+/=.@:_-TZ", min_size=1, max_size=40).map(str.encode)


@quick
@given(st.data())
def test_an_envelope_with_any_values_is_read_as_the_readers_read_it(data: st.DataObject) -> None:
    """Its signature is wrong: what is compared is what the envelope says."""
    honest = read_known_envelope(known(), find_envelope(sealed(1)))
    assert honest is not None
    values = [data.draw(st.just(one) | VALUES) for one in honest.values]
    document = fill_template(known().template, values)
    message = read_known_envelope(known(), document)
    if message is not None:
        header = read_messaging(find_messaging(read_envelope(parse_xml(document, envelope=True))))
        assert (message.unit, message.parts) == (header.unit, header.parts)


def test_an_envelope_with_wrong_values_is_not_read() -> None:
    document = find_envelope(sealed(1))
    found = read_known_envelope(known(), document)
    assert found is not None
    numbers_, values = known().numbers, list(found.values)

    def read(number: int, value: bytes) -> Any:
        changed = [*values]
        changed[number] = value
        return read_known_envelope(known(), fill_template(known().template, changed))

    assert read(numbers_.message_id, b"other@x") is not None
    assert read(numbers_.timestamp, b"2026-13-01T00:00:00Z") is None
    assert read(numbers_.timestamp, b"yesterday") is None
    assert read(numbers_.identifiers[0], values[numbers_.identifiers[1]]) is None
    assert read(numbers_.identifiers[0], b"1st") is None
    assert read(numbers_.content_ids[0], values[numbers_.content_ids[1]]) is None
    assert read(numbers_.message_id, b"") is None


LEGACY = replace(PMODE, security=Security(policy="legacy-norway"))
OTHERWISE: dict[str, dict[str, Any]] = {
    "limits": {"limits": replace(DEFAULT_LIMITS, parts=50)},
    "policy": {"agreements": PModeIndex((LEGACY,))},
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
    assert taken.open(sealed(1), **changes) == judge(sealed(1), context(**changes))
    assert taken.opened == 0


def test_an_envelope_whose_certificate_is_not_in_it_is_not_learned() -> None:
    parcel = as4_samples.change_tree(sealed(1), lambda root: root[0].remove(root[0][0]))
    assert learn_envelope(find_envelope(parcel), "strict", DEFAULT_LIMITS) is None


@pytest.mark.parametrize(
    "change",
    [
        (b'href="cid:p1', b"href='cid:p1"),
        (b"</eb3:MessageId>", b"<!-- x --></eb3:MessageId>"),
        (b"<eb3:MessageId>m-", b"<eb3:MessageId>m&#45;"),
        (b"</eb3:Messaging>", b"</eb3:Messaging><x:y xmlns:x='urn:x' wsu:Id='z'/>"),
    ],
)
def test_what_is_learned_of_any_envelope_is_what_the_readers_find(change: tuple[bytes, bytes]) -> None:
    """Nothing here is signed: it is learned as it is, or not at all."""
    old, new = change
    document = find_envelope(sealed(1)).replace(old, new, 1)
    found = learn_envelope(document, "strict", DEFAULT_LIMITS)
    if found is not None:
        message = read_known_envelope(found, document)
        assert message is not None
        assert (message.unit, message.parts) == (found.unit, found.parts)


def test_a_sender_of_whom_no_two_envelopes_are_alike_is_learned_no_more(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[bytes] = []

    def count(document: bytes, *words: Any) -> Any:
        learned.append(document)
        return learn_envelope(document, *words)

    monkeypatch.setattr(known_messages, "learn_envelope", count)
    for number in range(40):
        marked = (MessageProperty("number", str(number)),)
        taken.open(seal(replace(make_message(), properties=marked)))
    assert len(learned) == 15
    assert taken.opened == 0


def test_a_memory_is_bounded_and_keeps_what_is_met() -> None:
    memory: EnvelopeMemory[int] = EnvelopeMemory()
    for number in range(12):
        memory.add(b"a", number)
        memory.note_met(b"a", 0)
    assert memory.list_envelopes(b"a") == (0, 11, 10, 9, 8, 7, 6, 5)
    for number in range(600):
        memory.add(str(number).encode(), number)
    assert memory.list_envelopes(b"a") == ()
    assert memory.list_envelopes(b"599") == (599,)
    assert memory.list_envelopes(b"88") == (88,)
    assert memory.list_envelopes(b"87") == ()
