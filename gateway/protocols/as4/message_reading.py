"""Reads a parcel as far as that needs no agreement, no register and no key; nothing is verified yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import SIGNATURE_MISSING, GatewayError
from gateway.message_model import Body, Receipt, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.fragment_header import (
    MESSAGE_FRAGMENT,
    find_fragment_element,
    name_fragment_part,
    read_fragment_header,
    require_bare_message,
)
from gateway.protocols.as4.header_reader import read_messaging, read_outline
from gateway.protocols.as4.header_values import MessagingHeader
from gateway.protocols.as4.packaging import (
    UNDERSTOOD,
    As4Package,
    check_parts_named,
    collect_as4_payloads,
    find_messaging,
    make_as4_package,
)
from gateway.protocols.as4.secret_parts import NO_SECRETS, SecretParts
from gateway.protocols.core import (
    OpenedMessage,
    Parcel,
    UnwrappedPart,
    join_unwrapped_parts,
    make_fault_error,
)
from gateway.protocols.fragment_values import FragmentHeader
from gateway.protocols.value_digests import compute_values_digest
from gateway.wire import MimePart, RelatedParts, WireLimits, canonicalize_element
from gateway.xmlsec import (
    CertificateCheck,
    VerifiedSignature,
    find_swa_security,
    get_signature_policy,
    verify_swa_signature,
)

__all__ = [
    "As4Message",
    "compute_identity",
    "make_opened_message",
    "read_message",
    "read_related_message",
    "require_signature",
    "verify_signature",
]

_UNDERSTOOD: Final = UNDERSTOOD | {MESSAGE_FRAGMENT}


@dataclass(frozen=True, slots=True)
class As4Message:
    """A message that is read but not yet verified.

    That of a fragment has MessageFragment, and as its only payload the piece of the source message.
    """

    package: As4Package
    header: MessagingHeader
    security: etree._Element | None
    secret: SecretParts = NO_SECRETS
    fragment: FragmentHeader | None = None
    fragment_element: etree._Element | None = None


def read_message(parcel: Parcel, limits: WireLimits) -> As4Message:
    """Return a message with its header; raise GatewayError for what is malformed.

    Such an error has `heard` the business message as far as its header could be read.
    """
    return read_related_message(parcel.read_parts(limits), limits)


def read_related_message(related: RelatedParts, limits: WireLimits) -> As4Message:
    """Return a message of which the MIME parts were read; see `read_message`."""
    package = make_as4_package(related, limits, _UNDERSTOOD)
    if package.fault is not None:
        raise make_fault_error(package.fault, "/soap12:Envelope/soap12:Body")
    try:
        return _read_header(package)
    except GatewayError as refused:
        # An error about it is signed, and goes where its P-Mode says, as far as these can be read.
        refused.heard = read_outline(package.envelope)
        raise


def _read_header(package: As4Package) -> As4Message:
    element = find_fragment_element(package)
    header = read_messaging(find_messaging(package.envelope))
    security = find_swa_security(package.envelope.root)
    if element is None:
        return As4Message(package, header, security)
    require_bare_message(header)
    fragment = read_fragment_header(element)
    header = replace(header, parts=(name_fragment_part(fragment, package),))
    return As4Message(package, header, security, fragment=fragment, fragment_element=element)


def verify_signature(
    message: As4Message,
    policy: str,
    limits: WireLimits,
    believe: CertificateCheck | None = None,
    known: Iterable[Certificate] = (),
) -> VerifiedSignature | None:
    """Return the verified signature of a message, None where it has no Security header.

    A business message and a receipt are signed over eb:Messaging, and a business message over the Body and
    every part, a fragment over MessageFragment, too. Nothing is read of the Body of a signal, which is
    empty: some handlers do not sign it.
    """
    check_parts_named(message.header.parts, message.package.parts)
    if message.security is None:
        return None
    business = isinstance(message.header.unit, UserMessage)
    body = (message.package.envelope.body,) if business else ()
    fragment = () if message.fragment_element is None else (message.fragment_element,)
    return verify_swa_signature(
        message.security,
        (message.header.element, *fragment, *body),
        message.secret.list_attachments(message.package.parts),
        get_signature_policy(policy),
        believe=believe,
        known=known,
        encrypted=message.secret.list_decryptions(),
        beside=message.secret.elements,
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
    sent = message.package.parts
    parts, decrypted = message.secret.replace_parts(sent), message.secret.list_unwrapped(sent)
    payloads, expanded = collect_as4_payloads(message.header.parts, parts, limits.body)
    if isinstance(unit, UserMessage):
        unit = replace(unit, payloads=payloads)
    identity = _compute_identity(message, parts)
    unwrapped = (*_list_only_decrypted(decrypted, expanded), *join_unwrapped_parts(decrypted, expanded))
    return OpenedMessage((unit,), pmode, signed, parcel, identity, unwrapped, fragment=message.fragment)


def _list_only_decrypted(
    decrypted: tuple[UnwrappedPart, ...], expanded: tuple[UnwrappedPart, ...]
) -> tuple[UnwrappedPart, ...]:
    names = {one.content_id for one in expanded}
    return tuple(one for one in decrypted if one.content_id not in names)


def _compute_identity(message: As4Message, parts: Mapping[str, MimePart]) -> str:
    """Return a digest that distinguishes a repeated message from another one with the same id.

    It covers the message unit and the parts as they were signed, not the signature: a handler that
    signs a repeat anew gives its elements new ids, and says the same.
    """
    said = [message.header.unit_element]
    said += [] if message.fragment_element is None else [message.fragment_element]
    return compute_identity([canonicalize_element(one, exclusive=True) for one in said], parts)


def compute_identity(forms: Sequence[bytes], parts: Mapping[str, MimePart]) -> str:
    """Return the digest that says which message this is: canonical forms of its header, and its parts."""
    values: list[bytes | Body] = [*forms]
    for name in sorted(parts):
        values += (name.encode(), parts[name].octets)
    return compute_values_digest(values)
