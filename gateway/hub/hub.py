"""The hub itself: what the use cases share, none of it changing but the register's snapshot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from gateway.hub.outbox.outgoing_calls import CallComposer
from gateway.hub.outbox.signal_outbox import RefusalQuota
from gateway.hub.readiness.stamping_monitor import StampingMonitor
from gateway.hub.register.decision_rules import DecisionRules, load_active_rules
from gateway.hub.register.register_snapshot import RegisterSnapshot, load_register_snapshot
from gateway.hub.trust.loaded_revocation_data import LoadedRevocationData
from gateway.hub.trust.trusted_list_recognition import Recognizer
from gateway.hub.trust.verdict_recorder import VerdictRecorder
from gateway.message_model import MemoryBody
from gateway.pki.certificate_examiner import CertificateExaminer
from gateway.pki.certificate_validation import CertificateValidator
from gateway.pki.signing_keys import Signer
from gateway.protocols import Parcel, ProtocolContext
from gateway.store import register_version
from gateway.store.engine import read_transaction
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

__all__ = ["Hub", "HubResources", "NextSigningKey", "StaleSnapshotError"]


class StaleSnapshotError(Exception):
    """The register has changed since the snapshot was taken: judge again."""


@dataclass(frozen=True, slots=True)
class HubResources:
    """What the hub asks of the outside: a database, the time, new names, the words of its calls.

    `new_uuid` returns a new UUID as text; message ids are ``uuid@host``.
    """

    engine: Engine
    clock: Callable[[], datetime]
    new_uuid: Callable[[], str]
    host: str
    composer: CallComposer


@dataclass(frozen=True, slots=True)
class NextSigningKey:
    """The key with which a hub signs from a moment on, in place of the one before."""

    signer: Signer
    starts: datetime


class Hub:
    """One hub in one process; safe for many threads.

    `party` is the hub's own name in the register, `signer` the key it signs with and `successor`
    the one that takes over from it; `crls` are the revocation lists of the settings; those of the
    register are added to them.  With an `examiner`, by which the judge judges, the hub is at work:
    it keeps what its verdicts rest on, and ends the examiner when it is closed.  A `recognizer`, by
    which the judge judges then, asks the trusted lists.
    """

    def __init__(
        self,
        world: HubResources,
        party: str,
        signer: Signer,
        judge: CertificateValidator,
        *,
        rules: DecisionRules,
        limits: WireLimits = DEFAULT_LIMITS,
        crls: tuple[bytes, ...] = (),
        successor: NextSigningKey | None = None,
        examiner: CertificateExaminer | None = None,
        recognizer: Recognizer | None = None,
    ) -> None:
        self.engine = world.engine
        self.clock = world.clock
        self.new_uuid = world.new_uuid
        self.host = world.host
        self.composer = world.composer
        self.party = party
        self._signer = signer
        self._successor = successor
        self.judge = judge
        self.rules = rules
        self.limits = limits
        self.refusals = RefusalQuota()
        #: Parties that must show a TLS client certificate of theirs, whatever their P-Modes say.
        self.mutual_tls: frozenset[str] = frozenset()
        #: Whether evidence waits too long for its time stamp; None where nobody stamps it.
        self.stamping: StampingMonitor | None = None
        #: Judges time-stamping authorities, which may have anchors of their own.
        self.stamp_judge = judge
        self._crls = crls
        self._in_hand = LoadedRevocationData()
        self._knowledge: RegisterSnapshot | None = None
        self._loading = threading.Lock()
        self._examiner = examiner
        self.recognizer = recognizer or Recognizer()
        self.verdicts = VerdictRecorder(world.engine, self._is_registered_certificate)
        if examiner is not None:
            self.judge.tell = self.verdicts.record_verdict

    def _is_registered_certificate(self, sha256: str) -> bool:
        known = self._knowledge
        return known is not None and (sha256 in known.by_certificate or sha256 in known.tls_clients)

    def start_examiner(self) -> None:
        """Let what judges certificates start, so that the first message need not wait for it."""
        if self._examiner is not None:
            self._examiner.begin_children()

    def close(self) -> None:
        """End what judges certificates, and give the connections back."""
        if self._examiner is not None:
            self._examiner.close()
        self.engine.dispose()

    @property
    def signer(self) -> Signer:
        """The key that signs now: ask once for each signature, it may be another the next time."""
        return self._get_signer_at(self.clock())

    @signer.setter
    def signer(self, signer: Signer) -> None:
        """Sign with another key from now on; whatever was to succeed the old one is forgotten."""
        self._signer, self._successor = signer, None

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Every key of ours, the first one first: partners are to accept them all."""
        return (self._signer,) if self._successor is None else (self._signer, self._successor.signer)

    @property
    def next_key_start(self) -> datetime | None:
        """When the second key takes over from the first, None when there is no second one."""
        return None if self._successor is None else self._successor.starts

    def _get_signer_at(self, moment: datetime) -> Signer:
        later = self._successor
        return later.signer if later is not None and moment >= later.starts else self._signer

    def get_snapshot(self) -> RegisterSnapshot:
        """Return the snapshot in hand; it may be older than the register."""
        known = self._knowledge
        return known if known is not None else self.refresh_snapshot()

    def refresh_snapshot(self) -> RegisterSnapshot:
        """Take a snapshot of the register as it is now."""
        with self._loading:
            with read_transaction(self.engine) as conn:
                known = self._knowledge
                if known is None or register_version.get_register_version(conn) != known.epoch:
                    known = load_register_snapshot(conn)
                    # What cannot be read was refused when it was put in force: rules never half change.
                    self.rules = load_active_rules(conn, self.rules)
                    rules = self.judge.trust.policy.certificates
                    files = (*self._crls, *known.crls)
                    lists = self._in_hand.reload_revocations(conn, files, known.fetched, rules)
                    self.recognizer.reload_lists(conn)
                    # The judge first: whoever gets the new snapshot must not meet an old verdict.
                    self.judge.replace_trust(revocations=lists, epoch=known.epoch)
                    if self.stamp_judge is not self.judge:
                        self.stamp_judge.replace_trust(revocations=lists, epoch=known.epoch)
                    self._knowledge = known
            return known

    def is_snapshot_current(self, knowledge: RegisterSnapshot) -> bool:
        """Tell whether the register is still as `knowledge` says."""
        with read_transaction(self.engine) as conn:
            return register_version.get_register_version(conn) == knowledge.epoch

    def check_snapshot_current(self, conn: Connection, knowledge: RegisterSnapshot) -> None:
        """Raise when the register has changed since `knowledge` was read."""
        if register_version.get_register_version(conn) != knowledge.epoch:
            raise StaleSnapshotError

    @staticmethod
    def make_parcel(headers: Mapping[str, str], content: bytes) -> Parcel:
        """Return stored headers and octets as a parcel."""
        return Parcel(headers, MemoryBody(content))

    def make_protocol_context(self, knowledge: RegisterSnapshot) -> ProtocolContext:
        """Return what a protocol core may ask of the world, as of now."""
        now = self.clock()
        return ProtocolContext(
            agreements=knowledge.book,
            validate_certificate=self.judge,
            keys={self.party: self._get_signer_at(now)},
            now=now,
            make_message_id=lambda: f"{self.new_uuid()}@{self.host}",
            find_certificate_party=lambda sha256: knowledge.find_certificate_party(sha256, now),
            find_party_name=knowledge.by_id.get,
            limits=self.limits,
        )
