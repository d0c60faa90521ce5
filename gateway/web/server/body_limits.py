"""Limits request bodies: their minimum rate, and the memory that they may use together.

A body is read completely before it gets a thread, so a slow or endless body costs only its octets.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gateway.errors import NO_ROOM, REQUEST_MALFORMED, TOO_LARGE, TOO_SLOW
from gateway.web.server.request_head import RequestRejectedError

__all__ = ["BodyBudget", "BodyReservation", "MinimumBodyRate", "read_whole_body"]

#: One sender may use this part of the budget, so that four senders are needed to exhaust it.
_PARTS: Final = 4
#: Chunks that any body may have, and octets that a further chunk must have on average. Each chunk costs
#: as much as a hundred octets of XML, so a body sent octet by octet is the most expensive input.
_CHUNKS: Final = 64
_MEAN_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class MinimumBodyRate:
    """How fast a body must arrive: `octets` in each period of `seconds`, or its end."""

    seconds: float
    octets: int


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


async def read_whole_body(
    pieces: AsyncIterator[bytes],
    length: int | None,
    limit: int,
    pace: MinimumBodyRate,
    share: BodyReservation,
) -> bytes:
    """Return the whole body; raises RequestRejectedError when it is incomplete, too large or too slow.

    `length` None: the body arrives in chunks, and ends with the last one.
    """
    if length == 0:
        return b""
    try:
        async with asyncio.timeout(pace.seconds) as time:
            return await _read_pieces(pieces, length, limit, _RateDeadline(pace, time), share)
    except TimeoutError:
        detail = f"fewer than {pace.octets} octets came in {pace.seconds:g} seconds"
        raise RequestRejectedError(TOO_SLOW, detail, "body", HTTPStatus.REQUEST_TIMEOUT) from None


@dataclass(slots=True)
class _RateDeadline:
    """Extends the deadline whenever enough octets have arrived."""

    pace: MinimumBodyRate
    time: asyncio.Timeout
    came: int = 0

    def record_octets(self, octets: int) -> None:
        self.came += octets
        if self.came >= self.pace.octets:
            self.came = 0
            self.time.reschedule(asyncio.get_running_loop().time() + self.pace.seconds)


async def _read_pieces(
    pieces: AsyncIterator[bytes],
    length: int | None,
    limit: int,
    slowness: _RateDeadline,
    share: BodyReservation,
) -> bytes:
    taken: list[bytes] = []
    size, ends = 0, 0
    async for piece in pieces:
        if not piece:
            ends += 1
            continue
        size += len(piece)
        if size > (limit if length is None else length):
            detail = f"the body has more than {limit} octets"
            raise RequestRejectedError(TOO_LARGE, detail, "body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        share.reserve_octets(len(piece))
        taken.append(piece)
        if len(taken) > _CHUNKS + size // _MEAN_CHUNK:
            raise RequestRejectedError(
                REQUEST_MALFORMED, "the chunks are too small", "body", HTTPStatus.BAD_REQUEST
            )
        if size == length:
            return piece if len(taken) == 1 else b"".join(taken)
        slowness.record_octets(len(piece))
    # The server ends the pieces with one empty piece. An error (a malformed chunk, an end before the last
    # chunk) and trailers, which are not read, cause another one: in both cases the body is not as it was
    # sent.
    if length is not None or ends != 1:
        raise RequestRejectedError(
            REQUEST_MALFORMED, f"the body ends after {size} octets", "body", HTTPStatus.BAD_REQUEST
        )
    return b"".join(taken)
