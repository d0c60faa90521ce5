"""Opens business messages and receipts of ebMS 2.0 whose envelopes are like those that came before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.agreements import PMode
from gateway.message_model import Receipt, UserMessage
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, SentUnit, UnwrappedPart
from gateway.protocols.ebms2.answer_signals import check_answer
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
from gateway.wire import MimePart, RelatedParts
from gateway.xmlsec import VerifiedSignature, verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]

_Message = KnownMessage[Ebms2Content]


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A parcel with its parts, and what we sent on its connection."""

    related: RelatedParts
    parcel: Parcel
    expecting: SentUnit | None


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None = None
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails.

    Of what answers our message on its connection a receipt alone is opened so.
    """
    arrival = _Arrival(related, parcel, expecting)
    return open_by_envelope(
        EBMS2_ENVELOPES, related, context, lambda message: _open(message, arrival, context)
    )


def _open(message: _Message, arrival: _Arrival, context: ProtocolContext) -> OpenedMessage | None:
    content = message.content
    header = content.blocks.header
    check_soap_action(header, arrival.parcel.get_header("SOAPAction"))
    if context.find_party_name(header.receiver.ids[0]) not in context.keys:
        return None
    if isinstance(content.unit, Receipt):
        return _open_receipt(message, content.unit, arrival, context)
    if arrival.expecting is not None:
        return None
    return _open_business_message(message, content.unit, arrival, context)


def _open_receipt(
    message: _Message, receipt: Receipt, arrival: _Arrival, context: ProtocolContext
) -> OpenedMessage | None:
    pmode = context.agreements.match_signal_pmode(
        message.content.blocks.header.route, context.now, answers=True
    )
    signed = None if arrival.related.attachments else _verify_signature(message, pmode, {}, context)
    if signed is None:
        return None
    opened = OpenedMessage((receipt,), pmode, signed, arrival.parcel, compute_signed_identity(signed))
    if arrival.expecting is not None:
        check_answer(opened, arrival.expecting)
    return opened


def _open_business_message(
    message: _Message, unit: UserMessage, arrival: _Arrival, context: ProtocolContext
) -> OpenedMessage | None:
    content = message.content
    pmode = context.agreements.match_pmode(content.blocks.header.route, context.now)
    check_agreed_terms(content.blocks, pmode)
    parts = index_parts(arrival.related.attachments)
    if parts.keys() != {one.content_id for one in content.manifest}:
        return None
    # Whether a payload is encrypted is seen in its octets.
    if pmode.encryption is not None or find_encrypted_parts(content.manifest, parts):
        return None
    signed = _verify_signature(message, pmode, parts, context)
    if signed is None:
        return None
    expanded: tuple[UnwrappedPart, ...] = ()
    if pmode.compresses_payloads:
        parts, expanded = expand_parts(content.manifest, parts, pmode, context.limits.body)
    whole = replace(unit, payloads=collect_payloads(content.manifest, parts))
    identity = compute_signed_identity(signed)
    return OpenedMessage((whole,), pmode, signed, arrival.parcel, identity, expanded)


def _verify_signature(
    message: _Message, pmode: PMode, parts: Mapping[str, MimePart], context: ProtocolContext
) -> VerifiedSignature | None:
    """Return the verified signature of the sender over a message and its parts; None where it is wrong."""
    envelope, sender = message.envelope, message.content.blocks.header.sender
    if (envelope.policy, envelope.limits) != (pmode.security.policy, context.limits):
        return None
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        lambda uri: parts[uri[4:]].octets,
        lambda certificate: check_signer(certificate, pmode, sender, context, SIGNATURE),
    )
    if signed is not None:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    return signed


def remember_envelope(opened: OpenedMessage, document: bytes, context: ProtocolContext) -> None:
    """Learn the envelope of a message that was opened as a whole, if others like it can be opened by it."""
    if not is_plain_message(opened, UserMessage | Receipt) or opened.pmode is None:
        return
    if isinstance(opened.unit, Receipt) or opened.pmode.encryption is None:
        remember_plain_envelope(EBMS2_ENVELOPES, opened, document, context)
