"""Puts parties' certificates, agreements and revocation lists into the register; for verbs and stages."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import PMode, pmode_to_json, read_pmodes
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
    NewAgreement,
    NewCertificate,
    NewPMode,
    NewRevocationList,
    agreements,
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

#: What a party may use a certificate for, by the word of ``--use``.
USES = {
    "signing": CertificateUse.SIGNING,
    "encryption": CertificateUse.ENCRYPTION,
    "tls": CertificateUse.TLS_CLIENT,
}


def read_party_id(text: str) -> PartyId:
    """Return the party id that ``TYPE|VALUE``, or a bare value, names."""
    kind, bar, value = text.rpartition("|")
    return PartyId(value, kind if bar else None)


def make_certificate_row(
    found: Certificate, use: str = "signing", starts: datetime | None = None, ends: datetime | None = None
) -> NewCertificate:
    """Return a certificate as the register takes it."""
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
    """Let a party sign with a certificate (PEM or DER), whatever it is worth: messages are judged."""
    parties.add_certificate(conn, party, make_certificate_row(read_certificate(content)), now)


def demand_usable_certificate(
    settings: Settings,
    conn: Connection,
    wanted: tuple[Certificate, str],
    moments: tuple[datetime, datetime],
    location: str,
) -> None:
    """Raise the verdict on a certificate for a use unless it is good now, and when that use begins."""
    found, use = wanted
    trust = load_trust_store(settings)
    recognizer = Recognizer(load_recognition_policy(settings))
    recognizer.reload_lists(conn)
    lists = _read_known_revocations(settings, conn, trust.policy.certificates)
    believed = (CertificateValidator(trust, lists, examine=recognizer), trust)
    validate_new_certificate(found, USES[use], believed, moments, location, recognizer)


def _read_known_revocations(settings: Settings, conn: Connection, rules: CertificateRules) -> RevocationData:
    """Return what a hub has in hand: of the settings, loaded by operators, fetched."""
    files = tuple(path.read_bytes() for path in settings.pki.crls if path.is_file())
    known = load_register_snapshot(conn)
    return LoadedRevocationData().reload_revocations(conn, (*files, *known.crls), known.fetched, rules)


def load_crls(conn: Connection, content: bytes, at: datetime) -> list[tuple[str, bool]]:
    """Keep lists (DER or PEM) in the register; return each issuer, and whether its list is a new one."""
    taken = []
    for found in read_revocation_lists(content):
        issuer = hashlib.sha256(found.issuer_key.encode()).hexdigest()
        new = NewRevocationList(issuer, found.sha256, found.this_update, found.next_update, found.der)
        taken.append((found.issuer, revocation_lists.insert_crl(conn, new, at)))
    return taken


def load_agreement(conn: Connection, source: bytes, name: str, now: datetime) -> tuple[PMode, ...]:
    """Put the P-Modes of a YAML file in force, in place of those loaded under their agreements before."""
    found = read_pmodes(source, name)
    for agreement in dict.fromkeys(pmode.agreement for pmode in found):
        modes = [pmode for pmode in found if pmode.agreement == agreement]
        starts, ends = min(mode.valid_from for mode in modes), max(mode.valid_until for mode in modes)
        new = NewAgreement(agreement, "pmode", source, starts, ends)
        agreements.activate_agreement(conn, new, [_make_pmode_row(mode) for mode in modes], now, "operator")
    return found


def _make_pmode_row(pmode: PMode) -> NewPMode:
    return NewPMode(
        id=pmode.id,
        protocol=pmode.protocol,
        from_party=pmode.from_party[0].value,
        to_party=pmode.to_party[0].value,
        service=pmode.service,
        action=pmode.action,
        parameters=pmode_to_json(pmode),
        from_role=pmode.from_role,
        to_role=pmode.to_role,
    )
