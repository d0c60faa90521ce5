"""Reads request bodies whole, each at a minimum rate.

A body is read completely before it gets a thread, so a slow or endless body costs only its octets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gateway.errors import REQUEST_MALFORMED, TOO_LARGE, TOO_SLOW
from gateway.web.server.body_spool import PieceTaker, SpooledBody
from gateway.web.server.request_head import RequestRejectedError

__all__ = ["MinimumBodyRate", "read_whole_body"]

#: Chunks that any body may have, and octets that a further chunk must have on average. Each chunk costs
#: as much as a hundred octets of XML, so a body sent octet by octet is the most expensive input.
_CHUNKS: Final = 64
_MEAN_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class MinimumBodyRate:
    """How fast a body must arrive: `octets` in each period of `seconds`, or its end."""

    seconds: float
    octets: int


async def read_whole_body(
    pieces: AsyncIterator[bytes],
    length: int | None,
    limit: int,
    pace: MinimumBodyRate,
    taker: PieceTaker,
) -> bytes | SpooledBody:
    """Return the whole body; raises RequestRejectedError when it is incomplete, too large or too slow.

    `length` None: the body arrives in chunks, and ends with the last one.
    """
    if length == 0:
        return b""
    try:
        async with asyncio.timeout(pace.seconds) as time:
            return await _read_pieces(pieces, length, limit, _RateDeadline(pace, time), taker)
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
    taker: PieceTaker,
) -> bytes | SpooledBody:
    size, ends = 0, 0
    async for piece in pieces:
        if not piece:
            ends += 1
            continue
        size += len(piece)
        if size > (limit if length is None else length):
            detail = f"the body has more than {limit} octets"
            raise RequestRejectedError(TOO_LARGE, detail, "body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        await taker.take_piece(piece)
        if taker.count > _CHUNKS + size // _MEAN_CHUNK:
            raise RequestRejectedError(
                REQUEST_MALFORMED, "the chunks are too small", "body", HTTPStatus.BAD_REQUEST
            )
        if size == length:
            return await taker.finish()
        slowness.record_octets(len(piece))
    # The server ends the pieces with one empty piece. An error (a malformed chunk, an end before the last
    # chunk) and trailers, which are not read, cause another one: in both cases the body is not as it was
    # sent.
    if length is not None or ends != 1:
        raise RequestRejectedError(
            REQUEST_MALFORMED, f"the body ends after {size} octets", "body", HTTPStatus.BAD_REQUEST
        )
    return await taker.finish()
