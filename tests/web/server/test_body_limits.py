"""Bodies on their way: whole or not at all, at a pace, within a room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.web.server.body_budget import BodyBudget, BodySender, MinimumBodyRate
from gateway.web.server.body_collector import BodyCollector
from gateway.web.server.request_bodies import read_whole_body
from gateway.web.server.request_head import RequestRejectedError

SLOW = MinimumBodyRate(0.05, 1000)
CALM = MinimumBodyRate(30.0, 1000)


def make_budget(octets: int, largest: int) -> BodyBudget:
    return BodyBudget(octets, largest, MinimumBodyRate(30.0, 1000), time.monotonic)


async def pieces(sent: Sequence[bytes | float]) -> AsyncIterator[bytes]:
    """Yield what is sent, as the server does; a number is a pause."""
    for one in sent:
        if isinstance(one, float):
            await asyncio.sleep(one)
        else:
            yield one


def read(
    sent: Sequence[bytes | float],
    length: int | None = None,
    limit: int = 10_000,
    pace: MinimumBodyRate = CALM,
    room: BodyBudget | None = None,
    *,
    may_have_trailers: bool = False,
) -> bytes:
    share = (room or make_budget(100_000, 100_000)).make_reservation(
        BodySender("party broker1", "broker1", is_proved=True)
    )
    taker = BodyCollector(share)
    whole = asyncio.run(
        read_whole_body(pieces(sent), length, limit, pace, taker, may_have_trailers=may_have_trailers)
    )
    assert isinstance(whole, bytes)
    return whole


def refused(*arguments: object, **words: object) -> tuple[int, str]:
    with pytest.raises(RequestRejectedError) as caught:
        read(*arguments, **words)  # type: ignore[arg-type]
    return int(caught.value.status), caught.value.problem.id


@pytest.mark.parametrize(
    ("sent", "length", "whole"),
    [
        ([b"abc", b""], 3, b"abc"),
        ([b"ab", b"c", b""], 3, b"abc"),
        ([b"ab", b"c", b""], None, b"abc"),
        ([b""], None, b""),
        ([], 0, b""),
        # The server need not end a body that has its length.
        ([b"abc"], 3, b"abc"),
    ],
)
def test_a_whole_body_is_read(sent: list[bytes], length: int | None, whole: bytes) -> None:
    assert read(sent, length) == whole


@pytest.mark.parametrize(
    ("sent", "length", "status"),
    [
        ([b"ab", b""], 3, 400),  # ends before its length
        ([b"abcd", b""], 3, 413),  # longer than it says
        ([b"abc", b"", b""], None, 400),  # the server tells an error, or trailers, by one more empty piece
        ([b"abc"], None, 400),  # no end at all
        ([b"a" * 5000, b"a" * 5001, b""], None, 413),
        ([b"a"] * 1000 + [b""], None, 400),  # octet by octet
    ],
)
def test_what_is_not_whole_is_refused(sent: list[bytes], length: int | None, status: int) -> None:
    assert refused(sent, length)[0] == status


def test_trailers_are_told_where_the_end_of_chunks_is_not_known() -> None:
    with pytest.raises(RequestRejectedError, match="3 octets without its last chunk, or trailers follow it"):
        read([b"abc", b"", b""])


def test_announced_trailers_are_left_out() -> None:
    assert read([b"abc", b"", b""], may_have_trailers=True) == b"abc"
    assert read([b"abc", b""], may_have_trailers=True) == b"abc"
    assert refused([b"abc"], may_have_trailers=True)[0] == 400
    assert refused([b"abc", b"", b"", b""], may_have_trailers=True)[0] == 400
    assert refused([b"ab", b"", b""], 3, may_have_trailers=True)[0] == 400


def test_lines_are_no_octets_one_by_one() -> None:
    lines = [b"x" * 80] * 100
    assert read([*lines, b""]) == b"".join(lines)


@pytest.mark.parametrize(
    "sent",
    [[5.0, b"a"], [b"a", 5.0, b"a"], [*([b"a", 0.01] * 500)], [b"a" * 999, *([b"a", 0.02] * 500)]],
)
def test_a_body_that_comes_too_slowly_is_not_waited_for(sent: list[bytes | float]) -> None:
    assert refused(sent, 5000, pace=SLOW) == (408, "GW111")


@pytest.mark.long
def test_a_body_that_keeps_its_pace_may_take_long() -> None:
    sent = [piece for _ in range(8) for piece in (b"a" * 1000, 0.3)]
    assert len(read([*sent, b""], pace=MinimumBodyRate(2.0, 1000))) == 8000


def test_a_stall_is_not_paid_for_by_what_came_before() -> None:
    assert refused([b"a" * 9000, 5.0, b"a"], 9001, pace=SLOW) == (408, "GW111")


def test_a_largest_body_always_has_room() -> None:
    assert len(read([b"a" * 10_000, b""], 10_000, room=make_budget(10_000, 10_000))) == 10_000
