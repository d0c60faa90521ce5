"""Opens business messages whose envelopes are like those that came before.

A message that is opened here would be opened by `message_opening` with the same result. One that is not, for
whatever reason, is opened there, which says what is wrong with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.errors import GatewayError
from gateway.message_model import UserMessage
from gateway.protocols.as4.agreed_algorithms import check_agreed_algorithms
from gateway.protocols.as4.exchange_legs import find_answered_request
from gateway.protocols.as4.known_envelope import KnownMessage, learn_envelope, read_known_envelope
from gateway.protocols.as4.message_reading import As4Message, compute_identity
from gateway.protocols.as4.packaging import SOAP_TYPE, check_parts_named, collect_as4_payloads
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.as4.secret_parts import NO_SECRETS
from gateway.protocols.as4.signer_checks import SIGNATURE, check_signer
from gateway.protocols.as4.username_tokens import find_authorization
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.payload_parts import index_parts
from gateway.wire import RelatedParts, fill_template
from gateway.xmlsec import canonicalize_attachment, verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]

_TOKEN_END: Final = b"BinarySecurityToken>"


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails."""
    memory, document = context.envelopes, related.root.content
    if memory is None or related.root.media_type != SOAP_TYPE:
        return None
    sender = memory.find_sender("as4", document, _TOKEN_END)
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
    envelope = message.envelope
    pmode, agreed = match_agreed_pmode(message.unit, "as4", context)
    if (envelope.policy, envelope.limits) != (pmode.security.policy, context.limits):
        return None
    if pmode.encryption is not None or pmode.pull is not None or find_answered_request(agreed, pmode):
        return None
    if context.find_party_name(agreed.receiver.ids[0]) not in context.keys:
        return None
    parts = index_parts(related.attachments)
    check_parts_named(message.parts, parts)
    attachments = NO_SECRETS.list_attachments(parts)
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        lambda uri: canonicalize_attachment(uri[4:], attachments[uri[4:]], context.limits),
        lambda certificate: check_signer(certificate, pmode, agreed.sender, context),
    )
    if signed is None:
        return None
    check_agreed_algorithms(signed, pmode)
    context.check_signing_certificate(signed.certificate, SIGNATURE)
    payloads, expanded = collect_as4_payloads(message.parts, parts, context.limits.body)
    identity = compute_identity([fill_template(envelope.identity, message.values)], parts)
    unit = replace(agreed, payloads=payloads)
    return OpenedMessage((unit,), pmode, signed, parcel, identity, expanded)


def remember_envelope(
    message: As4Message, opened: OpenedMessage, document: bytes, context: ProtocolContext
) -> None:
    """Learn the envelope of a message that was opened, if others like it can be opened in less time."""
    memory = context.envelopes
    if memory is None or opened.pmode is None or not _is_plain(message, opened):
        return
    sender, policy = memory.find_sender("as4", document, _TOKEN_END), opened.pmode.security.policy
    like = (one for one in memory.list_envelopes(sender) if read_known_envelope(one, document) is not None)
    known = any((one.policy, one.limits) == (policy, context.limits) for one in like)
    if not known and memory.is_worth_learning(sender, document):
        memory.add(sender, learn_envelope(document, policy, context.limits))


def _is_plain(message: As4Message, opened: OpenedMessage) -> bool:
    """Return whether a message is a signed business message alone, neither encrypted nor a fragment."""
    return (
        isinstance(opened.unit, UserMessage)
        and len(opened.units) == 1
        and opened.signed is not None
        and message.fragment is None
        and not message.secret
        and find_authorization(message.package.envelope.root) is None
    )
