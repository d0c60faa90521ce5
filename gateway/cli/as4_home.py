"""The suite of AS4 as a party of a sandbox home, or of a gateway of another make."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.cli.registration import load_agreement, make_certificate_row, register_certificate
from gateway.cli.standard_home import HubCertificates, find_hub_ids, read_certificate_file, write_profile
from gateway.config import Settings
from gateway.conformance.as4 import AS4_PARTY, AS4_PARTY_ID, As4Invitation, make_as4_invitation
from gateway.conformance.standard import InvitedGateway
from gateway.hub import build_engine, get_current_time
from gateway.message_model import PartyId
from gateway.operations import Act, DatabaseChange
from gateway.pki import load_authority, make_authority
from gateway.store import parties, write_transaction

__all__ = ["invite_as4_suite", "make_foreign_as4_invitation"]

#: What this product declares about itself, written into the partner folder.
_OWN_PROFILE: Final = """\
# What the tested gateway declares; every key is described in the manual page of the suite.
name: this product
features: [two-way, test-service]
message: {action: Store}
outbound: {reply_to: Submit}
patience: 10
"""
#: What can be said of a gateway about which nothing is known.
_PLAIN_PROFILE: Final = """\
# Name what the tested gateway has, and the commands that make it send and show what it has delivered.
name: the tested gateway
features: []
message: {action: Store}
patience: 10
"""


def invite_as4_suite(
    settings: Settings, out: Path, callback: str, certificates: HubCertificates, act: Act
) -> As4Invitation:
    """Register the suite and its agreements in a sandbox home, and write its partner folder.

    `certificates` are those of the home's hub. A second call issues another certificate and
    leaves the agreements.
    """
    at = get_current_time()
    authority = load_authority(settings.home_folder / "pki")
    engine = build_engine(settings)
    try:
        url = f"http://127.0.0.1:{settings.http.port}/msh/as4"
        gateway = InvitedGateway(
            certificates.signing, find_hub_ids(engine, settings)[:1], url, certificates.receiver
        )
        made = make_as4_invitation(authority, gateway, callback, at)
        made.write_files(out)
        write_profile(out, _OWN_PROFILE)
        with write_transaction(engine, "conformance.invite") as conn:
            _register_suite(conn, made)
            DatabaseChange(conn, settings, act, at).record_trust_change(
                "party of the AS4 suite",
                after={"parties": [AS4_PARTY], "certificates": list(made.digests)},
            )
    finally:
        engine.dispose()
    return made


def _register_suite(conn: Connection, made: As4Invitation) -> None:
    at = get_current_time()
    parties.register_party(conn, AS4_PARTY, "AS4 suite", "applicant", at, [AS4_PARTY_ID])
    register_certificate(conn, AS4_PARTY, made.issued.certificate.der, at)
    row = make_certificate_row(made.decryption.certificate, "encryption")
    parties.add_certificate(conn, AS4_PARTY, row, at)
    for kind, text in made.agreements.items():
        load_agreement(conn, text, f"{kind}.yaml", at)


def make_foreign_as4_invitation(
    out: Path, gateway: tuple[Path, PartyId, str], callback: str, receiver: Path | None = None
) -> As4Invitation:
    """Write a partner folder for a gateway of another make: its certificate, its party id, its URL.

    `receiver` is a file with the certificate for which its payloads are encrypted. The folder gets an
    authority of its own, which the other gateway must trust.
    """
    certificate, party, url = gateway
    found = read_certificate_file(certificate, "--certificate")
    secret = None if receiver is None else read_certificate_file(receiver, "--encryption-certificate")[0]
    at = get_current_time()
    authority = make_authority("CN=Conformance suite CA", at - timedelta(days=2))
    made = make_as4_invitation(authority, InvitedGateway(found, [party], url, secret), callback, at)
    made.write_files(out)
    # The gateway's certificates are believed as they are.
    known = found if secret is None else (*found, secret)
    (out / "ca.pem").write_bytes(authority.certificate.pem + b"".join(one.pem for one in known))
    write_profile(out, _PLAIN_PROFILE)
    return made
