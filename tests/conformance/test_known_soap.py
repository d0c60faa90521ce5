"""Partners open what the hub sends like one before in less time; all is answered or refused alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.conformance.partners import hub_documents, soap_endpoint
from gateway.conformance.partners.agency_documents import build_acknowledgment
from gateway.conformance.partners.http_transport import IncomingRequest
from gateway.conformance.partners.hub_documents import read_hub_answer
from gateway.conformance.partners.soap_endpoint import SoapEndpoint, VerifiedCall, load_service_description
from gateway.errors import RULE_BROKEN, SIGNER_MISMATCH, GatewayError
from gateway.pki.certificates import Certificate
from gateway.protocols import EnvelopeMemory
from gateway.protocols.known_soap import open_known_soap
from gateway.wire.addressing import AddressingHeaders
from gateway.wire.namespaces import AGENCY, SERVICE_AGENCY
from gateway.wire.xml import serialize_element
from tests.delivery.test_known_answers import OCTETS
from tests.kit.soap import NOW, agency_answer, envelope, issued, signed, signer, wrapper

LATER = NOW + timedelta(minutes=3)
CANCEL = "<ApplicationNumber>A-1</ApplicationNumber><Reason>no more</Reason>"
BEYOND = "<ApplicationNumber/><Reason>no more</Reason>"


@dataclass
class Identity:
    """An agency that takes the hub's certificate and no other."""

    signer: Any = field(default_factory=lambda: signer("agency"))

    @staticmethod
    def verify_hub_certificate(certificate: Certificate, at: datetime, location: str) -> None:
        if certificate.sha256 != issued("hub").certificate.sha256:
            raise GatewayError(SIGNER_MISMATCH, "not the hub", location)


class Suspicious(Identity):
    """An agency that takes nobody's certificate any more."""

    @staticmethod
    def verify_hub_certificate(certificate: Certificate, at: datetime, location: str) -> None:
        raise GatewayError(SIGNER_MISMATCH, "not any more", location)


class Forgetful(EnvelopeMemory[Any]):
    """Keeps nothing, so that all is read whole."""

    def add(self, sender: bytes, envelope: Any) -> None:
        """Keep nothing."""


class Agency:
    """An agency's endpoint and what it was told."""

    def __init__(self, memory: EnvelopeMemory[Any], identity: Any = Identity()) -> None:  # noqa: B008
        self.desk = SoapEndpoint(identity, load_service_description("agency-template.wsdl"))
        self.desk._envelopes = memory
        self.said: list[object] = []

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> list[object]:
        """Return the answer to a call but for its signature value, the problem, and what was told."""
        self.said.clear()
        request: Any = IncomingRequest("/", headers={"content-type": "text/xml"} | (headers or {}), body=body)
        reply, problem = self.desk.serve_request(request, self.take)
        octets = re.sub(rb"<ds:SignatureValue>[^<]*", b"", reply.body)
        told = problem and (problem.problem.id, problem.detail, problem.location)
        return [reply.status, octets, told, *self.said]

    def take(self, call: VerifiedCall) -> etree._Element:
        self.said += [call.message_id, call.operation, call.sha256, serialize_element(call.content)]
        if b"refuse" in serialize_element(call.content):
            raise GatewayError(RULE_BROKEN, "no", "there")
        return build_acknowledgment(call.operation.response, "R-1")


def call(
    content: str = CANCEL, by: str = "hub", message_id: str = "urn:uuid:2", at: datetime = LATER
) -> bytes:
    values = AddressingHeaders(f"{AGENCY}:CancelApplication", message_id, "https://agency.example/soap")
    return signed(envelope(wrapper(AGENCY, "CancelApplication", content), values), by, at)


@pytest.fixture(scope="module", autouse=True)
def _same_moment() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soap_endpoint, "get_current_time", lambda: LATER)
        patch.setattr(soap_endpoint, "make_message_id", lambda: "urn:uuid:reply")
        yield


@pytest.fixture(scope="module")
def known() -> Agency:
    """Return an agency that has taken a call of the hub."""
    found = Agency(EnvelopeMemory())
    found.post(call(message_id="urn:uuid:1"))
    return found


WHOLE = Agency(Forgetful())


def test_the_next_call_of_the_hub_is_opened_by_its_envelope(
    known: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = known.post(call())
    assert said == WHOLE.post(call())
    assert (said[0], said[3]) == (200, "urn:uuid:2")
    monkeypatch.setattr(soap_endpoint, "_read_call", None)
    monkeypatch.setattr(soap_endpoint, "open_known_soap", open_known_soap)
    assert known.post(call()) == said


def test_every_octet_changed_gets_the_same_answer(known: Agency) -> None:
    body = call()
    for at in range(len(body)):
        other = b"<" if at % 7 == 0 else bytes([body[at] ^ 1])
        changed = body[:at] + other + body[at + 1 :]
        assert known.post(changed) == WHOLE.post(changed)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 6000), length=st.integers(0, 200), octets=OCTETS)
def test_random_changes_get_the_same_answer(known: Agency, at: int, length: int, octets: bytes) -> None:
    body = call()
    at %= len(body)
    changed = body[:at] + octets + body[at + length :]
    assert known.post(changed) == WHOLE.post(changed)


@pytest.mark.parametrize(
    "body",
    [
        lambda: call(by="stranger"),
        lambda: call(by="agency"),
        lambda: call(at=LATER - timedelta(minutes=9)),
        lambda: call(at=LATER + timedelta(minutes=9)),
        lambda: call(BEYOND),
        lambda: call(CANCEL.replace("no more", "refuse")),
        lambda: call(CANCEL.replace("<Reason>", '<Reason Id="s-1">')),
        lambda: call(CANCEL.replace("no more", "no<!-- a -->more")),
        lambda: call() + b" ",
        lambda: call().replace(b"CancelApplication", b"SubmitApplication"),
    ],
)
def test_what_is_refused_is_refused_alike(known: Agency, body: Any) -> None:
    octets = body()
    assert known.post(octets) == WHOLE.post(octets)
    headers = {"soapaction": '"urn:other"'}
    assert known.post(octets, headers) == WHOLE.post(octets, headers)


def test_the_signer_of_each_call_and_answer_is_judged(known: Agency) -> None:
    said = Agency(known.desk._envelopes, Suspicious()).post(call())
    assert said == Agency(Forgetful(), Suspicious()).post(call())
    assert said[0] == 500
    memory, identity = EnvelopeMemory[Any](), Suspicious()
    assert read(hub_answer(), memory) is None
    for one in (memory, None):
        assert read(hub_answer(), one, identity=identity) == (
            SIGNER_MISMATCH.id,
            "not any more",
            hub_documents._TOKEN,
        )


def hub_answer(to: str = "urn:uuid:1", by: str = "hub", name: str = "AcknowledgeResponse") -> bytes:
    values = AddressingHeaders(f"{SERVICE_AGENCY}:{name}", "urn:uuid:answer", None, to)
    return signed(envelope(wrapper(SERVICE_AGENCY, name, ""), values), by, LATER)


def read(
    octets: bytes,
    memory: EnvelopeMemory[Any] | None,
    now: datetime = LATER,
    identity: Any = Identity(),  # noqa: B008
) -> object:
    try:
        return read_hub_answer(octets, "urn:uuid:1", identity, now, memory)
    except GatewayError as problem:
        return problem.problem.id, problem.detail, problem.location


def test_an_answer_of_the_hub_is_read_alike_both_ways() -> None:
    memory = EnvelopeMemory[Any]()
    body = hub_answer()
    assert read(body, memory) is None
    assert len(memory._senders) == 1
    others = [hub_answer("urn:uuid:2"), hub_answer(by="stranger"), hub_answer(name="F"), agency_answer("a")]
    for octets in (body, *others):
        assert read(octets, memory) == read(octets, None)
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        assert read(changed, memory) == read(changed, None)
    late = LATER + timedelta(minutes=9)
    assert read(body, memory, late) == read(body, None, late)


def test_nothing_is_learned_of_an_answer_that_is_refused() -> None:
    memory = EnvelopeMemory[Any]()
    for octets in (hub_answer("urn:uuid:2"), hub_answer(by="stranger")):
        assert isinstance(read(octets, memory), tuple)
    assert not memory._senders
