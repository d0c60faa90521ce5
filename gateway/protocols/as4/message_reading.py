"""Reads a parcel as far as that needs no agreement, no register and no key; nothing is verified yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import SIGNATURE_MISSING, GatewayError
from gateway.message_model import Body, DigestReference, Receipt, Unit, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.encrypted_parts import NO_ENCRYPTED_PARTS, As4EncryptedParts
from gateway.protocols.as4.fragment_header import (
    MESSAGE_FRAGMENT,
    find_fragment_element,
    get_fragment_part,
    read_fragment_header,
    require_bare_message,
)
from gateway.protocols.as4.header_reader import read_messaging, read_outline
from gateway.protocols.as4.header_values import MessagingHeader, PartInfo
from gateway.protocols.as4.packaging import (
    UNDERSTOOD_BLOCKS,
    As4Package,
    check_parts_named,
    collect_as4_payloads,
    find_messaging,
    make_as4_package,
    read_as4_envelope,
)
from gateway.protocols.core import (
    OpenedMessage,
    Parcel,
    SentUnit,
    UnwrappedPart,
    join_unwrapped_parts,
    make_fault_error,
)
from gateway.protocols.element_reader import allow_stored_values
from gateway.protocols.fragment_values import FragmentHeader
from gateway.protocols.payload_parts import format_cid_uri
from gateway.protocols.signed_values import compute_values_digest, read_references
from gateway.wire import DS, XENC, MimePart, RelatedParts, WireLimits, canonicalize_element, read_fault
from gateway.xmlsec import (
    SHA256,
    CertificateCheck,
    SignatureReading,
    SwaAttachments,
    VerifiedSignature,
    find_swa_security,
    get_signature_policy,
    is_signed_as_is,
    read_swa_signature,
    verify_reading,
)

_UNDERSTOOD_WITH_FRAGMENT: Final = UNDERSTOOD_BLOCKS | {MESSAGE_FRAGMENT}


@dataclass(frozen=True, slots=True)
class As4Message:
    """A message that is read but not yet verified.

    That of a fragment has MessageFragment, and as its only payload the piece of the source message.
    """

    package: As4Package
    header: MessagingHeader
    security: etree._Element | None
    encrypted_parts: As4EncryptedParts = NO_ENCRYPTED_PARTS
    fragment: FragmentHeader | None = None
    fragment_element: etree._Element | None = None

    def make_reading(self) -> MessageReading:
        """Return the values and parts of the message, for its checks and its opening."""
        return MessageReading(
            self.header.unit,
            self.header.parts,
            self.package.parts,
            self._canonicalize_header,
            self.encrypted_parts,
            self.fragment,
        )

    def _canonicalize_header(self) -> list[bytes]:
        elements = [self.header.unit_element]
        elements += [] if self.fragment_element is None else [self.fragment_element]
        return [canonicalize_element(element, exclusive=True) for element in elements]


@dataclass(frozen=True, slots=True)
class MessageReading:
    """The values of a message, and its parts by content id; nothing is verified yet.

    `canonicalize_header` returns the canonical forms of its unit and of its MessageFragment.
    """

    unit: Unit
    named_parts: tuple[PartInfo, ...]
    parts: Mapping[str, MimePart]
    canonicalize_header: Callable[[], Sequence[bytes]]
    encrypted_parts: As4EncryptedParts = NO_ENCRYPTED_PARTS
    fragment: FragmentHeader | None = None


def read_message(parcel: Parcel, limits: WireLimits) -> As4Message:
    """Return a message with its header; raise GatewayError for a malformed one.

    The `message_part` of such an error is the business message as far as its header could be read, or None.
    """
    return read_related_message(parcel.read_parts(limits), limits)


def read_related_message(related: RelatedParts, limits: WireLimits) -> As4Message:
    """Return a message of which the MIME parts were read; see `read_message`."""
    package = make_as4_package(related, limits, _UNDERSTOOD_WITH_FRAGMENT)
    if package.fault is not None:
        raise make_fault_error(package.fault, "/soap12:Envelope/soap12:Body")
    try:
        return _read_header(package)
    except GatewayError as refused:
        # An error about it is signed, and goes where its P-Mode says, as far as these can be read.
        refused.message_part = read_outline(package.envelope)
        raise


def _read_header(package: As4Package) -> As4Message:
    """Return a message with its headers read; a fragment names its one part by mf:MessageFragment."""
    element = find_fragment_element(package)
    header = read_messaging(find_messaging(package.envelope))
    security = find_swa_security(package.envelope.root)
    if element is None:
        return As4Message(package, header, security)
    require_bare_message(header)
    fragment = read_fragment_header(element)
    header = replace(header, parts=(get_fragment_part(fragment, package),))
    return As4Message(package, header, security, fragment=fragment, fragment_element=element)


def read_signature(
    message: As4Message, policy: str, limits: WireLimits, candidate_certificates: Iterable[Certificate] = ()
) -> SignatureReading | None:
    """Return the signature of a message as read, None where it has no Security header; no key is used.

    A business message and a receipt are signed over eb:Messaging, and a business message over the Body and
    every part, a fragment over MessageFragment, too. Nothing is read of the Body of a signal, which is
    empty: some handlers do not sign it. `candidate_certificates` may be named without being in the message.
    """
    check_parts_named(message.header.parts, message.package.parts)
    if message.security is None:
        return None
    is_business_message = isinstance(message.header.unit, UserMessage)
    body_elements = (message.package.envelope.body,) if is_business_message else ()
    fragment_elements = () if message.fragment_element is None else (message.fragment_element,)
    return read_swa_signature(
        message.security,
        (message.header.element, *fragment_elements, *body_elements),
        message.package.parts,
        get_signature_policy(policy),
        candidate_certificates,
        message.encrypted_parts.elements,
        limits,
    )


def check_signature(
    signature: SignatureReading | None,
    reading: MessageReading,
    limits: WireLimits,
    check_certificate: CertificateCheck | None = None,
) -> VerifiedSignature | None:
    """Return the signature of a message after its checks, None where it has none; then decrypt its parts.

    `check_certificate` raises unless its holder may be the signer; it is called before anything is computed.
    """
    if signature is None:
        return None
    attachments = SwaAttachments(reading.encrypted_parts.list_attachments(reading.parts), limits)
    return verify_reading(
        signature, attachments, check_certificate, reading.encrypted_parts.list_decryptions()
    )


def require_signature(unit: Unit, verified_signature: VerifiedSignature | None) -> None:
    """Raise GW201 for a business message or a receipt without signature."""
    if verified_signature is None and isinstance(unit, UserMessage | Receipt):
        raise GatewayError(SIGNATURE_MISSING, "this message must be signed", "/soap12:Envelope/soap12:Header")


def make_opened_message(
    reading: MessageReading,
    verified_signature: VerifiedSignature | None,
    pmode: PMode | None,
    parcel: Parcel,
    limits: WireLimits,
) -> OpenedMessage:
    """Return the unit of a verified message with its payloads."""
    unit, received_parts, encrypted_parts = reading.unit, reading.parts, reading.encrypted_parts
    parts, decrypted_parts = (
        encrypted_parts.replace_parts(received_parts),
        encrypted_parts.list_unwrapped_parts(received_parts),
    )
    payloads, expanded_parts = collect_as4_payloads(reading.named_parts, parts, limits.body)
    if isinstance(unit, UserMessage):
        unit = replace(unit, payloads=payloads)
    identity = _compute_identity(reading.canonicalize_header(), parts)
    unwrapped_parts = (
        *_list_only_decrypted(decrypted_parts, expanded_parts),
        *join_unwrapped_parts(decrypted_parts, expanded_parts),
    )
    return OpenedMessage(
        (unit,),
        pmode,
        verified_signature,
        parcel,
        identity,
        unwrapped_parts,
        fragment_header=reading.fragment,
        payload_digests=_collect_payload_digests(verified_signature, reading.named_parts, parts),
    )


def _collect_payload_digests(
    verified_signature: VerifiedSignature | None,
    named_parts: Sequence[PartInfo],
    parts: Mapping[str, MimePart],
) -> dict[str, str]:
    """Return the SHA-256 of payloads by content id, as the signature has them.

    For XML, other text and compressed parts, the signed octets are not those of the payload.
    """
    id_by_uri = {
        format_cid_uri(part_info.content_id): part_info.content_id
        for part_info in named_parts
        if not part_info.is_compressed and is_signed_as_is(parts[part_info.content_id].media_type)
    }
    return {
        id_by_uri[reference.uri]: reference.digest_value.hex()
        for reference in (verified_signature.references if verified_signature is not None else ())
        if reference.uri in id_by_uri and reference.digest_algorithm == SHA256
    }


def _list_only_decrypted(
    decrypted_parts: tuple[UnwrappedPart, ...], expanded_parts: tuple[UnwrappedPart, ...]
) -> tuple[UnwrappedPart, ...]:
    expanded_ids = {part.content_id for part in expanded_parts}
    return tuple(part for part in decrypted_parts if part.content_id not in expanded_ids)


def _compute_identity(canonical_forms: Sequence[bytes], parts: Mapping[str, MimePart]) -> str:
    """Return a digest that distinguishes a repeated message from another one with the same id.

    It covers the message unit, by the canonical forms of its header, and the parts as they were signed, not
    the signature: a handler that signs a repeat anew gives its elements new ids, and says the same.
    """
    values: list[bytes | Body] = [*canonical_forms]
    for content_id in sorted(parts):
        values += (content_id.encode(), parts[content_id].octets)
    return compute_values_digest(values)


@allow_stored_values()
def read_sent_unit(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, to compare an answer with its stored octets.

    Nothing is verified: the certificate may have expired since. A message that was encrypted for another
    party has no payloads here.
    """
    message = read_message(parcel, limits)
    unit, security = message.header.unit, message.security
    if isinstance(unit, UserMessage) and (
        security is None or security.find(f"{{{XENC}}}EncryptedData") is None
    ):
        unit = make_opened_message(message.make_reading(), None, None, parcel, limits).unit
    return SentUnit(unit, _read_signed_references(security))


@allow_stored_values()
def read_sent_header(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, without payloads; only its envelope is read."""
    envelope = read_as4_envelope(parcel, limits, _UNDERSTOOD_WITH_FRAGMENT)
    fault = read_fault(envelope)
    if fault is not None:
        raise make_fault_error(fault, "/soap12:Envelope/soap12:Body")
    unit = read_messaging(find_messaging(envelope)).unit
    return SentUnit(unit, _read_signed_references(find_swa_security(envelope.root)))


def _read_signed_references(security: etree._Element | None) -> tuple[DigestReference, ...]:
    reference_path = f"{{{DS}}}Signature/{{{DS}}}SignedInfo/{{{DS}}}Reference"
    return () if security is None else read_references(security.iterfind(reference_path))
