"""The places of a worker: one for each thread, half of which may be taken by one destination."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.store import lanes

__all__ = ["PlaceReservation", "WorkerPlaces"]


class WorkerPlaces:
    """Counts the places that are free, and those that each lane holds; safe for many threads."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self._free = number
        self._held: Counter[str] = Counter()
        self._guard = threading.Condition()

    def reserve_free(self, leaving: int = 0) -> PlaceReservation:
        """Reserve all places that are free now, except as many as are to be left for others."""
        with self._guard:
            room = max(0, self._free - leaving)
            self._free -= room
        return PlaceReservation(self, room)

    def count_free(self) -> int:
        """Return how many places are free."""
        with self._guard:
            return self._free

    def count_slots(self, lane: str) -> int:
        """Return how many more places a lane may hold: one destination gets half of them."""
        with self._guard:
            return self._count_slots(lane)

    def end_delivery(self, lane: str) -> None:
        """Free the place of a delivery that has ended."""
        self.free_places(1, {lane: 1})

    def wait_until_free(self) -> None:
        """Return when every place is free."""
        with self._guard:
            while self._free < self.number:
                self._guard.wait()

    def hold_lane(self, lane: str, most: int) -> int:
        """Let a lane hold up to `most` further places; return how many."""
        with self._guard:
            held = max(0, min(most, self._count_slots(lane)))
            self._held[lane] += held
            return held

    def free_places(self, number: int, held: Mapping[str, int]) -> None:
        """Free places, and take from the lanes what they held."""
        with self._guard:
            for lane, places in held.items():
                self._held[lane] -= places
                if self._held[lane] <= 0:
                    del self._held[lane]
            self._free = min(self.number, self._free + number)
            self._guard.notify_all()

    def _count_slots(self, lane: str) -> int:
        if lane == lanes.LOCAL:
            return self.number
        return max(1, self.number // 2) - self._held[lane]


class PlaceReservation:
    """Places that one claim may fill; those that it fills are held until their deliveries end."""

    def __init__(self, places: WorkerPlaces, room: int) -> None:
        self.room = room
        self._places = places
        self._filled: Counter[str] = Counter()

    def fill_places(self, lane: str, most: int, claim: Callable[[int], int]) -> int:
        """Let `claim` claim up to `most` deliveries of a lane, while there are places; return how many."""
        held, claimed = self._places.hold_lane(lane, min(most, self.room)), 0
        try:
            claimed = claim(held) if held else 0
        finally:
            self._places.free_places(0, {lane: held - claimed})
        self.room -= claimed
        self._filled[lane] += claimed
        return claimed

    def fill_lanes(
        self, names: Sequence[str], most: int, claim: Callable[[Mapping[str, int]], Mapping[str, int]]
    ) -> None:
        """Let `claim` claim up to `most` deliveries of each of these lanes, while there are places.

        It is given how many each lane may have, and returns how many it has claimed.
        """
        held: dict[str, int] = {}
        claimed: Mapping[str, int] = {}
        try:
            for lane in names:
                may = self._places.hold_lane(lane, min(most, self.room - sum(held.values())))
                if may:
                    held[lane] = may
            claimed = claim(held) if held else {}
        finally:
            self._places.free_places(0, {lane: may - claimed.get(lane, 0) for lane, may in held.items()})
        for lane in held:
            self.room -= claimed.get(lane, 0)
            self._filled[lane] += claimed.get(lane, 0)

    def settle(self) -> None:
        """Free the places that are not filled."""
        self._places.free_places(self.room, {})
        self.room = 0

    def cancel(self) -> None:
        """Free all places: what was claimed for them is not."""
        self._places.free_places(self.room + self._filled.total(), self._filled)
        self.room = 0
        self._filled.clear()
