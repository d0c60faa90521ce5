"""Opens business messages of AS4 whose envelopes are like those that came before."""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements import PMode
from gateway.protocols.as4.agreed_algorithms import check_agreed_algorithms
from gateway.protocols.as4.exchange_legs import find_answered_request
from gateway.protocols.as4.header_values import SIGNATURE
from gateway.protocols.as4.known_envelope import AS4_ENVELOPES, As4Content
from gateway.protocols.as4.message_reading import As4Message, compute_identity
from gateway.protocols.as4.packaging import check_parts_named, collect_as4_payloads
from gateway.protocols.as4.pmode_matching import find_agreed_terms
from gateway.protocols.as4.secret_parts import NO_SECRETS
from gateway.protocols.as4.username_tokens import find_authorization
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.known_envelope import KnownMessage
from gateway.protocols.known_messages import is_plain_message, open_by_envelope
from gateway.protocols.known_messages import remember_envelope as remember_plain_envelope
from gateway.protocols.payload_parts import index_parts
from gateway.protocols.signer_checks import check_signer
from gateway.wire import RelatedParts
from gateway.xmlsec import canonicalize_attachment, verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails."""
    return open_by_envelope(
        AS4_ENVELOPES, related, context, lambda message: _open(message, related, parcel, context)
    )


def _open(
    message: KnownMessage[As4Content], related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    envelope, named, unit = message.envelope, message.content.parts, message.content.unit
    pmode, terms = find_agreed_terms(unit, "as4", context)
    if (envelope.policy, envelope.limits) != (pmode.security.policy, context.limits):
        return None
    if not _can_be_known(pmode) or find_answered_request(unit, pmode):
        return None
    if context.find_party_name(unit.receiver.ids[0]) not in context.keys:
        return None
    parts = index_parts(related.attachments)
    check_parts_named(named, parts)
    attachments = NO_SECRETS.list_attachments(parts)
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        lambda uri: canonicalize_attachment(uri[4:], attachments[uri[4:]], context.limits),
        lambda certificate: check_signer(certificate, pmode, unit.sender, context, SIGNATURE),
    )
    if signed is None:
        return None
    check_agreed_algorithms(signed, pmode)
    context.check_signing_certificate(signed.certificate, SIGNATURE)
    payloads, expanded = collect_as4_payloads(named, parts, context.limits.body)
    identity = compute_identity([message.identity], parts)
    agreed = replace(unit, payloads=payloads, **terms)
    return OpenedMessage((agreed,), pmode, signed, parcel, identity, expanded)


def _can_be_known(pmode: PMode) -> bool:
    """Return whether messages of a P-Mode can be opened so: posted, in clear, and no replies."""
    return pmode.encryption is None and pmode.pull is None and pmode.leg != "reply"


def remember_envelope(
    message: As4Message, opened: OpenedMessage, document: bytes, context: ProtocolContext
) -> None:
    """Learn the envelope of a message that was opened as a whole, if others like it can be opened by it."""
    agreed = opened.pmode is not None and _can_be_known(opened.pmode)
    authorised = find_authorization(message.package.envelope.root) is not None
    if agreed and is_plain_message(opened) and not authorised:
        remember_plain_envelope(AS4_ENVELOPES, opened, document, context)
