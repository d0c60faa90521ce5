"""Claims due deliveries lane by lane, and lets agents attempt them.

A worker holds nothing that is not also in the database. When it is killed, its leases run out and
another worker repeats its attempts. The receiver recognises the repeat, because every agent's
effect is one transaction that also ends the lease.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.delivery.alive_file import AliveFile
from gateway.delivery.attempt_outcome import (
    DeliveryAgent,
    FailedDelivery,
    LeaseLostError,
    RetryPlan,
    compute_retry_delay,
    find_agreed_wait,
    find_uncounted_delay,
)
from gateway.delivery.failure_log import FailureLog
from gateway.delivery.lane_claims import LaneClaims, WorkerSlots
from gateway.delivery.lease_renewal import LeaseRenewal
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.errors import (
    ATTEMPTS_USED_UP,
    OUR_MISTAKE,
    PUT_ASIDE,
    GatewayError,
    find_resource_problem,
    raise_resource_problem,
)
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import run_closing_commit, run_upkeep_steps
from gateway.store import (
    DeliveryLease,
    DeliveryRow,
    DuePlace,
    InsufficientStorageError,
    WorkPasses,
    delivery_leases,
    delivery_maintenance,
    lane_faults,
    make_attempt_outcome,
    read_transaction,
    write_transaction,
)
from gateway.wire import ReaderThreads

_log = logging.getLogger(__name__)

#: Pause before the next claim when the database has no space.
_NO_SPACE_PAUSE_SECONDS: Final = 1.0
#: How many deliveries whose time is over are ended in one pass of the upkeep.
_MAX_ENDED_IN_PASS: Final = 200
#: For a delivery whose agent cannot return a plan.
_UNKNOWN_PLAN: Final = RetryPlan(max_retries=5, first_delay=timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The worker's threads, lease time, wait when nothing is due, and maintenance interval.

    A delivery is put aside when `max_crashes` workers have died during it. Of these, the last one had run for
    the time `min_uptime` before: a hub that dies again and again for another reason puts nothing aside.
    """

    threads: int = 8
    lease_time: timedelta = timedelta(seconds=120)
    poll_seconds: float = 0.05
    maintenance_seconds: float = 1.0
    max_crashes: int = 3
    min_uptime: timedelta = timedelta(minutes=10)


class DeliveryWorker:
    """Claims and attempts deliveries until it is stopped, then finishes those it holds."""

    def __init__(
        self,
        engine: Engine,
        agents: Mapping[str, DeliveryAgent],
        clock: Callable[[], datetime],
        *,
        name: str,
        worker_settings: WorkerSettings,
        schedule: RecurringSchedule | None = None,
        maintain_hub: Callable[[], None] = lambda: None,
        find_drain: Callable[[], GatewayError | None] = lambda: None,
        alive_file: AliveFile | None = None,
    ) -> None:
        self.engine = engine
        self._schedule = schedule
        self._maintain_hub = maintain_hub
        self._find_drain = find_drain
        self._alive_file = alive_file or AliveFile(None)
        self._agents = agents
        self._clock = clock
        self._name = name
        self._worker_settings = worker_settings
        self._slots = WorkerSlots(worker_settings.threads)
        #: The time from which this worker also attempts deliveries that fail for good after one more crash.
        self._steady_from_second = monotonic() + worker_settings.min_uptime.total_seconds()
        self._claims = LaneClaims(
            engine, clock, name, worker_settings.lease_time, self._slots, self._find_suspect_limit
        )
        self._renewal = LeaseRenewal(engine, clock, worker_settings.lease_time)
        self._attempt_ended = threading.Event()
        self._pause_seconds = worker_settings.poll_seconds
        self._failure_log = FailureLog(engine, clock)
        self._expiry_passes = WorkPasses[DuePlace](_MAX_ENDED_IN_PASS)
        self._poison_passes = WorkPasses[DuePlace](_MAX_ENDED_IN_PASS)
        #: The time of the last check for waits that are longer than agreed.
        self._waits_checked_at: datetime | None = None
        #: Attempts that have ended but are not yet in the database, for lack of space.
        self._unstored_attempts: deque[tuple[DeliveryLease, GatewayError]] = deque()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; return when all claimed deliveries have ended."""
        with self._renew_leases(), ReaderThreads(self._worker_settings.threads, "delivery") as threads:
            maintenance_thread = start_maintenance_thread(
                self.run_maintenance, self._worker_settings.maintenance_seconds, stop
            )
            while not stop.is_set():
                # Also while the database is away: a question to it always ends (`database.time_out`).
                self._alive_file.touch()
                leases = self._claim_deliveries()
                for lease in leases:
                    threads.submit_work(partial(self._run_attempt, lease))
                if not leases:
                    self._attempt_ended.wait(self._pause_seconds)
                    self._attempt_ended.clear()
            self._alive_file.remove()
            maintenance_thread.join()

    @contextmanager
    def _renew_leases(self) -> Iterator[None]:
        """Renew leases until the last attempt has ended, in a thread that no other upkeep delays."""
        attempts_ended = threading.Event()
        interval = min(
            self._worker_settings.maintenance_seconds, self._worker_settings.lease_time.total_seconds() / 4
        )
        renewal_thread = start_maintenance_thread(self._renewal.renew_due_leases, interval, attempts_ended)
        try:
            yield
        finally:
            attempts_ended.set()
            renewal_thread.join()

    def run_once(self) -> int:
        """Claim the deliveries that are due now, attempt them in this thread, and return their number."""
        leases = self._claim_deliveries()
        for lease in leases:
            self._run_attempt(lease)
        return len(leases)

    def _claim_deliveries(self) -> Sequence[DeliveryLease]:
        """Claim as many due deliveries as slots are free."""
        leases: Sequence[DeliveryLease] = ()
        if not self._slots.count_free():
            return leases
        self._pause_seconds = self._worker_settings.poll_seconds
        try:
            if self._find_drain() is None:
                leases = self._claims.claim_due()
            else:
                self._pause_seconds = max(_NO_SPACE_PAUSE_SECONDS, self._worker_settings.poll_seconds)
        except GatewayError as problem:
            self._pause_seconds = max(_NO_SPACE_PAUSE_SECONDS, self._worker_settings.poll_seconds)
            if not isinstance(problem, InsufficientStorageError):  # already logged
                _log.warning("nothing can be claimed: %s", problem)
        except Exception:
            _log.exception("nothing can be claimed")
        return leases

    def _find_suspect_limit(self) -> int | None:
        """Return the number of crashes from which a delivery is not claimed now; None means no limit."""
        return (
            max(1, self._worker_settings.max_crashes - 1) if monotonic() < self._steady_from_second else None
        )

    def _run_attempt(self, lease: DeliveryLease) -> None:
        """Attempt the delivery and store a failure; at the end free its slot. A lost lease is only logged."""
        started_at = monotonic()
        self._renewal.begin_attempt(lease)
        try:
            self._call_agent(lease)
            kill_at_failpoint("delivery", lease.agent, "done")
        except LeaseLostError:
            _log.warning("the delivery was taken over by another worker", extra={"delivery": lease.id})
        except GatewayError as problem:
            self._store_failed_attempt(lease, problem)
        except Exception as error:
            resource_problem = find_resource_problem(error)
            if resource_problem is None:
                _log.exception("the delivery failed by a mistake of ours", extra={"delivery": lease.id})
            self._store_failed_attempt(
                lease, resource_problem or GatewayError(OUR_MISTAKE, type(error).__name__)
            )
        finally:
            self._renewal.end_attempt(lease)
            self._claims.record_end(lease)
            self._slots.record_attempt_seconds(lease.lane, monotonic() - started_at)
            self._slots.free_slot(lease.lane)
            # Deliveries that the attempt has queued are claimed at once.
            self._attempt_ended.set()

    def _call_agent(self, lease: DeliveryLease) -> None:
        kill_at_failpoint("delivery", lease.agent, "begun")
        self._agents[lease.agent].attempt_delivery(lease)
        self._failure_log.report_success(lease)

    def _get_retry_plan(self, lease: Any) -> RetryPlan:
        try:
            return self._agents[lease.agent].get_retry_plan(lease)
        except Exception:
            _log.exception("the delivery has no plan of its repeats", extra={"delivery": lease.id})
            return _UNKNOWN_PLAN

    def _store_failed_attempt(self, lease: DeliveryLease, problem: GatewayError) -> None:
        """Put the delivery back for another attempt, or fail it when no retry is left."""
        cause = problem
        try:
            now, delay = self._clock(), None
            uncounted_delay = find_uncounted_delay(lease, problem)
            if uncounted_delay is not None:
                self._requeue_uncounted(lease, problem, now, uncounted_delay)
                return
            if problem.problem.retry:
                delay = compute_retry_delay(lease.tries, self._get_retry_plan(lease), str(lease.id))
                if delay is None or (lease.expires_at is not None and now + delay >= lease.expires_at):
                    problem = GatewayError(
                        ATTEMPTS_USED_UP, f"{lease.tries} tries, the last: {problem}", theirs=problem.theirs
                    )
                    delay = None
            if delay is None:
                self._fail_delivery(lease, problem, cause)
                return
            with write_transaction(self.engine, "delivery.defer") as conn:
                outcome = make_attempt_outcome(problem)
                if not delivery_leases.defer_delivery(conn, lease, now, now + delay, outcome):
                    raise LeaseLostError
                lane_faults.record_failed_attempt(conn, lease.lane, problem, now)
            self._failure_log.report_attempt(lease, problem, now + delay)
        except LeaseLostError:
            _log.warning("the delivery was taken over by another worker", extra={"delivery": lease.id})
        except GatewayError as storage_problem:
            if not isinstance(storage_problem, InsufficientStorageError):
                _log.warning(
                    "the failure could not be stored: %s", storage_problem, extra={"delivery": lease.id}
                )
            self._unstored_attempts.append((lease, cause))
        except Exception:
            # The lease runs out and the delivery is tried again, so nothing is lost.
            _log.exception("the failure could not be stored", extra={"delivery": lease.id})

    def _requeue_uncounted(
        self, lease: DeliveryLease, problem: GatewayError, now: datetime, delay: timedelta
    ) -> None:
        """Put back a delivery that failed for lack of a resource of the hub; the attempt is not counted."""
        with write_transaction(self.engine, "delivery.no_room") as conn:
            outcome = make_attempt_outcome(problem)
            if not delivery_leases.defer_delivery(
                conn, lease, now, now + delay, outcome, is_try_counted=False
            ):
                raise LeaseLostError
            lane_faults.record_failed_attempt(conn, lease.lane, problem, now)
        self._failure_log.report_attempt(lease, problem, now + delay)

    def _fail_delivery(self, lease: DeliveryLease, problem: GatewayError, cause: GatewayError) -> None:
        """Store that the delivery has failed for good, with the consequences.

        `cause` is the problem of its last attempt.
        """
        now = self._clock()

        def fail_and_notify(conn: Connection) -> None:
            if not delivery_leases.fail_delivery(conn, lease, now, make_attempt_outcome(problem)):
                raise LeaseLostError
            lane_faults.record_failed_attempt(conn, lease.lane, cause, now)
            self._notify_agent(conn, FailedDelivery(lease, problem, now))

        run_closing_commit(self.engine, "delivery.failed", lease.id, now, fail_and_notify)
        self._failure_log.report_failure(lease, problem)

    def _notify_agent(self, conn: Connection, failure: FailedDelivery) -> None:
        agent = self._agents.get(failure.delivery.agent)
        if agent is not None:
            agent.record_failure(conn, failure)

    def run_maintenance(self) -> None:
        """Reclaim lost leases, requeue unreceipted messages, expire deliveries, queue recurring tasks.

        A step that fails stops no other; GW806 ends all.
        """
        # Ended attempts are stored first: their leases must not run out as if the worker had died.
        run_upkeep_steps(
            self._store_ended_attempts,
            self._maintain_hub,
            lambda: self._shorten_far_waits(self._clock()),
            self._end_due_waits,
            self._queue_due_periods,
        )

    def _store_ended_attempts(self) -> None:
        for _ in range(len(self._unstored_attempts)):
            self._store_failed_attempt(*self._unstored_attempts.popleft())
        self._failure_log.report_omitted_counts()

    def _end_due_waits(self) -> None:
        """Reclaim lost leases, requeue unreceipted messages, and end deliveries whose time is over."""
        now, crashes = self._clock(), self._worker_settings.max_crashes
        with read_transaction(self.engine) as conn:
            due_upkeep = delivery_maintenance.find_due_upkeep(conn, now)
        if due_upkeep.has_lost_leases or due_upkeep.has_late_receipts:
            with write_transaction(self.engine, "delivery.upkeep") as conn:
                delivery_maintenance.reclaim_lost_leases(conn, now, self._name, crashes)
                delivery_maintenance.requeue_unreceipted(conn, now, self._name)
        # A delivery that was requeued just now may have expired too.
        if due_upkeep.has_lost_leases or due_upkeep.has_late_receipts or due_upkeep.has_expired_deliveries:
            self._end_expired_and_poison(now)

    def _queue_due_periods(self) -> None:
        if self._schedule is not None:
            self._schedule.queue_due_periods(self._clock())

    def _shorten_far_waits(self, now: datetime) -> None:
        """Bound the waits that a clock has made longer than agreed: one that was ahead, or was set back."""
        if (
            self._waits_checked_at is not None
            and timedelta(0) <= now - self._waits_checked_at < delivery_maintenance.FAR
        ):
            return
        lease_end = now + self._worker_settings.lease_time
        with read_transaction(self.engine) as conn:
            newest_time = delivery_maintenance.find_newest_time(conn)
            long_waits, lease_count = (
                self._find_long_waits(conn, now),
                delivery_maintenance.count_far_leases(conn, lease_end),
            )
        is_set_back = newest_time is not None and newest_time > now + delivery_maintenance.FAR
        if is_set_back or long_waits or lease_count:
            with write_transaction(self.engine, "delivery.drawn_in") as conn:
                freed_periods = delivery_maintenance.free_period_keys(conn, now)
                shortened_rows = [
                    delivery_row
                    for delivery_row, due_at in long_waits
                    if delivery_maintenance.shorten_wait(conn, delivery_row, due_at)
                ]
                lease_count = delivery_maintenance.shorten_far_leases(conn, lease_end)
            if shortened_rows or lease_count or freed_periods:
                _log.warning(
                    "the clock was ahead, or was set back: %d deliveries and %d leases waited for a time far "
                    "ahead, and wait as long as agreed from now on; %d periods of recurring tasks are "
                    "queued again",
                    *(len(shortened_rows), lease_count, freed_periods),
                    extra={"delivery": shortened_rows[0].id if shortened_rows else None},
                )
        self._waits_checked_at = now

    def _find_long_waits(self, conn: Connection, now: datetime) -> list[tuple[DeliveryRow, datetime]]:
        """Return the deliveries that wait longer than agreed, each with the time when it is due."""
        long_waits: list[tuple[DeliveryRow, datetime]] = []
        last_id = 0
        while delivery_rows := delivery_maintenance.list_far_waits(conn, now, last_id):
            last_id = delivery_rows[-1].id
            for delivery_row in delivery_rows:
                has_agent = delivery_row.agent in self._agents
                wait = (
                    find_agreed_wait(delivery_row, self._get_retry_plan(delivery_row)) if has_agent else None
                )
                if wait is not None and delivery_row.due_at > now + max(wait, delivery_maintenance.FAR):
                    long_waits.append((delivery_row, now + wait))
        return long_waits

    def _end_expired_and_poison(self, now: datetime) -> None:
        """Expire deliveries whose time is over, and put aside those that workers died from."""

        def list_expired(after: DuePlace | None, limit: int) -> Sequence[DeliveryRow]:
            with read_transaction(self.engine) as conn:
                return delivery_maintenance.list_expired_deliveries(conn, now, after=after, limit=limit)

        def list_poison(after: DuePlace | None, limit: int) -> Sequence[DeliveryRow]:
            max_crashes = self._worker_settings.max_crashes
            with read_transaction(self.engine) as conn:
                return delivery_maintenance.list_poison_deliveries(
                    conn, now, max_crashes, after=after, limit=limit
                )

        def expire(delivery_row: DeliveryRow) -> bool:
            return self._end_or_log(delivery_row.id, partial(self._expire_delivery, delivery_row, now))

        def put_aside(delivery_row: DeliveryRow) -> bool:
            return self._end_or_log(delivery_row.id, partial(self._put_aside_delivery, delivery_row.id, now))

        self._expiry_passes.run_pass(list_expired, lambda row: _get_place(row, row.expires_at), expire)
        self._poison_passes.run_pass(list_poison, lambda row: _get_place(row, row.lease_until), put_aside)

    @staticmethod
    def _end_or_log(delivery_id: int, end_delivery: Callable[[], None]) -> bool:
        """End a delivery; log an error of this delivery alone, and return False; raise GW806."""
        try:
            end_delivery()
            return True
        except Exception as error:
            raise_resource_problem(error)
            _log.exception("the delivery cannot be ended", extra={"delivery": delivery_id})
            return False

    def _expire_delivery(self, delivery_row: DeliveryRow, now: datetime) -> None:
        """End a delivery whose time is over as failed, notify its agent and log it."""
        last_problem_text = (
            f", the last: {delivery_row.problem} {delivery_row.last_sentence}"
            if delivery_row.last_sentence
            else ""
        )
        problem = GatewayError(ATTEMPTS_USED_UP, f"its time is over{last_problem_text}")

        def expire_and_notify(conn: Connection) -> bool:
            is_over = delivery_maintenance.expire_delivery(conn, delivery_row.id, now, self._name)
            if is_over:
                self._notify_agent(conn, FailedDelivery(delivery_row, problem, now))
            return is_over

        if run_closing_commit(self.engine, "delivery.expired", delivery_row.id, now, expire_and_notify):
            self._failure_log.report_failure(delivery_row, problem)

    def _put_aside_delivery(self, delivery_id: int, now: datetime) -> None:
        """Fail a delivery during which several workers died, so that no further worker dies."""
        problem = GatewayError(
            PUT_ASIDE, f"{self._worker_settings.max_crashes} workers crashed during this delivery"
        )

        def put_aside_and_notify(conn: Connection) -> DeliveryRow | None:
            delivery_row = delivery_maintenance.put_aside_delivery(
                conn, delivery_id, now, self._name, self._worker_settings.max_crashes
            )
            if delivery_row is not None:
                evidence_fields = {
                    "agent": delivery_row.agent,
                    "problem": PUT_ASIDE.id,
                    "workers": self._worker_settings.max_crashes,
                }
                record_evidence(
                    conn,
                    "put_aside",
                    "delivery",
                    delivery_id,
                    delivery_row.payload_sha256,
                    evidence_fields,
                    now,
                )
                self._notify_agent(conn, FailedDelivery(delivery_row, problem, now))
            return delivery_row

        delivery_row = run_closing_commit(
            self.engine, "delivery.put_aside", delivery_id, now, put_aside_and_notify
        )
        if delivery_row is not None:
            self._failure_log.report_failure(delivery_row, problem)


def _get_place(delivery_row: DeliveryRow, at: datetime | None) -> DuePlace:
    """Return the place of a delivery among those that are ordered by a time, which all of them have."""
    assert at is not None, "what is over has the time of its end"
    return DuePlace(at, delivery_row.id)


def start_maintenance_thread(
    run_step: Callable[[], None], interval_seconds: float, stop_event: threading.Event
) -> threading.Thread:
    """Start a thread that repeats `run_step` until `stop_event`; a failure is only logged."""

    def run_maintenance_loop() -> None:
        while not stop_event.wait(interval_seconds):
            try:
                run_step()
            except GatewayError as problem:
                if not isinstance(problem, InsufficientStorageError):
                    _log.warning("upkeep failed; it is done again: %s", problem)
            except Exception:
                _log.exception("upkeep failed; it is done again")

    thread = threading.Thread(target=run_maintenance_loop, name="upkeep", daemon=True)
    thread.start()
    return thread
