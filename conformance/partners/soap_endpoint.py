"""A partner's SOAP service: accepts only valid calls that are signed by the hub and addressed to it.

It has the parts that simulated services share: journals, duplicate detection, and late or missing answers.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.client import HttpReply, IncomingRequest, Journal, PartnerIdentity, get_current_time
from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    MESSAGE_ID_REUSED,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    GatewayError,
)
from gateway.share import get_data_folder
from gateway.wire import (
    ANONYMOUS,
    SOAP11,
    WSA,
    AddressingHeaders,
    ServiceDescription,
    SoapFault,
    WsdlOperation,
    build_addressed_envelope,
    canonicalize_element,
    is_text_xml,
    parse_xml,
    read_addressing,
    read_wsdl,
    serialize_element,
    write_addressing,
    write_fault_envelope,
)
from gateway.xmlsec import read_soap_message, sign_soap_envelope, verify_soap_message
from gateway_conformance.partners.misbehavior import Misbehavior

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105
_TO: Final = "/soap:Envelope/soap:Header/wsa:To"


@dataclass(frozen=True, slots=True)
class VerifiedCall:
    """A verified call: its MessageID, its operation, its content, and the digest of the content."""

    message_id: str
    operation: WsdlOperation
    content: etree._Element
    sha256: str


#: Performs a verified call and returns the response element; raises GatewayError to refuse it.
CallHandler = Callable[[VerifiedCall], etree._Element]


def load_service_description(name: str) -> ServiceDescription:
    """Return the service description of a shipped WSDL."""
    return read_wsdl(get_data_folder("wsdl").joinpath(name).read_bytes())


def make_message_id() -> str:
    """Return a new MessageID."""
    return f"urn:uuid:{uuid.uuid4()}"


class SoapEndpoint:
    """One SOAP 1.1 service of a partner; safe for threads."""

    def __init__(
        self, identity: PartnerIdentity, description: ServiceDescription, addresses: Collection[str] = ()
    ) -> None:
        self.identity = identity
        self.description = description
        #: The values of wsa:To that address this service; if empty, any value is accepted.
        self.addresses = frozenset(addresses)

    def serve_request(
        self, request: IncomingRequest, handle: CallHandler
    ) -> tuple[HttpReply, GatewayError | None]:
        """Return the signed answer to a request, and the problem if it was refused."""
        relates_to: list[str] = []
        try:
            call = self._open_request(request, relates_to)
            return self._build_answer(call, handle(call)), None
        except GatewayError as problem:
            return self.build_fault(problem, relates_to[0] if relates_to else None), problem

    def _open_request(self, request: IncomingRequest, relates_to: list[str]) -> VerifiedCall:
        _check_media_type(request)
        at = get_current_time()
        envelope = read_soap_message(request.body)
        if envelope.header is None:
            raise GatewayError(HEADER_INVALID, "WS-Addressing and WS-Security are missing", "/soap:Envelope")
        addressing = read_addressing(envelope.header)
        relates_to.append(addressing.message_id)
        soap_action = request.headers.get("soapaction", "")
        operation = self._get_operation(envelope.body_elements, addressing, soap_action)
        message = verify_soap_message(
            envelope,
            now=at,
            check_certificate=lambda signer: self.identity.verify_hub_certificate(signer, at, _TOKEN),
        )
        (content,) = message.content
        self.description.schema.validate_element(content)
        digest = hashlib.sha256(canonicalize_element(content, exclusive=True)).hexdigest()
        return VerifiedCall(message.addressing.message_id, operation, content, digest)

    def _get_operation(
        self, content: list[etree._Element], addressing: AddressingHeaders, soap_action: str
    ) -> WsdlOperation:
        operation = self.description.find_by_request(str(content[0].tag)) if len(content) == 1 else None
        if operation is None:
            raise GatewayError(
                NOT_SUPPORTED, "the Body contains no request of this service", "/soap:Envelope/soap:Body"
            )
        if addressing.action != operation.action or soap_action.strip().strip('"') not in (
            "",
            operation.action,
        ):
            location = "/soap:Envelope/soap:Header/wsa:Action"
            raise GatewayError(HEADER_INCONSISTENT, f"the action is not that of {operation.name}", location)
        if addressing.relates_to is not None:
            raise GatewayError(
                HEADER_INVALID,
                "a call must not have wsa:RelatesTo",
                "/soap:Envelope/soap:Header/wsa:RelatesTo",
            )
        if self.addresses and addressing.to not in self.addresses:
            raise GatewayError(
                HEADER_INCONSISTENT, "wsa:To is missing or is the address of another service", _TO
            )
        return operation

    def _build_answer(self, call: VerifiedCall, response: etree._Element) -> HttpReply:
        if response.tag != call.operation.response:
            raise GatewayError(OUR_MISTAKE, f"{call.operation.name} was answered by another element")
        values = AddressingHeaders(call.operation.reply_action, make_message_id(), ANONYMOUS, call.message_id)
        root = build_addressed_envelope(response, values)
        sign_soap_envelope(root, self.identity.signer, now=get_current_time())
        return HttpReply(200, CONTENT_TYPE, serialize_element(root))

    def build_fault(self, problem: GatewayError, relates_to: str | None) -> HttpReply:
        """Return a problem as a signed SOAP fault."""
        code = problem.problem.codes.soap or ("Server" if problem.problem.ours else "Client")
        namespace = self.description.namespace
        detail = etree.Element(f"{{{namespace}}}Refusal", nsmap={"p": namespace})
        etree.SubElement(detail, f"{{{namespace}}}Code").text = problem.problem.id
        etree.SubElement(detail, f"{{{namespace}}}Text").text = _replace_control_characters(
            f"{problem.detail} {problem.location}"
        )
        root = parse_xml(
            write_fault_envelope(
                SoapFault(
                    code, f"{problem.problem.id} {_replace_control_characters(problem.detail)}", (detail,)
                )
            )
        )
        header = etree.Element(f"{{{SOAP11}}}Header")
        root.insert(0, header)
        write_addressing(
            header, AddressingHeaders(f"{namespace}:Refusal", make_message_id(), ANONYMOUS, relates_to)
        )
        sign_soap_envelope(root, self.identity.signer, now=get_current_time())
        return HttpReply(500, CONTENT_TYPE, serialize_element(root))


def _check_media_type(request: IncomingRequest) -> None:
    xml = is_text_xml(request.headers.get("content-type", ""))
    if not xml or "content-encoding" in request.headers:
        raise GatewayError(MEDIA_TYPE_REFUSED, "SOAP 1.1 must be sent as text/xml in UTF-8", "Content-Type")


def _replace_control_characters(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:500]).strip()


_GARBAGE: Final = b"<html><body>502 proxy \xff\xfe</body>"
_MESSAGE_ID: Final = f"/soap:Envelope/soap:Header/{{{WSA}}}MessageID"


class SimulatedService:
    """A SOAP service with one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(self, identity: PartnerIdentity, description: str, folder: Path) -> None:
        self.endpoint = SoapEndpoint(identity, load_service_description(description))
        self._effects = Journal(folder / "effects.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        #: The digest and the answer of each performed call, by MessageID.
        self._recorded_answers: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def _find_recorded_answer(self, call: VerifiedCall) -> str | None:
        """Return the recorded answer, or None; raise for another Body with a used MessageID."""
        recorded = self._recorded_answers.get(call.message_id)
        if recorded is None:
            return None
        digest, answer = recorded
        if digest != call.sha256:
            raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", _MESSAGE_ID)
        return answer

    @staticmethod
    def _misbehave_late(reply: HttpReply, consume: Callable[[str], Misbehavior | None]) -> HttpReply:
        """Return the answer after misbehaviours that apply when the call is already performed."""
        for name in ("slow", "late"):
            waiting = consume(name)
            if waiting is not None:
                waiting.sleep_seconds()
        if consume("lost"):
            return HttpReply(closes_connection=True)
        if consume("garbage"):
            return HttpReply(200, reply.content_type, _GARBAGE)
        return reply
