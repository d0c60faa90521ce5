"""Queues recurring tasks as deliveries, one for each period.

A delivery is queued under the number of its period since 1970, so that only one of all workers and
of all starts queues it. It expires with its period; an undone task is done in the next period.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from gateway.store import NewDelivery, deliveries, write_transaction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecurringTask:
    """A task that `agent` does once in every period of `period`; `name` identifies its deliveries.

    Without `lane` the destination has a lane of its own, so that the backlog of one destination
    delays no other.
    """

    name: str
    agent: str
    destination: str
    period: timedelta
    lane: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def get_period_number(self, at: datetime) -> int:
        """Return the number of the period that contains the given time."""
        return (at - _EPOCH) // self.period

    def get_period_end(self, period_number: int) -> datetime:
        """Return the end of a period."""
        return _EPOCH + (period_number + 1) * self.period

    def make_period_delivery(self, period_number: int) -> NewDelivery:
        """Return the delivery that is queued for one period."""
        return NewDelivery(
            agent=self.agent,
            destination=self.destination,
            lane=self.lane or f"{self.agent}:{self.destination}",
            subject_type="turn",
            subject_id=f"{self.name}:{period_number}",
            dedupe_key=f"turn:{self.name}:{period_number}",
            parameters=dict(self.parameters),
            expires_at=self.get_period_end(period_number),
        )


class RecurringSchedule:
    """Queues the deliveries of periods that have begun; each of `task_lists` returns current recurring tasks.

    A list that fails takes no task of another list with it.
    """

    def __init__(self, engine: Engine, *task_lists: Callable[[], Sequence[RecurringTask]]) -> None:
        self._engine = engine
        self._task_lists = task_lists
        #: The periods known to be queued: the database is not queried before the next ones.
        self._queued_periods: dict[str, int] = {}

    def queue_due_periods(self, now: datetime) -> int:
        """Queue the deliveries that the current periods lack; return how many were queued.

        Raises the exception of a list that fails when the tasks of the other lists are queued.
        """
        tasks: list[RecurringTask] = []
        failure: Exception | None = None
        for list_tasks in self._task_lists:
            try:
                tasks += list_tasks()
            except Exception as mistake:
                failure = failure or mistake
        queued_count = self._queue_tasks(tasks, now)
        if failure is not None:
            raise failure
        return queued_count

    def _queue_tasks(self, tasks: Sequence[RecurringTask], now: datetime) -> int:
        due_periods = [
            (task, period_number)
            for task in tasks
            if self._queued_periods.get(task.name) != (period_number := task.get_period_number(now))
        ]
        if not due_periods:
            return 0
        with write_transaction(self._engine, "delivery.schedule") as conn:
            delivery_ids = deliveries.enqueue_deliveries(
                conn, [task.make_period_delivery(period) for task, period in due_periods], now
            )
        self._queued_periods = {task.name: task.get_period_number(now) for task in tasks}
        return sum(number is not None for number in delivery_ids)
