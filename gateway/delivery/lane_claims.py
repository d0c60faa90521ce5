"""Claims deliveries for one worker: what is due in any lane, and what its own transactions queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from gateway.delivery.worker_places import AttemptPlace, PlaceReservation, WorkerPlaces
from gateway.store import DeliveryLease, delivery_leases, lanes, run_claim

__all__ = ["FollowUps", "LaneClaims"]

_Begin = Callable[[Sequence[DeliveryLease]], None]


@dataclass(frozen=True, slots=True)
class FollowUps:
    """What was claimed in a transaction of an attempt, and the places that it holds."""

    places: PlaceReservation
    leases: Sequence[DeliveryLease]
    submit: _Begin

    def begin(self) -> None:
        """Begin the deliveries: the claim is committed."""
        self.submit(self.leases)

    def cancel(self) -> None:
        """Free the places: nothing is claimed."""
        self.places.cancel()


class LaneClaims:
    """Claims for one worker of this name; safe for many threads."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        name: str,
        lease: timedelta,
        places: WorkerPlaces,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._name = name
        self._lease = lease
        self._places = places
        self._guard = threading.Lock()
        self._turn = 0
        self._suspecting = False
        #: As each lane was when it was last found due.
        self._capacities: dict[str, int | None] = {}

    def claim_due(self) -> Sequence[DeliveryLease]:
        """Claim from each lane in turn, so that the backlog of one lane does not delay another."""
        now, reserved = self._clock(), []

        def find_due_lanes(conn: Connection) -> list[lanes.DueLane]:
            found = lanes.list_due_lanes(conn, now)
            self._capacities.update((lane.name, lane.capacity) for lane in found)
            return [lane for lane in found if self._places.count_slots(lane.name) > 0]

        def claim_lanes(conn: Connection, due: Sequence[lanes.DueLane]) -> Sequence[DeliveryLease]:
            # Reserved when something is due: whoever looks takes no place from a follow-up.
            reserved.append(places := self._places.reserve_free())
            claim = self._begin_claim(conn, now)
            self._claim_lanes(claim, due, places)
            places.settle()
            return claim.store_leases()

        try:
            leases = run_claim(self._engine, "delivery.claim", find_due_lanes, claim_lanes) or ()
        except BaseException:
            for places in reserved:
                places.cancel()
            raise
        with self._guard:
            self._suspecting = self._suspecting or any(lease.lost for lease in leases)
        return leases

    def claim_follow_ups(
        self, conn: Connection, names: Sequence[str], submit: _Begin, ending: AttemptPlace | None
    ) -> FollowUps | None:
        """Claim from the lanes of these names what this transaction has queued, or what waited before it.

        One place in four, and at least one, is left to what waits in other lanes. The place of an attempt
        that this transaction ends is taken too, three times of four.
        """
        places = self._places.reserve_free(max(1, self._places.number // 4), ending)
        if not places.room:
            return None
        share = max(1, places.room // len(names))
        try:
            claim = self._begin_claim(conn, self._clock())
            places.fill_lanes(names, share, lambda wanted: claim.claim_lanes(wanted, self._capacities))
            places.settle()
            leases = claim.store_leases()
        except BaseException:
            places.cancel()
            raise
        return FollowUps(places, leases, submit)

    def note_end(self, lease: DeliveryLease) -> None:
        """Note that an attempt has ended: the next suspect may be claimed."""
        if lease.lost:
            with self._guard:
                self._suspecting = False

    def _begin_claim(self, conn: Connection, now: datetime) -> delivery_leases.DeliveryClaim:
        return delivery_leases.DeliveryClaim(conn, self._name, now, now + self._lease)

    def _claim_lanes(
        self,
        claim: delivery_leases.DeliveryClaim,
        due: Sequence[lanes.DueLane],
        places: PlaceReservation,
    ) -> None:
        share = max(1, places.room // len(due))
        # None while one is held here.
        suspects = [] if self._suspecting else [lane for lane in due if lane.suspected]
        for lane in self._rotate_lanes(suspects) if suspects else ():
            # The worker may die from it: one at a time, so that the cause is known.
            if _claim_suspect(claim, lane, places):
                break
        waiting = [lane.name for lane in self._rotate_lanes(due)]
        while waiting and places.room:
            # What lanes leave free, because all that they may have at once is running, is for the next ones.
            number = max(1, places.room // share)
            names, waiting = waiting[:number], waiting[number:]
            places.fill_lanes(names, share, lambda wanted: claim.claim_lanes(wanted, self._capacities))

    def _rotate_lanes(self, due: Sequence[lanes.DueLane]) -> Sequence[lanes.DueLane]:
        """Return the lanes, each time starting with another one."""
        self._turn += 1
        first = self._turn % len(due)
        return [*due[first:], *due[:first]]


def _claim_suspect(
    claim: delivery_leases.DeliveryClaim, lane: lanes.DueLane, places: PlaceReservation
) -> int:
    """Claim one delivery of a lane during which a worker died; return how many there were."""

    def claim_one(limit: int) -> int:
        return claim.claim_lane(lane.name, limit=limit, suspects=True, known=lane)

    return places.fill_places(lane.name, 1, claim_one)
