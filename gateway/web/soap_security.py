"""Checks every request before the SOAP service is called.

Cheap and unauthenticated checks come first, then signature, signer, replay and schema. Answers and
faults are signed here. Every exception becomes a fault.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from lxml import etree

from gateway.cases import SignedReply
from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    GatewayError,
    confirm_refusal,
    find_resource_problem,
)
from gateway.pki import Certificate, Signer
from gateway.store import CallRecord, NewSeenCall
from gateway.web.replay_cache import ReplayCache
from gateway.web.server import CERTIFICATE_KEY, Environ, read_request_body, report_proven_party
from gateway.wire import (
    ANONYMOUS,
    DEFAULT_LIMITS,
    SOAP11,
    SOAP11_NEXT,
    AddressingHeaders,
    ServiceDescription,
    SoapEnvelope,
    SoapFault,
    WireLimits,
    WsdlOperation,
    build_addressed_envelope,
    canonicalize_element,
    is_identity_coding,
    is_soap11_type,
    parse_xml,
    read_addressing,
    serialize_element,
    unwrap_soap_envelope,
    write_addressing,
    write_fault_envelope,
)
from gateway.xmlsec import (
    SHA256,
    UNDERSTOOD_BLOCKS,
    SignedSoapMessage,
    VerifiedSignature,
    compute_digest,
    read_soap_message,
    sign_soap_envelope,
    verify_soap_message,
)

StartResponse = Callable[..., Any]

_LOG: Final = logging.getLogger(__name__)
_CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_PLACEHOLDER: Final = re.compile(rb'location="http://localhost/soap/[a-z]+"')
_SIGNER: Final = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"
_MOST_CHARACTERS: Final = 500
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
    party that signed it, or None.
    """

    signer: Callable[[], Signer]
    admit: Callable[[Certificate, datetime], str]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    memory: ReplayCache
    addresses: tuple[str, ...] = ()
    find_address: Callable[[Environ], str] | None = None
    limits: WireLimits = DEFAULT_LIMITS
    admit_client: Callable[[str, str | None, datetime], None] = lambda _party, _shown, _at: None
    tell_refusal: Callable[[str | None, GatewayError], None] = lambda _party, _problem: None


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that the signature proves, and the signed octets."""

    party: str
    certificate: Certificate
    message_id: str
    envelope: bytes
    #: The record that is stored with the effect of the call.
    record: CallRecord | None = None

    @property
    def signed_reply(self) -> SignedReply:
        """Return the signed octets with the digest of the certificate that signed them."""
        return SignedReply(self.envelope, self.certificate.sha256)


@dataclass(frozen=True, slots=True)
class VerifiedCall:
    """A call that passed every check: the verified element in its Body, its operation, its caller."""

    content: etree._Element
    #: The canonical form of the element, without comments: the form that the signature covers.
    canonical: bytes
    operation: WsdlOperation
    caller: Caller


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """A header block of an answer besides those of WS-Addressing: its name in the namespace of the service.

    It may be left unread, and the signature covers it.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """The response element of a call, and a further header block of the answer or None."""

    response: etree._Element
    header: AnswerHeader | None = None


#: Performs a verified call and returns its answer; raises GatewayError.
VerifiedService = Callable[[VerifiedCall], ServiceAnswer]


@dataclass(frozen=True, slots=True)
class _OpenedCall:
    """A call whose signature is verified, in octets and read, and the party that signed it."""

    envelope: bytes
    message: SignedSoapMessage
    operation: WsdlOperation
    party: str


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
            _LOG.error("soap: %s", _describe_exception(mistake), extra=_make_log_fields(reply))
            ours = find_resource_problem(mistake) or GatewayError(OUR_MISTAKE)
            return _send_response(
                _get_http_status(ours), self._write_signed_fault(ours, reply), start_response
            )

    def _write_wsdl(self, environ: Environ) -> bytes:
        """Return the WSDL with the address of the settings, else the one by which the request came."""
        security = self._security
        address = next(iter(security.addresses), "")
        if not address and security.find_address is not None:
            address = security.find_address(environ)
        escaped = address.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        location = f'location="{escaped}"'.encode()
        return _PLACEHOLDER.sub(lambda _: location, self._wsdl) if escaped else self._wsdl

    def _answer_call(self, environ: Environ, reply: _ReplyContext) -> bytes:
        """Check and perform a call; return the signed answer. `reply` gets its id and its party."""
        security = self._security
        _check_http_headers(environ)
        # An envelope has some hundred octets for each item, and a package of MTOM hardly more than it.
        body = read_request_body(environ, security.limits.envelope)
        now = security.clock()
        action = str(environ.get("HTTP_SOAPACTION", ""))
        content_type = str(environ.get("CONTENT_TYPE", ""))

        def open_call() -> _OpenedCall:
            envelope = unwrap_soap_envelope(content_type, body, security.limits)
            return self._open_call(envelope, action, now, reply)

        call = confirm_refusal(open_call)
        reply.party = party = call.party
        security.admit_client(party, environ.get(CERTIFICATE_KEY), now)
        report_proven_party(environ, party)
        (content,) = call.message.content
        canonical = canonicalize_element(content, exclusive=True)
        message_id = call.message.addressing.message_id
        body_digest = compute_digest(SHA256, canonical).hex()
        new_call = NewSeenCall(_digest_signed_parts(call.message.signature), party, message_id, body_digest)
        with security.memory.admit_call(new_call, now) as record:
            self._description.schema.validate_element(content)
            caller = Caller(party, call.message.certificate, message_id, call.envelope, record)
            answer = self._service(VerifiedCall(content, canonical, call.operation, caller))
            if answer.response.tag != call.operation.response:
                raise GatewayError(OUR_MISTAKE, f"{call.operation.name} was answered by another element")
        return self._sign_answer(answer, call.operation.reply_action, reply)

    def _open_call(self, octets: bytes, soap_action: str, now: datetime, reply: _ReplyContext) -> _OpenedCall:
        """Return a call with a verified signature; write its message id to `reply`, for a refusal."""
        security, parties = self._security, list[str]()
        envelope = read_soap_message(octets, security.limits)
        addressing = _read_unverified_addressing(envelope)
        reply.relates_to = addressing.message_id
        operation = self._match_operation(envelope.body_elements, addressing, soap_action)
        message = verify_soap_message(
            envelope,
            now=now,
            check_certificate=lambda certificate: parties.append(self._admit_signer(certificate, now)),
            limits=security.limits,
        )
        (party,) = parties
        return _OpenedCall(octets, message, operation, party)

    def _admit_signer(self, certificate: Certificate, now: datetime) -> str:
        """Return the party of a signer's certificate; add the location to the problem of a refused one."""
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
        own_addresses = self._security.addresses
        if own_addresses and addressing.to not in (None, ANONYMOUS, *own_addresses):
            detail = "wsa:To is not an address of this service"
            raise GatewayError(HEADER_INCONSISTENT, detail, "/soap:Envelope/soap:Header/wsa:To")
        return operation

    def _write_signed_fault(self, problem: GatewayError, reply: _ReplyContext) -> bytes:
        """Return the signed envelope of a SOAP 1.1 fault; if signing fails, log it and return it unsigned."""
        code = problem.problem.codes.soap or ("Server" if problem.problem.ours else "Client")
        detail = _make_refusal_detail(problem, self._description.namespace)
        fault = SoapFault(code, f"{problem.problem.id} {problem.problem.title}", (detail,))
        octets = write_fault_envelope(fault)
        try:
            root = parse_xml(octets)
            header = etree.Element(f"{{{SOAP11}}}Header")
            root.insert(0, header)
            write_addressing(
                header, self._make_reply_headers(f"{self._description.namespace}:Refusal", reply)
            )
            return self._sign_envelope(root)
        except Exception as mistake:  # without the key the fault is sent unsigned
            _LOG.error(
                "soap: fault not signed: %s", _describe_exception(mistake), extra=_make_log_fields(reply)
            )
            return octets

    def _sign_answer(self, answer: ServiceAnswer, action: str, reply: _ReplyContext) -> bytes:
        root = build_addressed_envelope(answer.response, self._make_reply_headers(action, reply))
        if answer.header is None:
            return self._sign_envelope(root)
        namespace = self._description.namespace
        block = etree.SubElement(root[0], f"{{{namespace}}}{answer.header.name}", nsmap={"s": namespace})
        block.text = answer.header.text
        return self._sign_envelope(root, block.tag)

    def _sign_envelope(self, root: etree._Element, *further_headers: str) -> bytes:
        security = self._security
        sign_soap_envelope(root, security.signer(), now=security.clock(), further_headers=further_headers)
        return serialize_element(root)

    def _make_reply_headers(self, action: str, reply: _ReplyContext) -> AddressingHeaders:
        return AddressingHeaders(action, self._security.new_id(), ANONYMOUS, reply.relates_to)


def _check_http_headers(environ: Environ) -> None:
    if not is_soap11_type(str(environ.get("CONTENT_TYPE", ""))):
        raise GatewayError(MEDIA_TYPE_REFUSED, "SOAP 1.1 must be sent as text/xml in UTF-8", "Content-Type")
    if not is_identity_coding(str(environ.get("HTTP_CONTENT_ENCODING", "")).strip() or "identity"):
        raise GatewayError(MEDIA_TYPE_REFUSED, "the body has a content coding", "Content-Encoding")


def _read_unverified_addressing(envelope: SoapEnvelope) -> AddressingHeaders:
    """Return the addressing headers of a call, unverified; raise GW107 for a header block not known here."""
    if envelope.header is None:
        raise GatewayError(HEADER_INVALID, "WS-Addressing and WS-Security are missing", "/soap:Envelope")
    for block in envelope.header_blocks:
        if block.tag not in UNDERSTOOD_BLOCKS:
            detail = f"header block {str(block.tag)[:120]} is not known here"
            raise GatewayError(HEADER_INVALID, detail, "/soap:Envelope/soap:Header")
        if block.get(f"{{{SOAP11}}}actor", SOAP11_NEXT) != SOAP11_NEXT:
            raise GatewayError(
                HEADER_INVALID, "a header block is for another actor", "/soap:Envelope/soap:Header"
            )
    return read_addressing(envelope.header)


def _digest_signed_parts(signed: VerifiedSignature) -> str:
    """Return a digest of all signed parts with the Timestamp, in hexadecimal; equal only for equal octets."""
    parts = (signed.certificate.der, *(reference.digest_value for reference in signed.references))
    return compute_digest(SHA256, b"".join(compute_digest(SHA256, part) for part in parts)).hex()


def _make_refusal_detail(problem: GatewayError, namespace: str) -> etree._Element:
    """Return the Refusal element of a SOAP fault: problem id, text and location, each only if not empty."""
    element = etree.Element(f"{{{namespace}}}Refusal", nsmap={"s": namespace})
    fields = (("Id", problem.problem.id), ("Text", problem.detail), ("Location", problem.location))
    for name, text in fields:
        if text:
            etree.SubElement(element, f"{{{namespace}}}{name}").text = _sanitize_text(text)
    return element


def _sanitize_text(text: str) -> str:
    """Return `text` short and without characters that XML cannot carry."""
    return "".join(char if char.isprintable() else " " for char in text[:_MOST_CHARACTERS])


def _get_http_status(problem: GatewayError) -> int:
    """Return 500 for a fault (SOAP 1.1 §6.2), another status only for problems of HTTP itself.

    Client stacks read a fault only with status 500; they understand 503 as "busy, try later".
    """
    status = problem.problem.codes.http
    return status if status in _HTTP_OWN else 500


def _send_response(status: int, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Content-Type", _CONTENT_TYPE), ("Content-Length", str(len(body)))]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


def _make_log_fields(reply: _ReplyContext) -> dict[str, str | None]:
    """Return the fields of a log line: the caller, once verified, and the MessageID that the call states."""
    return {"partner": reply.party, "message_id": reply.relates_to}


def _describe_exception(mistake: Exception) -> str:
    """Return type and place of an exception; its text may quote the request."""
    frames = traceback.extract_tb(mistake.__traceback__)
    return (
        f"{type(mistake).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
        if frames
        else type(mistake).__name__
    )
