"""What is done again and again is a delivery of our own queue, one for each stretch of time.

A turn is queued under the number of its stretch since 1970, so that of all workers, and of all
starts, one queues it.  It ends with its stretch: what could not be done in it is done in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from gateway.store import NewDelivery, deliveries, write_transaction

__all__ = ["RecurringSchedule", "RecurringTask"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecurringTask:
    """Something done once every `every`, by `agent`; `name` is what its turns are known by.

    `lane` is the destination's own where none is given: what one destination lets wait holds up
    no other.
    """

    name: str
    agent: str
    destination: str
    every: timedelta
    lane: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def get_period_number(self, at: datetime) -> int:
        """Return the number of the stretch that holds a moment."""
        return (at - _EPOCH) // self.every

    def get_period_end(self, turn: int) -> datetime:
        """Return when a stretch is over."""
        return _EPOCH + (turn + 1) * self.every

    def make_period_delivery(self, turn: int) -> NewDelivery:
        """Return what is queued for one stretch."""
        return NewDelivery(
            agent=self.agent,
            destination=self.destination,
            lane=self.lane or f"{self.agent}:{self.destination}",
            subject_type="turn",
            subject_id=f"{self.name}:{turn}",
            dedupe_key=f"turn:{self.name}:{turn}",
            parameters=dict(self.parameters),
            expires_at=self.get_period_end(turn),
        )


class RecurringSchedule:
    """Queues the turns that have come; `recurring` says, each time anew, what recurs."""

    def __init__(self, engine: Engine, recurring: Callable[[], Sequence[RecurringTask]]) -> None:
        self._engine = engine
        self._recurring = recurring
        #: The turns known to be queued: nothing is asked of the database before the next ones.
        self._queued: dict[str, int] = {}

    def queue_due_periods(self, now: datetime) -> int:
        """Queue what this moment's turns lack; return how many that were."""
        found = self._recurring()
        come = [
            (one, turn) for one in found if self._queued.get(one.name) != (turn := one.get_period_number(now))
        ]
        if not come:
            return 0
        with write_transaction(self._engine, "delivery.schedule") as conn:
            made = deliveries.enqueue_deliveries(
                conn, [one.make_period_delivery(turn) for one, turn in come], now
            )
        self._queued = {one.name: one.get_period_number(now) for one in found}
        return sum(number is not None for number in made)
