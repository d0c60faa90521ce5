"""Claims due deliveries lane by lane, and lets agents attempt them.

A worker holds nothing that is not also in the database. When it is killed, its leases run out and
another worker repeats its attempts. The receiver recognises the repeat, because every agent's
effect is one transaction that also ends the lease.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
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
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.errors import ATTEMPTS_USED_UP, OUR_MISTAKE, PUT_ASIDE, GatewayError
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import closing_transaction
from gateway.store import (
    DeliveryLease,
    InsufficientStorageError,
    delivery_leases,
    lanes,
    make_attempt_outcome,
    read_transaction,
    run_claim,
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
        self._free = threading.Semaphore(pace.threads)
        self._done = threading.Event()
        self._held: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._turn = 0
        self._pause = pace.poll
        self._suspecting = False
        #: Attempts that have ended but are not yet in the database, for lack of space.
        self._told = FailureLog(engine, clock)
        self._unstored: deque[tuple[DeliveryLease, GatewayError]] = deque()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; return when all claimed deliveries have ended."""
        with ReaderThreads(self._pace.threads, "delivery") as threads:
            keeper = start_maintenance_thread(self.run_maintenance, self._pace.upkeep, stop)
            while not stop.is_set():
                leases = self._claim_deliveries()
                for lease in leases:
                    threads.submit_work(partial(self._run_attempt, lease))
                if not leases:
                    self._done.wait(self._pause)
                    self._done.clear()
            keeper.join()

    def run_once(self) -> int:
        """Claim what is due now, attempt it in this thread, and return the number of deliveries."""
        leases = self._claim_deliveries()
        for lease in leases:
            self._run_attempt(lease)
        return len(leases)

    def _claim_deliveries(self) -> list[DeliveryLease]:
        """Claim from each lane in turn, so that the backlog of one lane does not delay another."""
        room = self._reserve_threads()
        if not room:
            return []
        leases: list[DeliveryLease] = []
        self._pause = self._pace.poll
        try:
            if self._find_drain() is None:
                leases = self._claim_from_lanes(room)
            else:
                self._pause = max(_NO_ROOM_PAUSE, self._pace.poll)
        except GatewayError as problem:
            self._pause = max(_NO_ROOM_PAUSE, self._pace.poll)
            if not isinstance(problem, InsufficientStorageError):  # already logged
                _log.warning("nothing can be claimed: %s", problem)
        except Exception:
            _log.exception("nothing can be claimed")
        self._release_threads(room - len(leases))
        with self._counting:
            self._held.update(lease.lane for lease in leases)
            self._suspecting = self._suspecting or any(lease.lost for lease in leases)
        return leases

    def _claim_from_lanes(self, room: int) -> list[DeliveryLease]:
        now = self._clock()

        def find_due_lanes(conn: Connection) -> list[lanes.DueLane]:
            found = lanes.list_due_lanes(conn, now)
            return [lane for lane in found if self._count_lane_slots(lane.name) > 0]

        def claim_due(conn: Connection, due: Sequence[lanes.DueLane]) -> list[DeliveryLease]:
            return self._claim_due(conn, due, room, now)

        return run_claim(self._engine, "delivery.claim", find_due_lanes, claim_due) or []

    def _claim_due(
        self, conn: Connection, due: Sequence[lanes.DueLane], room: int, now: datetime
    ) -> list[DeliveryLease]:
        leases: list[DeliveryLease] = []
        until, share = now + self._pace.lease, max(1, room // len(due))
        # None while one is held here.
        suspects = [] if self._suspecting else [lane for lane in due if lane.suspected]
        for lane in self._rotate_lanes(suspects) if suspects else ():
            # The worker may die from it: one at a time, so that the cause is known.
            leases += delivery_leases.claim_deliveries(
                conn, lane.name, self._name, now, until, suspects=True, known=lane
            )
            if leases:
                break
        for lane in self._rotate_lanes(due):
            most = min(share, room - len(leases), self._count_lane_slots(lane.name))
            if most > 0:
                leases += delivery_leases.claim_deliveries(
                    conn, lane.name, self._name, now, until, limit=most, known=lane
                )
        return leases

    def _rotate_lanes(self, due: Sequence[lanes.DueLane]) -> Sequence[lanes.DueLane]:
        """Return the lanes, each time starting with another one."""
        self._turn += 1
        first = self._turn % len(due)
        return [*due[first:], *due[:first]]

    def _count_lane_slots(self, lane: str) -> int:
        """Return how many more deliveries of a lane may be held: one destination gets half the threads."""
        if lane == lanes.LOCAL:
            return self._pace.threads
        with self._counting:
            return max(1, self._pace.threads // 2) - self._held[lane]

    def _reserve_threads(self) -> int:
        taken = 0
        while taken < self._pace.threads and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def _release_threads(self, places: int) -> None:
        if places > 0:
            self._free.release(places)

    def _run_attempt(self, lease: DeliveryLease) -> None:
        try:
            self._call_agent(lease)
            kill_at_failpoint("delivery", lease.agent, "done")
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as problem:
            self._handle_failed_attempt(lease, problem)
        except Exception as mistake:
            _log.exception("delivery %d failed by a mistake of ours", lease.id)
            self._handle_failed_attempt(lease, GatewayError(OUR_MISTAKE, type(mistake).__name__))
        finally:
            with self._counting:
                if lease.lost:
                    self._suspecting = False
                self._held[lease.lane] -= 1
                if not self._held[lease.lane]:
                    del self._held[lease.lane]
            self._release_threads(1)
            self._done.set()

    def _call_agent(self, lease: DeliveryLease) -> None:
        kill_at_failpoint("delivery", lease.agent, "begun")
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
