"""Fetches lists, OCSP responses and trusted lists, and puts in force what is believed.

Each source is a destination of the queue.  What came is held against issuer, time and what it is to
follow before any transaction; one transaction then puts it in force, raises the epoch, leaves
evidence and ends the delivery.  What is refused changes nothing but the word on its source.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.fetching.answers import fetch_answers
from gateway.delivery.fetching.lists import fetch_list, fetch_trust_list
from gateway.delivery.fetching.sources import Line
from gateway.delivery.fetching.work import Work, follow
from gateway.delivery.leases import outcome_of
from gateway.delivery.retry import RetryPlan
from gateway.delivery.schedule import Recurring
from gateway.delivery.tls import Shaking
from gateway.delivery.worker import Failed
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.evidence.log import record
from gateway.hub.believing import trust_for
from gateway.hub.hub import Hub
from gateway.hub.trust.sources import AGENT, Source
from gateway.store import fetched
from gateway.store.claims import Lease
from gateway.store.engine import transaction
from gateway.store.room import NoRoomError

__all__ = ["FetchAgent", "recurring"]

#: As long as its stretch lasts it is tried: the next one brings a delivery of its own.
_WITHOUT_END: Final = 1_000_000

_log = logging.getLogger(__name__)


def recurring(sources: Mapping[str, Source]) -> list[Recurring]:
    """Return what the schedule is to queue."""
    return [
        Recurring(f"fetch:{source.name}", AGENT, source.name, source.settings.every, source.lane)
        for source in sources.values()
    ]


class FetchAgent:
    """Fetches from the sources of the settings; `lease` is how long a worker holds a delivery."""

    def __init__(
        self,
        hub: Hub,
        sources: Mapping[str, Source],
        plan: RetryPlan,
        lease: timedelta,
        tls: Shaking | None = None,
    ) -> None:
        self._hub = hub
        self._sources = sources
        self._plan = plan
        self._lease = lease
        self._tls = tls

    def plan(self, lease: Lease) -> RetryPlan:
        """Return the pace of the settings, without end: a stretch ends by itself."""
        source = self._sources.get(lease.destination)
        every = source.settings.every if source else self._plan.ceiling
        return RetryPlan(_WITHOUT_END, min(self._plan.first, every), min(self._plan.ceiling, every))

    def deliver(self, lease: Lease) -> None:
        """Fetch once from a source and store what came of it."""
        source = self._sources.get(lease.destination)
        if source is None:
            detail = f"there is no source {lease.destination[:40]!r} in the settings"
            raise GatewayError(SETTINGS_WRONG, detail, "fetch")
        self._hub.refresh()
        try:
            with Line(source, self._lease.total_seconds() / 2, self._tls) as line:
                self._fetch(Work(self._hub, lease, source, line, trust_for(self._hub, source.issuer)))
        except NoRoomError:
            raise
        except GatewayError as problem:
            self._tell(source, problem)
            raise

    def _fetch(self, work: Work) -> None:
        match work.source.settings.kind:
            case "ocsp":
                fetch_answers(work, self._lease)
            case "trust_list":
                fetch_trust_list(work)
            case _:
                fetch_list(work)

    def _tell(self, source: Source, problem: GatewayError) -> None:
        """Write down that a source failed, for the operator; the attempt itself is told by the worker."""
        words = outcome_of(problem).detail or problem.problem.id
        with transaction(self._hub.engine, "fetch.failed") as conn:
            fetched.ensure(conn, source.name, source.settings.kind, source.url)
            times = fetched.failed(conn, source.name, self._hub.clock(), problem.problem.id, words)
        _log.warning("fetching %s from %s failed (%d): %s", source.name, source.url[:200], times, words)

    def failed(self, conn: Connection, what: Failed) -> None:
        """Store that a stretch ended without success; of one source only the last such stays FAILED."""
        delivery, name = what.delivery, what.delivery.destination
        source = self._sources.get(name)
        if source is not None:
            fetched.ensure(conn, name, source.settings.kind, source.url)
            follow(conn, name, delivery.id, what.at)
        data = {"problem": what.problem.problem.id, "delivery": delivery.id}
        record(conn, "unfetched", "source", name, None, data, what.at)
