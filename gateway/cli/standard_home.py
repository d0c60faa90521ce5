"""The suite of ebMS 2.0 as a party of a sandbox home, or of a gateway that loads its CPA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.agreements import ForwardingRule
from gateway.cli.registration import load_agreement, make_certificate_row, register_certificate
from gateway.config import Settings
from gateway.conformance.standard import (
    PASSING,
    SECOND_PARTY,
    SECOND_PARTY_ID,
    SUITE_PARTY,
    SUITE_PARTY_ID,
    Invitation,
    InvitedGateway,
    make_invitation,
)
from gateway.errors import MISUSE, GatewayError
from gateway.hub import build_engine, get_current_time, make_rule_columns
from gateway.message_model import PartyId
from gateway.operations import Act, DatabaseChange
from gateway.pki import Certificate, load_authority, make_authority, read_certificates
from gateway.store import forwarding_rules, parties, read_transaction, write_transaction

__all__ = [
    "OWN_PROFILE",
    "HubCertificates",
    "find_hub_ids",
    "invite_standard_suite",
    "make_foreign_invitation",
    "read_certificate_file",
    "write_profile",
]

#: What this product declares about itself, written into the partner folder.
OWN_PROFILE: Final = """\
# What the tested gateway declares; every key is described in the manual page of the suite.
name: this product
features:
  - ping
  - status
  - signed-messages
  - signed-signals
  - back-channel
  - callback
  - per-message
  - agreement-period
  - outbound
  - order
  - response-only
  - signals-and-response
  - xml-encryption
  - cms-encryption
  - intermediary
message: {action: Store}
outbound: {reply_to: Submit}
patience: 10
"""
#: What can be said of a gateway about which nothing is known.
_PLAIN_PROFILE: Final = """\
# Name what the tested gateway has; `gateway conformance list ebms2` says which requirements ask for it.
name: the tested gateway
features: [signed-messages, signed-signals]
message: {action: Store}
patience: 10
"""


@dataclass(frozen=True, slots=True)
class HubCertificates:
    """The certificates of a hub: those with which it signs, and that for which payloads are encrypted."""

    signing: Sequence[Certificate]
    receiver: Certificate | None


def invite_standard_suite(
    settings: Settings, out: Path, callback: str, certificates: HubCertificates, act: Act
) -> Invitation:
    """Register the suite and its agreements in a sandbox home, and write its partner folder.

    `certificates` are those of the home's hub. A second call issues another certificate and
    leaves the agreements.
    """
    at = get_current_time()
    authority = load_authority(settings.home_folder / "pki")
    engine = build_engine(settings)
    try:
        ids = find_hub_ids(engine, settings)
        url = f"http://127.0.0.1:{settings.http.port}/msh/ebms2"
        gateway = InvitedGateway(certificates.signing, ids, url, certificates.receiver)
        made = make_invitation(authority, gateway, callback, at)
        made.write_files(out)
        write_profile(out, OWN_PROFILE)
        with write_transaction(engine, "conformance.invite") as conn:
            _register_suite(conn, made, at)
            DatabaseChange(conn, settings, act, at).record_trust_change(
                "party of the ebMS 2.0 suite",
                after={"parties": [SUITE_PARTY, SECOND_PARTY], "certificates": _list_digests(made)},
            )
    finally:
        engine.dispose()
    return made


def find_hub_ids(engine: Engine, settings: Settings) -> Sequence[PartyId]:
    """Return the identifiers of the hub's own party; raise GW808 where it has none."""
    with read_transaction(engine) as conn:
        ids = parties.list_identifiers(conn, settings.hub.party)
    if not ids:
        own = settings.hub.party
        told = f"{own} has no party id: `gateway party add {own} --role hub --id …`"
        raise GatewayError(MISUSE, told, "hub.party")
    return ids


def _register_suite(conn: Connection, made: Invitation, at: datetime) -> None:
    parties.register_party(conn, SUITE_PARTY, "ebMS 2.0 suite", "applicant", at, [SUITE_PARTY_ID])
    register_certificate(conn, SUITE_PARTY, made.issued.certificate.der, at)
    parties.add_certificate(
        conn, SUITE_PARTY, make_certificate_row(made.decryption.certificate, "encryption"), at
    )
    for kind, text in made.agreements.items():
        if kind != PASSING:
            load_agreement(conn, text, f"{kind}.yaml", at)
    _register_second_party(conn, made, at)


def _register_second_party(conn: Connection, made: Invitation, at: datetime) -> None:
    """Register the party behind the hub, and the routes by which messages go there and come back."""
    parties.register_party(conn, SECOND_PARTY, "ebMS 2.0 suite, behind", "applicant", at, [SECOND_PARTY_ID])
    register_certificate(conn, SECOND_PARTY, made.second.certificate.der, at)
    for to, party, path, sender in (
        (SECOND_PARTY_ID, SECOND_PARTY, "behind", SUITE_PARTY),
        (SUITE_PARTY_ID, SUITE_PARTY, PASSING, SECOND_PARTY),
    ):
        rule = ForwardingRule(
            to, party, f"{made.callback}/suite/{path}", (sender,), retries=1, retry_interval=2
        )
        forwarding_rules.insert_rule(conn, make_rule_columns(rule), at)


def _list_digests(made: Invitation) -> list[str]:
    return [one.certificate.sha256 for one in (made.issued, made.decryption, made.second)]


def make_foreign_invitation(
    out: Path, gateway: tuple[Path, PartyId, str], callback: str, receiver: Path | None = None
) -> Invitation:
    """Write a partner folder for a gateway of another make: its certificate, its party id, its URL.

    `receiver` is a file with the certificate for which its payloads are encrypted, if it decrypts.
    The folder gets an authority of its own; what the other gateway must load is in ``cpa`` and ``ca.pem``.
    """
    certificate, party, url = gateway
    found = read_certificate_file(certificate, "--certificate")
    secret = None if receiver is None else read_certificate_file(receiver, "--encryption-certificate")[0]
    at = get_current_time()
    authority = make_authority("CN=Conformance suite CA", at - timedelta(days=2))
    made = make_invitation(authority, InvitedGateway(found, [party], url, secret), callback, at)
    made.write_files(out)
    # The gateway's certificate is believed as it is: it is the one in the agreements.
    (out / "ca.pem").write_bytes(authority.certificate.pem + b"".join(one.pem for one in found))
    write_profile(out, _PLAIN_PROFILE)
    return made


def read_certificate_file(path: Path, option: str) -> tuple[Certificate, ...]:
    """Return the certificates in a file; raise GW808 that names the option when it cannot be read."""
    try:
        return tuple(read_certificates(path.read_bytes()))
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", option) from None


def write_profile(out: Path, text: str) -> None:
    """Write the profile of a tested gateway into a partner folder that has none."""
    path = out / "profile.yaml"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
