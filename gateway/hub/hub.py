"""The hub object that all steps share, and a message with all that it was opened by."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine

from gateway.config import NeedSettings
from gateway.errors import NO_ROOM, GatewayError
from gateway.hub.deadlines.active_timetable import ActiveTimetable
from gateway.hub.event_feed import advance_event_feed
from gateway.hub.fees.payment_policy import NO_PAYMENTS, PaymentPolicy
from gateway.hub.intake.refusal_tally import RefusalTally
from gateway.hub.intake.response_watch import ResponseLimits, ResponseWatch
from gateway.hub.node_upkeep import NodeKeeper, NodeUpkeep, StampingMonitor, run_upkeep_steps
from gateway.hub.outbox.outgoing_calls import CallComposer, RefusalQuota
from gateway.hub.register.trusted_register import RegisterSnapshot, TrustedRegister
from gateway.hub.statistics_keeper import StatisticsKeeper
from gateway.hub.trust.configured_secrets import NextSigningKey, PullLogins
from gateway.message_model import Body, Party, as_body
from gateway.pki import CertificateExaminer, CertificateUse, DecryptionKey, Keyring, Signer
from gateway.protocols import (
    EncryptionResources,
    OpenedMessage,
    Parcel,
    ProtocolContext,
    ProtocolCore,
    SentUnit,
)
from gateway.store import (
    AgencyRequestRow,
    DuePlace,
    WorkPasses,
    fold_state_changes,
    keep_database_mark,
    messages,
    read_transaction,
)
from gateway.wire import DEFAULT_LIMITS, WireLimits

if TYPE_CHECKING:
    from gateway.hub.register.decision_rules import DecisionRules


def find_sent_parcel(engine: Engine, party: str, protocol: str, message_id: str) -> Parcel | None:
    """Return the parcel that a party of this hub sent under a message id; None if this protocol sent none."""
    with read_transaction(engine) as conn:
        row = messages.find_by_message_id(conn, "out", party, message_id)
        if row is None or row.protocol != protocol:
            return None
        if row.purged_at is not None:
            # Nothing can be compared with it any more.
            return None
        headers, octets = messages.open_parcel(conn, row.id)
    return Parcel(headers, as_body(octets))


#: The effect of a missing document if no settings are given.
_DEFAULT_NEEDS: Final = NeedSettings()
#: How many deadlines fire, and how many held messages are given up, in one pass of the upkeep.
_MAX_DONE_IN_PASS: Final = 100
#: The largest number of kept units. They have no payloads, so they take a few megabytes at most.
_MAX_SENT_UNITS: Final = 512


class SentUnits:
    """The units sealed lately in this process, by the SHA-256 of their octets; safe for many threads."""

    def __init__(self, max_units: int = _MAX_SENT_UNITS) -> None:
        self._max_units = max_units
        self._units: dict[str, SentUnit] = {}
        self._guard = threading.Lock()

    def keep_unit(self, digest: str, parcel: Parcel) -> None:
        """Keep the unit of a parcel whose octets have this digest; the oldest one is dropped when full."""
        if parcel.sent_unit is None:
            return
        with self._guard:
            self._units.pop(digest, None)
            self._units[digest] = parcel.sent_unit
            while len(self._units) > self._max_units:
                del self._units[next(iter(self._units))]

    def take_unit(self, digest: str | None) -> SentUnit | None:
        """Remove and return the unit whose octets have this digest; None when it is not known."""
        with self._guard:
            return None if digest is None else self._units.pop(digest, None)


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

    `party` is the hub's own name in the register. `signer` is the key it signs with, and `successor` the key
    that replaces it later. `register` holds the known parties and the trust. `examiner` runs the certificate
    validations of a hub at work; the hub closes it when it is closed itself. `mutual_tls` names the parties
    that must show a TLS client certificate of their own, even if their P-Modes do not require one. `stamping`
    reports whether evidence waits too long for its time stamp; it is None where no authority stamps evidence.
    `zone` is the time zone of the days in the statistics. `responses` limits the requests that wait for a
    response in their HTTP answer. `decryption_keys` open the payloads that are encrypted for the hub.
    `need_policy` is the effect of a document that the goods need and the submission lacks. Without
    `uses_test_calendars`, calendars and terms marked as test editions do not count. `payments` says which
    fees are paid through the hub. `pull_logins` are the names and passwords of parties that pull. `node` is
    the name of this machine; without a name other nodes do not see it. With `refuses_late_repeats` the repeat
    of a message whose octets retention has removed is refused; otherwise it gets a new receipt.
    """

    def __init__(
        self,
        resources: HubResources,
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
        max_held_messages: int = 1000,
        max_posted_refusals: int = 200,
        decryption_keys: tuple[DecryptionKey, ...] = (),
        need_policy: NeedSettings = _DEFAULT_NEEDS,
        uses_test_calendars: bool = True,
        payments: PaymentPolicy = NO_PAYMENTS,
        pull_logins: PullLogins | None = None,
        node: str = "",
    ) -> None:
        self.engine = resources.engine
        self.clock = resources.clock
        self.new_uuid = resources.new_uuid
        self.host = resources.host
        self.composer = resources.composer
        self.party = party
        self.register = register
        self.judge = register.judge
        self.recognizer = register.recognizer
        self.verdicts = register.verdicts
        self.limits = limits
        self.refusals = RefusalQuota(max_posted_refusals)
        self.tally = RefusalTally(resources.engine, resources.clock, zone)
        self.statistics = StatisticsKeeper(resources.engine, resources.clock, zone)
        self.responses = ResponseWatch(resources.engine, resources.clock, responses)
        self.node = NodeKeeper(resources.engine, resources.clock, node)
        self._upkeep = NodeUpkeep()
        self.deadline_passes = WorkPasses[DuePlace](_MAX_DONE_IN_PASS)
        self.expiry_passes = WorkPasses[DuePlace](_MAX_DONE_IN_PASS)
        self.sent_units = SentUnits()
        self.timetable = ActiveTimetable(test_editions=uses_test_calendars)
        self.mutual_tls = mutual_tls
        self.stamping = stamping
        self.max_held_messages = max_held_messages
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

    def find_examiner_problem(self) -> GatewayError | None:
        """Return GW806 while no certificate can be validated, else None.

        Where the process that does it has ended or is new, it is started and tries the hub's own certificate.
        """
        examiner = self._examiner
        if examiner is None or examiner.is_usable:
            return None
        certificate, trust = self.signer.certificate, self.judge.trust
        verdict = examiner(
            certificate.der, CertificateUse.SIGNING, self.clock(), trust, self.judge.revocations
        )
        if not verdict.is_transient:
            return None
        problem = GatewayError(NO_ROOM, verdict.reason)
        problem.public_text = "certificates cannot be validated"
        return problem

    def run_maintenance(self) -> None:
        """Store refusals and counts, order new events, fold old state changes, and run the upkeep tasks.

        A step that fails stops no other; GW806 ends all.
        """
        run_upkeep_steps(
            partial(keep_database_mark, self.engine),
            self.node.report_alive,
            self.tally.run_maintenance,
            partial(advance_event_feed, self.engine, self.clock),
            self.statistics.run_maintenance,
            partial(fold_state_changes, self.engine),
            lambda: self._upkeep.run_due_tasks(self.engine, self.clock()),
        )

    def close(self) -> None:
        """Store the counts of this process, and close the certificate examiner and the database."""
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
    def rules(self) -> DecisionRules:
        """The mappings and status codes in force now."""
        return self.register.find_rules(self.clock())

    def load_rules_of(self, conn: Connection, request: AgencyRequestRow) -> DecisionRules:
        """Return the rules that the case of a request pins: its mappings, and the codes of its agencies.

        Where they are not known any more, because an older version of the program opened the case, those
        in force.
        """
        return self.register.load_pinned_rules(conn, request.mapping_sha256) or self.rules

    def get_snapshot(self) -> RegisterSnapshot:
        """Return the last snapshot of the register; the register may have changed since."""
        return self.register.get_snapshot()

    def refresh_snapshot(self) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now."""
        return self.register.refresh_snapshot()

    @staticmethod
    def make_parcel(headers: Mapping[str, str], content: bytes | Body) -> Parcel:
        """Return stored headers and octets as a parcel."""
        return Parcel(headers, as_body(content))

    def _make_own_party(self, register_snapshot: RegisterSnapshot) -> Party | None:
        """Return this hub as a party of a header, by its first id; None when it has none."""
        party_ids = register_snapshot.identifiers.get(self.party, ())
        return Party(party_ids[:1]) if party_ids else None

    def make_protocol_context(self, register_snapshot: RegisterSnapshot) -> ProtocolContext:
        """Return the context of a protocol core at the current time: agreements, keys, parties, limits."""
        now = self.clock()
        return ProtocolContext(
            agreements=register_snapshot.book,
            validate_certificate=self.judge,
            signers=Keyring({self.party: self._get_signer_at(now)}),
            now=now,
            make_message_id=lambda: f"{self.new_uuid()}@{self.host}",
            find_certificate_party=lambda sha256: register_snapshot.find_certificate_party(sha256, now),
            find_party_name=register_snapshot.by_id.get,
            limits=self.limits,
            encryption=EncryptionResources(
                self.decryption_keys,
                os.urandom,
                lambda party, pin: register_snapshot.find_encryption_certificate(party, pin, now),
            ),
            forwarding=register_snapshot.forwarding,
            own_party=self._make_own_party(register_snapshot),
            list_party_certificates=register_snapshot.list_party_certificates,
            issuers=(*self.judge.trust.intermediates, *self.judge.trust.anchors),
            find_sent_parcel=partial(find_sent_parcel, self.engine, self.party),
            has_all_sent_messages=True,
            find_pull_login=self.pull_logins.find_login,
        )


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """An opened parcel with the register that verified it; `admission` is how its signer was admitted.

    `is_connected` is False for a parcel that came in an HTTP answer: the hub cannot answer on its connection.
    """

    hub: Hub
    protocol: ProtocolCore
    opened: OpenedMessage
    context: ProtocolContext
    register_snapshot: RegisterSnapshot
    admission: Mapping[str, Any] | None = None
    is_connected: bool = True
