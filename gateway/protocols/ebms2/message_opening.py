"""Opens parcels: reads them, verifies them in the order of cost, and returns their units."""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements import ForwardingRule, PMode
from gateway.errors import PARTY_UNKNOWN, GatewayError
from gateway.message_model import Receipt
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, SentUnit, join_unwrapped_parts
from gateway.protocols.ebms2.answer_signals import ANSWERS, check_answer
from gateway.protocols.ebms2.compressed_payloads import expand_parts
from gateway.protocols.ebms2.encrypted_payloads import EncryptedParts, read_agreed_parts, read_encrypted_parts
from gateway.protocols.ebms2.header_blocks import check_agreed_terms
from gateway.protocols.ebms2.hop_messages import check_passage, find_onward_rule, is_hop_signal
from gateway.protocols.ebms2.known_messages import open_known_message, remember_envelope
from gateway.protocols.ebms2.message_signature import (
    SIGNATURE,
    compute_message_identity,
    require_signature,
)
from gateway.protocols.ebms2.message_signature import collect_payload_digests as collect_signed_digests
from gateway.protocols.ebms2.message_units import MessageContent, get_unit_kind, make_units
from gateway.protocols.ebms2.packaging import collect_payloads
from gateway.protocols.ebms2.signer_checks import (
    build_signer_check,
    check_signer_validity,
    map_receipt_mismatch,
    verify_party_signature,
    verify_signature,
)
from gateway.protocols.ebms2.unverified_message import (
    UnverifiedMessage,
    attach_reply_address,
    read_message,
    read_related_message,
)
from gateway.wire import WireLimits
from gateway.xmlsec import VerifiedSignature

__all__ = ["collect_payload_digests", "open", "verify_parcel"]


def open(parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None = None) -> OpenedMessage:
    """Return the units of a parcel after all checks; raise GatewayError.

    `expecting` is the unit that we sent on the connection of this parcel; a receipt or an
    error must then belong to it. Without it, call `check_answer` when the unit is known.
    """
    related = parcel.read_parts(context.limits)
    known = open_known_message(related, parcel, context, expecting)
    if known is not None:
        return known
    message = read_related_message(related, parcel, context.limits)
    with attach_reply_address(message.blocks):
        onward = find_onward_rule(message.blocks.header, context)
        if is_hop_signal(message.blocks, context):
            opened = _open_hop_signal(message, parcel, context, expecting)
        elif onward is not None:
            opened = _open_passing_message(message, (parcel, onward), context, expecting)
        else:
            opened = _open_agreed_message(message, parcel, context, expecting)
    if expecting is not None:
        check_answer(opened, expecting)
    if expecting is None or isinstance(opened.unit, Receipt):
        remember_envelope(opened, message.package.octets, context)
    return opened


def _open_agreed_message(
    message: UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None
) -> OpenedMessage:
    """Return a message to us under an agreement of ours."""
    pmode = _match_addressed_pmode(message, context)
    secret = _read_encrypted_parts(message, pmode, context)
    with map_receipt_mismatch(message, expecting):
        signed = verify_signature(
            message,
            pmode.security.policy,
            context.limits,
            build_signer_check(message, pmode, context, secret=bool(secret)),
            secret.list_decryptions(),
        )
        check_signer_validity(message, signed, pmode, context)
    return _make_opened_message(message, (signed, secret), pmode, parcel, context.limits)


def _open_hop_signal(
    message: UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None
) -> OpenedMessage:
    """Return a signal of another handler on the way, signed unless it is on the connection of our own."""
    with map_receipt_mismatch(message, expecting):
        signed = verify_party_signature(message, context, required=expecting is None)
    return _make_undecrypted_message(message, signed, parcel, context)


def _open_passing_message(
    message: UnverifiedMessage,
    passing: tuple[Parcel, ForwardingRule],
    context: ProtocolContext,
    expecting: SentUnit | None,
) -> OpenedMessage:
    """Return a message for another handler, verified as far as an intermediary may.

    It must be signed by its From party, as that party is registered here. A signal on the connection
    of our own needs no signature. Its agreement is between others, and is not looked at.
    """
    parcel, onward = passing
    header = message.blocks.header
    check_passage(header, onward, context)
    signed = verify_party_signature(message, context, required=expecting is None or not header.is_signal)
    return replace(_make_undecrypted_message(message, signed, parcel, context), onward=onward)


def _make_undecrypted_message(
    message: UnverifiedMessage, signed: VerifiedSignature | None, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return a message outside of any agreement of ours, with its payloads as they came."""
    nothing = EncryptedParts({}, context)
    return _make_opened_message(message, (signed, nothing), None, parcel, context.limits)


def verify_parcel(
    parcel: Parcel, policy: str, context: ProtocolContext, encryption: str = "strict"
) -> OpenedMessage:
    """Return the units of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature. Encrypted
    payloads are decrypted with the keys of the context, where it has any, by the policy
    `encryption`; a payload that was compressed stays so.
    """
    message = read_message(parcel, context.limits)
    named = message.body.manifest if context.encryption.keys else ()
    secret = read_encrypted_parts(named, message.package.parts, encryption, context)
    signed = verify_signature(message, policy, context.limits, None, secret.list_decryptions())
    kind = get_unit_kind(message.blocks.header)
    if kind in ("UserMessage", "Receipt"):
        require_signature(signed)
    if signed is not None:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    return _make_opened_message(message, (signed, secret), None, parcel, context.limits)


def _match_addressed_pmode(message: UnverifiedMessage, context: ProtocolContext) -> PMode:
    """Return the P-Mode of a message that is addressed to us."""
    header = message.blocks.header
    kind = get_unit_kind(header)
    pmode = _match_pmode(message, kind, context)
    if context.find_party_name(header.receiver.ids[0]) not in context.keys:
        where = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:To/eb:PartyId"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", where)
    return pmode


def _match_pmode(message: UnverifiedMessage, kind: str, context: ProtocolContext) -> PMode:
    header = message.blocks.header
    if kind != "UserMessage":
        return context.agreements.match_signal_pmode(
            header.route, context.now, answers=header.action in ANSWERS
        )
    pmode = context.agreements.match_pmode(header.route, context.now)
    check_agreed_terms(message.blocks, pmode)
    return pmode


def _read_encrypted_parts(
    message: UnverifiedMessage, pmode: PMode, context: ProtocolContext
) -> EncryptedParts:
    """Return the encrypted payloads of a business message; a signal has none."""
    business = get_unit_kind(message.blocks.header) == "UserMessage"
    named = message.body.manifest if business else ()
    return read_agreed_parts(named, message.package.parts, pmode.encryption, context)


def _make_opened_message(
    message: UnverifiedMessage,
    verified: tuple[VerifiedSignature | None, EncryptedParts],
    pmode: PMode | None,
    parcel: Parcel,
    limits: WireLimits,
) -> OpenedMessage:
    signed, secret = verified
    if signed is None:
        secret.decrypt_unsigned()
    parts, unwrapped = (
        secret.replace_parts(message.package.parts),
        secret.list_unwrapped(message.package.parts),
    )
    if pmode is not None and pmode.compresses_payloads:
        parts, expanded = expand_parts(message.body.manifest, parts, pmode, limits.body)
        unwrapped = join_unwrapped_parts(unwrapped, expanded)
    found = collect_payloads(message.body.manifest, parts)
    units = make_units(MessageContent(message.blocks, message.body, found))
    identity = compute_message_identity(message.package, signed)
    return OpenedMessage(units, pmode, signed, parcel, identity, unwrapped)


def collect_payload_digests(opened: OpenedMessage) -> dict[str, str]:
    """Return the SHA-256 of payloads by content id, if the signature was verified with it."""
    # What was signed of a compressed payload is not its content.
    packed = {one.content_id for one in opened.unwrapped if one.compressed}
    found = collect_signed_digests(opened.signed)
    return {name: digest for name, digest in found.items() if name not in packed}
