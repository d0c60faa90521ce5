"""Partner folders of the suite for gateways that a test simulates, each with a new authority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.message_model import PartyId
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from gateway_conformance.standard import InvitedGateway, make_invitation

__all__ = ["make_partner_folder"]


def make_partner_folder(place: Path, *, decrypts: bool = False) -> Path:
    """Write a partner folder with key and certificate of the gateway, and those of its decryption."""
    at = datetime.now(UTC)
    authority = make_authority("CN=Test CA", at - timedelta(days=2))
    own = issue_certificate(authority, "CN=gateway", at, CertificateOrder(key_kind="rsa-2048"))
    pairs, secret = {"gateway": own}, None
    if decrypts:
        order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
        secret = issue_certificate(authority, "CN=gateway decrypts", at, order)
        pairs["gateway.decryption"] = secret
    gateway = InvitedGateway(
        (own.certificate,),
        [PartyId("hub", "urn:example:party")],
        "http://127.0.0.1:9/x",
        None if secret is None else secret.certificate,
    )
    make_invitation(authority, gateway, "http://127.0.0.1:9", at).write_files(place)
    for name, pair in pairs.items():
        (place / f"{name}.key.pem").write_bytes(pair.key_pem)
        (place / f"{name}.cert.pem").write_bytes(pair.certificate.pem)
    return place
