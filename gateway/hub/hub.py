"""The hub itself: what the use cases share, none of it changing but the register's snapshot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from gateway.hub.calls import Composer
from gateway.hub.knowledge import Knowledge, load_knowledge
from gateway.hub.mappings import Rules, rules_in_force
from gateway.hub.posting import RefusalQuota
from gateway.hub.stamping import Stamping
from gateway.hub.trust.in_hand import InHand
from gateway.hub.trust.recognition import Recognizer
from gateway.hub.trust.verdicts import VerdictBook
from gateway.model import Octets
from gateway.pki.keys import Signer
from gateway.pki.trust import Judge
from gateway.pki.worker import Examiner
from gateway.protocols import Context, Parcel
from gateway.store import epochs
from gateway.store.engine import reading
from gateway.wire.prescan import DEFAULT_LIMITS, Limits

__all__ = ["Hub", "StaleKnowledgeError", "Successor", "World"]


class StaleKnowledgeError(Exception):
    """The register has changed since the snapshot was taken: judge again."""


@dataclass(frozen=True, slots=True)
class World:
    """What the hub asks of the outside: a database, the time, new names, the words of its calls.

    `new_uuid` returns a new UUID as text; message ids are ``uuid@host``.
    """

    engine: Engine
    clock: Callable[[], datetime]
    new_uuid: Callable[[], str]
    host: str
    composer: Composer


@dataclass(frozen=True, slots=True)
class Successor:
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
        world: World,
        party: str,
        signer: Signer,
        judge: Judge,
        *,
        rules: Rules,
        limits: Limits = DEFAULT_LIMITS,
        crls: tuple[bytes, ...] = (),
        successor: Successor | None = None,
        examiner: Examiner | None = None,
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
        self.stamping: Stamping | None = None
        #: Judges time-stamping authorities, which may have anchors of their own.
        self.stamp_judge = judge
        self._crls = crls
        self._in_hand = InHand()
        self._knowledge: Knowledge | None = None
        self._loading = threading.Lock()
        self._examiner = examiner
        self.recognizer = recognizer or Recognizer()
        self.verdicts = VerdictBook(world.engine, self._is_registered)
        if examiner is not None:
            self.judge.tell = self.verdicts.keep

    def _is_registered(self, sha256: str) -> bool:
        known = self._knowledge
        return known is not None and (sha256 in known.by_certificate or sha256 in known.tls_clients)

    def make_ready(self) -> None:
        """Let what judges certificates start, so that the first message need not wait for it."""
        if self._examiner is not None:
            self._examiner.begin()

    def close(self) -> None:
        """End what judges certificates, and give the connections back."""
        if self._examiner is not None:
            self._examiner.close()
        self.engine.dispose()

    @property
    def signer(self) -> Signer:
        """The key that signs now: ask once for each signature, it may be another the next time."""
        return self._signer_at(self.clock())

    @signer.setter
    def signer(self, signer: Signer) -> None:
        """Sign with another key from now on; whatever was to succeed the old one is forgotten."""
        self._signer, self._successor = signer, None

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Every key of ours, the first one first: partners are to accept them all."""
        return (self._signer,) if self._successor is None else (self._signer, self._successor.signer)

    @property
    def takes_over_at(self) -> datetime | None:
        """When the second key takes over from the first, None when there is no second one."""
        return None if self._successor is None else self._successor.starts

    def _signer_at(self, moment: datetime) -> Signer:
        later = self._successor
        return later.signer if later is not None and moment >= later.starts else self._signer

    def knowledge(self) -> Knowledge:
        """Return the snapshot in hand; it may be older than the register."""
        known = self._knowledge
        return known if known is not None else self.refresh()

    def refresh(self) -> Knowledge:
        """Take a snapshot of the register as it is now."""
        with self._loading:
            with reading(self.engine) as conn:
                known = self._knowledge
                if known is None or epochs.current(conn) != known.epoch:
                    known = load_knowledge(conn)
                    # What cannot be read was refused when it was put in force: rules never half change.
                    self.rules = rules_in_force(conn, self.rules)
                    rules = self.judge.trust.policy.certificates
                    files = (*self._crls, *known.crls)
                    lists = self._in_hand.renewed(conn, files, known.fetched, rules)
                    self.recognizer.renew(conn)
                    # The judge first: whoever gets the new snapshot must not meet an old verdict.
                    self.judge.renew(revocations=lists, epoch=known.epoch)
                    if self.stamp_judge is not self.judge:
                        self.stamp_judge.renew(revocations=lists, epoch=known.epoch)
                    self._knowledge = known
            return known

    def is_fresh(self, knowledge: Knowledge) -> bool:
        """Tell whether the register is still as `knowledge` says."""
        with reading(self.engine) as conn:
            return epochs.current(conn) == knowledge.epoch

    def check_fresh(self, conn: Connection, knowledge: Knowledge) -> None:
        """Raise when the register has changed since `knowledge` was read."""
        if epochs.current(conn) != knowledge.epoch:
            raise StaleKnowledgeError

    @staticmethod
    def parcel(headers: Mapping[str, str], content: bytes) -> Parcel:
        """Return stored headers and octets as a parcel."""
        return Parcel(headers, Octets(content))

    def context(self, knowledge: Knowledge) -> Context:
        """Return what a protocol core may ask of the world, as of now."""
        now = self.clock()
        return Context(
            agreements=knowledge.book,
            judge=self.judge,
            keys={self.party: self._signer_at(now)},
            now=now,
            new_id=lambda: f"{self.new_uuid()}@{self.host}",
            party_of=lambda sha256: knowledge.party_of(sha256, now),
            party_named=knowledge.by_id.get,
            limits=self.limits,
        )
