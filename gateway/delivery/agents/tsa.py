"""Seals the evidence so far and has the head time-stamped (RFC 3161 §3.4), by one authority or the next.

Where no authority is named the head is signed by ourselves alone.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.delivery.http import HttpSender
from gateway.delivery.leases import finisher
from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Failed
from gateway.errors import SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.evidence import seals
from gateway.failpoints import failpoint
from gateway.hub.hub import Hub
from gateway.pki.timestamps import Question, TimeStamp, check_response, request
from gateway.pki.trust import Use
from gateway.store import stamps, verdicts
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction
from gateway.store.stamps import NewStamp

__all__ = ["Demand", "TsaAgent"]

_log = logging.getLogger(__name__)
_HEADERS: Final = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
#: Every token of an authority answers another number of so many bits.
_NONCE_BITS: Final = 128
#: Tries within one turn; the turn ends before they do.
_TRIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Demand:
    """Whom to ask in turn, under which policy, how far clocks may differ, when to ask all of them again."""

    authorities: Sequence[str]
    policy: str | None
    skew: timedelta
    retry: timedelta


class TsaAgent:
    """Makes the turns of time-stamping; safe for many threads."""

    def __init__(self, hub: Hub, sender: HttpSender, demand: Demand) -> None:
        self._hub = hub
        self._sender = sender
        self._demand = demand

    def plan(self, lease: Lease) -> RetryPlan:
        """Return the steady wait of the settings: what fails all the time ends with its turn."""
        del lease
        return RetryPlan(_TRIES, self._demand.retry, steady=True)

    def deliver(self, lease: Lease) -> None:
        """Seal what is new, have the last head stamped unless it is, and store the stamp."""
        self._seal(lease)
        head = self._unstamped() if self._demand.authorities else None
        stamp = None if head is None else self._stamped(head)
        failpoint("tsa.after_answer")
        with transaction(self._hub.engine, "tsa.stamped") as conn:
            finisher(lease, self._hub.clock)(conn)
            if stamp is not None:
                stamps.add(conn, stamp, self._hub.clock())
        self._tell()

    def _unstamped(self) -> Row[Any] | None:
        """Return the last head, None where it is stamped or there is none."""
        with reading(self._hub.engine) as conn:
            head = seals.latest(conn)
            return None if head is None or stamps.of_seal(conn, head.id) else head

    def _seal(self, lease: Lease) -> None:
        """Seal head after head until nothing is new, or half of the lease is over."""
        hub = self._hub
        half = hub.clock() + (lease.lease_until - hub.clock()) / 2
        while (now := hub.clock()) < half:
            with reading(hub.engine) as conn:
                head = seals.gather(conn, hub.party, now)
            if head is None:
                return
            head = head.signed(hub.signer)
            with transaction(hub.engine, "tsa.sealed") as conn:
                seals.store(conn, head)
            if len(head.leaves) < seals.MOST_LEAVES:
                return

    def _stamped(self, head: Row[Any]) -> NewStamp:
        """Return the stamp of the first authority that gives a good one; raises the last problem."""
        problem = GatewayError(SETTINGS_WRONG, "no authority is named", "time_stamps.authorities")
        self._hub.refresh()
        for authority in self._demand.authorities:
            try:
                stamp = self._ask(authority, head.head)
            except GatewayError as found:
                problem = found
                _log.warning("no time stamp from %s: %s", authority, found)
                continue
            serial, verdict = str(stamp.serial), self._verdict_on(stamp)
            return NewStamp(head.id, authority, stamp.at, stamp.policy, serial, stamp.token, verdict)
        self._tell()
        raise problem

    def _verdict_on(self, stamp: TimeStamp) -> str | None:
        """Return the digest of what is kept of why the authority was believed."""
        leaf, use = stamp.certificate.sha256, Use.TIME_STAMPING
        known = self._hub.verdicts.name(leaf, use)
        if known is not None:
            return known
        with reading(self._hub.engine) as conn:
            row = verdicts.in_force(conn, leaf, use.value, self._hub.clock())
        return None if row is None else str(row.digest)

    def _ask(self, authority: str, text: str) -> TimeStamp:
        demand, now = self._demand, self._hub.clock()
        digest = hashlib.sha256(text.encode()).digest()
        question = Question(digest, secrets.randbits(_NONCE_BITS), demand.policy, now)
        answer = self._sender.post(authority, _HEADERS, request(question))
        if answer.status != 200:
            raise GatewayError(UNREACHABLE, f"HTTP status {answer.status}", "HTTP")
        return check_response(answer.body, question, self._hub.stamp_judge, demand.skew)

    def _tell(self) -> None:
        """Let the log say that evidence waits too long, or no longer does, whether messages come or not."""
        if self._hub.stamping is not None:
            self._hub.stamping.problem(self._hub.clock())

    def failed(self, conn: Connection, what: Failed) -> None:
        """Leave it to the next turn: the evidence waits, and the rule for stale stamping tells."""
        del conn
        _log.error("a turn of time-stamping is over without a stamp: %s", what.problem)
