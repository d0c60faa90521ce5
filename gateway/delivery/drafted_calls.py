"""Drafts of calls that the WSDL of an agency does not take: they are kept whole until it does.

A draft is the unsigned envelope by the shipped WSDL that takes every document. It has all that was to
be sent, under the MessageID of the call. Before it is sent, the call is composed from it by the WSDL
that the agency has then.
"""

from __future__ import annotations

import base64
from typing import Final

from lxml import etree

from gateway.delivery.service_contracts import CallAttachment, ServiceCall, load_contract
from gateway.delivery.soap_caller import SoapDestination, compose_service_call
from gateway.errors import CALL_UNFIT, REQUEST_INVALID, GatewayError
from gateway.wire import (
    WsdlOperation,
    canonicalize_element,
    parse_xml,
    read_addressing,
    read_envelope,
    read_own_element,
)

__all__ = ["compose_draft", "compose_from_draft"]

#: The WSDL that takes any document, in any form.
_TEMPLATE: Final = "agency-template.wsdl"
_ATTACHMENT: Final = "Attachment"


def compose_draft(call: ServiceCall) -> bytes:
    """Return the draft of a call to an agency; raises GW504 for one that fits no contract at all."""
    return load_contract(_TEMPLATE).compose_envelope(call)


def compose_from_draft(draft: bytes, destination: SoapDestination) -> bytes:
    """Return the envelope of a drafted call by the contract of its agency; raises GW720 where it fits not."""
    try:
        return compose_service_call(destination, _read_draft(draft, destination))
    except GatewayError as problem:
        raise GatewayError(CALL_UNFIT, problem.detail, problem.location) from problem


def _read_draft(draft: bytes, destination: SoapDestination) -> ServiceCall:
    """Return the call that a draft was made of, to the address that its agency has now."""
    envelope = read_envelope(parse_xml(draft, destination.rules.limits, envelope=True))
    content = envelope.body_elements[0]
    operation = load_contract(_TEMPLATE).description.find_by_request(str(content.tag))
    if operation is None or envelope.header is None:
        raise GatewayError(REQUEST_INVALID, "the stored call is no draft", "/soap:Envelope/soap:Body")
    document, scope = _read_open_part(content, operation)
    simple = [one for one in content.iterchildren(tag=etree.Element) if not len(one) and not one.attrib]
    return ServiceCall(
        operation.name,
        read_addressing(envelope.header).message_id,
        destination.endpoint,
        {etree.QName(one).localname: one.text or "" for one in simple},
        document,
        tuple(_read_attachment(one) for one in content.findall(f"{{*}}{_ATTACHMENT}")),
        scope,
    )


def _read_open_part(
    content: etree._Element, operation: WsdlOperation
) -> tuple[etree._Element | None, dict[str, tuple[str, ...]]]:
    """Return the document of a draft as a tree of its own, and the lists of values beside it."""
    part = content.find(f"{{*}}{operation.open_part}")
    if part is None:
        return None, {}
    scope = {str(name): tuple(str(value).split()) for name, value in part.attrib.items()}
    return read_own_element(canonicalize_element(part[0], exclusive=True)), scope


def _read_attachment(element: etree._Element) -> CallAttachment:
    content = base64.b64decode(element.text or "")
    return CallAttachment(element.get("cid", ""), element.get("mediaType", ""), content)
