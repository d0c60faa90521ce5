"""Reads and verifies one fragment of a large message (ebMS 3.0 part 2 §4.3.2, eDelivery AS4 1.15 §1.5.6)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.errors import FRAGMENT_MALFORMED, SIGNATURE_MISSING, GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.as4.fragment_header import (
    FRAGMENT,
    FRAGMENT_TYPE,
    MESSAGE_FRAGMENT,
    Fragment,
    FragmentHeader,
    read_fragment_header,
)
from gateway.protocols.as4.header_reader import MessagingHeader, read_messaging
from gateway.protocols.as4.message_reading import SIGNATURE
from gateway.protocols.as4.packaging import UNDERSTOOD, As4Package, find_messaging, open_as4_package
from gateway.protocols.core import Parcel, ProtocolContext, make_fault_error
from gateway.protocols.payload_parts import format_cid_uri
from gateway.protocols.value_digests import compute_values_digest
from gateway.wire import MimePart, build_xpath, canonicalize_element
from gateway.xmlsec import (
    SwaAttachment,
    find_swa_security,
    get_signature_policy,
    verify_swa_signature,
)

__all__ = ["open_fragment"]

_HEADER: Final = "/soap12:Envelope/soap12:Header"
_BODY: Final = "/soap12:Envelope/soap12:Body"
_UNDERSTOOD: Final = UNDERSTOOD | {MESSAGE_FRAGMENT}


def open_fragment(parcel: Parcel, policy: str, context: ProtocolContext) -> Fragment:
    """Return a fragment whose signature covers header, MessageFragment, Body and part; raise GatewayError.

    The certificate of the signature is judged by the context. Whether it is that of the sender is for who
    knows the parties.
    """
    package = open_as4_package(parcel, context.limits, _UNDERSTOOD)
    if package.fault is not None:
        raise make_fault_error(package.fault, _BODY)
    element = _find_fragment_element(package)
    if package.envelope.body_elements or (package.envelope.body.text or "").strip():
        raise GatewayError(FRAGMENT_MALFORMED, "the Body of a fragment is empty", _BODY)
    messaging = read_messaging(find_messaging(package.envelope))
    unit = _require_bare_message(messaging)
    header = read_fragment_header(element)
    part = _find_part(header, package)
    security = find_swa_security(package.envelope.root)
    if security is None:
        raise GatewayError(SIGNATURE_MISSING, "a fragment must be signed", _HEADER)
    signed = verify_swa_signature(
        security,
        (messaging.element, element, package.envelope.body),
        {header.content_id: SwaAttachment(FRAGMENT_TYPE, part.octets)},
        get_signature_policy(policy),
        known=context.known_certificates,
        limits=context.limits,
    )
    context.check_signing_certificate(signed.certificate, SIGNATURE)
    said = [canonicalize_element(one, exclusive=True) for one in (messaging.unit_element, element)]
    return Fragment(header, unit, part.octets, signed, compute_values_digest([*said, part.octets]))


def _find_fragment_element(package: As4Package) -> etree._Element:
    """Return the one mf:MessageFragment, a block of the SOAP Header."""
    found = list(package.envelope.root.iter(MESSAGE_FRAGMENT))
    if len(found) != 1 or found[0].getparent() is not package.envelope.header:
        detail = "mf:MessageFragment must occur once, as a block of the SOAP Header"
        raise GatewayError(FRAGMENT_MALFORMED, detail, _HEADER)
    return found[0]


def _require_bare_message(header: MessagingHeader) -> UserMessage:
    """Return the business message of a fragment, which has neither PayloadInfo nor signals beside it."""
    if not isinstance(header.unit, UserMessage) or header.bundled or header.parts:
        detail = "a fragment has one UserMessage without PayloadInfo and no signal"
        raise GatewayError(FRAGMENT_MALFORMED, detail, build_xpath(header.element))
    return header.unit


def _find_part(header: FragmentHeader, package: As4Package) -> MimePart:
    """Return the part that is the fragment: the only one, of its type."""
    if set(package.parts) != {header.content_id}:
        detail = "a fragment has one part, and href of MessageFragment names it"
        raise GatewayError(FRAGMENT_MALFORMED, detail, f"{FRAGMENT}/@href")
    part = package.parts[header.content_id]
    if part.media_type != FRAGMENT_TYPE or part.headers.get("content-type", part.media_type) != FRAGMENT_TYPE:
        detail = f"the part of a fragment is {FRAGMENT_TYPE}, not {part.media_type[:80]!r}"
        raise GatewayError(FRAGMENT_MALFORMED, detail, format_cid_uri(header.content_id))
    return part
