"""The hub object that all steps share; only its register snapshot changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.hub.object_upkeep import ObjectUpkeep
from gateway.hub.register import TrustedRegister

if TYPE_CHECKING:
    from gateway.hub.register import DecisionRules


import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial

from sqlalchemy import Connection, Engine, Row

from gateway.hub.deadlines import ActiveTimetable
from gateway.hub.event_feed import EventKeeper
from gateway.hub.need_policy import DEFAULT_POLICY, NeedPolicy
from gateway.hub.node_keeper import NodeKeeper
from gateway.hub.outbox import CallComposer, RefusalQuota
from gateway.hub.payment_policy import NO_PAYMENTS, PaymentPolicy
from gateway.hub.readiness import StampingMonitor
from gateway.hub.refusal_tally import RefusalTally
from gateway.hub.register import RegisterSnapshot
from gateway.hub.response_watch import ResponseLimits, ResponseWatch
from gateway.hub.sent_parcels import find_sent_parcel
from gateway.hub.sent_units import SentUnits
from gateway.hub.sign_in_upkeep import SignInUpkeep
from gateway.hub.statistics_keeper import StatisticsKeeper
from gateway.hub.trust import NextSigningKey, PullLogins
from gateway.message_model import Body, Party, as_body
from gateway.pki import CertificateExaminer, CertificateValidator, DecryptionKey, Keyring, Signer
from gateway.protocols import EncryptionResources, EnvelopeMemory, Parcel, ProtocolContext
from gateway.store import OpenRequest, fold_state_changes
from gateway.wire import DEFAULT_LIMITS, WireLimits

__all__ = ["Hub", "HubResources"]


@dataclass(frozen=True, slots=True)
class HubResources:
    """The hub's external resources: database, clock, new ids, host name and call composer.

    `new_uuid` returns a new UUID as text; message ids are ``uuid@host``.
    """

    engine: Engine
    clock: Callable[[], datetime]
    new_uuid: Callable[[], str]
    host: str
    composer: CallComposer


class Hub:
    """One hub in one process; safe for many threads.

    `party` is the hub's own name in the register. `signer` is the key it signs with, and
    `successor` the key that takes over from it. `register` holds the known parties and the trust.
    `examiner` runs the certificate validations of a hub at work; the hub closes it when it is
    closed itself. `mutual_tls` names the parties that must show a TLS client certificate of their
    own, whatever their P-Modes say. `stamping` reports whether evidence waits too long for its time
    stamp; it is None where no authority stamps evidence. `zone` is the time zone of the days in the
    statistics. `responses` limits the requests that wait for a response in their HTTP answer.
    `decryption_keys` open the payloads that are encrypted for us. `need_policy` says what a document
    leads to that the goods need and the submission lacks. Without `test_calendars` no calendar or terms
    count that are marked as test editions. `payments` says which fees are paid through us.
    `pull_logins` are the names and passwords of parties that pull.
    `node` is the name of this machine; without one no other node hears of it.
    With `refuses_late_repeats` the repeat of a message whose octets retention has removed is refused;
    otherwise it gets a new receipt.
    """

    def __init__(
        self,
        world: HubResources,
        party: str,
        signer: Signer,
        register: TrustedRegister,
        *,
        limits: WireLimits = DEFAULT_LIMITS,
        successor: NextSigningKey | None = None,
        examiner: CertificateExaminer | None = None,
        mutual_tls: frozenset[str] = frozenset(),
        stamping: StampingMonitor | None = None,
        zone: tzinfo = UTC,
        responses: ResponseLimits | None = None,
        refuses_late_repeats: bool = False,
        most_held: int = 1000,
        most_posted_refusals: int = 200,
        decryption_keys: tuple[DecryptionKey, ...] = (),
        need_policy: NeedPolicy = DEFAULT_POLICY,
        test_calendars: bool = True,
        payments: PaymentPolicy = NO_PAYMENTS,
        pull_logins: PullLogins | None = None,
        node: str = "",
    ) -> None:
        self.engine = world.engine
        self.clock = world.clock
        self.new_uuid = world.new_uuid
        self.host = world.host
        self.composer = world.composer
        self.party = party
        self.register = register
        self.judge = register.judge
        self.recognizer = register.recognizer
        self.verdicts = register.verdicts
        self.limits = limits
        self.refusals = RefusalQuota(most_posted_refusals)
        self.tally = RefusalTally(world.engine, world.clock, zone)
        self.statistics = StatisticsKeeper(world.engine, world.clock, zone)
        self.responses = ResponseWatch(world.engine, world.clock, responses)
        self.events = EventKeeper(world.engine, world.clock)
        self.sign_ins = SignInUpkeep(world.engine, world.clock)
        self.node = NodeKeeper(world.engine, world.clock, node)
        self.objects = ObjectUpkeep(world.engine, world.clock)
        self.sent_units = SentUnits()
        self.envelopes: EnvelopeMemory[Any] = EnvelopeMemory()
        self.timetable = ActiveTimetable(test_editions=test_calendars)
        self.mutual_tls = mutual_tls
        self.stamping = stamping
        self.most_held = most_held
        self.decryption_keys = decryption_keys
        self.need_policy = need_policy
        self.payments = payments
        self.pull_logins = pull_logins or PullLogins()
        self.zone = zone
        self._signer = signer
        self.refuses_late_repeats = refuses_late_repeats
        self._successor = successor
        self._examiner = examiner

    def start_examiner(self) -> None:
        """Start the certificate examiner now, so that the first message need not wait for it."""
        if self._examiner is not None:
            self._examiner.begin_children()

    def run_maintenance(self) -> None:
        """Store what was refused, order new events, count what is new, and remove what is old."""
        self.node.note_alive()
        self.tally.run_maintenance()
        self.events.advance_feed()
        self.statistics.run_maintenance()
        fold_state_changes(self.engine)
        self.sign_ins.remove_old_rows()
        self.objects.sweep_next_part()

    def close(self) -> None:
        """Store what was counted, and close the certificate examiner and the database connections."""
        self.tally.store_counts()
        if self._examiner is not None:
            self._examiner.close()
        self.engine.dispose()

    @property
    def signer(self) -> Signer:
        """The key that signs now. Read it for each signature: the key may change between two signatures."""
        return self._get_signer_at(self.clock())

    @signer.setter
    def signer(self, signer: Signer) -> None:
        """Sign with another key from now on, and drop the successor of the old key."""
        self._signer, self._successor = signer, None

    @property
    def signers(self) -> tuple[Signer, ...]:
        """All keys of the hub, the current one first; partners must accept every one of them."""
        return (self._signer,) if self._successor is None else (self._signer, self._successor.signer)

    @property
    def next_key_start(self) -> datetime | None:
        """The time when the second key takes over from the first, None when there is no second key."""
        return None if self._successor is None else self._successor.starts

    def _get_signer_at(self, moment: datetime) -> Signer:
        later = self._successor
        return later.signer if later is not None and moment >= later.starts else self._signer

    @property
    def stamp_judge(self) -> CertificateValidator:
        """The validator for certificates of time-stamping authorities, which may have own anchors."""
        return self.register.stamp_judge

    @property
    def rules(self) -> DecisionRules:
        """The mappings and status codes in force now."""
        return self.find_rules(self.clock())

    def find_rules(self, at: datetime) -> DecisionRules:
        """Return the mappings and status codes in force at a time, as of the last snapshot."""
        return self.register.find_rules(at)

    def find_pinned_rules(self, digest: str) -> DecisionRules | None:
        """Return the rules by which a request was written; None when they are not known any more."""
        return self.register.find_pinned_rules(digest)

    def load_rules_of(self, conn: Connection, request: Row[Any] | OpenRequest) -> DecisionRules:
        """Return the rules that the case of a request pins: its mappings, and the codes of its agencies.

        Where they are not known any more, because an older version of the program opened the case, those
        in force.
        """
        return self.register.load_pinned_rules(conn, request.mapping_sha256) or self.rules

    def find_unstored_bundle(self, digest: str) -> bytes | None:
        """Return the packed files of the shipped mappings of this digest, where they are not stored yet."""
        return self.register.find_unstored_bundle(digest)

    def get_snapshot(self) -> RegisterSnapshot:
        """Return the last snapshot of the register; the register may have changed since."""
        return self.register.get_snapshot()

    def refresh_snapshot(self) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now."""
        return self.register.refresh_snapshot()

    def confirm_snapshot(self, conn: Connection) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now, in the transaction that reads what it is for."""
        return self.register.confirm_snapshot(conn)

    def confirm_version(self, version: int) -> RegisterSnapshot:
        """Return a snapshot of the register that is not older than a version that was just read."""
        return self.register.confirm_version(version)

    def is_snapshot_current(self, knowledge: RegisterSnapshot) -> bool:
        """Return whether the register is unchanged since the snapshot `knowledge` was taken."""
        return self.register.is_snapshot_current(knowledge)

    def check_snapshot_current(self, conn: Connection, knowledge: RegisterSnapshot) -> None:
        """Raise StaleSnapshotError when the register has changed since `knowledge` was read."""
        self.register.check_snapshot_current(conn, knowledge)

    @staticmethod
    def make_parcel(headers: Mapping[str, str], content: bytes | Body) -> Parcel:
        """Return stored headers and octets as a parcel."""
        return Parcel(headers, as_body(content))

    def _make_own_party(self, knowledge: RegisterSnapshot) -> Party | None:
        """Return who we are in a header, by our first id; None when we have none."""
        known = knowledge.identifiers.get(self.party, ())
        return Party(known[:1]) if known else None

    def make_protocol_context(self, knowledge: RegisterSnapshot) -> ProtocolContext:
        """Return the context of a protocol core at the current time: agreements, keys, parties, limits."""
        now = self.clock()
        return ProtocolContext(
            agreements=knowledge.book,
            validate_certificate=self.judge,
            keys=Keyring({self.party: self._get_signer_at(now)}),
            now=now,
            make_message_id=lambda: f"{self.new_uuid()}@{self.host}",
            find_certificate_party=lambda sha256: knowledge.find_certificate_party(sha256, now),
            find_party_name=knowledge.by_id.get,
            limits=self.limits,
            encryption=EncryptionResources(
                self.decryption_keys,
                os.urandom,
                lambda party, pin: knowledge.find_encryption_certificate(party, pin, now),
            ),
            forwarding=knowledge.forwarding,
            own_party=self._make_own_party(knowledge),
            list_party_certificates=knowledge.list_party_certificates,
            issuers=(*self.judge.trust.intermediates, *self.judge.trust.anchors),
            find_sent_parcel=partial(find_sent_parcel, self.engine, self.party),
            knows_all_sent=True,
            find_pull_login=self.pull_logins.find_login,
            envelopes=self.envelopes,
        )
