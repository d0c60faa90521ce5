"""Messages that are sealed by a form: the octets, the digests and the refusals of the whole way."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agreements import PMode
from gateway.agreements.pmode_values import Encryption
from gateway.errors import GatewayError
from gateway.message_model import AckRequest, MemoryBody, Payload, SequenceNumber, Unit, UserMessage
from gateway.protocols import Parcel, ProtocolContext, ebms2
from gateway.protocols.ebms2 import message_forms, message_sealing, packaging
from tests.protocols import sample_parties
from tests.protocols.test_ebms2_round_trip import MOMENT, USER, slow

PLAIN = st.text("abcXYZ019+/=.@:_-", min_size=1, max_size=40)
CONTENT = b"<Result>\xc3\xa9 &amp; \r\n</Result>"


def message(number: int = 1, **changes: Any) -> UserMessage:
    """Return a message as the hub sends it to an applicant."""
    plain = sample_parties.message(
        message_id=f"m-{number}@hub.example",
        conversation_id=f"c-{number}",
        sender=sample_parties.FROM_HUB,
        receiver=sample_parties.FROM_BROKER,
        action="Result",
        ref_to_message_id=f"s-{number}@broker.example",
        expires_at=None,
        payloads=(Payload(f"document.m-{number}@hub.example", "application/xml", CONTENT),),
    )
    return replace(plain, **changes)


def without_signature(parcel: Parcel) -> tuple[Any, ...]:
    """Return a parcel without what differs each time: the signature, and the boundary from it."""
    octets = re.sub(rb"<ds:SignatureValue>[^<]*", b"", parcel.read_octets())
    kind = re.sub(r"=-[0-9a-f]{40}", "=-", parcel.get_header("Content-Type"))
    return re.sub(rb"=-[0-9a-f]{40}", b"=-", octets), kind, parcel.get_header("SOAPAction"), parcel.sent


def compare(unit: UserMessage, pmode: PMode = sample_parties.RESULT) -> Parcel:
    """Seal a message both ways, and check that both are the same, and are opened alike."""
    context = sample_parties.context()
    whole = message_sealing._seal_whole((unit,), pmode, context)
    found = ebms2.seal((unit,), pmode, context)
    assert without_signature(found) == without_signature(whole)
    assert {*found.headers} == {*whole.headers}
    assert ebms2.open(found, context).units == ebms2.open(whole, context).units
    return found


@pytest.fixture
def sealed_so(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets one entry for each message that was sealed by a form."""
    found: list[object] = []
    seal = message_forms.seal_by_form

    def note(*words: Any) -> Any:
        sealed = seal(*words)
        if sealed is not None:
            found.append(sealed)
        return sealed

    monkeypatch.setattr(message_sealing, "seal_by_form", note)
    return found


def test_a_message_is_sealed_by_its_form(sealed_so: list[object]) -> None:
    compare(message(1))
    parcel = compare(message(2))
    assert len(sealed_so) == 2
    assert ebms2.open(parcel, sample_parties.context()).units == (message(2),)


@pytest.mark.parametrize(
    "changes",
    [
        {"ref_to_message_id": None},
        {"ack_requested": None},
        {"ack_requested": AckRequest(signed=False)},
        {"hop_ack_requested": AckRequest(signed=True)},
        {"sync_reply": False},
        {"duplicate_elimination": False},
        {"payloads": (Payload("p", "text/plain", b""),)},
        {"payloads": (Payload("p" * 255, "application/xml", b"--=-"),)},
    ],
    ids=str,
)
def test_each_kind_of_message_has_a_form_of_its_own(changes: dict[str, Any], sealed_so: list[object]) -> None:
    compare(message())
    compare(message(**changes))
    assert len(sealed_so) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"conversation_id": "a & b"},
        {"conversation_id": "\u00e9"},
        {"message_id": "m%31@hub.example"},
        {"ref_to_message_id": "a#b"},
        {"description": "told"},
        {"expires_at": sample_parties.NOW.replace(year=2030)},
        {"payloads": ()},
        {"payloads": (Payload("p#1", "application/xml", CONTENT),)},
        {"payloads": (Payload("p", "application/xml", CONTENT, (("role", "urn:r"),)),)},
        {"payloads": (Payload("p", "application/xml", MemoryBody(CONTENT)),)},
        {"payloads": (Payload("p", "application/xml", CONTENT), Payload("q", "application/xml", CONTENT))},
    ],
    ids=str,
)
def test_what_has_more_or_other_values_is_sealed_as_a_whole(
    changes: dict[str, Any], sealed_so: list[object]
) -> None:
    compare(message(**changes))
    assert not sealed_so


def test_a_reference_that_is_empty_is_not_written_as_another_one(sealed_so: list[object]) -> None:
    context = sample_parties.context()
    parcel = ebms2.seal((message(ref_to_message_id=""),), sample_parties.RESULT, context)
    assert not sealed_so
    with pytest.raises(GatewayError, match="GW107"):
        ebms2.open(parcel, context)


@slow
@given(USER)
def test_whatever_is_sealed_has_one_form(unit: UserMessage) -> None:
    if unit.sender == sample_parties.FROM_HUB:
        compare(unit)


@given(PLAIN, PLAIN, PLAIN, PLAIN, MOMENT, st.binary(max_size=80))
def test_values_are_written_as_they_are(
    name: str, conversation: str, about: str, part: str, moment: Any, content: bytes
) -> None:
    at = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    unit = message(
        message_id=f"a{name}",
        conversation_id=conversation,
        ref_to_message_id=about,
        timestamp=at,
        payloads=(Payload(f"b{part}", "application/xml", content),),
    )
    context = sample_parties.context()
    whole = message_sealing._seal_whole((unit,), sample_parties.RESULT, context)
    found = ebms2.seal((unit,), sample_parties.RESULT, context)
    assert without_signature(found) == without_signature(whole)


def refusal(units: tuple[Unit, ...], context: ProtocolContext) -> tuple[str, str, str]:
    with pytest.raises(GatewayError) as refused:
        ebms2.seal(units, sample_parties.RESULT, context)
    return refused.value.problem.id, refused.value.detail, refused.value.location


def test_a_content_id_that_is_the_message_id_is_refused() -> None:
    """The root part has the message id; readers may take ids that differ in case for one."""
    unit = message(payloads=(Payload("M-1@Hub.example", "application/xml", CONTENT),))
    assert refusal((unit,), sample_parties.context())[0] == "GW103"


def test_a_payload_with_the_boundary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (message_forms, packaging):
        monkeypatch.setattr(where, "make_boundary", lambda _: "known-before")
    unit = message(payloads=(Payload("p", "application/xml", b"--known-before\r\n"),))
    message_forms._find_form.cache_clear()
    assert refusal((unit,), sample_parties.context())[0] == "GW103"
    message_forms._find_form.cache_clear()


def test_nothing_that_an_agreement_wants_besides_is_left_out(sealed_so: list[object]) -> None:
    unit, context = message(), sample_parties.context()
    unsigned = replace(sample_parties.RESULT, security=replace(sample_parties.RESULT.security, sign=False))
    assert b"ds:Signature" not in ebms2.seal((unit,), unsigned, context).read_octets()
    secret = replace(
        sample_parties.RESULT,
        encryption=Encryption("XMLENC", ("http://www.w3.org/2009/xmlenc11#aes256-gcm",)),
    )
    with pytest.raises(GatewayError):
        ebms2.seal((unit,), secret, context)
    numbered = replace(unit, sequence=SequenceNumber(0, "Reset"))
    assert b"eb:SequenceNumber" in ebms2.seal((numbered,), sample_parties.RESULT, context).read_octets()
    assert not sealed_so


def test_values_of_an_example_in_the_terms_give_no_form(sealed_so: list[object]) -> None:
    """Both examples have the same agreement, so what is taken for a value in one is none in the other."""
    message_forms._find_form.cache_clear()
    unit = message(agreement="reference-2001-of-example")
    context = sample_parties.context()
    octets = ebms2.seal((unit,), sample_parties.RESULT, context).read_octets()
    assert b"<eb:CPAId>reference-2001-of-example<" in octets
    assert not sealed_so


def test_every_field_of_a_message_is_a_term_a_value_or_keeps_it_from_a_form() -> None:
    """A field that is added to messages must be thought of here."""
    values = {"message_id", "conversation_id", "timestamp", "ref_to_message_id", "payloads"}
    terms = set(message_forms._Terms._fields) - {"answers", "media_type", "certificate", "algorithm"}
    names = set(UserMessage.__dataclass_fields__)
    assert names == values | terms | set(message_forms._NOT_WRITTEN)
