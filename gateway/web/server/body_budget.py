"""Limits the octets that requests hold together: in memory, or in files."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Final

from gateway.errors import NO_ROOM
from gateway.web.server.request_head import RequestRejectedError

__all__ = ["BodyBudget", "BodyReservation"]

#: One sender may use this part of the budget, so that four senders are needed to exhaust it.
_PARTS: Final = 4


class BodyBudget:
    """Octets that one process holds for requests that arrive or wait, in total and by address."""

    def __init__(self, whole: int, largest: int) -> None:
        self._whole = whole
        # One body of the largest size must always fit.
        self._each = max(largest, whole // _PARTS)
        self._held = 0
        self._by_address: Counter[str] = Counter()

    def make_reservation(self, address: str) -> BodyReservation:
        """Return an empty reservation for one request of `address`; the caller must release it."""
        return BodyReservation(self, address)

    def reserve_octets(self, address: str, octets: int) -> None:
        """Reserve more octets for `address`; raises a 503 rejection when the budget is exceeded."""
        if self._held + octets > self._whole or self._by_address[address] + octets > self._each:
            detail = "too much arrives at once; come again"
            raise RequestRejectedError(NO_ROOM, detail, "body", HTTPStatus.SERVICE_UNAVAILABLE)
        self._held += octets
        self._by_address[address] += octets

    def release_octets(self, address: str, octets: int) -> None:
        """Release octets of `address`."""
        self._held -= octets
        self._by_address[address] -= octets
        if not self._by_address[address]:
            del self._by_address[address]


class BodyReservation:
    """The octets that one request holds."""

    def __init__(self, room: BodyBudget, address: str) -> None:
        self._room = room
        self._address = address
        self._octets = 0

    def reserve_octets(self, octets: int) -> None:
        """Reserve that many more octets."""
        self._room.reserve_octets(self._address, octets)
        self._octets += octets

    def release_all(self) -> None:
        """Release all octets."""
        self._room.release_octets(self._address, self._octets)
        self._octets = 0
