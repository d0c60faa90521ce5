"""Holds the register in memory: a snapshot of one epoch, and the validators and mappings that change with it.

All of a snapshot was read in one transaction. A change of the register raises the epoch, and the
transaction that stores a message checks the epoch: a message that was evaluated by an older
snapshot is evaluated again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from gateway.agreements import ForwardingTable, PModeIndex
from gateway.cases import FilingRegister
from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNTRUSTED,
    GatewayError,
    raise_resource_problem,
)
from gateway.hub.register.effective_pmodes import load_pmode_texts
from gateway.hub.register.stored_forwarding_rules import list_forwarding_rules
from gateway.hub.trust.fetch_sources import LoadedRevocationData
from gateway.hub.trust.trusted_lists import Recognizer
from gateway.hub.trust.verdict_recorder import VerdictRecorder
from gateway.message_model import PartyId
from gateway.pki import Certificate, CertificateValidator, read_certificate
from gateway.store import (
    Generation,
    fetched_lists,
    list_generations,
    parties,
    read_transaction,
    register_version,
)
from gateway.store import fetched_lists as fetched

if TYPE_CHECKING:
    from gateway.hub.register.active_rules import ActiveRules
    from gateway.hub.register.decision_rules import DecisionRules

_log = logging.getLogger(__name__)


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
    der: bytes
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def describe_invalidity(self, at: datetime) -> str | None:
        """Return why the certificate may not be used at a given time; None when it may."""
        if self.valid_until is not None and at >= self.valid_until:
            until = self.valid_until.isoformat(timespec="seconds")
            return f"was registered until {until}: sign with its successor"
        if self.valid_from is not None and at < self.valid_from:
            return f"is registered from {self.valid_from.isoformat(timespec='seconds')} on, not yet"
        return None


@dataclass(frozen=True, slots=True)
class RegisterSnapshot:
    """Agreements, parties, certificates, mandates and revocation lists of one epoch; active ones only.

    `crls` were loaded by operators. `fetched` holds the kinds and digests of fetched revocation data.
    `vouchers` are the parties that may sign and file for the parties whose mandates they hold.
    `inactive_parties` are the parties that are not active, each with its status, by their ids: only reports
    to the operator about refused messages need them. `parties` are all active parties. The certificates of
    parties are given by SHA-256: `by_certificate` for signing, `tls_clients` for their connections to the
    hub, `receivers` for encryption, sorted so that the certificate that expires last is the last.
    `identifiers` are the ids of each party. `forwarding` says where messages to other handlers go; rules
    whose next party is not active are left out. `generations` are those of the database.
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
    tls_clients: Mapping[str, CertificateAssignment] = field(default_factory=dict)
    inactive_parties: Mapping[PartyId, tuple[str, str]] = field(default_factory=dict)
    parties: frozenset[str] = frozenset()
    receivers: Mapping[str, CertificateAssignment] = field(default_factory=dict)
    identifiers: Mapping[str, tuple[PartyId, ...]] = field(default_factory=dict)
    forwarding: ForwardingTable = field(default_factory=ForwardingTable)
    generations: tuple[Generation, ...] = ()
    _read_certificates: dict[str, tuple[Certificate, ...]] = field(default_factory=dict, compare=False)

    def find_encryption_certificate(self, party: str, pin: str | None, at: datetime) -> Certificate:
        """Return the certificate for which payloads of a party are encrypted at a given time; raise GW205.

        It is the pinned one (SHA-256), else the one in use that ends last, of those that this version reads.
        """
        usable = [
            receiver
            for sha256, receiver in self.receivers.items()
            if receiver.party == party and pin in (None, sha256) and receiver.describe_invalidity(at) is None
        ]
        if not usable:
            subject = f"certificate {pin[:16]}" if pin else "certificate"
            detail = f"no {subject} of {party[:80]} is registered for encryption and in use"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "encryption/certificate")
        return _read_certificates(usable, f"encryption for {party[:80]}", "encryption/certificate")[-1]

    def find_certificate_party(self, sha256: str, at: datetime) -> str | None:
        """Return the party that may use a certificate at a given time, None when it is not registered.

        Raises GW206 when it is registered for another time: before its start, or from its end on.
        """
        assignment = self.by_certificate.get(sha256)
        if assignment is None:
            return None
        refused = assignment.describe_invalidity(at)
        if refused:
            raise GatewayError(CERTIFICATE_EXPIRED, f"certificate {sha256[:16]} {refused}", "certificate")
        return assignment.party

    def list_party_certificates(self, party: str) -> tuple[Certificate, ...]:
        """Return the certificates with which a party signs, in use or not yet; each is read once.

        One that this version refuses is left out; raises GW205 where no other is registered.
        """
        certificates = self._read_certificates.get(party)
        if certificates is None:
            held = [assignment for assignment in self.by_certificate.values() if assignment.party == party]
            certificates = _read_certificates(held, f"signing by {party[:80]}", "certificate")
            self._read_certificates[party] = certificates
        return certificates

    def make_filing_register(self, at: datetime) -> FilingRegister:
        """Return the filing register as of a given time."""
        return FilingRegister(
            find_owners=lambda value: self.by_value.get(value, frozenset()),
            has_mandate=lambda holder, principal: any(
                mandate.allows_filing(holder, principal, at) for mandate in self.mandates
            ),
        )


def _read_certificates(
    assignments: Iterable[CertificateAssignment], purpose: str, location: str
) -> tuple[Certificate, ...]:
    """Return the certificates of one party, without those that this version refuses.

    Raises GW205 at `location` if it refuses all of them; `purpose` completes "registered for".
    """
    certificates: list[Certificate] = []
    refusal: GatewayError | None = None
    for assignment in assignments:
        try:
            certificates.append(read_certificate(assignment.der))
        except GatewayError as refused:
            raise_resource_problem(refused)
            refusal = refused
    if refusal is not None and not certificates:
        detail = f"no certificate that this version accepts is registered for {purpose}: {refusal.detail}"
        raise GatewayError(refusal.problem, detail[:500], location)
    return tuple(certificates)


def load_register_snapshot(conn: Connection) -> RegisterSnapshot:
    """Load the register as it is now."""
    epoch = register_version.get_register_version(conn)
    everybody = parties.list_parties(conn)
    roles = {row.id: row.role for row in everybody if row.status == "ACTIVE"}
    active = set(roles)
    certificates: dict[str, dict[str, CertificateAssignment]] = {"signing": {}, "tls": {}, "encryption": {}}
    for row in parties.list_certificates_in_use(conn):
        certificates[row.use][row.sha256] = CertificateAssignment(
            row.party_id, row.der, row.valid_from, row.valid_until
        )
    identifiers = parties.list_identifiers_by_party(conn)
    by_id: dict[PartyId, str] = {}
    by_value: dict[str, set[str]] = {}
    for party in sorted(active):
        for identifier in identifiers.get(party, ()):
            by_id[identifier] = party
            by_value.setdefault(identifier.value, set()).add(party)
    known_ids = frozenset(identifier for ids in identifiers.values() for identifier in ids)
    book = PModeIndex(
        epoch=epoch,
        source=load_pmode_texts(conn),
        is_party=known_ids.__contains__,
        report_unread=_log_unread_agreement,
    )
    return RegisterSnapshot(
        epoch,
        book,
        certificates["signing"],
        by_id,
        {value: frozenset(owners) for value, owners in by_value.items()},
        tuple(
            Mandate(row.party_id, row.on_behalf_of, row.valid_from, _get_mandate_end(row))
            for row in parties.list_mandates(conn)
            if row.party_id in active and row.on_behalf_of in active
        ),
        tuple(row.der for row in fetched_lists.list_crls_in_force(conn)),
        tuple((row.kind, row.sha256) for row in fetched.list_in_force(conn) if row.kind != "trust_list"),
        frozenset(party for party, role in roles.items() if role == "voucher"),
        certificates["tls"],
        {
            identifier: (row.id, row.status)
            for row in everybody
            if row.status != "ACTIVE"
            for identifier in identifiers.get(row.id, ())
        },
        frozenset(active),
        certificates["encryption"],
        identifiers,
        ForwardingTable(rule for rule in list_forwarding_rules(conn) if rule.next_party in active),
        list_generations(conn),
    )


def _log_unread_agreement(agreement: str, problem: GatewayError) -> None:
    _log.warning("%s; all other agreements count", problem, extra={"agreement": agreement})


def _get_mandate_end(row: object) -> datetime | None:
    ends = [end for end in (row.valid_until, row.revoked_at) if end is not None]  # type: ignore[attr-defined]
    return min(ends, default=None)


class StaleSnapshotError(Exception):
    """The register has changed since the snapshot was taken: evaluate again."""


class TrustedRegister:
    """The last snapshot of the register, and the validators renewed with it; safe for many threads.

    `judge` validates certificates. `stamp_judge` validates those of time-stamping authorities, which may have
    anchors of their own (None: the same validator). `crls` are the revocation lists of the settings; those of
    the register are added to them. A `recognizer`, which `judge` then validates by, uses the trusted lists.
    `verdicts` stores the verdicts that the validators report to it.
    """

    def __init__(
        self,
        engine: Engine,
        judge: CertificateValidator,
        active_rules: ActiveRules,
        *,
        crls: tuple[bytes, ...] = (),
        stamp_judge: CertificateValidator | None = None,
        recognizer: Recognizer | None = None,
        verdicts: VerdictRecorder | None = None,
    ) -> None:
        self.judge = judge
        self.stamp_judge = stamp_judge or judge
        self.recognizer = recognizer or Recognizer()
        self.verdicts = verdicts or VerdictRecorder(engine)
        self._engine = engine
        self._active_rules = active_rules
        self._crls = crls
        self._revocation_data = LoadedRevocationData()
        self._snapshot: RegisterSnapshot | None = None
        self._loading = threading.Lock()

    def find_rules(self, at: datetime) -> DecisionRules:
        """Return the mappings and status codes in force at a time, as of the last snapshot."""
        rules = self._active_rules.find_rules(at)
        if rules is not None:
            return rules
        with read_transaction(self._engine) as conn:
            return self._active_rules.load_earlier_rules(conn, at)

    def find_pinned_rules(self, digest: str) -> DecisionRules | None:
        """Return the rules by which a request was written; None when they are not known any more."""
        rules = self._active_rules.find_bundle(digest)
        if rules is not None:
            return rules
        with read_transaction(self._engine) as conn:
            return self._active_rules.load_bundle(conn, digest)

    def load_pinned_rules(self, conn: Connection, digest: str) -> DecisionRules | None:
        """Return the rules by which a request was written, in the transaction that asks for them."""
        return self._active_rules.find_bundle(digest) or self._active_rules.load_bundle(conn, digest)

    def find_unstored_bundle(self, digest: str) -> bytes | None:
        """Return the packed files of the shipped mappings of this digest, where they are not stored yet."""
        if self._active_rules.is_settled(digest):
            return None
        with read_transaction(self._engine) as conn:
            return self._active_rules.find_unstored_bundle(conn, digest)

    def get_snapshot(self) -> RegisterSnapshot:
        """Return the last snapshot; the register may have changed since."""
        snapshot = self._snapshot
        return snapshot if snapshot is not None else self.refresh_snapshot()

    def refresh_snapshot(self) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now."""
        with self._loading:
            with read_transaction(self._engine) as conn:
                snapshot = self._snapshot
                if snapshot is None or register_version.get_register_version(conn) != snapshot.epoch:
                    snapshot = load_register_snapshot(conn)
                    # What cannot be read was refused at its activation, so the rules never change in
                    # part.
                    self._active_rules.reload_rules(conn)
                    self._renew_judges(conn, snapshot)
                    self.verdicts.set_registered_certificates(snapshot.by_certificate, snapshot.tls_clients)
                    self._snapshot = snapshot
            return snapshot

    def confirm_version(self, version: int) -> RegisterSnapshot:
        """Return a snapshot of the register that is not older than a version that was just read."""
        snapshot = self._snapshot
        return snapshot if snapshot is not None and snapshot.epoch == version else self.refresh_snapshot()

    def _renew_judges(self, conn: Connection, snapshot: RegisterSnapshot) -> None:
        """Renew the trust of the validators before the snapshot is visible: no old verdict is used."""
        rules = self.judge.trust.policy.certificates
        lists = self._revocation_data.reload_revocations(
            conn, self._crls, snapshot.crls, snapshot.fetched, rules
        )
        self.recognizer.reload_lists(conn)
        self.judge.replace_trust(revocations=lists, epoch=snapshot.epoch)
        if self.stamp_judge is not self.judge:
            self.stamp_judge.replace_trust(revocations=lists, epoch=snapshot.epoch)

    def is_snapshot_current(self, snapshot: RegisterSnapshot) -> bool:
        """Return whether the register is unchanged since the snapshot `snapshot` was taken."""
        with read_transaction(self._engine) as conn:
            return register_version.get_register_version(conn) == snapshot.epoch

    def check_snapshot_current(self, conn: Connection, snapshot: RegisterSnapshot) -> None:
        """Raise StaleSnapshotError when the register has changed since `snapshot` was read."""
        if register_version.get_register_version(conn) != snapshot.epoch:
            raise StaleSnapshotError
