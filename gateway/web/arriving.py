"""Bodies on their way in: how fast they must come, and how much room they may take together.

A body is read whole before any thread is given to it, so one that comes slowly, or never
ends, costs its octets and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gateway.errors import NO_ROOM, REQUEST_MALFORMED, TOO_LARGE, TOO_SLOW
from gateway.web.heads import Refusal

__all__ = ["Pace", "Room", "Share", "read_whole"]

#: One sender's part of the room, so that it takes four to fill it.
_PARTS: Final = 4
#: Chunks that any body may have, and octets that a chunk must have on average beyond: each chunk costs as
#: much as a hundred octets of XML, and one that is sent octet by octet costs the most of all input.
_CHUNKS: Final = 64
_MEAN_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a body must come: `octets` more in each time of `seconds`, or its end."""

    seconds: float
    octets: int


class Room:
    """Octets that one process holds for requests that arrive or wait, in all and by address."""

    def __init__(self, whole: int, largest: int) -> None:
        self._whole = whole
        # One body of the largest size must always fit.
        self._each = max(largest, whole // _PARTS)
        self._held = 0
        self._by_address: Counter[str] = Counter()

    def share(self, address: str) -> Share:
        """Return what one request of `address` will hold; to be given back."""
        return Share(self, address)

    def take(self, address: str, octets: int) -> None:
        """Hold more for `address`; 503 when there is no more room."""
        if self._held + octets > self._whole or self._by_address[address] + octets > self._each:
            detail = "too much arrives at once; come again"
            raise Refusal(NO_ROOM, detail, "body", HTTPStatus.SERVICE_UNAVAILABLE)
        self._held += octets
        self._by_address[address] += octets

    def give_back(self, address: str, octets: int) -> None:
        """Hold less for `address`."""
        self._held -= octets
        self._by_address[address] -= octets
        if not self._by_address[address]:
            del self._by_address[address]


class Share:
    """The room that one request holds."""

    def __init__(self, room: Room, address: str) -> None:
        self._room = room
        self._address = address
        self._octets = 0

    def take(self, octets: int) -> None:
        """Hold so many octets more."""
        self._room.take(self._address, octets)
        self._octets += octets

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._room.give_back(self._address, self._octets)
        self._octets = 0


async def read_whole(
    pieces: AsyncIterator[bytes], length: int | None, limit: int, pace: Pace, share: Share
) -> bytes:
    """Return the whole body; raises `Refusal` when it is cut short, too large or too slow.

    `length` None: the body comes in chunks, and ends with the last one.
    """
    if length == 0:
        return b""
    try:
        async with asyncio.timeout(pace.seconds) as time:
            return await _read(pieces, length, limit, _Slowness(pace, time), share)
    except TimeoutError:
        detail = f"fewer than {pace.octets} octets came in {pace.seconds:g} seconds"
        raise Refusal(TOO_SLOW, detail, "body", HTTPStatus.REQUEST_TIMEOUT) from None


@dataclass(slots=True)
class _Slowness:
    """Puts the end of the time off whenever enough has come."""

    pace: Pace
    time: asyncio.Timeout
    came: int = 0

    def brought(self, octets: int) -> None:
        self.came += octets
        if self.came >= self.pace.octets:
            self.came = 0
            self.time.reschedule(asyncio.get_running_loop().time() + self.pace.seconds)


async def _read(
    pieces: AsyncIterator[bytes], length: int | None, limit: int, slowness: _Slowness, share: Share
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
            raise Refusal(TOO_LARGE, detail, "body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        share.take(len(piece))
        taken.append(piece)
        if len(taken) > _CHUNKS + size // _MEAN_CHUNK:
            raise Refusal(REQUEST_MALFORMED, "the chunks are too small", "body", HTTPStatus.BAD_REQUEST)
        if size == length:
            return piece if len(taken) == 1 else b"".join(taken)
        slowness.brought(len(piece))
    # The server ends the pieces with one empty one.  An error (a chunk that is none, an end before the
    # last chunk) and trailers, which nothing here reads, are one more: neither is a body as it was sent.
    if length is not None or ends != 1:
        raise Refusal(REQUEST_MALFORMED, f"the body ends after {size} octets", "body", HTTPStatus.BAD_REQUEST)
    return b"".join(taken)
