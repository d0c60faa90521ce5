"""Registers certificates, agreements and revocation lists of parties, for verbs and the demo."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.hub import (
    LoadedRevocationData,
    Recognizer,
    load_recognition_policy,
    load_register_snapshot,
    load_trust_store,
    validate_new_certificate,
)
from gateway.message_model import PartyId
from gateway.operations import load_agreement
from gateway.pki import (
    Certificate,
    CertificateRules,
    CertificateUse,
    CertificateValidator,
    RevocationData,
    read_certificate,
    read_revocation_lists,
)
from gateway.store import (
    NewCertificate,
    NewRevocationList,
    parties,
    revocation_lists,
)

__all__ = [
    "USES",
    "demand_usable_certificate",
    "load_agreement",
    "load_crls",
    "make_certificate_row",
    "read_party_id",
    "register_certificate",
]

#: The permitted uses of a party's certificate, by the value of ``--use``.
USES = {
    "signing": CertificateUse.SIGNING,
    "encryption": CertificateUse.ENCRYPTION,
    "tls": CertificateUse.TLS_CLIENT,
}


def read_party_id(text: str) -> PartyId:
    """Return the party id of ``TYPE|VALUE`` or of a bare value."""
    kind, bar, value = text.rpartition("|")
    return PartyId(value, kind if bar else None)


def make_certificate_row(
    found: Certificate, use: str = "signing", starts: datetime | None = None, ends: datetime | None = None
) -> NewCertificate:
    """Return a certificate as a row of the register."""
    return NewCertificate(
        sha256=found.sha256,
        use=use,
        subject=found.subject,
        issuer=found.issuer,
        serial=str(found.serial),
        not_before=found.not_before,
        not_after=found.not_after,
        der=found.der,
        valid_from=starts,
        valid_until=ends,
    )


def register_certificate(conn: Connection, party: str, content: bytes, now: datetime) -> None:
    """Register a party's signing certificate (PEM or DER) unvalidated; each message validates it."""
    parties.add_certificate(conn, party, make_certificate_row(read_certificate(content)), now)


def demand_usable_certificate(
    settings: Settings,
    conn: Connection,
    wanted: tuple[Certificate, str],
    moments: tuple[datetime, datetime],
    location: str,
) -> None:
    """Raise the verdict on a certificate unless it is valid now and at the start of its use."""
    found, use = wanted
    trust = load_trust_store(settings)
    recognizer = Recognizer(load_recognition_policy(settings))
    recognizer.reload_lists(conn)
    lists = _read_known_revocations(settings, conn, trust.policy.certificates)
    believed = (CertificateValidator(trust, lists, examine=recognizer), trust)
    validate_new_certificate(found, USES[use], believed, moments, location, recognizer)


def _read_known_revocations(settings: Settings, conn: Connection, rules: CertificateRules) -> RevocationData:
    """Return the revocation data of a hub: from the settings, loaded by operators, and fetched."""
    files = tuple(path.read_bytes() for path in settings.pki.crls if path.is_file())
    known = load_register_snapshot(conn)
    return LoadedRevocationData().reload_revocations(conn, (*files, *known.crls), known.fetched, rules)


def load_crls(conn: Connection, content: bytes, at: datetime) -> list[tuple[str, bool]]:
    """Store lists (DER or PEM) in the register; return each issuer, and whether its list is new."""
    taken = []
    for found in read_revocation_lists(content):
        issuer = hashlib.sha256(found.issuer_key.encode()).hexdigest()
        new = NewRevocationList(issuer, found.sha256, found.this_update, found.next_update, found.der)
        taken.append((found.issuer, revocation_lists.insert_crl(conn, new, at)))
    return taken
