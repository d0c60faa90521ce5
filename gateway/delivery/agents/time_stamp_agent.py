"""Signs tree heads over the evidence and has the last one time-stamped (RFC 3161 §3.4).

The authorities are tried in order. Where the settings name none, the head only has our own
signature.
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

from gateway.delivery.attempt_outcome import RetryPlan, make_lease_finisher
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.http_client import HttpClient
from gateway.errors import PARTNER_FAULT, SETTINGS_WRONG, GatewayError
from gateway.evidence import tree_heads
from gateway.failpoints import kill_at_failpoint
from gateway.hub import Hub
from gateway.pki import (
    CertificateUse,
    TimeStamp,
    TimeStampQuery,
    make_time_stamp_request,
    verify_time_stamp_response,
)
from gateway.store import (
    DeliveryLease,
    NewTimeStamp,
    read_transaction,
    time_stamps,
    verdicts,
    write_transaction,
)

__all__ = ["TimeStampAgent", "TimeStampPolicy"]

_log = logging.getLogger(__name__)
_HEADERS: Final = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
#: Bits of the nonce; each request has a new one.
_NONCE_BITS: Final = 128
#: Retries within one period; the period ends before they are used up.
_TRIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TimeStampPolicy:
    """Authorities in order of use, policy, allowed clock difference, and time until all are tried again."""

    authorities: Sequence[str]
    policy: str | None
    skew: timedelta
    retry: timedelta


class TimeStampAgent:
    """Makes the time-stamping deliveries; safe for many threads."""

    def __init__(self, hub: Hub, sender: HttpClient, demand: TimeStampPolicy) -> None:
        self._hub = hub
        self._sender = sender
        self._demand = demand

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the steady interval of the settings; a delivery that keeps failing ends with its period."""
        del lease
        return RetryPlan(_TRIES, self._demand.retry, steady=True)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Seal new evidence, have the last head stamped unless it is stamped, and store the time stamp."""
        self._seal_new_evidence(lease)
        head = self._find_unstamped_head() if self._demand.authorities else None
        stamp = None if head is None else self._obtain_time_stamp(head)
        kill_at_failpoint("tsa.after_answer")
        with write_transaction(self._hub.engine, "tsa.stamped") as conn:
            make_lease_finisher(lease, self._hub.clock)(conn)
            if stamp is not None:
                time_stamps.insert_time_stamp(conn, stamp, self._hub.clock())
        self._report_staleness()

    def _find_unstamped_head(self) -> Row[Any] | None:
        """Return the last head, None where it is stamped or there is none."""
        with read_transaction(self._hub.engine) as conn:
            head = tree_heads.find_latest_head(conn)
            return None if head is None or time_stamps.list_by_head(conn, head.id) else head

    def _seal_new_evidence(self, lease: DeliveryLease) -> None:
        """Seal head after head until no evidence is new, or half of the lease is over."""
        hub = self._hub
        half = hub.clock() + (lease.lease_until - hub.clock()) / 2
        while (now := hub.clock()) < half:
            with read_transaction(hub.engine) as conn:
                head = tree_heads.make_next_head(conn, hub.party, now)
            if head is None:
                return
            head = head.add_signature(hub.signer)
            with write_transaction(hub.engine, "tsa.sealed") as conn:
                tree_heads.store_head(conn, head)
            if len(head.leaves) < tree_heads.MOST_LEAVES:
                return

    def _obtain_time_stamp(self, head: Row[Any]) -> NewTimeStamp:
        """Return the time stamp of the first authority that gives a valid one; raises the last problem."""
        problem = GatewayError(SETTINGS_WRONG, "no authority is named", "time_stamps.authorities")
        self._hub.refresh_snapshot()
        for authority in self._demand.authorities:
            try:
                stamp = self._request_timestamp(authority, head.head)
            except GatewayError as found:
                problem = found
                _log.warning("no time stamp from %s: %s", authority, found)
                continue
            serial, verdict = str(stamp.serial), self._find_authority_verdict(stamp)
            return NewTimeStamp(head.id, authority, stamp.at, stamp.policy, serial, stamp.token, verdict)
        self._report_staleness()
        raise problem

    def _find_authority_verdict(self, stamp: TimeStamp) -> str | None:
        """Return the digest of the stored verdict that accepted the authority."""
        leaf, use = stamp.certificate.sha256, CertificateUse.TIME_STAMPING
        known = self._hub.verdicts.find_verdict_digest(leaf, use)
        if known is not None:
            return known
        with read_transaction(self._hub.engine) as conn:
            row = verdicts.find_verdict_in_force(conn, leaf, use.value, self._hub.clock())
        return None if row is None else str(row.digest)

    def _request_timestamp(self, authority: str, text: str) -> TimeStamp:
        demand, now = self._demand, self._hub.clock()
        digest = hashlib.sha256(text.encode()).digest()
        question = TimeStampQuery(digest, secrets.randbits(_NONCE_BITS), demand.policy, now)
        answer = self._sender.post(authority, _HEADERS, make_time_stamp_request(question))
        if answer.status != 200:
            raise GatewayError(
                PARTNER_FAULT, "it answered with an error", "HTTP", theirs=f"HTTP status {answer.status}"
            )
        return verify_time_stamp_response(answer.body, question, self._hub.stamp_judge, demand.skew)

    def _report_staleness(self) -> None:
        """Log when stamping becomes stale or current, even while no messages arrive."""
        if self._hub.stamping is not None:
            self._hub.stamping.find_staleness_problem(self._hub.clock())

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Leave the evidence to the next period; the stamping monitor reports staleness."""
        del conn
        _log.error("a turn of time-stamping is over without a stamp: %s", what.problem)
