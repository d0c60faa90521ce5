"""Holds the register snapshot with the validators, lists and mappings that change with it, in one process."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from gateway.hub.register.register_snapshot import RegisterSnapshot, load_register_snapshot
from gateway.hub.trust import LoadedRevocationData, Recognizer, VerdictRecorder
from gateway.pki import CertificateValidator
from gateway.store import read_transaction, register_version

if TYPE_CHECKING:
    from gateway.hub.register.active_rules import ActiveRules
    from gateway.hub.register.decision_rules import DecisionRules

__all__ = ["StaleSnapshotError", "TrustedRegister"]


class StaleSnapshotError(Exception):
    """The register has changed since the snapshot was taken: evaluate again."""


class TrustedRegister:
    """The last snapshot of the register, and what is renewed with each snapshot; safe for many threads.

    `judge` validates certificates. `stamp_judge` validates those of time-stamping authorities,
    which may have anchors of their own (None: the same validator). `crls` are the revocation lists
    of the settings; those of the register are added to them. A `recognizer`, which `judge` then
    validates by, uses the trusted lists. `verdicts` stores the verdicts that the validators report
    to it.
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
        found = self._active_rules.find_rules(at)
        if found is not None:
            return found
        with read_transaction(self._engine) as conn:
            return self._active_rules.load_earlier_rules(conn, at)

    def find_pinned_rules(self, digest: str) -> DecisionRules | None:
        """Return the rules by which a request was written; None when they are not known any more."""
        found = self._active_rules.find_bundle(digest)
        if found is not None:
            return found
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
        known = self._snapshot
        return known if known is not None else self.refresh_snapshot()

    def refresh_snapshot(self) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now."""
        with self._loading:
            with read_transaction(self._engine) as conn:
                known = self._snapshot
                if known is None or register_version.get_register_version(conn) != known.epoch:
                    known = load_register_snapshot(conn)
                    # What cannot be read was refused at its activation, so the rules never change in
                    # part.
                    self._active_rules.reload_rules(conn)
                    self._renew_judges(conn, known)
                    self.verdicts.set_registered_certificates(known.by_certificate, known.tls_clients)
                    self._snapshot = known
            return known

    def confirm_snapshot(self, conn: Connection) -> RegisterSnapshot:
        """Return a snapshot of the register as it is now; the last one, where `conn` finds its version."""
        return self.confirm_version(register_version.get_register_version(conn))

    def confirm_version(self, version: int) -> RegisterSnapshot:
        """Return a snapshot of the register that is not older than a version that was just read."""
        known = self._snapshot
        return known if known is not None and known.epoch == version else self.refresh_snapshot()

    def _renew_judges(self, conn: Connection, known: RegisterSnapshot) -> None:
        """Renew the trust of the validators before the snapshot is visible: no old verdict is used."""
        rules = self.judge.trust.policy.certificates
        files = (*self._crls, *known.crls)
        lists = self._revocation_data.reload_revocations(conn, files, known.fetched, rules)
        self.recognizer.reload_lists(conn)
        self.judge.replace_trust(revocations=lists, epoch=known.epoch)
        if self.stamp_judge is not self.judge:
            self.stamp_judge.replace_trust(revocations=lists, epoch=known.epoch)

    def is_snapshot_current(self, knowledge: RegisterSnapshot) -> bool:
        """Return whether the register is unchanged since the snapshot `knowledge` was taken."""
        with read_transaction(self._engine) as conn:
            return register_version.get_register_version(conn) == knowledge.epoch

    def check_snapshot_current(self, conn: Connection, knowledge: RegisterSnapshot) -> None:
        """Raise StaleSnapshotError when the register has changed since `knowledge` was read."""
        if register_version.get_register_version(conn) != knowledge.epoch:
            raise StaleSnapshotError
