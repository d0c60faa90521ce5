"""One worker with an agent that does what a test says, on a real database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Failed, Pace, Worker
from gateway.states import DELIVERY
from gateway.store import claims, deliveries, tables
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction
from gateway.store.transitions import history
from tests.kit.house import Clock
from tests.kit.rows import delivery

__all__ = ["Desk", "Postman"]


class Postman:
    """An agent that does what the test says, and ends the lease."""

    def __init__(
        self, engine: Engine, clock: Clock, act: Callable[[Lease], None] = lambda lease: None
    ) -> None:
        self.engine, self.clock, self.act = engine, clock, act
        self.made: list[int] = []
        self.given_up: list[tuple[int, str]] = []

    def deliver(self, lease: Lease) -> None:
        self.made.append(lease.id)
        self.act(lease)
        with transaction(self.engine) as conn:
            claims.delivered(conn, lease, self.clock())

    def plan(self, lease: Lease) -> RetryPlan:
        return RetryPlan(retries=2, first=timedelta(seconds=10))

    def failed(self, conn: Connection, what: Failed) -> None:
        self.given_up.append((what.delivery.id, what.problem.problem.id))


class Desk:
    """One worker, one agent, one database."""

    def __init__(
        self, engine: Engine, act: Callable[[Lease], None] = lambda lease: None, threads: int = 4
    ) -> None:
        self.engine, self.clock = engine, Clock()
        self.postman = Postman(engine, self.clock, act)
        self.worker = self.new_worker("w1", threads)

    def new_worker(self, name: str, threads: int = 4) -> Worker:
        pace = Pace(threads=threads, lease=timedelta(seconds=60), poll=0.005, upkeep=0.02)
        return Worker(self.engine, {"soap": self.postman}, self.clock, name=name, pace=pace)

    def queue(self, number: int = 1, lane: str = "KR-A", **changes: Any) -> list[int]:
        with transaction(self.engine) as conn:
            made = [
                deliveries.enqueue(
                    conn, delivery(destination=lane, subject_type="test", **changes), self.clock()
                )
                for _ in range(number)
            ]
        return [one for one in made if one is not None]

    def row(self, number: int) -> Any:
        with reading(self.engine) as conn:
            return deliveries.get(conn, number)

    def events(self, number: int) -> list[str]:
        with reading(self.engine) as conn:
            return [row.event for row in history(conn, DELIVERY, number)]

    def open_leases(self) -> int:
        counted = (
            select(func.count()).select_from(tables.deliveries).where(tables.deliveries.c.state == "ACTIVE")
        )
        with reading(self.engine) as conn:
            return int(conn.execute(counted).scalar_one())
