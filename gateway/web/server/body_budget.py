"""The octets of bodies that one process holds, shared fairly by their senders.

Where a limit is reached, slow bodies make room, first the largest of the holder of most octets: who holds
octets back cannot keep others out. Where none is slow, the newest bodies of a holder who has several and
clearly more than the requester make room, then bodies that began after that of the requester. So bodies which
have come far are completed under load, and newcomers are refused. Half of all is kept for those who have
proved who they are, and a quarter for all others: neither strangers nor partners can take everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gateway.errors import NO_ROOM
from gateway.web.server.request_head import RequestRejectedError

#: One sender may use this part of the budget.
_SENDER_PARTS: Final = 4
#: All unproved senders together may use this part of the budget, and the other part is kept for them.
_UNPROVED_PARTS: Final = 2
_UNPROVED_KEPT_PARTS: Final = 4
#: A body that holds much must grow by this part of it in the same time.
_GROWTH_PARTS: Final = 32
#: A body is slow when it has not had, for this time, the octets that the slowest body must have in it.
_SLOW_SECONDS: Final = 2.0
#: A holder has clearly more than another one when it has this many times its octets.
_CLEARLY_MORE: Final = 2


@dataclass(frozen=True, slots=True)
class MinimumBodyRate:
    """How fast a body must arrive: `octets` in each period of `seconds`, or its end."""

    seconds: float
    octets: int


@dataclass(frozen=True, slots=True)
class BodySender:
    """Who sends a body.

    `name` is a party at the network of a client, or the network alone: who replays a message of a party is
    taken for that party, so a party is not one sender everywhere. `holder` is the party, or the network of an
    unproved sender. `is_proved` says that the party proved who it is, or one has done so from this network.
    """

    name: str
    holder: str
    is_proved: bool


class BodyBudget:
    """Octets that one process holds for requests that arrive or wait; for the event loop alone.

    `max_octets` limits those of all senders. One body of `max_body_octets` always fits into the part of one
    sender and into that of all unproved senders. A body slower than `min_rate` is slow; `clock` returns
    seconds.
    """

    def __init__(
        self,
        max_octets: int,
        max_body_octets: int,
        min_rate: MinimumBodyRate,
        clock: Callable[[], float],
    ) -> None:
        self._max_octets: Final = max_octets
        self._max_octets_per_sender: Final = max(max_body_octets, max_octets // _SENDER_PARTS)
        self._max_unproved_octets: Final = max(max_body_octets, max_octets // _UNPROVED_PARTS)
        self._kept_unproved_octets: Final = max_octets // _UNPROVED_KEPT_PARTS
        self._max_proved_octets: Final = max(max_body_octets, max_octets - self._kept_unproved_octets)
        self._octets_per_period: Final = _SLOW_SECONDS * min_rate.octets / min_rate.seconds
        self._clock: Final = clock
        self._octets_by_sender: Counter[str] = Counter()
        self._octets_by_holder: Counter[str] = Counter()
        self._reservation_count = 0
        self._reserved_octets = 0
        self._unproved_octets = 0
        # In the order in which they began.
        self._arriving: dict[BodyReservation, None] = {}

    def make_reservation(self, sender: BodySender) -> BodyReservation:
        """Return an empty reservation for one body of `sender`; the caller must release it."""
        self._reservation_count += 1
        return BodyReservation(self, sender, self._reservation_count)

    def begin_arrival(self, reservation: BodyReservation) -> None:
        """Record that the body of a reservation begins to arrive: it may be ended for others."""
        self._arriving[reservation] = None
        reservation.pace_met_at = self._clock()

    def end_arrival(self, reservation: BodyReservation) -> None:
        """Record that the body is complete or given up: it is not ended for others any more."""
        self._arriving.pop(reservation, None)

    def change_octets(self, reservation: BodyReservation, octets: int) -> None:
        """Add octets (negative: remove them) to those that a body holds."""
        sender = reservation.sender
        reservation.octets += octets
        self._reserved_octets += octets
        if not sender.is_proved:
            self._unproved_octets += octets
        for counts, key in (
            (self._octets_by_sender, sender.name),
            (self._octets_by_holder, sender.holder),
        ):
            counts[key] += octets
            if not counts[key]:
                del counts[key]

    def record_pace(self, reservation: BodyReservation, octets: int) -> None:
        """Record that further octets of a body have arrived."""
        reservation.octets_since_pace += octets
        if reservation.octets_since_pace >= max(self._octets_per_period, reservation.octets // _GROWTH_PARTS):
            reservation.octets_since_pace = 0
            reservation.pace_met_at = self._clock()

    def make_room(self, requester: BodyReservation) -> bool:
        """End bodies of others until each limit is kept, if that is possible; return whether it is.

        `requester` has its further octets already.
        """
        ended: dict[BodyReservation, None] = {}
        for excess, may_end in self._list_excesses(requester.sender):
            remaining = excess - sum(body.octets for body in ended if may_end(body))
            if remaining <= 0:
                continue
            candidates = [
                body
                for body in self._arriving
                if body.octets and body is not requester and body not in ended and may_end(body)
            ]
            for body in self._rank_bodies(candidates, requester):
                ended[body] = None
                remaining -= body.octets
                if remaining <= 0:
                    break
            else:
                return False
        for body in ended:
            body.end_for_others()
        return True

    def _list_excesses(self, sender: BodySender) -> Iterator[tuple[int, Callable[[BodyReservation], bool]]]:
        """Yield for each limit of a sender the octets beyond it, and which bodies may end for it."""
        beyond_part = self._octets_by_sender[sender.name] - self._max_octets_per_sender
        yield beyond_part, lambda body: body.sender.name == sender.name
        if sender.is_proved:
            proved_octets = self._reserved_octets - self._unproved_octets
            yield proved_octets - self._max_proved_octets, lambda body: body.sender.is_proved
        else:
            yield self._unproved_octets - self._max_unproved_octets, lambda body: not body.sender.is_proved
        beyond_all = self._reserved_octets - self._max_octets
        is_unproved_kept = self._unproved_octets <= self._kept_unproved_octets
        yield beyond_all, lambda body: body.sender.is_proved or not is_unproved_kept

    def _rank_bodies(
        self, candidates: list[BodyReservation], requester: BodyReservation
    ) -> Iterator[BodyReservation]:
        """Yield the bodies that may end for a requester, in the order in which they end."""
        slow_before = self._clock() - _SLOW_SECONDS
        octets_by_holder = self._octets_by_holder
        slow = [body for body in candidates if body.pace_met_at <= slow_before]
        yield from sorted(
            slow,
            key=lambda body: (
                body.sender.is_proved,
                -octets_by_holder[body.sender.holder],
                -body.octets,
            ),
        )
        fast = [body for body in candidates if body.pace_met_at > slow_before]
        bodies_by_holder = Counter(body.sender.holder for body in fast)
        much = _CLEARLY_MORE * octets_by_holder[requester.sender.holder]
        several = [
            body
            for body in fast
            if bodies_by_holder[body.sender.holder] > 1 and octets_by_holder[body.sender.holder] > much
        ]
        several.reverse()  # the newest first, as those that began later
        later = [
            body
            for body in fast
            if body.number > requester.number and body.sender.is_proved <= requester.sender.is_proved
        ]
        later.reverse()
        several.sort(key=lambda body: (body.sender.is_proved, -octets_by_holder[body.sender.holder]))
        ended: set[BodyReservation] = set()
        for body in several:
            if bodies_by_holder[body.sender.holder] > 1:
                bodies_by_holder[body.sender.holder] -= 1
                ended.add(body)
                yield body
        yield from (body for body in later if body not in ended)


class BodyReservation:
    """The octets that one body holds, in memory or on the disk.

    `number` counts the bodies. `pace_met_at` is when the body was last as fast as it must be, in seconds, or
    when it began.
    """

    def __init__(self, budget: BodyBudget, sender: BodySender, number: int) -> None:
        self.number: Final = number
        self._budget = budget
        self._give_up: Callable[[], None] | None = None
        self.sender: Final = sender
        self.octets = 0
        self.octets_since_pace = 0
        self.pace_met_at = 0.0

    @contextmanager
    def let_end(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Let the body be ended for others while the block runs; `give_up` is called then, once."""
        self._give_up = give_up
        self._budget.begin_arrival(self)
        try:
            yield
        finally:
            self._budget.end_arrival(self)

    def reserve_octets(self, octets: int) -> None:
        """Reserve further octets; raises a 503 rejection where there is no room for them."""
        self._budget.change_octets(self, octets)
        if not self._budget.make_room(self):
            self._budget.change_octets(self, -octets)
            raise make_full_rejection()

    def record_pace(self, octets: int) -> None:
        """Record that further octets of the body have arrived, wherever they are held."""
        self._budget.record_pace(self, octets)

    def end_for_others(self) -> None:
        """Give the octets to others: the reader of the body gives it up."""
        self._budget.end_arrival(self)
        self.release_all()
        if self._give_up is not None:
            self._give_up()

    def release_all(self) -> None:
        """Release all octets."""
        self._budget.change_octets(self, -self.octets)


def make_full_rejection() -> RequestRejectedError:
    """Return the 503 rejection of a body for which there is no room now."""
    detail = "too much arrives at once; come again"
    return RequestRejectedError(NO_ROOM, detail, "body", HTTPStatus.SERVICE_UNAVAILABLE)
