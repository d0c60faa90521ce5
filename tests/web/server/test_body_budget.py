"""A budget of octets that strangers and partners share: who must make room for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from gateway.web.server import MinimumBodyRate
from gateway.web.server.body_budget import BodyBudget, BodyReservation, BodySender
from gateway.web.server.body_collector import BodyCollector
from gateway.web.server.request_bodies import read_whole_body
from gateway.web.server.request_head import RequestRejectedError

BROKER = BodySender("party broker1", is_proved=True)
CARRIER = BodySender("party carrier1", is_proved=True)


def stranger(number: int) -> BodySender:
    return BodySender(f"stranger 192.0.2.{number}", is_proved=False)


class Arrivals:
    """Unfinished bodies in a budget of 1,600 octets, with at most 100 octets in a body."""

    def __init__(self, stack: ExitStack, max_octets: int = 1600, max_body_octets: int = 100) -> None:
        self._stack = stack
        self.budget = BodyBudget(max_octets, max_body_octets)
        self.given_up: list[BodyReservation] = []

    def receive(self, sender: BodySender, octets: int, *, is_complete: bool = False) -> BodyReservation:
        """Reserve octets for a body, which is given up later if others need its room."""
        body = self.budget.make_reservation(sender)
        arrival = body.let_end(lambda: self.given_up.append(body))
        if is_complete:
            with arrival:
                body.reserve_octets(octets)
        else:
            self._stack.enter_context(arrival)
            body.reserve_octets(octets)
        return body


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    with ExitStack() as stack:
        yield Arrivals(stack)


def is_refused(arrivals: Arrivals, sender: BodySender, octets: int) -> bool:
    try:
        arrivals.receive(sender, octets)
    except RequestRejectedError as refused:
        return (refused.status, refused.problem.id) == (503, "GW806")
    return False


def test_the_largest_body_of_the_stranger_with_most_octets_makes_room(arrivals: Arrivals) -> None:
    honest = arrivals.receive(stranger(9), 90)
    small = arrivals.receive(stranger(1), 10)
    large, equal = arrivals.receive(stranger(1), 95), arrivals.receive(stranger(1), 95)
    for number in range(2, 9):
        arrivals.receive(stranger(number), 72)
    assert arrivals.given_up == [], "794 of 800 octets are used"
    late = arrivals.receive(stranger(10), 60)
    assert arrivals.given_up == [large], "of equal ones the oldest"
    assert [body.octets for body in (honest, small, equal, late)] == [90, 10, 95, 60]


def test_a_stranger_who_holds_most_does_not_displace_others(arrivals: Arrivals) -> None:
    for number in range(1, 9):
        arrivals.receive(stranger(number), 95)
    first = arrivals.receive(stranger(9), 40)
    assert is_refused(arrivals, stranger(9), 96)
    assert (arrivals.given_up, first.octets) == ([], 40)


def test_strangers_leave_half_to_those_who_proved_who_they_are(arrivals: Arrivals) -> None:
    waiting = [arrivals.receive(stranger(number), 100, is_complete=True) for number in range(8)]
    assert is_refused(arrivals, stranger(9), 1), "a complete body is never given up"
    for sender in (BROKER, CARRIER):
        for _ in range(4):
            arrivals.receive(sender, 100)
    assert arrivals.given_up == []
    waiting[0].release_all()
    assert not is_refused(arrivals, stranger(9), 1)


def test_partners_leave_a_quarter_to_strangers(arrivals: Arrivals) -> None:
    bodies = [arrivals.receive(BodySender(f"party {n // 4}", is_proved=True), 100) for n in range(16)]
    for number in range(4):
        assert not is_refused(arrivals, stranger(number), 100)
    assert len(arrivals.given_up) == 4
    assert set(arrivals.given_up) < set(bodies)
    assert not is_refused(arrivals, BROKER, 50)
    assert arrivals.given_up[4].sender.is_proved, "of strangers not more than a quarter is left"


def test_what_strangers_hold_beyond_their_quarter_goes_before_that_of_partners(arrivals: Arrivals) -> None:
    for number in range(8):
        arrivals.receive(stranger(number), 100)
    for n in range(9):
        arrivals.receive(BodySender(f"party {n // 4}", is_proved=True), 100)
    assert [body.sender.is_proved for body in arrivals.given_up] == [False]


def test_one_sender_has_a_quarter_and_his_own_bodies_make_room(arrivals: Arrivals) -> None:
    first, *_ = [arrivals.receive(BROKER, 100) for _ in range(4)]
    arrivals.receive(CARRIER, 100)
    small = arrivals.receive(BROKER, 10)
    assert arrivals.given_up == [first]
    assert small.octets == 10
    complete = Arrivals(ExitStack())
    for _ in range(4):
        complete.receive(BROKER, 100, is_complete=True)
    assert is_refused(complete, BROKER, 1)


def test_one_body_of_the_largest_size_always_fits() -> None:
    with ExitStack() as stack:
        assert not is_refused(Arrivals(stack, max_octets=100), stranger(1), 100)


def test_released_octets_are_free_again(arrivals: Arrivals) -> None:
    for _ in range(3):
        bodies = [arrivals.receive(BROKER, 100, is_complete=True) for _ in range(4)]
        for body in bodies:
            body.release_all()
            body.release_all()
    assert arrivals.given_up == []


class WaitingBody:
    """A body whose last octet is held back."""

    def __init__(self, budget: BodyBudget, sender: BodySender, octets: int) -> None:
        self._octets = octets
        self.collector = BodyCollector(budget.make_reservation(sender))
        self.begun = asyncio.Event()
        self.last_octet = asyncio.Event()
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> object:
        rate = MinimumBodyRate(30.0, 1000)
        try:
            return await read_whole_body(self._send(), self._octets + 1, 1000, rate, self.collector)
        finally:
            self.collector.close()

    async def _send(self) -> AsyncIterator[bytes]:
        yield b"x" * self._octets
        self.begun.set()
        await self.last_octet.wait()
        yield b"x"


def test_a_reader_that_waits_for_a_piece_is_told_at_once() -> None:
    async def run() -> None:
        budget = BodyBudget(400, 100)
        hostile = [WaitingBody(budget, stranger(number), 95) for number in (1, 2)]
        await asyncio.gather(*(body.begun.wait() for body in hostile))
        honest = WaitingBody(budget, stranger(3), 50)
        await honest.begun.wait()
        with pytest.raises(RequestRejectedError) as refused:
            await asyncio.wait_for(asyncio.shield(hostile[0].reading), 10)
        assert (refused.value.status, refused.value.problem.id) == (503, "GW806")
        for body in (hostile[1], honest):
            body.last_octet.set()
        assert await honest.reading == b"x" * 51
        assert await hostile[1].reading == b"x" * 96

    asyncio.run(run())
