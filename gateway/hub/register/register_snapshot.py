"""Holds the parties, certificates, mandates and agreements of one register epoch in memory.

All of it was read in one transaction. A change of the register raises the epoch, and the
transaction that stores a message checks the epoch: a message that was evaluated by an older
snapshot is evaluated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import DeferredPModeIndex, ForwardingTable, PModeIndex
from gateway.cases import FilingRegister
from gateway.errors import CERTIFICATE_EXPIRED, CERTIFICATE_UNTRUSTED, GatewayError
from gateway.hub.register.effective_pmodes import load_pmode_texts
from gateway.hub.register.stored_forwarding_rules import list_forwarding_rules
from gateway.message_model import PartyId
from gateway.pki import Certificate, read_certificate
from gateway.store import fetched_lists as fetched
from gateway.store import mandates, parties, register_version, revocation_lists

__all__ = ["CertificateAssignment", "RegisterSnapshot", "TlsClientCertificate", "load_register_snapshot"]


@dataclass(frozen=True, slots=True)
class Mandate:
    """`holder` may act for `principal` from `valid_from` until `valid_until`."""

    holder: str
    principal: str
    valid_from: datetime
    valid_until: datetime | None

    def allows_filing(self, holder: str, principal: str, at: datetime) -> bool:
        """Return whether the mandate lets `holder` act for `principal` at a given time."""
        if (self.holder, self.principal) != (holder, principal) or at < self.valid_from:
            return False
        return self.valid_until is None or at < self.valid_until


@dataclass(frozen=True, slots=True)
class CertificateAssignment:
    """`party` may use a certificate (`der`) from `valid_from` on and before `valid_until`, where given."""

    party: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    der: bytes = b""

    def describe_invalidity(self, at: datetime) -> str | None:
        """Return why the certificate may not be used at a given time; None when it may."""
        if self.valid_until is not None and at >= self.valid_until:
            until = self.valid_until.isoformat(timespec="seconds")
            return f"was registered until {until}: sign with its successor"
        if self.valid_from is not None and at < self.valid_from:
            return f"is registered from {self.valid_from.isoformat(timespec='seconds')} on, not yet"
        return None


@dataclass(frozen=True, slots=True)
class TlsClientCertificate:
    """A certificate (DER) that a party may show when it connects to us."""

    holding: CertificateAssignment
    der: bytes


@dataclass(frozen=True, slots=True)
class EncryptionCertificate:
    """A certificate (DER) for which payloads of its party are encrypted."""

    holding: CertificateAssignment
    der: bytes


@dataclass(frozen=True, slots=True)
class RegisterSnapshot:
    """Agreements, parties, certificates, mandates and revocation lists of one epoch; active ones only.

    `crls` were loaded by operators. `fetched` holds the kinds and digests of fetched revocation
    data. `vouchers` are the parties that may sign and file for the parties whose mandates they
    hold. `closed_out` are the parties that are not active, each with its status, by their ids: only
    what the operator is told about a refused message needs them. `parties` are all active parties.
    `receivers` are the certificates that parties have for encryption, by SHA-256, the last to end last.
    `identifiers` are the ids of each party. `forwarding` says where messages to other handlers go;
    rules whose next party is not active are left out.
    """

    epoch: int
    book: PModeIndex
    by_certificate: Mapping[str, CertificateAssignment]
    by_id: Mapping[PartyId, str]
    by_value: Mapping[str, frozenset[str]]
    mandates: tuple[Mandate, ...]
    crls: tuple[bytes, ...] = ()
    fetched: tuple[tuple[str, str], ...] = ()
    vouchers: frozenset[str] = frozenset()
    tls_clients: Mapping[str, TlsClientCertificate] = field(default_factory=dict)
    closed_out: Mapping[PartyId, tuple[str, str]] = field(default_factory=dict)
    parties: frozenset[str] = frozenset()
    receivers: Mapping[str, EncryptionCertificate] = field(default_factory=dict)
    identifiers: Mapping[str, tuple[PartyId, ...]] = field(default_factory=dict)
    forwarding: ForwardingTable = field(default_factory=ForwardingTable)
    _read_certificates: dict[str, tuple[Certificate, ...]] = field(default_factory=dict, compare=False)

    def find_encryption_certificate(self, party: str, pin: str | None, at: datetime) -> Certificate:
        """Return the certificate for which payloads of a party are encrypted at a given time; raise GW205.

        It is the pinned one (SHA-256), else the one in use that ends last.
        """
        usable = [
            one.der
            for sha256, one in self.receivers.items()
            if one.holding.party == party
            and pin in (None, sha256)
            and one.holding.describe_invalidity(at) is None
        ]
        if not usable:
            what = f"certificate {pin[:16]}" if pin else "certificate"
            detail = f"no {what} of {party[:80]} is registered for encryption and in use"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "encryption/certificate")
        return read_certificate(usable[-1])

    def find_certificate_party(self, sha256: str, at: datetime) -> str | None:
        """Return the party that may use a certificate at a given time, None when it is not registered.

        Raises GW206 when it is registered for another time: before its start, or from its end on.
        """
        found = self.by_certificate.get(sha256)
        if found is None:
            return None
        refused = found.describe_invalidity(at)
        if refused:
            raise GatewayError(CERTIFICATE_EXPIRED, f"certificate {sha256[:16]} {refused}", "certificate")
        return found.party

    def list_party_certificates(self, party: str) -> tuple[Certificate, ...]:
        """Return the certificates with which a party signs, in use or not yet; each is read once."""
        found = self._read_certificates.get(party)
        if found is None:
            held = (one for one in self.by_certificate.values() if one.party == party)
            found = self._read_certificates[party] = tuple(read_certificate(one.der) for one in held)
        return found

    def make_filing_register(self, at: datetime) -> FilingRegister:
        """Return the filing register as of a given time."""
        return FilingRegister(
            find_owners=lambda value: self.by_value.get(value, frozenset()),
            has_mandate=lambda holder, principal: any(
                one.allows_filing(holder, principal, at) for one in self.mandates
            ),
        )


def load_register_snapshot(conn: Connection) -> RegisterSnapshot:
    """Load the register as it is now."""
    epoch = register_version.get_register_version(conn)
    everybody = parties.list_parties(conn)
    roles = {row.id: row.role for row in everybody if row.status == "ACTIVE"}
    active = set(roles)
    in_use = parties.list_certificates_in_use(conn)
    by_certificate = {
        row.sha256: CertificateAssignment(row.party_id, row.valid_from, row.valid_until, row.der)
        for row in in_use
        if row.use == "signing"
    }
    tls_clients = {
        row.sha256: TlsClientCertificate(
            CertificateAssignment(row.party_id, row.valid_from, row.valid_until), row.der
        )
        for row in in_use
        if row.use == "tls"
    }
    identifiers = parties.list_identifiers_by_party(conn)
    receivers = {
        row.sha256: EncryptionCertificate(
            CertificateAssignment(row.party_id, row.valid_from, row.valid_until), row.der
        )
        for row in in_use
        if row.use == "encryption"
    }
    by_id: dict[PartyId, str] = {}
    by_value: dict[str, set[str]] = {}
    for party in sorted(active):
        for one in identifiers.get(party, ()):
            by_id[one] = party
            by_value.setdefault(one.value, set()).add(party)
    known = frozenset(one for ids in identifiers.values() for one in ids)
    modes = load_pmode_texts(conn)
    book = DeferredPModeIndex(
        modes.texts,
        modes.parse_agreement,
        known.__contains__,
        epoch,
        modes.name_parties,
        modes.name_pull_routes,
    )
    return RegisterSnapshot(
        epoch,
        book,
        by_certificate,
        by_id,
        {value: frozenset(owners) for value, owners in by_value.items()},
        tuple(
            Mandate(row.party_id, row.on_behalf_of, row.valid_from, _get_mandate_end(row))
            for row in mandates.list_mandates(conn)
            if row.party_id in active and row.on_behalf_of in active
        ),
        tuple(row.der for row in revocation_lists.list_latest_crls(conn)),
        tuple((row.kind, row.sha256) for row in fetched.list_in_force(conn) if row.kind != "trust_list"),
        frozenset(party for party, role in roles.items() if role == "voucher"),
        tls_clients,
        {
            one: (row.id, row.status)
            for row in everybody
            if row.status != "ACTIVE"
            for one in identifiers.get(row.id, ())
        },
        frozenset(active),
        receivers,
        identifiers,
        ForwardingTable(rule for rule in list_forwarding_rules(conn) if rule.next_party in active),
    )


def _get_mandate_end(row: object) -> datetime | None:
    ends = [end for end in (row.valid_until, row.revoked_at) if end is not None]  # type: ignore[attr-defined]
    return min(ends, default=None)
