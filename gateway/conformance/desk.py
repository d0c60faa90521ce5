"""A partner's SOAP service: only calls that the hub signed, that are for us and valid, are heard."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.conformance.http import Reply, Request
from gateway.conformance.identity import Identity, now
from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    MEDIA_TYPE_REFUSED,
    NOT_SOAP,
    NOT_SUPPORTED,
    OUR_MISTAKE,
    GatewayError,
)
from gateway.wire.addressing import Addressing, read_addressing, write_addressing
from gateway.wire.fields import is_text_xml
from gateway.wire.namespaces import ANONYMOUS, SOAP11, WSA, WSSE
from gateway.wire.soap import Envelope, Fault, fault_envelope, read_envelope, require_understood
from gateway.wire.wsdl import Operation, ServiceDescription
from gateway.wire.xml import canonicalize, parse_xml, serialize
from gateway.xmlsec.algorithms import STRICT
from gateway.xmlsec.wss import sign_request, verify_request

__all__ = ["CONTENT_TYPE", "Call", "Desk", "Handle", "addressed", "new_id"]

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_UNDERSTOOD: Final = frozenset(
    {f"{{{WSSE}}}Security"}
    | {f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "To", "From", "ReplyTo")}
)
_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105
_TO: Final = "/soap:Envelope/soap:Header/wsa:To"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was verified: its MessageID, its operation, its content, and the digest of that."""

    message_id: str
    operation: Operation
    content: etree._Element
    sha256: str


#: Does what a verified call asks and returns the response element; raises GatewayError to refuse.
Handle = Callable[[Call], etree._Element]


def new_id() -> str:
    """Return a new MessageID."""
    return f"urn:uuid:{uuid.uuid4()}"


def addressed(content: etree._Element, values: Addressing) -> etree._Element:
    """Return an unsigned envelope with `content` as its Body."""
    root = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    write_addressing(etree.SubElement(root, f"{{{SOAP11}}}Header"), values)
    etree.SubElement(root, f"{{{SOAP11}}}Body").append(content)
    return root


class Desk:
    """One SOAP 1.1 service of a partner; safe for threads."""

    def __init__(
        self, identity: Identity, description: ServiceDescription, addresses: Collection[str] = ()
    ) -> None:
        self.identity = identity
        self.description = description
        #: The values of wsa:To that mean us; with none, whatever it says is taken.
        self.addresses = frozenset(addresses)

    def serve(self, request: Request, handle: Handle) -> tuple[Reply, GatewayError | None]:
        """Answer a request, signed either way; the problem is returned too when it was refused."""
        relates_to: list[str] = []
        try:
            call = self._open(request, relates_to)
            return self._answered(call, handle(call)), None
        except GatewayError as problem:
            return self.fault(problem, relates_to[0] if relates_to else None), problem

    def _open(self, request: Request, relates_to: list[str]) -> Call:
        _check_media_type(request)
        envelope = read_envelope(parse_xml(request.body))
        if envelope.version != "1.1" or envelope.header is None:
            raise GatewayError(NOT_SOAP, "SOAP 1.1 with WS-Addressing is spoken here", "/soap:Envelope")
        require_understood(envelope, _UNDERSTOOD)
        addressing = read_addressing(envelope.header)
        relates_to.append(addressing.message_id)
        operation = self._operation(envelope, addressing, request.headers.get("soapaction", ""))
        at = now()
        signed = verify_request(envelope.root, STRICT, now=at)
        self.identity.check_hub(signed.certificate, at, _TOKEN)
        content = envelope.content[0]
        self.description.schema.check(content)
        digest = hashlib.sha256(canonicalize(content, exclusive=True)).hexdigest()
        return Call(addressing.message_id, operation, content, digest)

    def _operation(self, envelope: Envelope, addressing: Addressing, soap_action: str) -> Operation:
        content = envelope.content
        operation = self.description.by_request(str(content[0].tag)) if len(content) == 1 else None
        if operation is None:
            raise GatewayError(
                NOT_SUPPORTED, "the Body holds no request of this service", "/soap:Envelope/soap:Body"
            )
        if addressing.action != operation.action or soap_action.strip().strip('"') not in (
            "",
            operation.action,
        ):
            where = "/soap:Envelope/soap:Header/wsa:Action"
            raise GatewayError(HEADER_INCONSISTENT, f"the action is not that of {operation.name}", where)
        if addressing.relates_to is not None:
            raise GatewayError(
                HEADER_INVALID, "a call answers nothing", "/soap:Envelope/soap:Header/wsa:RelatesTo"
            )
        if self.addresses and addressing.to not in self.addresses:
            raise GatewayError(HEADER_INCONSISTENT, "wsa:To is missing or another's address", _TO)
        return operation

    def _answered(self, call: Call, response: etree._Element) -> Reply:
        if response.tag != call.operation.response:
            raise GatewayError(OUR_MISTAKE, f"{call.operation.name} was answered by another element")
        values = Addressing(call.operation.reply_action, new_id(), ANONYMOUS, call.message_id)
        return self._sealed(addressed(response, values), 200)

    def fault(self, problem: GatewayError, relates_to: str | None) -> Reply:
        """Return a problem as a signed SOAP fault."""
        code = problem.problem.soap or ("Server" if problem.problem.ours else "Client")
        namespace = self.description.namespace
        detail = etree.Element(f"{{{namespace}}}Refusal", nsmap={"p": namespace})
        etree.SubElement(detail, f"{{{namespace}}}Code").text = problem.problem.id
        etree.SubElement(detail, f"{{{namespace}}}Text").text = _plain(f"{problem.detail} {problem.location}")
        root = parse_xml(
            fault_envelope(Fault(code, f"{problem.problem.id} {_plain(problem.detail)}", (detail,)))
        )
        header = etree.Element(f"{{{SOAP11}}}Header")
        root.insert(0, header)
        write_addressing(header, Addressing(f"{namespace}:Refusal", new_id(), ANONYMOUS, relates_to))
        return self._sealed(root, 500)

    def _sealed(self, root: etree._Element, status: int) -> Reply:
        sign_request(root, self.identity.signer, now=now())
        return Reply(status, CONTENT_TYPE, serialize(root))


def _check_media_type(request: Request) -> None:
    xml = is_text_xml(request.headers.get("content-type", ""))
    if not xml or "content-encoding" in request.headers:
        raise GatewayError(MEDIA_TYPE_REFUSED, "SOAP 1.1 is sent as text/xml in UTF-8", "Content-Type")


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:500]).strip()
