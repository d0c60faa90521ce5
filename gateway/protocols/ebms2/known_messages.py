"""Opens business messages of ebMS 2.0 whose envelopes are like those that came before."""

from __future__ import annotations

from dataclasses import replace

from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, UnwrappedPart
from gateway.protocols.ebms2.compressed_payloads import expand_parts
from gateway.protocols.ebms2.encrypted_payloads import find_encrypted_parts
from gateway.protocols.ebms2.header_blocks import check_agreed_terms, check_soap_action
from gateway.protocols.ebms2.known_envelope import EBMS2_ENVELOPES, Ebms2Content
from gateway.protocols.ebms2.message_signature import SIGNATURE, compute_signed_identity
from gateway.protocols.ebms2.packaging import collect_payloads
from gateway.protocols.known_envelope import KnownMessage
from gateway.protocols.known_messages import is_plain_message, open_by_envelope
from gateway.protocols.known_messages import remember_envelope as remember_plain_envelope
from gateway.protocols.payload_parts import index_parts
from gateway.protocols.signer_checks import check_signer
from gateway.wire import RelatedParts
from gateway.xmlsec import verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails."""
    return open_by_envelope(
        EBMS2_ENVELOPES, related, context, lambda message: _open(message, related, parcel, context)
    )


def _open(
    message: KnownMessage[Ebms2Content], related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    envelope, content = message.envelope, message.content
    header = content.blocks.header
    check_soap_action(header, parcel.get_header("SOAPAction"))
    if context.find_party_name(header.receiver.ids[0]) not in context.keys:
        return None
    pmode = context.agreements.match_pmode(header.route, context.now)
    check_agreed_terms(content.blocks, pmode)
    if (envelope.policy, envelope.limits) != (pmode.security.policy, context.limits):
        return None
    parts = index_parts(related.attachments)
    if parts.keys() != {one.content_id for one in content.manifest}:
        return None
    # Whether a payload is encrypted is seen in its octets.
    if pmode.encryption is not None or find_encrypted_parts(content.manifest, parts):
        return None
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        lambda uri: parts[uri[4:]].octets,
        lambda certificate: check_signer(certificate, pmode, header.sender, context, SIGNATURE),
    )
    if signed is None:
        return None
    context.check_signing_certificate(signed.certificate, SIGNATURE)
    expanded: tuple[UnwrappedPart, ...] = ()
    if pmode.compresses_payloads:
        parts, expanded = expand_parts(content.manifest, parts, pmode, context.limits.body)
    unit = replace(content.unit, payloads=collect_payloads(content.manifest, parts))
    return OpenedMessage((unit,), pmode, signed, parcel, compute_signed_identity(signed), expanded)


def remember_envelope(opened: OpenedMessage, document: bytes, context: ProtocolContext) -> None:
    """Learn the envelope of a message that was opened as a whole, if others like it can be opened by it."""
    if is_plain_message(opened) and opened.pmode is not None and opened.pmode.encryption is None:
        remember_plain_envelope(EBMS2_ENVELOPES, opened, document, context)
