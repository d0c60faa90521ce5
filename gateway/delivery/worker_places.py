"""The places of a worker: one for each thread, half of which may be taken by one destination.

The place of an attempt that ends may be passed on to a delivery that follows it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.store import lanes

__all__ = ["AttemptPlace", "PlaceReservation", "WorkerPlaces"]

#: One of so many places is not passed on: a chain of deliveries must not keep other lanes waiting for good.
_KEPT_FROM_PASSING: Final = 4


class WorkerPlaces:
    """Counts the places that are free, and those that each lane holds; safe for many threads."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self._free = number
        self._held: Counter[str] = Counter()
        self._asked = 0
        self._guard = threading.Lock()
        self._all_free = threading.Condition(self._guard)

    def reserve_free(self, leaving: int = 0, ending: AttemptPlace | None = None) -> PlaceReservation:
        """Reserve all places that are free now, except as many as are to be left for others.

        The place of an attempt that is `ending` is reserved with them, if it may be passed on.
        """
        with self._guard:
            room = max(0, self._free - leaving)
            self._free -= room
        passed = ending is not None and ending.pass_on()
        return PlaceReservation(self, room + passed, ending if passed else None)

    def pass_on(self, lane: str) -> bool:
        """Let the lane of an ending attempt hold its place no more, if that may be passed on.

        Returns whether it may: three of four may. What it is passed on to may be claimed for the same lane,
        so that a lane can hold one place more than its half until the attempt has ended.
        """
        with self._guard:
            self._asked += 1
            if self._asked % _KEPT_FROM_PASSING == 0:
                return False
            self._leave_lane(lane, 1)
            return True

    def take_back(self, lane: str) -> None:
        """Let the lane hold a place again that was passed on in vain."""
        with self._guard:
            self._held[lane] += 1

    def count_free(self) -> int:
        """Return how many places are free."""
        with self._guard:
            return self._free

    def count_slots(self, lane: str) -> int:
        """Return how many more places a lane may hold: one destination gets half of them."""
        with self._guard:
            return self._count_slots(lane)

    def wait_until_free(self) -> None:
        """Return when every place is free."""
        with self._guard:
            while self._free < self.number:
                self._all_free.wait()

    def hold_lane(self, lane: str, most: int) -> int:
        """Let a lane hold up to `most` further places; return how many."""
        with self._guard:
            held = min(most, self._count_slots(lane))
            if held <= 0:
                return 0
            self._held[lane] += held
            return held

    def free_places(self, number: int, held: Mapping[str, int]) -> None:
        """Free places, and take from the lanes what they held."""
        with self._guard:
            for lane, places in held.items():
                self._leave_lane(lane, places)
            self._free = min(self.number, self._free + number)
            if self._free == self.number:
                self._all_free.notify_all()

    def _leave_lane(self, lane: str, places: int) -> None:
        self._held[lane] -= places
        if self._held[lane] <= 0:
            del self._held[lane]

    def _count_slots(self, lane: str) -> int:
        if lane == lanes.LOCAL:
            return self.number
        return max(1, self.number // 2) - self._held[lane]


class AttemptPlace:
    """The place of one attempt in a lane."""

    def __init__(self, places: WorkerPlaces, lane: str) -> None:
        self._places = places
        self._lane = lane
        self._passed = False

    def pass_on(self) -> bool:
        """Pass the place on, if it may be; return whether it is."""
        if self._passed or not self._places.pass_on(self._lane):
            return False
        self._passed = True
        return True

    def take_back(self) -> None:
        """Have the place again: what it was passed on to is not claimed."""
        self._passed = False
        self._places.take_back(self._lane)

    def end(self) -> bool:
        """End the attempt; return whether its place is free now, and not passed on."""
        if not self._passed:
            self._places.free_places(1, {self._lane: 1})
        return not self._passed


class PlaceReservation:
    """Places that one claim may fill; those that it fills are held until their deliveries end.

    One of them may be `passed` on by an attempt that ends.
    """

    def __init__(self, places: WorkerPlaces, room: int, passed: AttemptPlace | None = None) -> None:
        self.room = room
        self._places = places
        self._passed = passed
        self._filled: Counter[str] = Counter()

    def fill_places(self, lane: str, most: int, claim: Callable[[int], int]) -> int:
        """Let `claim` claim up to `most` deliveries of a lane, while there are places; return how many."""
        held, claimed = self._places.hold_lane(lane, min(most, self.room)), 0
        try:
            claimed = claim(held) if held else 0
        finally:
            if claimed < held:
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
            vain = {lane: may - claimed.get(lane, 0) for lane, may in held.items()}
            if any(vain.values()):
                self._places.free_places(0, vain)
        for lane, number in claimed.items():
            self.room -= number
            self._filled[lane] += number

    def settle(self) -> None:
        """Free the places that are not filled, first that of the attempt that ends."""
        if self.room:
            self._return_passed()
        if self.room:
            self._places.free_places(self.room, {})
        self.room = 0

    def cancel(self) -> None:
        """Free all places: what was claimed for them is not."""
        self.room += self._filled.total()
        self._return_passed()
        self._places.free_places(self.room, self._filled)
        self.room = 0
        self._filled.clear()

    def _return_passed(self) -> None:
        if self._passed is not None:
            self._passed.take_back()
            self._passed = None
            self.room -= 1
