"""Claims due deliveries for one worker, lane by lane, and counts the threads that each lane takes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.store import (
    DeliveryLease,
    deliveries,
    delivery_leases,
    lanes,
    read_transaction,
    run_in_group_commit,
)

#: An attempt that takes longer, in seconds, is slow.
_SLOW_ATTEMPT_SECONDS: Final = 5.0
_WEBHOOK_PREFIX: Final = "webhook:"
#: Part of the lane of an endpoint, for answers to senders that claim to be a party without proof.
_ENDPOINT_PART: Final = "://"
#: Instead of a limit: no delivery crashes that often.
_NO_CRASH_LIMIT: Final = 1_000_000


class WorkerSlots:
    """The slots of one worker, one for each thread; safe for many threads.

    All lanes of a party count as one destination, which may take half of the slots. A destination whose last
    attempt was slow may take a quarter, and all slow destinations together three quarters. All webhooks
    together may take a quarter, and so may all answers to senders that have not proved their identity. So
    other deliveries always get through. The hub's own tasks may take every slot.
    """

    def __init__(self, total: int) -> None:
        self.total: Final = total
        self._taken_by_lane: Counter[str] = Counter()
        #: The destinations whose last attempt was slow.
        self._slow_destinations: set[str] = set()
        self._lock = threading.Lock()

    def copy(self) -> WorkerSlots:
        """Return slots that are taken as these are now, to plan with."""
        slots = WorkerSlots(self.total)
        with self._lock:
            slots._taken_by_lane, slots._slow_destinations = (
                self._taken_by_lane.copy(),
                self._slow_destinations.copy(),
            )
        return slots

    def count_free(self) -> int:
        """Return how many slots are free."""
        with self._lock:
            return self.total - self._taken_by_lane.total()

    def count_available(self, lane: str) -> int:
        """Return how many of the free slots a lane may take."""
        with self._lock:
            return max(0, min(self.total - self._taken_by_lane.total(), self._count_share(lane)))

    def take_slots(self, lane: str, count: int) -> None:
        """Let a lane take free slots."""
        with self._lock:
            self._taken_by_lane[lane] += count

    def free_slot(self, lane: str) -> None:
        """Free a slot that a lane has taken."""
        with self._lock:
            self._taken_by_lane[lane] -= 1
            if self._taken_by_lane[lane] <= 0:
                del self._taken_by_lane[lane]

    def record_attempt_seconds(self, lane: str, seconds: float) -> None:
        """Note how long an attempt took: a slow destination may take fewer slots."""
        with self._lock:
            if seconds > _SLOW_ATTEMPT_SECONDS:
                self._slow_destinations.add(_get_destination(lane))
            else:
                self._slow_destinations.discard(_get_destination(lane))

    def _count_share(self, lane: str) -> int:
        """Return how many further slots a lane may take, were they free."""
        if lane == deliveries.LOCAL:
            return self.total
        destination, quarter = _get_destination(lane), max(1, self.total // 4)
        share = quarter if destination in self._slow_destinations else max(1, self.total // 2)
        share -= self._count_taken(lambda other: _get_destination(other) == destination)
        if destination in self._slow_destinations:
            max_slow_slots = max(1, self.total - quarter)
            share = min(
                share,
                max_slow_slots
                - self._count_taken(lambda other: _get_destination(other) in self._slow_destinations),
            )
        for is_alike in (_is_webhook, _is_endpoint):
            if is_alike(lane):
                share = min(share, quarter - self._count_taken(is_alike))
        return share

    def _count_taken(self, is_counted: Callable[[str], bool]) -> int:
        return sum(number for lane, number in self._taken_by_lane.items() if is_counted(lane))


def _is_webhook(lane: str) -> bool:
    return lane.startswith(_WEBHOOK_PREFIX)


def _is_endpoint(lane: str) -> bool:
    return _ENDPOINT_PART in lane


def _get_destination(lane: str) -> str:
    """Return the party of a lane; that of an agency, which has no prefix, is the lane itself."""
    return lane.partition(":")[2] or lane


class LaneClaims:
    """Claims deliveries for one worker, by its name; one thread claims, others end attempts.

    A suspect is a delivery during which a worker has died. `find_suspect_limit` returns the number of such
    crashes from which a delivery is not claimed now; None: every delivery is claimed.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        worker_name: str,
        lease_time: timedelta,
        slots: WorkerSlots,
        find_suspect_limit: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._name = worker_name
        self._lease_time = lease_time
        self._slots = slots
        self._find_suspect_limit = find_suspect_limit
        self._next_lane = 0
        self._is_suspect_claimed = False

    def claim_due(self) -> Sequence[DeliveryLease]:
        """Claim from each lane in turn, so that the backlog of one lane does not delay another."""
        now, crash_limit = self._clock(), self._find_suspect_limit()
        with read_transaction(self._engine) as conn:
            due_lanes = lanes.list_due_lanes(conn, now, crash_limit)
        due_lanes = tuple(lane for lane in due_lanes if self._slots.count_available(lane.name))
        if not due_lanes:
            return ()

        def claim_lanes(conn: Connection) -> list[DeliveryLease]:
            leases: list[DeliveryLease] = []
            # The work may run twice: the slots are taken when its commit is over.
            slots = self._slots.copy()
            share = max(1, slots.count_free() // len(due_lanes))
            if not self._is_suspect_claimed:
                leases += self._claim_suspect(
                    conn, due_lanes, now, slots, _NO_CRASH_LIMIT if crash_limit is None else crash_limit
                )
            for lane in self._rotate_lanes(due_lanes):
                leases += self._claim_lane(conn, lane, now, slots, share)
            delivery_leases.record_begun_attempts(conn, leases, now, self._name)
            return leases

        leases = run_in_group_commit(self._engine, "delivery.claim", claim_lanes)
        for lease in leases:
            self._slots.take_slots(lease.lane, 1)
        self._is_suspect_claimed = self._is_suspect_claimed or any(lease.lost for lease in leases)
        return leases

    def _claim_suspect(
        self,
        conn: Connection,
        due_lanes: Sequence[lanes.DueLane],
        now: datetime,
        slots: WorkerSlots,
        crash_limit: int,
    ) -> list[DeliveryLease]:
        """Claim one delivery during which a worker died: if this one dies too, the cause is known."""
        for lane in self._rotate_lanes([lane for lane in due_lanes if lane.suspected]):
            if leases := self._claim_lane(conn, lane, now, slots, 1, suspects_below=crash_limit):
                return leases
        return []

    def _claim_lane(
        self,
        conn: Connection,
        lane: lanes.DueLane,
        now: datetime,
        slots: WorkerSlots,
        limit: int,
        *,
        suspects_below: int | None = None,
    ) -> list[DeliveryLease]:
        """Claim from a lane as far as it may take `slots`; it has taken them afterwards."""
        limit = min(limit, slots.count_available(lane.name))
        if limit == 0:
            return []
        leases = delivery_leases.claim_lane(
            conn,
            lane,
            now,
            worker=self._name,
            lease_until=now + self._lease_time,
            limit=limit,
            suspects_below=suspects_below,
        )
        slots.take_slots(lane.name, len(leases))
        return leases

    def record_end(self, lease: DeliveryLease) -> None:
        """Note that an attempt has ended: the next suspect may be claimed."""
        if lease.lost:
            self._is_suspect_claimed = False

    def _rotate_lanes(self, due_lanes: Sequence[lanes.DueLane]) -> Sequence[lanes.DueLane]:
        """Return the lanes, each time starting with another one."""
        if not due_lanes:
            return ()
        self._next_lane += 1
        first_position = self._next_lane % len(due_lanes)
        return [*due_lanes[first_position:], *due_lanes[:first_position]]
