"""Checks that the certificate of a signature is one of the party that sends the message."""

from __future__ import annotations

from gateway.agreements import PMode
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.message_model import Party
from gateway.pki import Certificate
from gateway.protocols.core import ProtocolContext

__all__ = ["check_pinned_signer", "check_signer"]


def check_signer(
    certificate: Certificate, pmode: PMode, sender: Party, context: ProtocolContext, location: str
) -> None:
    """Raise GW209 for a certificate that is not pinned where one is, or is not registered for the sender."""
    check_pinned_signer(certificate, pmode, sender, location)
    context.check_certificate_party(certificate, sender, location)


def check_pinned_signer(certificate: Certificate, pmode: PMode, sender: Party, location: str) -> None:
    """Raise GW209 for a certificate that is not one of those pinned for this side of a P-Mode."""
    forward = sender.ids[0] in pmode.from_party
    pins = pmode.security.certificates if forward else pmode.security.reply_certificates
    if pins and certificate.sha256 not in pins:
        raise GatewayError(SIGNER_MISMATCH, "the agreement pins another certificate", location)
