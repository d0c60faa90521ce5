"""Seals one unit into a parcel: written, compressed and signed as the P-Mode says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from gateway.agreements import PMode
from gateway.errors import EBMS3_ERRORS, NOT_SUPPORTED, OUR_MISTAKE, GatewayError
from gateway.message_model import (
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MemoryBody,
    Payload,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.pki import Signer
from gateway.protocols.as4.envelope_writer import As4Envelope, write_as4_envelope
from gateway.protocols.as4.header_values import GZIP_TYPE
from gateway.protocols.as4.packaging import SOAP_TYPE
from gateway.protocols.as4.pmode_matching import require_supported_terms
from gateway.protocols.as4.secret_parts import encrypt_parts
from gateway.protocols.core import Parcel, ProtocolContext, SentUnit
from gateway.protocols.gzip_content import compress_content
from gateway.protocols.signed_references import to_model_reference
from gateway.wire import MimePart, join_multipart_related
from gateway.xmlsec import SigningToken, SwaAttachment, WrittenSignature, write_swa_security

__all__ = ["apply_terms", "build_parcel", "make_parts", "seal"]

_UNSIGNED: Final[tuple[DigestReference, ...]] = ()
_CONTENT_TYPE: Final = f"{SOAP_TYPE}; charset=UTF-8"


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel of one unit, signed with the key of its sender as the P-Mode says.

    Answers may be bundled with a business message or a PullRequest, which is the first of `units`; errors
    with an error, which are about the units of one bundle.
    """
    unit, beside = units[0], units[1:]
    answers = Receipt | ErrorSignal if isinstance(unit, UserMessage | PullRequest) else ErrorSignal
    if beside and (
        not isinstance(unit, UserMessage | PullRequest | ErrorSignal)
        or not all(isinstance(one, answers) for one in beside)
    ):
        raise GatewayError(OUR_MISTAKE, "answers are bundled with a business message or a PullRequest")
    beside = tuple(_write_beside(one, unit, context) for one in beside)
    if pmode is not None:
        require_supported_terms(pmode)
        _check_own_request(unit, pmode)
    if isinstance(unit, UserMessage) and pmode is not None:
        unit = apply_terms(unit, pmode)
    compressed = pmode is not None and pmode.compresses_payloads
    envelope = write_as4_envelope(unit, compressed=compressed, beside=beside)
    parts = make_parts(unit.payloads, compressed) if isinstance(unit, UserMessage) else []
    secret, sent = "", parts
    if parts and pmode is not None and pmode.encryption is not None:
        mark = envelope.body_id.partition("-")[2]
        secret, sent = encrypt_parts(parts, unit.receiver, pmode.encryption, mark, context)
    security, signed = "", _UNSIGNED
    if _needs_signature(unit, pmode):
        kind = None if pmode is None else pmode.security.token_reference
        token = SigningToken(f"token-{envelope.body_id.partition('-')[2]}", kind, context.issuers)
        signer = context.keys[context.get_party_name(unit.sender)]
        written = _sign_envelope(envelope, parts, signer, token, secret)
        security, signed = written.text, tuple(map(to_model_reference, written.references))
    said = SentUnit(_without_payloads(unit), signed)
    return build_parcel(envelope.with_security(security), sent, unit.message_id, said)


def _without_payloads(unit: Unit) -> Unit:
    return replace(unit, payloads=()) if isinstance(unit, UserMessage) else unit


def _write_beside(one: Unit, unit: Unit, context: ProtocolContext) -> Unit:
    """Return an answer as it goes beside another unit: with an id of its own, and the codes of ebMS 3.0."""
    if one.message_id == unit.message_id:
        one = replace(one, message_id=context.make_message_id())
    if isinstance(one, ErrorSignal):
        return replace(one, errors=tuple(map(_write_error_code, one.errors)))
    return one


def _write_error_code(entry: ErrorEntry) -> ErrorEntry:
    """Return an entry with the code of ebMS 3.0 for a code that only says its title, as those of ebMS 2.0."""
    found = next((one for one in EBMS3_ERRORS.values() if one.title == entry.code), None)
    if found is None:
        return entry
    return replace(entry, code=found.code, category=found.category, origin=found.origin, title=found.title)


def _check_own_request(unit: Unit, pmode: PMode) -> None:
    """Raise GW311 for a PullRequest of ours where a name and a password are agreed."""
    terms = pmode.pull if isinstance(unit, PullRequest) else None
    if terms is not None and terms.authorization != "certificate":
        raise GatewayError(NOT_SUPPORTED, "we pull with our certificate, not with a password", pmode.id)


def apply_terms(unit: UserMessage, pmode: PMode) -> UserMessage:
    """Return a message of ours with what its P-Mode adds: channel, type of the agreement, exchange."""
    if unit.sequence is not None or unit.hop_ack_requested is not None:
        raise GatewayError(NOT_SUPPORTED, "AS4 has neither message order nor a next handler", pmode.id)
    about = _choose_reference(unit, pmode)
    return replace(unit, mpc=pmode.mpc, agreement_type=pmode.agreement_type, ref_to_message_id=about)


def _choose_reference(unit: UserMessage, pmode: PMode) -> str | None:
    """Return what a message of ours refers to; raise GW901 for a reply to nothing.

    A message of a One-Way exchange refers to no other (core §2.2.5, §2.2.6), and neither does a request.
    """
    if pmode.mep != "two-way" or pmode.leg == "request":
        return None
    if pmode.leg == "reply" and unit.ref_to_message_id is None:
        raise GatewayError(OUR_MISTAKE, f"a reply by {pmode.mep_binding} to no message", pmode.id)
    return unit.ref_to_message_id


def _needs_signature(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether we sign a unit: receipts always, errors when it is known whose they are."""
    if isinstance(unit, ErrorSignal):
        return bool(unit.sender.ids) and (pmode is None or pmode.security.sign)
    return isinstance(unit, Receipt | PullRequest) or pmode is None or pmode.security.sign


def _sign_envelope(
    envelope: As4Envelope, parts: list[MimePart], signer: Signer, token: SigningToken, secret: str
) -> WrittenSignature:
    return write_swa_security(
        {
            envelope.messaging_id: envelope.messaging.encode(),
            envelope.body_id: envelope.body.encode(),
        },
        {one.content_id: SwaAttachment(one.media_type, one.octets) for one in parts},
        signer,
        token,
        secret,
    )


def make_parts(payloads: tuple[Payload, ...], compressed: bool) -> list[MimePart]:
    """Return payloads as parts, each in gzip where that is agreed."""
    if compressed:
        payloads = tuple(
            replace(one, octets=compress_content(one.octets), media_type=GZIP_TYPE) for one in payloads
        )
    return [
        MimePart(
            {"content-type": one.media_type},
            one.content_id,
            one.media_type.partition(";")[0].strip().lower(),
            one.octets,
        )
        for one in payloads
    ]


def build_parcel(root: bytes, parts: list[MimePart], message_id: str, sent: SentUnit | None = None) -> Parcel:
    """Return the parcel of an envelope and its parts; the Content-ID of the envelope is the message id.

    `sent` is what an answer to it must match.
    """
    if not parts:
        return Parcel({"Content-Type": _CONTENT_TYPE}, MemoryBody(root), sent=sent)
    # The boundary depends on the message id, which no author of a payload knew: no payload contains it.
    boundary = f"=-{hashlib.sha256(root).hexdigest()[:40]}"
    content_type, body = join_multipart_related(root, parts, boundary, message_id, SOAP_TYPE)
    return Parcel({"Content-Type": content_type}, body, sent=sent)
