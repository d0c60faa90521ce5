"""Reads a parcel as far as that needs no agreement, no register and no key; nothing is verified yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gateway.agreements import PMode
from gateway.errors import SIGNATURE_MISSING, GatewayError
from gateway.message_model import Receipt, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.header_reader import MessagingHeader, read_messaging
from gateway.protocols.as4.packaging import (
    As4Package,
    check_parts_named,
    collect_as4_payloads,
    find_messaging,
    open_as4_package,
)
from gateway.protocols.core import OpenedMessage, Parcel, make_fault_error
from gateway.wire import WireLimits, canonicalize_element
from gateway.xmlsec import (
    CertificateCheck,
    SwaAttachment,
    VerifiedSignature,
    find_swa_security,
    get_signature_policy,
    verify_swa_signature,
)

__all__ = [
    "SIGNATURE",
    "As4Message",
    "make_opened_message",
    "read_message",
    "require_signature",
    "verify_signature",
]

SIGNATURE: Final = "/soap12:Envelope/soap12:Header/wsse:Security/ds:Signature"


@dataclass(frozen=True, slots=True)
class As4Message:
    """A message that is read but not yet verified."""

    package: As4Package
    header: MessagingHeader


def read_message(parcel: Parcel, limits: WireLimits) -> As4Message:
    """Return a message with its header; raise GatewayError for what is malformed."""
    package = open_as4_package(parcel, limits)
    if package.fault is not None:
        raise make_fault_error(package.fault, "/soap12:Envelope/soap12:Body")
    return As4Message(package, read_messaging(find_messaging(package.envelope)))


def verify_signature(
    message: As4Message,
    policy: str,
    limits: WireLimits,
    believe: CertificateCheck | None = None,
    known: Iterable[Certificate] = (),
) -> VerifiedSignature | None:
    """Return the verified signature of a message, None where it has no Security header.

    A business message and a receipt are signed over eb:Messaging, and a business message over the Body and
    every part. Nothing is read of the Body of a signal, which is empty: some handlers do not sign it.
    """
    check_parts_named(message.header.parts, message.package.parts)
    security = find_swa_security(message.package.envelope.root)
    if security is None:
        return None
    business = isinstance(message.header.unit, UserMessage)
    body = (message.package.envelope.body,) if business else ()
    return verify_swa_signature(
        security,
        (message.header.element, *body),
        {name: SwaAttachment(one.media_type, one.content) for name, one in message.package.parts.items()},
        get_signature_policy(policy),
        believe=believe,
        known=known,
        limits=limits,
    )


def require_signature(message: As4Message, signed: VerifiedSignature | None) -> None:
    """Raise GW201 for a business message or a receipt without signature."""
    if signed is None and isinstance(message.header.unit, UserMessage | Receipt):
        raise GatewayError(SIGNATURE_MISSING, "this message must be signed", "/soap12:Envelope/soap12:Header")


def make_opened_message(
    message: As4Message,
    signed: VerifiedSignature | None,
    pmode: PMode | None,
    parcel: Parcel,
    limits: WireLimits,
) -> OpenedMessage:
    """Return the unit of a verified message with its payloads."""
    unit = message.header.unit
    payloads, unwrapped = collect_as4_payloads(message.header.parts, message.package.parts, limits.body)
    if isinstance(unit, UserMessage):
        unit = replace(unit, payloads=payloads)
    return OpenedMessage((unit,), pmode, signed, parcel, _compute_identity(message), unwrapped)


def _compute_identity(message: As4Message) -> str:
    """Return a digest that distinguishes a repeated message from another one with the same id.

    It covers the message unit and the parts as they were signed, not the signature: a handler that
    signs a repeat anew gives its elements new ids, and says the same.
    """
    values = [canonicalize_element(message.header.unit_element, exclusive=True)]
    for name in sorted(message.package.parts):
        values += (name.encode(), message.package.parts[name].content)
    # Each value has its length before it, so that no two lists of values give the same octets.
    return hashlib.sha256(b"".join([len(one).to_bytes(8) + one for one in values])).hexdigest()
