"""Opens parcels: reads or recognizes them, verifies them in the order of cost, and returns their units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gateway.agreements import ForwardingRule, PMode
from gateway.errors import (
    NOT_SUPPORTED,
    PARTY_UNKNOWN,
    RECEIPT_MISMATCH,
    SIGNATURE_MISSING,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.message_model import Payload, Receipt, UserMessage
from gateway.pki import Certificate
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, SentUnit, join_unwrapped_parts
from gateway.protocols.ebms2.answer_signals import ANSWER_ACTIONS, check_answer
from gateway.protocols.ebms2.encrypted_payloads import (
    expand_parts,
    find_encrypted_parts,
    make_unencrypted_parts,
    read_agreed_parts,
    read_encrypted_parts,
    reject_double_encryption,
)
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    check_agreed_terms,
    check_soap_action,
    read_header_blocks,
)
from gateway.protocols.ebms2.hop_messages import (
    check_forwarding_allowed,
    is_hop_signal,
    match_forwarding_rule,
)
from gateway.protocols.ebms2.message_reading import (
    SIGNATURE,
    MessageReading,
    UnverifiedMessage,
    attach_reply_address,
    collect_payload_digests,
    compute_message_identity,
    list_signed_parts,
    read_message,
    read_related_message,
    read_signature,
    require_signature,
)
from gateway.protocols.ebms2.message_units import MessageContent, get_unit_kind, make_units
from gateway.protocols.ebms2.packaging import (
    ENVELOPE_TYPE,
    ManifestReference,
    collect_payloads,
    read_soap_body,
    reject_unnamed_parts,
)
from gateway.protocols.encrypted_parts import EncryptedParts
from gateway.protocols.payload_parts import index_parts
from gateway.protocols.signer_checks import check_agreed_strength, check_signer
from gateway.wire import RelatedParts, WireLimits, parse_xml
from gateway.wire import read_envelope as read_soap_envelope
from gateway.xmlsec import (
    CertificateCheck,
    PartDecryption,
    PlainAttachments,
    SignatureOctets,
    SignatureReading,
    VerifiedSignature,
    collect_signature_octets,
    get_signature_policy,
    read_message_signature,
    verify_reading,
)


def open_units(
    parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None = None
) -> OpenedMessage:
    """Return the units of a parcel after all checks; raise GatewayError.

    `expected_unit` is the unit that we sent on the connection of this parcel; a receipt or an
    error must then belong to it. Without it, call `check_answer` when the unit is known.
    """
    return open_related(parcel.read_parts(context.limits), parcel, context, expected_unit)


def open_related(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None = None
) -> OpenedMessage:
    """Return the units of a parcel of which the MIME parts were read; see `open_units`."""
    message = read_related_message(related, parcel, context.limits)
    with attach_reply_address(message.blocks):
        forwarding_rule = match_forwarding_rule(message.blocks.header, context)
        if is_hop_signal(message.blocks, context):
            opened = _open_hop_signal(message, parcel, context, expected_unit)
        elif forwarding_rule is not None:
            opened = _open_passing_message(message, parcel, forwarding_rule, context, expected_unit)
        else:
            opened = _open_agreed_message(message, parcel, context, expected_unit)
    if expected_unit is not None:
        check_answer(opened, expected_unit)
    return opened


def _open_agreed_message(
    message: UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None
) -> OpenedMessage:
    """Return a message to us under one of our agreements, with its signature verified."""
    pmode = match_own_pmode(message.blocks, context)
    encrypted_parts, reading = _read_encrypted_parts(message, pmode, context), message.make_reading()
    with map_receipt_mismatch(message.blocks.header, expected_unit):
        signature = read_signature(message, pmode.security.policy, context.limits)
        verified_signature = check_signer_signature(reading, signature, pmode, encrypted_parts, context)
    return make_opened_message(reading, verified_signature, encrypted_parts, pmode, parcel, context.limits)


def check_signer_signature(
    reading: MessageReading,
    signature: SignatureReading | None,
    pmode: PMode,
    encrypted_parts: EncryptedParts,
    context: ProtocolContext,
) -> VerifiedSignature | None:
    """Return the signature of a message under a P-Mode after all its checks; no reader is called any more."""
    header = reading.header

    def check_signer_certificate(certificate: Certificate) -> None:
        # Called before the signature is verified. With encrypted parts, the certificate must be valid before
        # anything is decrypted; without them, its validity is checked after the signature.
        check_signer(certificate, pmode, header.sender, context, SIGNATURE)
        if signature is not None:
            check_agreed_strength(signature.algorithm, signature.references, pmode)
        if encrypted_parts:
            context.check_signing_certificate(certificate, SIGNATURE)

    verified_signature = check_signature(
        signature, reading, check_signer_certificate, encrypted_parts.list_decryptions()
    )
    check_signer_validity(header, verified_signature, pmode, context)
    return verified_signature


def _open_hop_signal(
    message: UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None
) -> OpenedMessage:
    """Return a signal of another handler on the way, signed unless it is on the connection of our own."""
    with map_receipt_mismatch(message.blocks.header, expected_unit):
        verified_signature = check_party_signature(message, context, is_required=expected_unit is None)
    return _make_undecrypted_message(message, verified_signature, parcel, context)


def _open_passing_message(
    message: UnverifiedMessage,
    parcel: Parcel,
    forwarding_rule: ForwardingRule,
    context: ProtocolContext,
    expected_unit: SentUnit | None,
) -> OpenedMessage:
    """Return a message for another handler, verified as far as an intermediary may.

    It must be signed by its From party, as that party is registered here. A signal on the connection
    of our own needs no signature. Its agreement is between others, and is not looked at.
    """
    header = message.blocks.header
    check_forwarding_allowed(header, forwarding_rule, context)
    verified_signature = check_party_signature(
        message, context, is_required=expected_unit is None or not header.is_signal
    )
    return replace(
        _make_undecrypted_message(message, verified_signature, parcel, context),
        forwarding_rule=forwarding_rule,
    )


def _make_undecrypted_message(
    message: UnverifiedMessage,
    verified_signature: VerifiedSignature | None,
    parcel: Parcel,
    context: ProtocolContext,
) -> OpenedMessage:
    """Return a message that none of our agreements governs, with its payloads as received, not decrypted."""
    unencrypted_parts = make_unencrypted_parts(context)
    return make_opened_message(
        message.make_reading(), verified_signature, unencrypted_parts, None, parcel, context.limits
    )


def verify_parcel(
    parcel: Parcel, signature_policy: str, context: ProtocolContext, encryption_policy: str = "strict"
) -> OpenedMessage:
    """Return the units of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature. Encrypted
    payloads are decrypted with the keys of the context, where it has any, by the policy
    `encryption_policy`; a payload that was compressed stays so.
    """
    message = read_message(parcel, context.limits)
    manifest = message.body.manifest if context.encryption.decryption_keys else ()
    encrypted_parts = read_encrypted_parts(manifest, message.package.parts, encryption_policy, context)
    signature, reading = read_signature(message, signature_policy, context.limits), message.make_reading()

    def check_certificate(certificate: Certificate) -> None:
        context.check_signing_certificate(certificate, SIGNATURE)

    # Decryption needs a valid certificate; in a message without encryption, the signature is checked first.
    early_check = check_certificate if encrypted_parts else None
    verified_signature = check_signature(signature, reading, early_check, encrypted_parts.list_decryptions())
    unit_kind = get_unit_kind(message.blocks.header)
    if unit_kind in ("UserMessage", "Receipt"):
        require_signature(verified_signature)
    if verified_signature is not None:
        check_certificate(verified_signature.certificate)
    return make_opened_message(reading, verified_signature, encrypted_parts, None, parcel, context.limits)


def match_own_pmode(blocks: HeaderBlocks, context: ProtocolContext) -> PMode:
    """Return the P-Mode of a message to us.

    Raises GW301 to GW304 for a message that is not agreed, GW302 for a message to another handler. No
    signature is read here.
    """
    header = blocks.header
    pmode = _match_pmode(blocks, get_unit_kind(header), context)
    if context.find_party_name(header.receiver.ids[0]) not in context.signers:
        location = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:To/eb:PartyId"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", location)
    return pmode


def _match_pmode(blocks: HeaderBlocks, unit_kind: str, context: ProtocolContext) -> PMode:
    """Return the P-Mode of a message; raise unless it permits the terms of a business message."""
    header = blocks.header
    if unit_kind != "UserMessage":
        return context.agreements.match_signal_pmode(
            header.route, context.now, is_answer=header.action in ANSWER_ACTIONS
        )
    pmode = context.agreements.match_pmode(header.route, context.now)
    check_agreed_terms(blocks, pmode)
    return pmode


def _read_encrypted_parts(
    message: UnverifiedMessage, pmode: PMode, context: ProtocolContext
) -> EncryptedParts:
    """Return the encrypted payloads of a business message; a signal has none."""
    is_business_message = get_unit_kind(message.blocks.header) == "UserMessage"
    manifest = message.body.manifest if is_business_message else ()
    return read_agreed_parts(manifest, message.package.parts, pmode.encryption, context)


def make_opened_message(
    reading: MessageReading,
    verified_signature: VerifiedSignature | None,
    encrypted_parts: EncryptedParts,
    pmode: PMode | None,
    parcel: Parcel,
    limits: WireLimits,
) -> OpenedMessage:
    """Return the units of a verified message with their payloads, decrypted and expanded."""
    if verified_signature is None:
        encrypted_parts.decrypt_unsigned_parts()
    parts, unwrapped_parts = (
        encrypted_parts.replace_parts(reading.parts),
        encrypted_parts.list_unwrapped_parts(reading.parts),
    )
    reject_double_encryption(encrypted_parts, parts)
    if pmode is not None and pmode.compresses_payloads:
        parts, expanded_parts = expand_parts(reading.manifest, parts, pmode, limits.body)
        unwrapped_parts = join_unwrapped_parts(unwrapped_parts, expanded_parts)
    units = reading.make_units(collect_payloads(reading.manifest, parts))
    identity = compute_message_identity(reading.envelope_octets, reading.parts, verified_signature)
    # The digest of a compressed payload is not that of its content.
    compressed_ids = {part.content_id for part in unwrapped_parts if part.compressed}
    signed_digests = collect_payload_digests(verified_signature)
    payload_digests = {name: digest for name, digest in signed_digests.items() if name not in compressed_ids}
    return OpenedMessage(
        units, pmode, verified_signature, parcel, identity, unwrapped_parts, payload_digests=payload_digests
    )


def check_signature(
    signature: SignatureReading | None,
    reading: MessageReading,
    check_certificate: CertificateCheck | None = None,
    decryptions: Mapping[str, PartDecryption] | None = None,
) -> VerifiedSignature | None:
    """Return the verified signature of a message, None where it has none; every payload is covered by it.

    `check_certificate` raises unless its holder may be the signer; it is called before anything is computed.
    `decryptions` decrypts the named parts, last of all.
    """
    verified_signature = None
    if signature is not None:
        octets_by_id = {name: part.octets for name, part in reading.parts.items()}
        verified_signature = verify_reading(
            signature, PlainAttachments(octets_by_id), check_certificate, decryptions
        )
    reject_unnamed_parts(reading.manifest, reading.parts, list_signed_parts(verified_signature))
    return verified_signature


def check_party_signature(
    message: UnverifiedMessage, context: ProtocolContext, *, is_required: bool
) -> VerifiedSignature | None:
    """Return the signature of the registered From party, by the strict policy.

    The digests of encrypted payloads are left to the To party.
    """
    sender = message.blocks.header.sender

    def check_signer_certificate(certificate: Certificate) -> None:
        context.check_certificate_party(certificate, sender, SIGNATURE)

    # A message is signed before it is encrypted: only the To party can compute those digests.
    encrypted_ids = find_encrypted_parts(message.body.manifest, message.package.parts)
    signature = read_signature(message, "strict", context.limits)
    skipped_decryptions = dict.fromkeys(encrypted_ids, _skip_decryption)
    verified_signature = check_signature(
        signature, message.make_reading(), check_signer_certificate, skipped_decryptions
    )
    if is_required:
        require_signature(verified_signature)
    if verified_signature is None:
        context.get_party_name(sender)
    else:
        context.check_signing_certificate(verified_signature.certificate, SIGNATURE)
    return verified_signature


def _skip_decryption(_is_genuine: object) -> None:
    """Leave a payload as it is: an intermediary has no key for it."""


def check_signer_validity(
    header: MessageHeader,
    verified_signature: VerifiedSignature | None,
    pmode: PMode,
    context: ProtocolContext,
) -> None:
    """Raise for a message without a required signature, or with a certificate that is not valid now."""
    if _needs_sender_signature(get_unit_kind(header), pmode):
        require_signature(verified_signature)
    if verified_signature is None:
        # Without signature only the ids of the header identify the sender; they must at least be known.
        context.get_party_name(header.sender)
        return
    context.check_signing_certificate(verified_signature.certificate, SIGNATURE)


def _needs_sender_signature(unit_kind: str, pmode: PMode) -> bool:
    if unit_kind == "Receipt":
        return pmode.reliability.ack_signed == "always" and pmode.reliability.ack_requested != "never"
    return unit_kind == "UserMessage" and pmode.security.sign


@contextmanager
def map_receipt_mismatch(header: MessageHeader, sent_unit: SentUnit | None) -> Iterator[None]:
    """Raise a receipt mismatch instead of GW201 and GW209 for a receipt to `sent_unit`, which we sent."""
    try:
        yield
    except GatewayError as refused:
        is_signer_fault = refused.problem in (SIGNATURE_MISSING, SIGNER_MISMATCH)
        if sent_unit is not None and is_signer_fault and get_unit_kind(header) == "Receipt":
            raise GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location) from refused
        raise


@dataclass(frozen=True, slots=True)
class EnvelopeReading:
    """One signed business message without payloads, or one receipt: its unit, its parts, its signature.

    `blocks` are its header blocks without their elements. Nothing is verified yet.
    """

    blocks: HeaderBlocks
    unit: UserMessage | Receipt
    manifest: tuple[ManifestReference, ...]
    signature: SignatureOctets

    def make_units(self, payloads: tuple[Payload, ...]) -> tuple[UserMessage | Receipt]:
        """Return the unit with payloads."""
        return (self.unit if isinstance(self.unit, Receipt) else replace(self.unit, payloads=payloads),)


def read_envelope(envelope_octets: bytes, policy: str, limits: WireLimits) -> EnvelopeReading | None:
    """Return the values of an envelope, read by a signature policy; None for one that is always opened whole.

    That is any signal but a receipt of the To party's handler, and several units.
    """
    envelope = read_soap_envelope(parse_xml(envelope_octets, limits, is_envelope=True))
    if envelope.header is None:
        return None
    blocks, body = read_header_blocks(envelope.header), read_soap_body(envelope.body)
    unit, *bundled = make_units(MessageContent(blocks, body, ()))
    if not isinstance(unit, UserMessage | Receipt) or bundled or blocks.hop_acknowledgment is not None:
        return None
    content_ids = tuple(part.content_id for part in body.manifest)
    signature = read_message_signature(envelope.root, content_ids, get_signature_policy(policy), limits)
    element_free_blocks = replace(blocks, signature=None, acknowledgment=None)
    return EnvelopeReading(element_free_blocks, unit, body.manifest, collect_signature_octets(signature))


def open_reading(
    reading: EnvelopeReading,
    policy: str,
    related: RelatedParts,
    parcel: Parcel,
    context: ProtocolContext,
    expected_unit: SentUnit | None = None,
) -> OpenedMessage:
    """Return a message or receipt whose envelope needs no reading, after all checks; raise GatewayError.

    It was read by a signature `policy`. A message that is refused here may be accepted when it is opened as
    a whole.
    """
    header, envelope_part = reading.blocks.header, related.root
    check_soap_action(header, parcel.get_header("SOAPAction"))
    pmode, parts = match_own_pmode(reading.blocks, context), index_parts(related.attachments)
    encryption_terms = None if isinstance(reading.unit, Receipt) else pmode.encryption
    encrypted_parts = read_agreed_parts(reading.manifest, parts, encryption_terms, context)
    if (
        envelope_part.media_type != ENVELOPE_TYPE
        or pmode.security.policy != policy
        or parts.keys() != {part.content_id for part in reading.manifest}
        or encrypted_parts
        or (expected_unit is not None and not isinstance(reading.unit, Receipt))
    ):
        raise GatewayError(NOT_SUPPORTED, "a message of this kind must be opened as a whole")
    message = MessageReading(header, reading.manifest, parts, envelope_part.content, reading.make_units)
    verified_signature = check_signer_signature(message, reading.signature, pmode, encrypted_parts, context)
    opened = make_opened_message(message, verified_signature, encrypted_parts, pmode, parcel, context.limits)
    if expected_unit is not None:
        check_answer(opened, expected_unit)
    return opened
