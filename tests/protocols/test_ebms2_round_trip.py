"""open(seal(units)).units == units, for every kind of unit, signed and unsigned, RSA and EC."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.message_model import (
    AckRequest,
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    Party,
    Payload,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols import PROTOCOLS, Parcel, SentUnit, ebms2, packaging
from tests.protocols import sample_parties

TEXT = st.text("abcXYZ019 .:/?&<>\"'-_가각나é𝔊", min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)
ID = st.text("abcXYZ019._%+=-", min_size=1, max_size=12).map(lambda left: f"{left}@host.example")
MOMENT = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
TYPE = st.sampled_from(("application/xml", "text/plain", "application/vnd.example+json", "image/png"))
PAYLOAD = st.builds(
    Payload,
    content_id=st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>"), min_size=1, max_size=30
    ),
    media_type=TYPE,
    octets=st.binary(max_size=200),
    properties=st.sampled_from(((), (("role", "urn:r"),), (("role", "urn:r"), ("description", "two words")))),
)
ADDRESS = {
    "message_id": ID,
    "conversation_id": TEXT,
    "agreement": st.just("agreement-1"),
    "timestamp": MOMENT,
}
TO_HUB = {
    **ADDRESS,
    "sender": st.just(sample_parties.FROM_BROKER),
    "receiver": st.just(sample_parties.FROM_HUB),
}
TO_BROKER = {
    **ADDRESS,
    "sender": st.just(sample_parties.FROM_HUB),
    "receiver": st.just(sample_parties.FROM_BROKER),
}
USER = st.builds(
    UserMessage,
    **TO_HUB,
    service=st.just(sample_parties.SERVICE),
    action=st.sampled_from(("Submit", "Loose")),
    ref_to_message_id=st.none() | ID,
    expires_at=st.none() | MOMENT,
    duplicate_elimination=st.booleans(),
    ack_requested=st.none() | st.builds(AckRequest, st.booleans()),
    payloads=st.lists(PAYLOAD, max_size=4, unique_by=lambda one: one.content_id.casefold()).map(tuple),
    description=TEXT | st.just(""),
    # The envelope's part has the id of the message.
).filter(
    # Some readers treat ids that differ in case only as the same id.
    lambda unit: unit.message_id.casefold() not in {one.content_id.casefold() for one in unit.payloads}
)
REFERENCE = st.builds(
    DigestReference,
    uri=ID.map("cid:".__add__),
    digest_algorithm=st.just("http://www.w3.org/2001/04/xmlenc#sha256"),
    digest=st.binary(min_size=32, max_size=32),
)
ENTRY = st.builds(
    ErrorEntry,
    code=TEXT,
    severity=st.sampled_from(("Warning", "Error")),
    location=TEXT,
    description=TEXT | st.just(""),
)
SIGNAL = st.one_of(
    st.builds(
        Receipt,
        **TO_BROKER,
        ref_to_message_id=ID,
        received_at=MOMENT,
        references=st.lists(REFERENCE, max_size=3).map(tuple),
        acting_party=st.none() | st.just(Party((sample_parties.HUB,))),
    ),
    st.builds(
        ErrorSignal,
        **TO_BROKER,
        ref_to_message_id=st.none() | ID,
        errors=st.lists(ENTRY, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Ping, **TO_HUB, sync_reply=st.booleans()),
    st.builds(Pong, **TO_BROKER, ref_to_message_id=ID),
    st.builds(StatusRequest, **TO_HUB, queried_message_id=ID, sync_reply=st.booleans()),
    st.builds(
        StatusResponse,
        **TO_BROKER,
        ref_to_message_id=ID,
        queried_message_id=ID,
        status=st.sampled_from(("UnAuthorized", "NotRecognized", "Received", "Processed", "Forwarded")),
        received_at=st.none() | MOMENT,
    ),
)
slow = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read_again(parcel: Parcel) -> SentUnit:
    """Return what is read of a sealed parcel, without the payloads."""
    found = ebms2.read_sent_unit(parcel, sample_parties.context().limits)
    unit = replace(found.unit, payloads=()) if isinstance(found.unit, UserMessage) else found.unit
    return replace(found, unit=unit)


@pytest.mark.long
@slow
@given(USER)
def test_business_messages_survive(unit: UserMessage) -> None:
    mode = sample_parties.SUBMIT if unit.action == "Submit" else sample_parties.LOOSE
    parcel = ebms2.seal((unit,), mode, sample_parties.context())
    opened = ebms2.open_units(parcel, sample_parties.context())
    assert opened.units == (unit,)
    assert opened.pmode is mode
    assert parcel.sent_unit == read_again(parcel)
    assert (opened.verified_signature is not None) == mode.security.sign
    if opened.verified_signature is not None:
        assert len(opened.verified_signature.references) == 1 + len(unit.payloads)


@pytest.mark.long
@slow
@given(SIGNAL)
def test_signals_survive(unit: Unit) -> None:
    parcel = ebms2.seal((unit,), sample_parties.SUBMIT, sample_parties.context())
    assert ebms2.open_units(parcel, sample_parties.context()).units == (unit,)
    assert parcel.sent_unit == read_again(parcel)


@pytest.mark.parametrize("mode", [sample_parties.SUBMIT, sample_parties.RESULT])
def test_both_kinds_of_key_sign(mode: object) -> None:
    unit = sample_parties.message()
    if mode is sample_parties.RESULT:
        unit = sample_parties.message(
            sender=sample_parties.FROM_HUB, receiver=sample_parties.FROM_BROKER, action="Result"
        )
    opened = ebms2.open_units(ebms2.seal((unit,), mode, sample_parties.context()), sample_parties.context())  # type: ignore[arg-type]
    assert opened.units == (unit,)
    assert opened.verified_signature is not None
    assert ("ecdsa" in opened.verified_signature.signature_algorithm) == (mode is sample_parties.RESULT)


def test_a_receipt_and_warnings_ride_with_a_business_message() -> None:
    unit = sample_parties.message(
        sender=sample_parties.FROM_HUB,
        receiver=sample_parties.FROM_BROKER,
        action="Result",
        ref_to_message_id="m-0@broker.example",
    )
    address = {
        name: getattr(unit, name)
        for name in ("message_id", "conversation_id", "sender", "receiver", "agreement", "timestamp")
    }
    riders = (
        Receipt(**address, ref_to_message_id="m-0@broker.example", received_at=sample_parties.NOW),
        ErrorSignal(
            **address, ref_to_message_id="m-0@broker.example", errors=(ErrorEntry("Unknown", "Warning"),)
        ),
    )
    opened = ebms2.open_units(
        ebms2.seal((unit, *riders), sample_parties.RESULT, sample_parties.context()), sample_parties.context()
    )
    assert opened.units == (unit, *riders)
    assert opened.unit == unit


def test_what_cannot_travel_together_is_our_mistake() -> None:
    unit = sample_parties.message()
    other = Ping(
        "x@y", "c", sample_parties.FROM_BROKER, sample_parties.FROM_HUB, "agreement-1", sample_parties.NOW
    )
    for units in (
        (unit, other),
        (other, unit),
        (unit, sample_parties.message(message_id="m-2@broker.example")),
    ):
        with pytest.raises(GatewayError) as caught:
            ebms2.seal(units, sample_parties.SUBMIT, sample_parties.context())
        assert caught.value.problem.id == "GW901"


@pytest.mark.parametrize("value", ["a\x00b", "a\x0bb", "\ud800"])
def test_what_xml_cannot_hold_is_our_mistake(value: str) -> None:
    with pytest.raises(GatewayError) as caught:
        ebms2.seal(
            (sample_parties.message(conversation_id=value),), sample_parties.SUBMIT, sample_parties.context()
        )
    assert caught.value.problem.id == "GW901"


def result(**changes: object) -> UserMessage:
    """Return a message of the hub to the broker."""
    addressed = {
        "message_id": "m-1@hub.example",
        "sender": sample_parties.FROM_HUB,
        "receiver": sample_parties.FROM_BROKER,
        "action": "Result",
    }
    return sample_parties.message(**{**addressed, **changes})


def test_an_empty_reference_to_a_message_is_refused_by_its_reader() -> None:
    context = sample_parties.context()
    parcel = ebms2.seal((result(ref_to_message_id=""),), sample_parties.RESULT, context)
    with pytest.raises(GatewayError, match="GW107"):
        ebms2.open_units(parcel, context)


def test_a_content_id_that_is_the_message_id_is_refused() -> None:
    """The root part has the message id; readers may take ids that differ in case for the same id."""
    unit = result(payloads=(Payload("M-1@Hub.example", "application/xml", b"<a/>"),))
    with pytest.raises(GatewayError, match="GW103"):
        ebms2.seal((unit,), sample_parties.RESULT, sample_parties.context())


def test_a_payload_with_the_boundary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "make_boundary", lambda _: "chosen-before")
    unit = result(payloads=(Payload("p@hub.example", "application/xml", b"--chosen-before\r\n"),))
    with pytest.raises(GatewayError, match="GW103"):
        ebms2.seal((unit,), sample_parties.RESULT, sample_parties.context())


def test_how_it_looks_on_the_wire() -> None:
    sealed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    assert sealed.headers["SOAPAction"] == '"ebXML"'
    assert sealed.headers["Content-Type"].startswith(
        'multipart/related; type="text/xml"; start="<m-1@broker.example>"'
    )
    data = sample_parties.octets(sealed)
    assert b"<soap:Envelope xmlns:" in data
    assert b"<?xml" not in data
    assert b"<eb:Timestamp>2026-11-20T08:59:59.000Z</eb:Timestamp>" in data
    assert b'soap:actor="http://schemas.xmlsoap.org/soap/actor/next"' in data
    signal = ebms2.seal(
        (Ping("x@y", "c", sample_parties.FROM_BROKER, sample_parties.FROM_HUB, "a", sample_parties.NOW),),
        None,
        sample_parties.context(),
    )
    assert signal.headers == {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '"ebXML"'}


def test_identity_follows_content_and_not_framing() -> None:
    def identity(one: Parcel, **changes: object) -> str:
        return ebms2.open_units(one, sample_parties.context(**changes)).identity

    signed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    boundary = signed.headers["Content-Type"].split('boundary="')[1][:-1].encode()
    framed = sample_parties.replaced(signed, boundary, b"another", -1)
    framed = Parcel(
        {
            **framed.headers,
            "Content-Type": signed.headers["Content-Type"].replace(boundary.decode(), "another"),
        },
        framed.body,
    )
    assert identity(framed) == identity(signed)
    assert framed.body.sha256_hex != signed.body.sha256_hex
    other = ebms2.seal(
        (sample_parties.message(payloads=()),), sample_parties.SUBMIT, sample_parties.context()
    )
    assert identity(other) != identity(signed)
    plain = sample_parties.message(action="Loose", sync_reply=False)
    loose = ebms2.seal((plain,), sample_parties.LOOSE, sample_parties.context())
    again = sample_parties.replaced(loose, b"application/octet-stream", b"Application/Octet-Stream")
    assert identity(again) == identity(loose)
    changed = sample_parties.replaced(loose, "가".encode(), "나".encode())
    assert identity(changed) != identity(loose)


def test_the_protocol_is_found_by_name() -> None:
    assert PROTOCOLS["ebms2"].name == "ebms2"
    assert PROTOCOLS["ebms2"].open_units is ebms2.open_units


def test_our_own_parcel_is_read_without_verifying() -> None:
    unit = sample_parties.message()
    sealed = ebms2.seal((unit,), sample_parties.SUBMIT, sample_parties.context())
    found = ebms2.read_sent_unit(sealed, sample_parties.context().limits)
    assert found.unit == unit
    assert [one.uri for one in found.references] == ["", "cid:p1@broker.example", "cid:p2@broker.example"]


def test_time_to_live_is_asked_for_by_itself() -> None:
    unit = sample_parties.message(expires_at=sample_parties.NOW)
    opened = ebms2.open_units(
        ebms2.seal((unit,), sample_parties.SUBMIT, sample_parties.context()), sample_parties.context()
    )
    ebms2.check_time_to_live(opened.unit, sample_parties.NOW - timedelta(microseconds=1))
    with pytest.raises(GatewayError) as caught:
        ebms2.check_time_to_live(opened.unit, sample_parties.NOW)
    assert (caught.value.problem.id, caught.value.problem.codes.ebms2) == ("GW306", "TimeToLiveExpired")
