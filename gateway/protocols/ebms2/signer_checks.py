"""Checks who signed a message: the signature itself, that the signer is the sender, and its certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gateway.agreements import PMode
from gateway.errors import RECEIPT_MISMATCH, SIGNATURE_MISSING, SIGNER_MISMATCH, GatewayError
from gateway.pki import Certificate
from gateway.protocols.core import ProtocolContext, SentUnit
from gateway.protocols.ebms2.encrypted_payloads import find_encrypted_parts
from gateway.protocols.ebms2.message_signature import (
    SIGNATURE,
    check_payload_coverage,
    list_signed_parts,
    require_signature,
    verify_package_signature,
)
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.protocols.ebms2.packaging import check_parts_present, reject_unnamed_parts
from gateway.protocols.ebms2.unverified_message import UnverifiedMessage
from gateway.protocols.signer_checks import check_signer
from gateway.wire import WireLimits
from gateway.xmlsec import CertificateCheck, PartDecryption, VerifiedSignature

__all__ = [
    "build_signer_check",
    "check_signer_validity",
    "map_receipt_mismatch",
    "verify_party_signature",
    "verify_signature",
]


def verify_signature(
    message: UnverifiedMessage,
    policy: str,
    limits: WireLimits,
    believe: CertificateCheck | None = None,
    encrypted: Mapping[str, PartDecryption] | None = None,
) -> VerifiedSignature | None:
    """Return the verified signature of a message, None where it has none; every payload is covered by it.

    `believe` judges the certificate before any digest is computed. `encrypted` decrypts the named parts.
    """
    check_parts_present(message.body.manifest, message.package.parts)
    found = message.blocks.signature is not None
    signed = verify_package_signature(
        message.package, policy, limits, signed=found, believe=believe, encrypted=encrypted
    )
    if signed is not None:
        check_payload_coverage(signed, message.body.manifest)
    reject_unnamed_parts(message.body.manifest, message.package.parts, list_signed_parts(signed))
    return signed


def verify_party_signature(
    message: UnverifiedMessage, context: ProtocolContext, *, required: bool
) -> VerifiedSignature | None:
    """Return the signature of the registered From party, by the strict policy.

    The digests of encrypted payloads are left to the To party.
    """
    sender = message.blocks.header.sender

    def check_signer_certificate(certificate: Certificate) -> None:
        context.check_certificate_party(certificate, sender, SIGNATURE)

    # A message is signed before it is encrypted: only the To party can compute those digests.
    named = find_encrypted_parts(message.body.manifest, message.package.parts)
    unread = dict.fromkeys(named, _leave_encrypted)
    signed = verify_signature(message, "strict", context.limits, check_signer_certificate, unread)
    if required:
        require_signature(signed)
    if signed is None:
        context.get_party_name(sender)
    else:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    return signed


def _leave_encrypted(_is_genuine: object) -> None:
    """Leave a payload as it is: an intermediary has no key for it."""


def build_signer_check(
    message: UnverifiedMessage, pmode: PMode, context: ProtocolContext, *, secret: bool
) -> CertificateCheck:
    """Return a check that the signer is the sender, by the register, before any digest is computed.

    For a `secret` message its certificate must be valid too, before anything is decrypted.
    """
    sender = message.blocks.header.sender

    def check_signer_certificate(certificate: Certificate) -> None:
        check_signer(certificate, pmode, sender, context, SIGNATURE)
        if secret:
            context.check_signing_certificate(certificate, SIGNATURE)

    return check_signer_certificate


def check_signer_validity(
    message: UnverifiedMessage, signed: VerifiedSignature | None, pmode: PMode, context: ProtocolContext
) -> None:
    """Raise for a message without a required signature, or with a certificate that is not valid now."""
    header = message.blocks.header
    if _needs_sender_signature(get_unit_kind(header), pmode):
        require_signature(signed)
    if signed is None:
        # Without signature only the ids of the header identify the sender; they must at least be known.
        context.get_party_name(header.sender)
        return
    context.check_signing_certificate(signed.certificate, SIGNATURE)


def _needs_sender_signature(kind: str, pmode: PMode) -> bool:
    if kind == "Receipt":
        return pmode.reliability.ack_signed == "always" and pmode.reliability.ack_requested != "never"
    return kind == "UserMessage" and pmode.security.sign


@contextmanager
def map_receipt_mismatch(message: UnverifiedMessage, expecting: SentUnit | None) -> Iterator[None]:
    """Report an expected receipt that its sender did not sign as a receipt mismatch."""
    try:
        yield
    except GatewayError as refused:
        forged = refused.problem in (SIGNATURE_MISSING, SIGNER_MISMATCH)
        if expecting is not None and forged and get_unit_kind(message.blocks.header) == "Receipt":
            raise GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location) from refused
        raise
