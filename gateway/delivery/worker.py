"""The delivery worker: claims what is due, lane by lane, and lets agents hand it over.

A worker holds nothing that is not also in the database.  Killed at any moment, its leases
run out and another worker repeats what it was doing; the repeat is recognised wherever it
arrives, because every agent's effect is one transaction that also ends the lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Engine

from gateway.delivery.leases import LeaseLostError, outcome_of
from gateway.delivery.retry import RetryPlan, retry_after
from gateway.errors import ATTEMPTS_USED_UP, OUR_MISTAKE, GatewayError
from gateway.failpoints import failpoint
from gateway.store import claims, lanes, upkeep
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction

__all__ = ["Agent", "Pace", "Worker"]

_log = logging.getLogger(__name__)


class Agent(Protocol):
    """Hands deliveries of one kind over."""

    def deliver(self, lease: Lease) -> None:
        """Make one attempt and store what came of it, ending the lease in the same transaction.

        Raises GatewayError when the attempt failed and nothing was stored.
        """

    def plan(self, lease: Lease) -> RetryPlan:
        """Return how often and how soon such a delivery is tried again."""

    def give_up(self, lease: Lease, problem: GatewayError) -> None:
        """Store that the delivery has failed for good, ending the lease."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the worker works: threads, length of a lease, wait when nothing is due, upkeep."""

    threads: int = 8
    lease: timedelta = timedelta(seconds=120)
    poll: float = 0.05
    upkeep: float = 1.0


class Worker:
    """Claims and hands over until told to stop, then finishes what it holds."""

    def __init__(
        self,
        engine: Engine,
        agents: Mapping[str, Agent],
        clock: Callable[[], datetime],
        *,
        name: str,
        pace: Pace,
    ) -> None:
        self._engine = engine
        self._agents = agents
        self._clock = clock
        self._name = name
        self._pace = pace
        self._free = threading.Semaphore(pace.threads)
        self._done = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; returns when everything claimed has ended."""
        with ThreadPoolExecutor(self._pace.threads, thread_name_prefix="delivery") as pool:
            keeper = pool_keeper(self._upkeep, self._pace.upkeep, stop)
            while not stop.is_set():
                leases = self._claim()
                for lease in leases:
                    pool.submit(self._attempt, lease)
                if not leases:
                    self._done.wait(self._pace.poll)
                    self._done.clear()
            keeper.join()

    def run_once(self) -> int:
        """Claim what is due now, hand it over in this thread, return how much it was."""
        leases = self._claim()
        for lease in leases:
            self._attempt(lease)
        return len(leases)

    def _claim(self) -> list[Lease]:
        """Claim from each lane in turn, so that no lane's backlog keeps another waiting."""
        room = self._reserve()
        if not room:
            return []
        leases: list[Lease] = []
        try:
            leases = self._claim_up_to(room)
        except GatewayError as problem:
            _log.warning("nothing can be claimed: %s", problem)
        self._give_back(room - len(leases))
        return leases

    def _claim_up_to(self, room: int) -> list[Lease]:
        now = self._clock()
        with reading(self._engine) as conn:
            due = lanes.due(conn, now)
        if not due:
            return []
        leases: list[Lease] = []
        share = max(1, room // len(due))
        with transaction(self._engine, "delivery.claim") as conn:
            for lane in due:
                if len(leases) < room:
                    most = min(share, room - len(leases))
                    leases += claims.claim(conn, lane, self._name, now, now + self._pace.lease, limit=most)
        return leases

    def _reserve(self) -> int:
        taken = 0
        while taken < self._pace.threads and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def _give_back(self, places: int) -> None:
        if places > 0:
            self._free.release(places)

    def _attempt(self, lease: Lease) -> None:
        agent = self._agents[lease.agent]
        try:
            agent.deliver(lease)
            failpoint("delivery", lease.agent, "done")
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as problem:
            self._failed(agent, lease, problem)
        except Exception as mistake:
            _log.exception("delivery %d failed by a mistake of ours", lease.id)
            self._failed(agent, lease, GatewayError(OUR_MISTAKE, type(mistake).__name__))
        finally:
            self._give_back(1)
            self._done.set()

    def _failed(self, agent: Agent, lease: Lease, problem: GatewayError) -> None:
        """Put the delivery back for another try, or give it up when no try is left."""
        try:
            now = self._clock()
            wait = (
                retry_after(lease.tries, agent.plan(lease), str(lease.id)) if problem.problem.retry else None
            )
            if wait is None or (lease.expires_at is not None and now + wait >= lease.expires_at):
                if problem.problem.retry:
                    problem = GatewayError(ATTEMPTS_USED_UP, f"{lease.tries} tries, the last: {problem}")
                agent.give_up(lease, problem)
                return
            with transaction(self._engine, "delivery.defer") as conn:
                claims.defer(conn, lease, now, now + wait, outcome_of(problem))
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except Exception:
            # The lease runs out and the delivery is tried again: nothing is lost by going on.
            _log.exception("the failure of delivery %d could not be stored", lease.id)

    def _upkeep(self) -> None:
        """Take back leases that ran out, repeat what was not receipted, end what is too old."""
        now = self._clock()
        with transaction(self._engine, "delivery.upkeep") as conn:
            upkeep.reclaim(conn, now, self._name)
            upkeep.time_out(conn, now, self._name)
            upkeep.expire(conn, now, self._name)


def pool_keeper(work: Callable[[], None], every: float, stop: threading.Event) -> threading.Thread:
    """Start a thread that does `work` again and again until `stop`; a failure is logged and repeated."""

    def loop() -> None:
        while not stop.wait(every):
            try:
                work()
            except Exception:
                _log.exception("upkeep failed; it is done again")

    thread = threading.Thread(target=loop, name="upkeep", daemon=True)
    thread.start()
    return thread
