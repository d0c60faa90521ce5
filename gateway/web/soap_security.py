"""Checks every request before the SOAP service is called.

Cheap and unauthenticated checks come first, then signature, signer, replay and schema. A call whose
envelope is like one that was accepted is opened by its values; any other is read whole. Answers and
faults are signed here. Every exception becomes a fault.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    NOT_SOAP,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    GatewayError,
)
from gateway.pki import Certificate, Signer
from gateway.protocols import (
    SOAP_CALLS,
    EnvelopeMemory,
    KnownSoap,
    SignatureMoment,
    SigningForms,
    SoapTerms,
    open_known_soap,
    remember_soap,
)
from gateway.web.replay_cache import LocalReplayCache, ReplayCache, SeenCall
from gateway.web.server import CERTIFICATE_KEY, Environ, read_request_body, report_proven_party
from gateway.wire import (
    ANONYMOUS,
    DEFAULT_LIMITS,
    SOAP11,
    SOAP11_NEXT,
    WSA,
    WSSE,
    AddressingHeaders,
    ServiceDescription,
    SoapEnvelope,
    SoapFault,
    WireLimits,
    WsdlOperation,
    canonicalize_element,
    check_must_understand,
    is_identity_coding,
    is_text_xml,
    list_body_elements,
    parse_xml,
    read_addressing,
    read_envelope,
    serialize_element,
    write_addressing,
    write_fault_envelope,
)
from gateway.xmlsec import (
    DEFAULT_WINDOW,
    SHA256,
    STRICT,
    SignaturePolicy,
    TimestampWindow,
    VerifiedSignature,
    compute_digest,
    sign_soap_envelope,
    verify_soap_envelope,
)

__all__ = ["Caller", "SoapSecurityGate", "SoapSecurityPolicy", "VerifiedCall", "VerifiedService"]

StartResponse = Callable[..., Any]

_LOG: Final = logging.getLogger(__name__)
_CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_SECURITY: Final = f"{{{WSSE}}}Security"
_ADDRESSING: Final = frozenset(
    f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "To", "From", "ReplyTo", "FaultTo", "RelatesTo")
)
_PLACEHOLDER: Final = re.compile(rb'location="http://localhost/soap/[a-z]+"')
_SIGNER: Final = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"
_SHOWN: Final = 500
_HTTP_OWN: Final = frozenset({400, 413, 415, 503})


@dataclass(frozen=True, slots=True)
class SoapSecurityPolicy:
    """The keys, checks and limits of the gate.

    `signer` returns the key that signs answers now. `admit` validates the certificate and returns
    its party, or raises. `addresses` are the URLs of the service (the first one is written into the
    WSDL): a call signed for another address is rejected. Without addresses any wsa:To is accepted,
    and `find_address` returns the URL for the WSDL from the request.
    `admit_client` raises when a party may not use this connection; it gets the party and the
    SHA-256 of the TLS client certificate, or None. `tell_refusal` gets each refused call with the
    party that signed it, or None. A call whose envelope is like one in `envelopes` is opened in less
    time; others that were accepted are remembered there.
    """

    signer: Callable[[], Signer]
    admit: Callable[[Certificate, datetime], str]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    memory: ReplayCache = field(default_factory=LocalReplayCache)
    addresses: tuple[str, ...] = ()
    find_address: Callable[[Environ], str] | None = None
    policy: SignaturePolicy = STRICT
    window: TimestampWindow = DEFAULT_WINDOW
    limits: WireLimits = DEFAULT_LIMITS
    admit_client: Callable[[str, str | None, datetime], None] = lambda _party, _shown, _at: None
    tell_refusal: Callable[[str | None, GatewayError], None] = lambda _party, _problem: None
    envelopes: EnvelopeMemory[Any] = field(default_factory=EnvelopeMemory)

    @property
    def terms(self) -> SoapTerms:
        """Return how the signature of a call is verified."""
        return SoapTerms(self.policy, self.limits, self.window)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that the signature proves, and the signed octets."""

    party: str
    certificate: Certificate
    message_id: str
    envelope: bytes


@dataclass(frozen=True, slots=True)
class VerifiedCall:
    """A call that passed every check: the verified element in its Body, its operation, its caller."""

    content: etree._Element
    operation: WsdlOperation
    caller: Caller


#: Performs a verified call and returns the response element; raises GatewayError.
VerifiedService = Callable[[VerifiedCall], etree._Element]


@dataclass(slots=True)
class _ReplyContext:
    """The call's data so far, so that a fault can state which call it answers."""

    relates_to: str | None = None
    party: str | None = None


class SoapSecurityGate:
    """A WSGI application: one SOAP 1.1 service behind its checks."""

    def __init__(
        self,
        service: VerifiedService,
        description: ServiceDescription,
        wsdl: bytes,
        security: SoapSecurityPolicy,
    ) -> None:
        self._service = service
        self._description = description
        self._security = security
        self._wsdl = wsdl
        self._forms = SigningForms()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method = environ.get("REQUEST_METHOD")
        if method == "GET" and str(environ.get("QUERY_STRING", "")).lower() in ("wsdl", "wsdl="):
            return _send_response(200, self._write_wsdl(environ), start_response)
        if method != "POST":
            start_response("405 Method Not Allowed", [("Allow", "POST"), ("Content-Length", "0")])
            return [b""]
        reply = _ReplyContext()
        try:
            return _send_response(200, self._answer_call(environ, reply), start_response)
        except GatewayError as problem:
            self._security.tell_refusal(reply.party, problem)
            return _send_response(
                _get_http_status(problem), self._write_signed_fault(problem, reply), start_response
            )
        except Exception as mistake:  # the caller gets a fault in any case, and the log gets no content
            _LOG.error("soap: %s", _describe_exception(mistake))
            ours = GatewayError(OUR_MISTAKE)
            return _send_response(
                _get_http_status(ours), self._write_signed_fault(ours, reply), start_response
            )

    def _write_wsdl(self, environ: Environ) -> bytes:
        """Return the WSDL with the address of the settings, else the one by which the request came."""
        security = self._security
        address = next(iter(security.addresses), "")
        if not address and security.find_address is not None:
            address = security.find_address(environ)
        shown = address.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        told = f'location="{shown}"'.encode()
        return _PLACEHOLDER.sub(lambda _: told, self._wsdl) if shown else self._wsdl

    def _answer_call(self, environ: Environ, reply: _ReplyContext) -> bytes:
        security = self._security
        _check_http_headers(environ)
        # A call has no MIME parts; its envelope has some hundred octets for each item.
        body = read_request_body(environ, security.limits.envelope)
        now = security.clock()
        known = open_known_soap(SOAP_CALLS, body, security.terms, now, security.envelopes)
        root, addressing = (
            _read_call(body, security.limits) if known is None else (known.root, known.addressing)
        )
        reply.relates_to = addressing.message_id
        content = list_body_elements(root)
        operation = self._match_operation(content, addressing, str(environ.get("HTTP_SOAPACTION", "")))
        signed, party = self._verify_signer(root, known, now)
        reply.party = party
        security.admit_client(party, environ.get(CERTIFICATE_KEY), now)
        report_proven_party(environ, party)
        body_digest = compute_digest(SHA256, canonicalize_element(content[0], exclusive=True))
        seen = SeenCall(party, addressing.message_id, body_digest, _digest_signed_parts(signed))
        with security.memory.admit_call(seen, now):
            self._description.schema.validate_element(content[0])
            caller = Caller(party, signed.certificate, addressing.message_id, body)
            response = self._service(VerifiedCall(content[0], operation, caller))
            if response.tag != operation.response:
                raise GatewayError(OUR_MISTAKE, f"{operation.name} was answered by another element")
        if known is None:
            remember_soap(SOAP_CALLS, body, signed.certificate, security.terms, security.envelopes)
        return self._sign_answer(response, operation.reply_action, reply)

    def _verify_signer(
        self, root: etree._Element, known: KnownSoap | None, now: datetime
    ) -> tuple[VerifiedSignature, str]:
        """Return the signature of a call and the party that made it; what is known is verified already."""
        if known is not None:
            return known.signature, self._admit_signer(known.certificate, now)
        security, parties = self._security, list[str]()
        signed = verify_soap_envelope(
            root,
            security.policy,
            now=now,
            window=security.window,
            believe=lambda certificate: parties.append(self._admit_signer(certificate, now)),
            limits=security.limits,
        )
        (party,) = parties
        return signed, party

    def _admit_signer(self, certificate: Certificate, now: datetime) -> str:
        try:
            return self._security.admit(certificate, now)
        except GatewayError as problem:
            raise GatewayError(problem.problem, problem.detail, problem.location or _SIGNER) from problem

    def _match_operation(
        self, content: list[etree._Element], addressing: AddressingHeaders, soap_action: str
    ) -> WsdlOperation:
        """Return the operation that Body, wsa:Action and SOAPAction agree on."""
        operation = self._description.find_by_request(str(content[0].tag)) if len(content) == 1 else None
        if operation is None:
            raise GatewayError(
                NOT_SUPPORTED, "the Body contains no request of this service", "/soap:Envelope/soap:Body"
            )
        if addressing.action != operation.action:
            detail = f"wsa:Action does not fit the Body, which is a call of {operation.name}"
            raise GatewayError(HEADER_INCONSISTENT, detail, "/soap:Envelope/soap:Header/wsa:Action")
        if soap_action.strip().strip('"') not in ("", operation.action):
            raise GatewayError(HEADER_INCONSISTENT, "SOAPAction differs from wsa:Action", "SOAPAction")
        known = self._security.addresses
        if known and addressing.to not in (None, ANONYMOUS, *known):
            detail = "wsa:To is not an address of this service"
            raise GatewayError(HEADER_INCONSISTENT, detail, "/soap:Envelope/soap:Header/wsa:To")
        return operation

    def _write_signed_fault(self, problem: GatewayError, reply: _ReplyContext) -> bytes:
        code = problem.problem.soap or ("Server" if problem.problem.ours else "Client")
        detail = _make_refusal_detail(problem, self._description.namespace)
        fault = SoapFault(code, f"{problem.problem.id} {problem.problem.title}", (detail,))
        octets = write_fault_envelope(fault)
        try:
            return self._sign_envelope(parse_xml(octets), f"{self._description.namespace}:Refusal", reply)
        except Exception as mistake:  # without the key the fault is sent unsigned
            _LOG.error("soap: fault not signed: %s", _describe_exception(mistake))
            return octets

    def _sign_answer(self, response: etree._Element, action: str, reply: _ReplyContext) -> bytes:
        return self._forms.sign_envelope(response, self._address_reply(action, reply), self._get_moment())

    def _sign_envelope(self, root: etree._Element, action: str, reply: _ReplyContext) -> bytes:
        """Add addressing to an envelope that has only a Body, and sign it."""
        header = etree.Element(f"{{{SOAP11}}}Header")
        root.insert(0, header)
        write_addressing(header, self._address_reply(action, reply))
        signer, now, window = self._get_moment()
        sign_soap_envelope(root, signer, now=now, window=window)
        return serialize_element(root)

    def _address_reply(self, action: str, reply: _ReplyContext) -> AddressingHeaders:
        return AddressingHeaders(action, self._security.new_id(), ANONYMOUS, reply.relates_to)

    def _get_moment(self) -> SignatureMoment:
        security = self._security
        return SignatureMoment(security.signer(), security.clock(), security.window)


def _check_http_headers(environ: Environ) -> None:
    if not is_text_xml(str(environ.get("CONTENT_TYPE", ""))):
        raise GatewayError(MEDIA_TYPE_REFUSED, "SOAP 1.1 must be sent as text/xml in UTF-8", "Content-Type")
    if not is_identity_coding(str(environ.get("HTTP_CONTENT_ENCODING", "")).strip() or "identity"):
        raise GatewayError(MEDIA_TYPE_REFUSED, "the body has a content coding", "Content-Encoding")


def _read_call_envelope(body: bytes, limits: WireLimits) -> SoapEnvelope:
    envelope = read_envelope(parse_xml(body, limits, envelope=True))
    if envelope.version != "1.1":
        raise GatewayError(NOT_SOAP, "this service speaks SOAP 1.1", "/soap:Envelope")
    check_must_understand(envelope, _ADDRESSING | {_SECURITY})
    for block in envelope.header_blocks:
        if block.tag != _SECURITY and block.tag not in _ADDRESSING:
            detail = f"header block {str(block.tag)[:120]} is not known here"
            raise GatewayError(HEADER_INVALID, detail, "/soap:Envelope/soap:Header")
        if block.get(f"{{{SOAP11}}}actor", SOAP11_NEXT) != SOAP11_NEXT:
            raise GatewayError(
                HEADER_INVALID, "a header block is for another actor", "/soap:Envelope/soap:Header"
            )
    return envelope


def _read_call(body: bytes, limits: WireLimits) -> tuple[etree._Element, AddressingHeaders]:
    """Return the envelope of a call, and what its header says; nothing of it is verified."""
    envelope = _read_call_envelope(body, limits)
    if envelope.header is None:
        raise GatewayError(HEADER_INVALID, "WS-Addressing and WS-Security are missing", "/soap:Envelope")
    return envelope.root, read_addressing(envelope.header)


def _digest_signed_parts(signed: VerifiedSignature) -> bytes:
    """Return a digest over all signed parts, Timestamp included; equal only for equal signed octets."""
    parts = (signed.certificate.der, *(reference.digest_value for reference in signed.references))
    return compute_digest(SHA256, b"".join(compute_digest(SHA256, part) for part in parts))


def _make_refusal_detail(problem: GatewayError, namespace: str) -> etree._Element:
    element = etree.Element(f"{{{namespace}}}Refusal", nsmap={"s": namespace})
    words = (("Id", problem.problem.id), ("Text", problem.detail), ("Location", problem.location))
    for name, text in words:
        if text:
            etree.SubElement(element, f"{{{namespace}}}{name}").text = _sanitize_text(text)
    return element


def _sanitize_text(text: str) -> str:
    """Return `text` short and without characters that XML cannot carry."""
    return "".join(char if char.isprintable() else " " for char in text[:_SHOWN])


def _get_http_status(problem: GatewayError) -> int:
    """Return 500 for a fault (SOAP 1.1 §6.2), another status only for problems of HTTP itself.

    Client stacks read a fault only with status 500; they understand 503 as "busy, try later".
    """
    status = problem.problem.http
    return status if status in _HTTP_OWN else 500


def _send_response(status: int, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Content-Type", _CONTENT_TYPE), ("Content-Length", str(len(body)))]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


def _describe_exception(mistake: Exception) -> str:
    """Return type and place of an exception; its text may quote the request."""
    frames = traceback.extract_tb(mistake.__traceback__)
    return (
        f"{type(mistake).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
        if frames
        else type(mistake).__name__
    )
