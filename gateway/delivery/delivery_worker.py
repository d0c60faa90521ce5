"""Claims due deliveries lane by lane, and lets agents attempt them.

A worker holds nothing that is not also in the database. When it is killed, its leases run out and
another worker repeats its attempts. The receiver recognises the repeat, because every agent's
effect is one transaction that also ends the lease.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row

from gateway.delivery.attempt_outcome import (
    LeaseLostError,
    RetryPlan,
    compute_retry_delay,
    find_uncounted_wait,
)
from gateway.delivery.delivery_agent import DeliveryAgent, FailedDelivery
from gateway.delivery.failure_log import FailureLog
from gateway.delivery.lane_claims import FollowUps, LaneClaims
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.delivery.worker_places import AttemptPlace, WorkerPlaces
from gateway.errors import ATTEMPTS_USED_UP, OUR_MISTAKE, PUT_ASIDE, GatewayError
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import closing_transaction
from gateway.store import (
    DeliveryLease,
    InsufficientStorageError,
    delivery_leases,
    has_ended_lease,
    make_attempt_outcome,
    read_transaction,
    start_checkpoints,
    take_follow_ups,
    write_transaction,
)
from gateway.store import delivery_maintenance as upkeep
from gateway.wire import ReaderThreads

__all__ = ["DeliveryWorker", "WorkerSettings"]

_log = logging.getLogger(__name__)

#: Pause before the next claim when the database has no space.
_NO_ROOM_PAUSE: Final = 1.0
#: For a delivery whose agent cannot return a plan.
_UNKNOWN_PLAN: Final = RetryPlan(retries=5, first=timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The worker's threads, lease time, wait when nothing is due, and maintenance interval.

    A delivery is put aside when `crashes` workers have died during it.
    """

    threads: int = 8
    lease: timedelta = timedelta(seconds=120)
    poll: float = 0.05
    upkeep: float = 1.0
    crashes: int = 3


class DeliveryWorker:
    """Claims and attempts deliveries until it is stopped, then finishes those it holds."""

    def __init__(
        self,
        engine: Engine,
        agents: Mapping[str, DeliveryAgent],
        clock: Callable[[], datetime],
        *,
        name: str,
        pace: WorkerSettings,
        schedule: RecurringSchedule | None = None,
        maintain_hub: Callable[[], None] = lambda: None,
        find_drain: Callable[[], GatewayError | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._schedule = schedule
        self._maintain_hub = maintain_hub
        self._find_drain = find_drain
        self._agents = agents
        self._clock = clock
        self._name = name
        self._pace = pace
        self._places = WorkerPlaces(pace.threads)
        self._claims = LaneClaims(engine, clock, name, pace.lease, self._places)
        self._done = threading.Event()
        self._pause = pace.poll
        self._claiming = True
        #: The threads that follow-ups are handed to, while this worker may claim.
        self._followed: ReaderThreads | None = None
        #: Attempts that have ended but are not yet in the database, for lack of space.
        self._told = FailureLog(engine, clock)
        self._unstored: deque[tuple[DeliveryLease, GatewayError]] = deque()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; return when all claimed deliveries have ended."""
        start_checkpoints(self._engine)
        with ReaderThreads(self._pace.threads, "delivery") as threads:
            keeper = start_maintenance_thread(self.run_maintenance, self._pace.upkeep, stop)
            while not stop.is_set():
                leases = self._claim_deliveries()
                self._followed = threads if self._claiming else None
                self._submit_attempts(threads, leases)
                if not leases:
                    self._done.wait(self._pause)
                    self._done.clear()
            self._followed = None
            keeper.join()
            # What an attempt has claimed meanwhile is handed to a thread, which must still be there.
            self._places.wait_until_free()

    def _submit_attempts(self, threads: ReaderThreads, leases: Sequence[DeliveryLease]) -> None:
        for lease in leases:
            threads.submit_work(partial(self._run_attempt, lease))

    def run_once(self) -> int:
        """Claim what is due now, attempt it in this thread, and return the number of deliveries."""
        leases = self._claim_deliveries()
        for lease in leases:
            self._run_attempt(lease)
        return len(leases)

    def _claim_deliveries(self) -> Sequence[DeliveryLease]:
        """Claim as many due deliveries as places are free."""
        leases: Sequence[DeliveryLease] = ()
        if not self._places.count_free():
            return leases
        self._pause, self._claiming = self._pace.poll, False
        try:
            if self._find_drain() is None:
                leases = self._claims.claim_due()
                self._claiming = True
            else:
                self._pause = max(_NO_ROOM_PAUSE, self._pace.poll)
        except GatewayError as problem:
            self._pause = max(_NO_ROOM_PAUSE, self._pace.poll)
            if not isinstance(problem, InsufficientStorageError):  # already logged
                _log.warning("nothing can be claimed: %s", problem)
        except Exception:
            _log.exception("nothing can be claimed")
        return leases

    def _claim_follow_ups(
        self, lease: DeliveryLease, place: AttemptPlace, conn: Connection, names: Sequence[str]
    ) -> FollowUps | None:
        """Claim what a transaction of an attempt has queued, as far as this worker begins it at once."""
        threads = self._followed
        if threads is None:
            return None
        # An attempt may go on for long after a transaction that does not end it.
        ending = place if has_ended_lease(conn, lease.id) else None
        return self._claims.claim_follow_ups(conn, names, partial(self._submit_attempts, threads), ending)

    def _run_attempt(self, lease: DeliveryLease) -> None:
        place = AttemptPlace(self._places, lease.lane)
        try:
            self._call_agent(lease, place)
            kill_at_failpoint("delivery", lease.agent, "done")
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as problem:
            self._handle_failed_attempt(lease, problem)
        except Exception as mistake:
            _log.exception("delivery %d failed by a mistake of ours", lease.id)
            self._handle_failed_attempt(lease, GatewayError(OUR_MISTAKE, type(mistake).__name__))
        finally:
            self._claims.note_end(lease)
            # Who waits is woken once: until then, the next ones need not.
            if place.end() and not self._done.is_set():
                self._done.set()

    def _call_agent(self, lease: DeliveryLease, place: AttemptPlace) -> None:
        kill_at_failpoint("delivery", lease.agent, "begun")
        with take_follow_ups(self._engine, partial(self._claim_follow_ups, lease, place)):
            self._agents[lease.agent].attempt_delivery(lease)
        self._told.report_success(lease)

    def _get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        try:
            return self._agents[lease.agent].get_retry_plan(lease)
        except Exception:
            _log.exception("delivery %d has no plan", lease.id)
            return _UNKNOWN_PLAN

    def _handle_failed_attempt(self, lease: DeliveryLease, problem: GatewayError) -> None:
        """Put the delivery back for another attempt, or fail it when no retry is left."""
        try:
            now, wait = self._clock(), None
            uncounted = find_uncounted_wait(lease, problem)
            if uncounted is not None:
                self._requeue_uncounted(lease, problem, now, uncounted)
                return
            if problem.problem.retry:
                wait = compute_retry_delay(lease.tries, self._get_retry_plan(lease), str(lease.id))
                if wait is None or (lease.expires_at is not None and now + wait >= lease.expires_at):
                    problem = GatewayError(
                        ATTEMPTS_USED_UP, f"{lease.tries} tries, the last: {problem}", theirs=problem.theirs
                    )
                    wait = None
            if wait is None:
                self._fail_delivery(lease, problem)
                return
            with write_transaction(self._engine, "delivery.defer") as conn:
                outcome = make_attempt_outcome(problem)
                if not delivery_leases.defer_delivery(conn, lease, now, now + wait, outcome):
                    raise LeaseLostError
            self._told.report_attempt(lease, problem, now + wait)
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as trouble:
            if not isinstance(trouble, InsufficientStorageError):
                _log.warning("the failure of delivery %d could not be stored: %s", lease.id, trouble)
            self._unstored.append((lease, problem))
        except Exception:
            # The lease runs out and the delivery is tried again, so nothing is lost.
            _log.exception("the failure of delivery %d could not be stored", lease.id)

    def _requeue_uncounted(
        self, lease: DeliveryLease, problem: GatewayError, now: datetime, wait: timedelta
    ) -> None:
        """Put back a delivery that lacked something of ours; the attempt is not counted."""
        with write_transaction(self._engine, "delivery.no_room") as conn:
            outcome = make_attempt_outcome(problem)
            if not delivery_leases.defer_delivery(conn, lease, now, now + wait, outcome, counts=False):
                raise LeaseLostError
        self._told.report_attempt(lease, problem, now + wait)

    def _fail_delivery(self, lease: DeliveryLease, problem: GatewayError) -> None:
        """Store that the delivery has failed for good, with the consequences."""
        now = self._clock()
        with closing_transaction(self._engine, "delivery.failed", lease.id, now) as conn:
            if not delivery_leases.fail_delivery(conn, lease, now, make_attempt_outcome(problem)):
                raise LeaseLostError
            self._notify_agent(conn, FailedDelivery(lease, problem, now))
        self._told.report_failure(lease, problem)

    def _notify_agent(self, conn: Connection, what: FailedDelivery) -> None:
        agent = self._agents.get(what.delivery.agent)
        if agent is not None:
            agent.record_failure(conn, what)

    def run_maintenance(self) -> None:
        """Reclaim lost leases, requeue unreceipted messages, expire deliveries, queue recurring tasks."""
        # Ended attempts are stored first: their leases must not run out as if the worker had died.
        for _ in range(len(self._unstored)):
            self._handle_failed_attempt(*self._unstored.popleft())
        self._told.report_left_out()
        self._maintain_hub()
        now, crashes = self._clock(), self._pace.crashes
        with read_transaction(self._engine) as conn:
            due = upkeep.find_due_upkeep(conn, now)
        if due.lost or due.late:
            with write_transaction(self._engine, "delivery.upkeep") as conn:
                upkeep.reclaim_lost_leases(conn, now, self._name, crashes)
                upkeep.requeue_unreceipted(conn, now, self._name)
        # What was requeued just now may be over too.
        if due.lost or due.late or due.expired:
            self._end_hopeless_deliveries(now)
        if self._schedule is not None:
            self._schedule.queue_due_periods(now)

    def _end_hopeless_deliveries(self, now: datetime) -> None:
        """Expire deliveries whose time is over, and put aside those that workers died from."""
        with read_transaction(self._engine) as conn:
            over, deadly = (
                upkeep.list_expired_deliveries(conn, now),
                upkeep.list_poison_deliveries(conn, now, self._pace.crashes),
            )
        for row in over:
            self._expire_delivery(row, now)
        for row in deadly:
            self._put_aside_delivery(row.id, now)

    def _expire_delivery(self, row: Row[Any], now: datetime) -> None:
        last = f", the last: {row.problem} {row.last_sentence}" if row.last_sentence else ""
        problem = GatewayError(ATTEMPTS_USED_UP, f"its time is over{last}")
        with closing_transaction(self._engine, "delivery.expired", row.id, now) as conn:
            if not upkeep.expire_delivery(conn, row.id, now, self._name):
                return
            self._notify_agent(conn, FailedDelivery(row, problem, now))
        self._told.report_failure(row, problem)

    def _put_aside_delivery(self, delivery: int, now: datetime) -> None:
        """Fail what workers died over, one after another, so that no further one does."""
        problem = GatewayError(PUT_ASIDE, f"{self._pace.crashes} workers crashed during this delivery")
        with closing_transaction(self._engine, "delivery.put_aside", delivery, now) as conn:
            row = upkeep.put_aside_delivery(conn, delivery, now, self._name, self._pace.crashes)
            if row is None:
                return
            data = {"agent": row.agent, "problem": PUT_ASIDE.id, "workers": self._pace.crashes}
            record_evidence(conn, "put_aside", "delivery", delivery, row.payload_sha256, data, now)
            self._notify_agent(conn, FailedDelivery(row, problem, now))
        self._told.report_failure(row, problem)


def start_maintenance_thread(
    work: Callable[[], None], every: float, stop: threading.Event
) -> threading.Thread:
    """Start a thread that runs `work` repeatedly until `stop`; a failure is logged and `work` runs again."""

    def run_maintenance_loop() -> None:
        while not stop.wait(every):
            try:
                work()
            except GatewayError as problem:
                if not isinstance(problem, InsufficientStorageError):
                    _log.warning("upkeep failed; it is done again: %s", problem)
            except Exception:
                _log.exception("upkeep failed; it is done again")

    thread = threading.Thread(target=run_maintenance_loop, name="upkeep", daemon=True)
    thread.start()
    return thread
