"""A hub, an agency and a stranger with keys, and envelopes that they sign, for the SOAP tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache

from lxml import etree

from gateway.errors import MESSAGE_ID_REUSED, SIGNER_MISMATCH, TIMESTAMP_REFUSED, GatewayError
from gateway.pki import Certificate, KeySigner
from gateway.store import NewSeenCall
from gateway.wire import (
    AGENCY,
    SERVICE_AGENCY,
    SOAP11,
    AddressingHeaders,
    serialize_element,
    write_addressing,
)
from gateway.xmlsec import sign_soap_envelope
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
)

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ENDPOINT = "https://agency.example/soap"
DOCUMENT = "urn:single-window:document:test-doc:1"
ACKNOWLEDGED = "<Answer><Acknowledged><ReceiptNumber>R-1</ReceiptNumber></Acknowledged></Answer>"


class MemoryOfCalls:
    """Refuses repeated calls as `ReplayCache` does, without a database."""

    def __init__(self) -> None:
        self._signatures: set[str] = set()
        self._contents: dict[tuple[str, str], str] = {}

    @contextmanager
    def admit_call(self, call: NewSeenCall, _now: datetime) -> Iterator[None]:
        name = call.party, call.message_id
        if self._contents.get(name, call.content) != call.content:
            raise GatewayError(MESSAGE_ID_REUSED)
        if call.signature in self._signatures:
            raise GatewayError(TIMESTAMP_REFUSED)
        self._signatures.add(call.signature)
        yield
        self._contents[name] = call.content


@cache
def authority(name: str = "Test CA") -> CertificationAuthority:
    return make_authority(f"CN={name}", NOW - timedelta(days=30))


@cache
def issued(name: str) -> IssuedCertificate:
    """Return the key pair of `name`: the hub has RSA, everybody else EC."""
    kind = "rsa-2048" if name == "hub" else "p-256"
    issuer = authority("Other CA") if name == "stranger" else authority()
    return issue_certificate(issuer, f"CN={name}", NOW - timedelta(days=1), CertificateOrder(key_kind=kind))


@cache
def signer(name: str) -> KeySigner:
    return issued(name).signer


def judge_agency(certificate: Certificate, now: datetime) -> None:
    """Take the agency's certificate and no other."""
    if certificate.sha256 != issued("agency").certificate.sha256:
        raise GatewayError(SIGNER_MISMATCH, "not the agency")


def admit_agency(certificate: Certificate, now: datetime) -> str:
    judge_agency(certificate, now)
    return "agency"


def wrapper(namespace: str, name: str, content: str) -> etree._Element:
    """Return an element of a service's namespace with `content` in that namespace, too."""
    return etree.fromstring(f'<{name} xmlns="{namespace}">{content}</{name}>')


def envelope(content: etree._Element | None, addressing: AddressingHeaders | None) -> etree._Element:
    root = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    header = etree.SubElement(root, f"{{{SOAP11}}}Header")
    if addressing is not None:
        write_addressing(header, addressing)
    body = etree.SubElement(root, f"{{{SOAP11}}}Body")
    if content is not None:
        body.append(content)
    return root


def signed(root: etree._Element, by: str = "agency", at: datetime = NOW) -> bytes:
    sign_soap_envelope(root, signer(by), now=at)
    return serialize_element(root)


def agency_answer(
    message_id: str,
    content: str = ACKNOWLEDGED,
    *,
    operation: str = "SubmitApplication",
    by: str = "agency",
    at: datetime = NOW,
) -> bytes:
    """Return the agency's signed answer to a call of ours."""
    name = f"{operation}Response"
    values = AddressingHeaders(f"{AGENCY}:{name}", "urn:uuid:answer", None, message_id)
    return signed(envelope(wrapper(AGENCY, name, content), values), by, at)


def agency_call(
    operation: str,
    content: str,
    message_id: str = "urn:uuid:call-1",
    *,
    by: str = "agency",
    at: datetime = NOW,
) -> bytes:
    """Return a signed call of the agency to our service."""
    values = AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", message_id)
    return signed(envelope(wrapper(SERVICE_AGENCY, operation, content), values), by, at)
