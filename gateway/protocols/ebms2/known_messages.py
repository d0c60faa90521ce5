"""Opens business messages whose envelopes are like those that came before.

A message that is opened here would be opened by `message_opening` with the same result. One that is not, for
whatever reason, is opened there, which says what is wrong with it.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, UnwrappedPart
from gateway.protocols.ebms2.compressed_payloads import expand_parts
from gateway.protocols.ebms2.header_blocks import check_agreed_terms, check_soap_action
from gateway.protocols.ebms2.known_envelope import KnownMessage, learn_envelope, read_known_envelope
from gateway.protocols.ebms2.message_signature import SIGNATURE, compute_signed_identity
from gateway.protocols.ebms2.packaging import ENVELOPE_TYPE, collect_payloads
from gateway.protocols.ebms2.signer_checks import check_signer
from gateway.protocols.payload_parts import index_parts
from gateway.wire import RelatedParts
from gateway.xmlsec import verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]

_CERTIFICATE_END = b"X509Certificate>"


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails."""
    memory, document = context.envelopes, related.root.content
    if memory is None or related.root.media_type != ENVELOPE_TYPE:
        return None
    sender = memory.find_sender("ebms2", document, _CERTIFICATE_END)
    for known in memory.list_envelopes(sender):
        message = read_known_envelope(known, document)
        if message is not None:
            try:
                opened = _open(message, related, parcel, context)
            except GatewayError:
                return None
            if opened is not None:
                memory.note_met(sender, known)
            return opened
    return None


def _open(
    message: KnownMessage, related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    envelope, header = message.envelope, message.blocks.header
    check_soap_action(header, parcel.get_header("SOAPAction"))
    if context.find_party_name(header.receiver.ids[0]) not in context.keys:
        return None
    pmode = context.agreements.match_pmode(header.route, context.now)
    check_agreed_terms(message.blocks, pmode)
    if (envelope.policy, envelope.limits) != (pmode.security.policy, context.limits):
        return None
    parts = index_parts(related.attachments)
    if pmode.encryption is not None or parts.keys() != {one.content_id for one in message.manifest}:
        return None
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        lambda uri: parts[uri[4:]].octets,
        lambda certificate: check_signer(certificate, pmode, header.sender, context),
    )
    if signed is None:
        return None
    context.check_signing_certificate(signed.certificate, SIGNATURE)
    expanded: tuple[UnwrappedPart, ...] = ()
    if pmode.compresses_payloads:
        parts, expanded = expand_parts(message.manifest, parts, pmode, context.limits.body)
    unit = replace(message.unit, payloads=collect_payloads(message.manifest, parts))
    return OpenedMessage((unit,), pmode, signed, parcel, compute_signed_identity(signed), expanded)


def remember_envelope(opened: OpenedMessage, document: bytes, context: ProtocolContext) -> None:
    """Learn the envelope of a message that was opened, if others like it can be opened in less time."""
    memory = context.envelopes
    if memory is None or not _is_plain(opened) or opened.pmode is None:
        return
    sender, policy = memory.find_sender("ebms2", document, _CERTIFICATE_END), opened.pmode.security.policy
    like = (one for one in memory.list_envelopes(sender) if read_known_envelope(one, document) is not None)
    known = any((one.policy, one.limits) == (policy, context.limits) for one in like)
    if not known and memory.is_worth_learning(sender, document):
        memory.add(sender, learn_envelope(document, policy, context.limits))


def _is_plain(opened: OpenedMessage) -> bool:
    """Return whether a message is a signed business message to us alone, and not encrypted."""
    return (
        isinstance(opened.unit, UserMessage)
        and len(opened.units) == 1
        and opened.signed is not None
        and opened.onward is None
        and not any(one.key for one in opened.unwrapped)
    )
