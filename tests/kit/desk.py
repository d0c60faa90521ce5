"""One worker with an agent that does what a test says, on a real database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from gateway.delivery.attempt_outcome import FailedDelivery, RetryPlan
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.state_machines import DELIVERY
from gateway.store import DeliveryLease, deliveries, delivery_leases, read_transaction, write_transaction
from gateway.store.transitions import list_transitions
from tests.kit import tables
from tests.kit.house import Clock
from tests.kit.rows import delivery

__all__ = ["Desk", "Postman"]


class Postman:
    """An agent that does what the test says, and ends the lease."""

    def __init__(
        self, engine: Engine, clock: Clock, act: Callable[[DeliveryLease], None] = lambda lease: None
    ) -> None:
        self.engine, self.clock, self.act = engine, clock, act
        self.made: list[int] = []
        self.given_up: list[tuple[int, str]] = []

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        self.made.append(lease.id)
        self.act(lease)
        with write_transaction(self.engine) as conn:
            delivery_leases.mark_delivered(conn, lease, self.clock())

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        return RetryPlan(max_retries=2, first_delay=timedelta(seconds=10))

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        self.given_up.append((what.delivery.id, what.problem.problem.id))


class Desk:
    """One worker, one agent, one database."""

    def __init__(
        self, engine: Engine, act: Callable[[DeliveryLease], None] = lambda lease: None, threads: int = 4
    ) -> None:
        self.engine, self.clock = engine, Clock()
        self.postman = Postman(engine, self.clock, act)
        self.worker = self.new_worker("w1", threads)

    def new_worker(
        self,
        name: str,
        threads: int = 4,
        schedule: RecurringSchedule | None = None,
        *,
        steady: bool = True,
        poll: float = 0.005,
    ) -> DeliveryWorker:
        """Return a worker, which has run for long enough already where it is `steady`.

        `poll` is how many seconds it waits where nothing is due.
        """
        pace = WorkerSettings(
            threads=threads,
            lease_time=timedelta(seconds=60),
            poll_seconds=poll,
            maintenance_seconds=0.02,
            min_uptime=timedelta(0) if steady else timedelta(minutes=10),
        )
        agents = {"soap": self.postman}
        return DeliveryWorker(
            self.engine, agents, self.clock, name=name, worker_settings=pace, schedule=schedule
        )

    def queue(self, number: int = 1, lane: str = "KR-A", **changes: Any) -> list[int]:
        with write_transaction(self.engine) as conn:
            made = [
                deliveries.enqueue_delivery(
                    conn, delivery(destination=lane, subject_type="test", **changes), self.clock()
                )
                for _ in range(number)
            ]
        return [one for one in made if one is not None]

    def row(self, number: int) -> Any:
        with read_transaction(self.engine) as conn:
            return deliveries.find_by_id(conn, number)

    def events(self, number: int) -> list[str]:
        with read_transaction(self.engine) as conn:
            return [row.event for row in list_transitions(conn, DELIVERY, number)]

    def open_leases(self) -> int:
        counted = (
            select(func.count()).select_from(tables.deliveries).where(tables.deliveries.c.state == "ACTIVE")
        )
        with read_transaction(self.engine) as conn:
            return int(conn.execute(counted).scalar_one())
