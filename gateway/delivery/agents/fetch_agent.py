"""Fetches CRLs, OCSP responses and trusted lists, and activates what is accepted.

Each source is a destination of the queue. What was fetched is checked against issuer, time and
predecessor before any transaction. One transaction then activates it, raises the epoch, records
evidence and ends the delivery. What is rejected changes nothing but the recorded failure of its
source.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.fetch import (
    FetchAttempt,
    SourceClient,
    cancel_earlier_failure,
    fetch_ocsp_responses,
    fetch_revocation_list,
    fetch_trusted_list,
)
from gateway.delivery.recurring_schedule import RecurringTask
from gateway.delivery.tls_connector import TlsConnector
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import AGENT, FetchSource, Hub, find_issuer_trust_store
from gateway.store import (
    DeliveryLease,
    InsufficientStorageError,
    fetched_lists,
    make_attempt_outcome,
    write_transaction,
)

__all__ = ["FetchAgent", "list_recurring_fetches"]

#: A fetch is retried until its period ends; the next period has a delivery of its own.
_WITHOUT_END: Final = 1_000_000

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
        plan: RetryPlan,
        lease: timedelta,
        tls: TlsConnector | None = None,
    ) -> None:
        self._hub = hub
        self._sources = sources
        self._plan = plan
        self._lease = lease
        self._tls = tls

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the retry intervals of the settings, with unlimited retries: a period ends by itself."""
        source = self._sources.get(lease.destination)
        every = source.settings.every if source else self._plan.ceiling
        return RetryPlan(_WITHOUT_END, min(self._plan.first, every), min(self._plan.ceiling, every))

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Fetch once from a source and store the result."""
        source = self._sources.get(lease.destination)
        if source is None:
            detail = f"there is no source {lease.destination[:40]!r} in the settings"
            raise GatewayError(SETTINGS_WRONG, detail, "fetch")
        self._hub.refresh_snapshot()
        try:
            with SourceClient(source, self._lease.total_seconds() / 2, self._tls) as line:
                self._fetch_by_kind(
                    FetchAttempt(
                        self._hub, lease, source, line, find_issuer_trust_store(self._hub, source.issuer)
                    )
                )
        except InsufficientStorageError:
            raise
        except GatewayError as problem:
            self._record_source_failure(source, problem)
            raise

    def _fetch_by_kind(self, work: FetchAttempt) -> None:
        match work.source.settings.kind:
            case "ocsp":
                fetch_ocsp_responses(work, self._lease)
            case "trust_list":
                fetch_trusted_list(work)
            case _:
                fetch_revocation_list(work)

    def _record_source_failure(self, source: FetchSource, problem: GatewayError) -> None:
        """Record for the operator that a source failed; the worker records the attempt itself."""
        words = make_attempt_outcome(problem).detail or problem.problem.id
        with write_transaction(self._hub.engine, "fetch.failed") as conn:
            fetched_lists.ensure_source(conn, source.name, source.settings.kind, source.url)
            times = fetched_lists.record_failure(
                conn, source.name, self._hub.clock(), problem.problem.id, words
            )
        _log.warning("fetching %s from %s failed (%d): %s", source.name, source.url[:200], times, words)

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Record a period without success; only the last failed delivery of a source stays FAILED."""
        delivery, name = what.delivery, what.delivery.destination
        source = self._sources.get(name)
        if source is not None:
            fetched_lists.ensure_source(conn, name, source.settings.kind, source.url)
            cancel_earlier_failure(conn, name, delivery.id, what.at)
        data = {"problem": what.problem.problem.id, "delivery": delivery.id}
        record_evidence(conn, "unfetched", "source", name, None, data, what.at)
