"""The octets of bodies that one process holds, shared fairly by their senders.

Where a limit is reached, the body that goes is the largest unfinished one of the sender that holds most. So a
sender who holds octets back without ever completing a body makes room for the others, and a small body always
finds room. Half of all is kept for those who have proved who they are, and a quarter for all others: neither
strangers nor partners can take everything.
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


@dataclass(frozen=True, slots=True)
class BodySender:
    """Who sends a body: a party at the network of a client, or the network alone.

    Who replays a message of a party is taken for that party, so a party is not one sender everywhere.
    `is_proved` says that the party proved who it is, or that a party has done so from this network.
    """

    name: str
    is_proved: bool


class BodyBudget:
    """Octets that one process holds for requests that arrive or wait; for the event loop alone.

    `max_octets` limits those of all senders. One body of `max_body_octets` always fits into the part of one
    sender and into that of all unproved senders.
    """

    def __init__(self, max_octets: int, max_body_octets: int) -> None:
        self._max_octets: Final = max_octets
        self._max_octets_per_sender: Final = max(max_body_octets, max_octets // _SENDER_PARTS)
        self._max_unproved_octets: Final = max(max_body_octets, max_octets // _UNPROVED_PARTS)
        self._kept_unproved_octets: Final = max_octets // _UNPROVED_KEPT_PARTS
        self._octets_by_sender: Counter[BodySender] = Counter()
        self._reserved_octets = 0
        self._unproved_octets = 0
        # In the order in which they began.
        self._arriving: dict[BodyReservation, None] = {}

    def make_reservation(self, sender: BodySender) -> BodyReservation:
        """Return an empty reservation for one body of `sender`; the caller must release it."""
        return BodyReservation(self, sender)

    def begin_arrival(self, reservation: BodyReservation) -> None:
        """Record that the body of a reservation begins to arrive: it may be ended for others."""
        self._arriving[reservation] = None

    def end_arrival(self, reservation: BodyReservation) -> None:
        """Record that the body is complete or given up: it is not ended for others any more."""
        self._arriving.pop(reservation, None)

    def change_octets(self, sender: BodySender, octets: int) -> None:
        """Add octets (negative: remove them) to those that a sender holds."""
        self._reserved_octets += octets
        if not sender.is_proved:
            self._unproved_octets += octets
        self._octets_by_sender[sender] += octets
        if not self._octets_by_sender[sender]:
            del self._octets_by_sender[sender]

    def make_room(self, reservation: BodyReservation) -> bool:
        """End bodies of others until each limit is kept; return False if `reservation` itself must end."""
        while (candidates := self._list_candidates(reservation.sender)) is not None:
            largest = max(candidates, key=self._rank_reservation, default=reservation)
            if largest is reservation:
                return False
            largest.end_for_others()
        return True

    def _list_candidates(self, sender: BodySender) -> list[BodyReservation] | None:
        """Return the unfinished bodies one of which must end for one of `sender`; None if all have room."""
        if self._octets_by_sender[sender] > self._max_octets_per_sender:
            return [each for each in self._arriving if each.sender == sender]
        is_unproved_part_full = not sender.is_proved and self._unproved_octets > self._max_unproved_octets
        if not (is_unproved_part_full or self._reserved_octets > self._max_octets):
            return None
        is_proved = not is_unproved_part_full and self._unproved_octets <= self._kept_unproved_octets
        return [each for each in self._arriving if each.sender.is_proved == is_proved] or [*self._arriving]

    def _rank_reservation(self, reservation: BodyReservation) -> tuple[int, int]:
        """Return the rank of an unfinished body: the highest one ends first, of equal ones the oldest."""
        return self._octets_by_sender[reservation.sender], reservation.octets


class BodyReservation:
    """The octets that one body holds, in memory or on the disk."""

    def __init__(self, budget: BodyBudget, sender: BodySender) -> None:
        self._budget = budget
        self._give_up: Callable[[], None] | None = None
        self.sender: Final = sender
        self.octets = 0

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
        """Reserve further octets; raises a 503 rejection where others need the room more."""
        self.octets += octets
        self._budget.change_octets(self.sender, octets)
        if not self._budget.make_room(self):
            self.octets -= octets
            self._budget.change_octets(self.sender, -octets)
            raise make_full_rejection()

    def end_for_others(self) -> None:
        """Give the octets to others: the reader of the body gives it up."""
        self._budget.end_arrival(self)
        self.release_all()
        if self._give_up is not None:
            self._give_up()

    def release_all(self) -> None:
        """Release all octets."""
        self._budget.change_octets(self.sender, -self.octets)
        self.octets = 0


def make_full_rejection() -> RequestRejectedError:
    """Return the 503 rejection of a body for which there is no room now."""
    detail = "too much arrives at once; come again"
    return RequestRejectedError(NO_ROOM, detail, "body", HTTPStatus.SERVICE_UNAVAILABLE)
