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
from gateway.xmlsec import verify_known_signature

__all__ = ["open_known_message", "remember_envelope"]

#: A larger envelope is not kept: it lists things, and no two lists are alike.
_LARGEST: Final = 64 * 1024
_TOKEN_END: Final = b"BinarySecurityToken>"
#: So many of the last octets of its certificate say who the sender of an envelope is.
_SENDER: Final = 80


def open_known_message(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage | None:
    """Return a message after all checks; None where no envelope like it is known, or where a check fails."""
    if context.envelopes is None or related.root.media_type != SOAP_TYPE:
        return None
    document = related.root.content
    sender = _find_sender(document)
    for known in () if sender is None else context.envelopes.list_envelopes(sender):
        message = read_known_envelope(known, document)
        if message is None:
            continue
        try:
            opened = _open(message, related, parcel, context)
        except GatewayError:
            return None
        if sender is not None and opened is not None:
            context.envelopes.note_met(sender, known)
        return opened
    return None


def _find_sender(document: bytes) -> bytes | None:
    """Return what tells the senders of envelopes apart, as they say it; None where they do not."""
    end = document.find(_TOKEN_END)
    return None if end < 0 else document[max(0, end - _SENDER) : end]


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
    signed = verify_known_signature(
        envelope.signature,
        message.values,
        NO_SECRETS.list_attachments(parts),
        lambda certificate: check_signer(certificate, pmode, agreed.sender, context),
        context.limits,
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
    memory, sender = context.envelopes, _find_sender(document)
    if memory is None or sender is None or len(document) > _LARGEST or not memory.is_worth_learning(sender):
        return
    if opened.pmode is None or not _is_plain(message, opened):
        return
    memory.add(sender, learn_envelope(document, opened.pmode.security.policy, context.limits))


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
