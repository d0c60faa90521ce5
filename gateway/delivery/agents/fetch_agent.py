"""The agents that fetch revocation lists and time stamps."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.config import TimeStampSettings, mask_url
from gateway.delivery.attempt_outcome import (
    FailedDelivery,
    LeaseLostError,
    RetryPlan,
    make_lease_finisher,
)
from gateway.delivery.fetch_attempt import (
    FetchAttempt,
    SourceClient,
    cancel_earlier_failed_delivery,
    fetch_ocsp_responses,
    fetch_trusted_list,
)
from gateway.delivery.http_client import HttpClient
from gateway.delivery.recurring_schedule import RecurringTask
from gateway.delivery.revocation_list_fetch import fetch_revocation_list
from gateway.delivery.tls_connectors import TlsConnector
from gateway.errors import PARTNER_FAULT, SETTINGS_WRONG, GatewayError
from gateway.evidence import record_evidence, tree_heads
from gateway.failpoints import kill_at_failpoint
from gateway.hub import AGENT, FetchSource, Hub, find_issuer_trust_store
from gateway.pki import (
    CertificateUse,
    TimeStamp,
    TimeStampQuery,
    make_time_stamp_request,
    verify_time_stamp_response,
)
from gateway.store import (
    DeliveryLease,
    InsufficientStorageError,
    NewTimeStamp,
    SealRow,
    deliveries,
    delivery_leases,
    fetched_lists,
    make_attempt_outcome,
    read_transaction,
    time_stamps,
    verdicts,
    write_transaction,
)

#: A fetch is retried until its period ends; the next period has a delivery of its own.
_UNLIMITED_RETRIES: Final = 1_000_000

_log = logging.getLogger(__name__)


def list_recurring_fetches(sources: Mapping[str, FetchSource]) -> list[RecurringTask]:
    """Return the recurring task of each source."""
    return [
        RecurringTask(f"fetch:{source.name}", AGENT, source.name, source.settings.every, source.lane)
        for source in sources.values()
    ]


class FetchAgent:
    """Fetches from the sources of the settings; `lease` is how long a worker holds a delivery."""

    def __init__(
        self,
        hub: Hub,
        sources: Mapping[str, FetchSource],
        retry_plan: RetryPlan,
        lease_time: timedelta,
        tls: TlsConnector | None = None,
    ) -> None:
        self._hub = hub
        self._sources = sources
        self._retry_plan = retry_plan
        self._lease_time = lease_time
        self._tls = tls

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry intervals of the settings, with unlimited retries: a period ends by itself."""
        source = self._sources.get(lease.destination)
        period = source.settings.every if source else self._retry_plan.max_delay
        return RetryPlan(
            _UNLIMITED_RETRIES,
            min(self._retry_plan.first_delay, period),
            min(self._retry_plan.max_delay, period),
        )

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Fetch once from a source and store the result."""
        source = self._sources.get(lease.destination)
        if source is None:
            detail = f"there is no source {lease.destination[:40]!r} in the settings"
            raise GatewayError(SETTINGS_WRONG, detail, "fetch")
        self._hub.refresh_snapshot()
        try:
            with SourceClient(source, self._lease_time.total_seconds() / 2, self._tls) as client:
                self._fetch_by_kind(
                    FetchAttempt(
                        self._hub, lease, source, client, find_issuer_trust_store(self._hub, source.issuer)
                    )
                )
        except InsufficientStorageError:
            raise
        except GatewayError as problem:
            self._record_source_failure(lease, source, problem)
            raise

    def _fetch_by_kind(self, attempt: FetchAttempt) -> None:
        match attempt.source.settings.kind:
            case "ocsp":
                fetch_ocsp_responses(attempt, self._lease_time)
            case "trust_list":
                fetch_trusted_list(attempt)
            case _:
                fetch_revocation_list(attempt)

    def _record_source_failure(
        self, lease: DeliveryLease, source: FetchSource, problem: GatewayError
    ) -> None:
        """Record for the operator that a source failed; the worker records the attempt itself.

        Raises LeaseLostError where another worker has taken over the delivery: it may have fetched since.
        """
        detail = make_attempt_outcome(problem).detail or problem.problem.id
        with write_transaction(self._hub.engine, "fetch.failed") as conn:
            fetched_lists.ensure_source(conn, source.name, source.settings.kind, source.url)
            if not delivery_leases.lock_active_lease(conn, lease):
                raise LeaseLostError from problem
            failure_count = fetched_lists.record_failure(
                conn, source.name, self._hub.clock(), problem.problem.id, detail
            )
        _log.warning(
            "fetching from %s failed (%d times): %s",
            *(mask_url(source.url)[:200], failure_count, detail),
            extra={"source": source.name, "problem": problem.problem.id},
        )

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record a period without success; only the last failed delivery of a source stays FAILED."""
        delivery, source_name = failure.delivery, failure.delivery.destination
        source = self._sources.get(source_name)
        if source is not None:
            fetched_lists.ensure_source(conn, source_name, source.settings.kind, source.url)
            cancel_earlier_failed_delivery(conn, source_name, delivery.id, failure.at)
        evidence_fields = {"problem": failure.problem.problem.id, "delivery": delivery.id}
        record_evidence(conn, "unfetched", "source", source_name, None, evidence_fields, failure.at)


_REQUEST_HEADERS: Final = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
}
#: Bits of the nonce; each request has a new one.
_NONCE_BITS: Final = 128
#: Retries within one period; the period ends before they are used up.
_STAMPING_RETRIES: Final = 1_000_000


class TimeStampAgent:
    """Makes the time-stamping deliveries; safe for many threads."""

    def __init__(self, hub: Hub, http_client: HttpClient, settings: TimeStampSettings) -> None:
        self._hub = hub
        self._http_client = http_client
        self._settings = settings

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the steady interval of the settings; a delivery that keeps failing ends with its period."""
        del lease
        settings = self._settings
        return RetryPlan(_STAMPING_RETRIES, settings.retry, is_constant=True)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Seal new evidence, have the last head stamped unless it is stamped, and store the time stamp."""
        self._seal_new_evidence(lease)
        head = self._find_unstamped_head() if self._settings.authorities else None
        stamp = None if head is None else self._obtain_time_stamp(head)
        kill_at_failpoint("tsa.after_answer")
        with write_transaction(self._hub.engine, "tsa.stamped") as conn:
            deliveries.give_up_earlier_periods(conn, lease, self._hub.clock(), "tsa")
            make_lease_finisher(lease, self._hub.clock)(conn)
            if stamp is not None:
                time_stamps.insert_time_stamp(conn, stamp, self._hub.clock())
        self._report_staleness()

    def _find_unstamped_head(self) -> SealRow | None:
        """Return the last head, None where it is stamped or there is none."""
        with read_transaction(self._hub.engine) as conn:
            head = tree_heads.find_latest_head(conn)
            return None if head is None or time_stamps.list_by_head(conn, head.id) else head

    def _seal_new_evidence(self, lease: DeliveryLease) -> None:
        """Seal head after head until no evidence is new, or half of the lease is over."""
        hub = self._hub
        seal_until = hub.clock() + (lease.lease_until - hub.clock()) / 2
        while (now := hub.clock()) < seal_until:
            with read_transaction(hub.engine) as conn:
                head = tree_heads.make_next_head(conn, hub.party, now)
            if head is None:
                return
            head = head.add_signature(hub.signer)
            with write_transaction(hub.engine, "tsa.sealed") as conn:
                tree_heads.store_head(conn, head)
            if len(head.leaf_ids) < tree_heads.MOST_LEAVES:
                return

    def _obtain_time_stamp(self, head: SealRow) -> NewTimeStamp:
        """Return the time stamp of the first authority that gives a valid one; raises the last problem."""
        last_problem = GatewayError(SETTINGS_WRONG, "no authority is named", "time_stamps.authorities")
        for authority in self._settings.authorities:
            try:
                stamp = self._request_timestamp(authority, head.head)
            except GatewayError as attempt_problem:
                last_problem = attempt_problem
                _log.warning("no time stamp: %s", attempt_problem, extra={"source": authority})
                continue
            serial_text, verdict = str(stamp.serial), self._find_authority_verdict(stamp)
            return NewTimeStamp(head.id, authority, stamp.at, stamp.policy, serial_text, stamp.token, verdict)
        self._report_staleness()
        raise last_problem

    def _find_authority_verdict(self, stamp: TimeStamp) -> str | None:
        """Return the digest of the stored verdict that accepted the authority."""
        certificate_sha256, use = stamp.certificate.sha256, CertificateUse.TIME_STAMPING
        stored_digest = self._hub.verdicts.find_verdict_digest(certificate_sha256, use)
        if stored_digest is not None:
            return stored_digest
        with read_transaction(self._hub.engine) as conn:
            row = verdicts.find_verdict_in_force(conn, certificate_sha256, use.value, self._hub.clock())
        return None if row is None else str(row.digest)

    def _request_timestamp(self, authority: str, head_text: str) -> TimeStamp:
        """Return the verified time stamp (RFC 3161) of `head_text` from the URL `authority`.

        Raise GW608 unless it answers with HTTP status 200.
        """
        settings, now = self._settings, self._hub.clock()
        digest = hashlib.sha256(head_text.encode()).digest()
        query = TimeStampQuery(digest, secrets.randbits(_NONCE_BITS), settings.policy, now)
        answer = self._http_client.post(authority, _REQUEST_HEADERS, make_time_stamp_request(query))
        if answer.status != 200:
            raise GatewayError(
                PARTNER_FAULT, "it answered with an error", "HTTP", theirs=f"HTTP status {answer.status}"
            )
        # A revocation list that came into force during the request counts too.
        self._hub.refresh_snapshot()
        return verify_time_stamp_response(answer.body, query, self._hub.register.stamp_judge, settings.skew)

    def _report_staleness(self) -> None:
        """Log when stamping becomes stale or current, even while no messages arrive."""
        if self._hub.stamping is not None:
            self._hub.stamping.find_staleness_problem(self._hub.clock())

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Leave the evidence to the next period; only the last failed delivery stays FAILED."""
        deliveries.give_up_earlier_periods(conn, failure.delivery, failure.at, "tsa")
        _log.error(
            "a period of time-stamping has ended without a stamp: %s",
            failure.problem,
            extra={"delivery": failure.delivery.id},
        )
