"""A budget of octets that strangers and partners share: who must make room for whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from gateway.web.server.body_budget import BodyBudget, BodyReservation, BodySender, MinimumBodyRate
from gateway.web.server.body_collector import BodyCollector
from gateway.web.server.request_bodies import read_whole_body
from gateway.web.server.request_head import RequestRejectedError

#: A body must have 1,000 octets in 30 seconds: it is slow after two seconds with fewer than 66.
RATE = MinimumBodyRate(30.0, 1000)


def party(name: str, network: str = "198.51.100.1") -> BodySender:
    return BodySender(f"party {name} {network}", name, is_proved=True)


def stranger(number: int) -> BodySender:
    network = f"192.0.2.{number}"
    return BodySender(f"stranger {network}", network, is_proved=False)


class Arrivals:
    """Bodies in a budget of 1,600 octets, with at most 100 octets in a body, and a clock."""

    def __init__(self, stack: ExitStack, max_octets: int = 1600, max_body_octets: int = 100) -> None:
        self._stack = stack
        self.now = 0.0
        self.budget = BodyBudget(max_octets, max_body_octets, RATE, lambda: self.now)
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

    def is_refused(self, sender: BodySender, octets: int) -> bool:
        """Return whether a further body is refused by status 503."""
        try:
            self.receive(sender, octets)
        except RequestRejectedError as refused:
            return (refused.status, refused.problem.id) == (503, "GW806")
        return False


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    with ExitStack() as stack:
        yield Arrivals(stack)


def test_slow_bodies_make_room_the_largest_of_the_fullest_stranger_first(arrivals: Arrivals) -> None:
    honest = arrivals.receive(stranger(9), 90)
    small = arrivals.receive(stranger(1), 10)
    large, equal = arrivals.receive(stranger(1), 95), arrivals.receive(stranger(1), 95)
    for number in range(2, 9):
        arrivals.receive(stranger(number), 72)
    arrivals.now = 2.0
    late = arrivals.receive(stranger(10), 60)
    assert arrivals.given_up == [large], "of equal ones the oldest"
    assert [body.octets for body in (honest, small, equal, late)] == [90, 10, 95, 60]


def test_a_body_that_keeps_its_pace_stays(arrivals: Arrivals) -> None:
    """Octets that come too slowly do not help."""
    bodies = [arrivals.receive(stranger(number), 100) for number in range(8)]
    arrivals.now = 1.9
    bodies[3].record_pace(67)
    for _ in range(6):
        bodies[4].record_pace(10)
    arrivals.now = 2.0
    for number in range(8, 15):
        assert not arrivals.is_refused(stranger(number), 100)
    assert bodies[3] not in arrivals.given_up
    assert bodies[4] in arrivals.given_up
    assert arrivals.is_refused(stranger(15), 100)


def test_under_load_those_who_began_first_are_completed(arrivals: Arrivals) -> None:
    """Each of 32 parties sends a body of 100 octets in pieces; there is room for 12 of parties."""
    bodies = [arrivals.receive(party(str(number)), 10) for number in range(32)]
    refused = set()
    for _ in range(9):
        arrivals.now += 0.1
        for body in reversed(bodies):
            if body not in refused and body not in arrivals.given_up:
                try:
                    body.reserve_octets(10)
                except RequestRejectedError:
                    refused.add(body)
                    body.release_all()
    assert [body.octets for body in bodies] == [100] * 12 + [0] * 20
    assert arrivals.is_refused(party("late"), 10)


def test_who_has_several_bodies_makes_room_for_who_has_few(arrivals: Arrivals) -> None:
    """One partner at many addresses does not keep another one out."""
    mine = [arrivals.receive(party("broker1", f"203.0.113.{number}"), 100) for number in range(12)]
    first = arrivals.receive(party("broker2"), 100)
    assert arrivals.given_up == [mine[-1]], "the newest"
    second = arrivals.receive(party("broker2"), 100)
    assert arrivals.given_up == [mine[-1], mine[-2]]
    assert (first.octets, second.octets) == (100, 100)


def test_nothing_ends_that_does_not_make_room(arrivals: Arrivals) -> None:
    written = arrivals.receive(stranger(1), 100)
    written.release_all()  # it is in a file
    small = arrivals.receive(stranger(2), 20)
    for number in range(3, 11):
        arrivals.receive(stranger(number), 97, is_complete=True)
    arrivals.now = 5.0
    assert arrivals.is_refused(stranger(12), 30)
    assert arrivals.given_up == []
    assert not arrivals.is_refused(stranger(12), 24)
    assert arrivals.given_up == [small]


def test_strangers_leave_half_to_those_who_proved_who_they_are(arrivals: Arrivals) -> None:
    waiting = [arrivals.receive(stranger(number), 100, is_complete=True) for number in range(8)]
    assert arrivals.is_refused(stranger(9), 1), "a complete body is never given up"
    for number in range(8):
        arrivals.receive(party(str(number)), 100)
    assert arrivals.given_up == []
    waiting[0].release_all()
    assert not arrivals.is_refused(stranger(9), 1)


def test_partners_leave_a_quarter_to_strangers(arrivals: Arrivals) -> None:
    for number in range(12):
        arrivals.receive(party(str(number)), 100)
    assert arrivals.is_refused(party("12"), 100)
    for number in range(4):
        assert not arrivals.is_refused(stranger(number), 100)
    assert arrivals.is_refused(stranger(4), 100)
    assert arrivals.given_up == []
    arrivals.now = 2.0
    assert not arrivals.is_refused(stranger(4), 100)
    assert [body.sender.is_proved for body in arrivals.given_up] == [False]
    assert not arrivals.is_refused(party("13"), 100)
    assert [body.sender.is_proved for body in arrivals.given_up] == [False, True]


def test_a_body_that_holds_much_must_grow() -> None:
    """A trickle above the slowest pace does not hold much room for long."""
    with ExitStack() as stack:
        crowd = Arrivals(stack, max_octets=16_000, max_body_octets=4000)
        bodies = [crowd.receive(stranger(number), 3900) for number in range(2)]
        crowd.now = 1.9
        bodies[0].record_pace(67)
        bodies[1].record_pace(130)
        crowd.now = 2.0
        assert not crowd.is_refused(stranger(3), 300)
        assert crowd.given_up == [bodies[0]]


def test_what_strangers_hold_beyond_their_quarter_goes_before_that_of_partners(arrivals: Arrivals) -> None:
    for number in range(8):
        arrivals.receive(stranger(number), 100)
    for number in range(8):
        arrivals.receive(party(str(number)), 100)
    arrivals.now = 2.0
    arrivals.receive(party("broker1"), 100)
    assert [body.sender.is_proved for body in arrivals.given_up] == [False]


def test_one_sender_has_a_quarter(arrivals: Arrivals) -> None:
    first, *_ = [arrivals.receive(party("broker1"), 100) for _ in range(4)]
    arrivals.receive(party("broker2"), 100)
    assert arrivals.is_refused(party("broker1"), 10)
    arrivals.now = 2.0
    assert not arrivals.is_refused(party("broker1"), 10)
    assert arrivals.given_up == [first], "his own slow bodies make room"


def test_one_body_of_the_largest_size_always_fits() -> None:
    with ExitStack() as stack:
        assert not Arrivals(stack, max_octets=100).is_refused(stranger(1), 100)


def test_released_octets_are_free_again(arrivals: Arrivals) -> None:
    for _ in range(3):
        bodies = [arrivals.receive(party("broker1"), 100, is_complete=True) for _ in range(4)]
        for body in bodies:
            body.release_all()
            body.release_all()
    assert arrivals.given_up == []


def test_room_is_made_in_little_time() -> None:
    """The cost is that of one look at all bodies, however many of them end."""
    with ExitStack() as stack:
        arrivals = Arrivals(stack, max_octets=200_000)
        for number in range(1000):
            arrivals.receive(stranger(number), 100)
        arrivals.now = 3.0
        begun = time.perf_counter()
        arrivals.receive(stranger(2000), 100)
        assert time.perf_counter() - begun < 1


class WaitingBody:
    """A body whose last octet is held back."""

    def __init__(self, budget: BodyBudget, sender: BodySender, octets: int) -> None:
        self._octets = octets
        self.collector = BodyCollector(budget.make_reservation(sender))
        self.begun = asyncio.Event()
        self.last_octet = asyncio.Event()
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> object:
        try:
            return await read_whole_body(self._send(), self._octets + 1, 1000, RATE, self.collector)
        finally:
            self.collector.close()

    async def _send(self) -> AsyncIterator[bytes]:
        yield b"x" * self._octets
        self.begun.set()
        await self.last_octet.wait()
        yield b"x"


def test_a_reader_that_waits_for_a_piece_ends_at_once() -> None:
    async def run() -> None:
        now = 0.0
        budget = BodyBudget(400, 100, RATE, lambda: now)
        hostile = [WaitingBody(budget, stranger(number), 95) for number in (1, 2)]
        await asyncio.gather(*(body.begun.wait() for body in hostile))
        now = 2.0
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


def test_a_body_that_ended_for_others_is_not_completed_by_its_last_piece() -> None:
    async def run() -> None:
        now = 0.0
        budget = BodyBudget(400, 100, RATE, lambda: now)
        hostile = WaitingBody(budget, stranger(1), 99)
        await hostile.begun.wait()
        now = 2.0
        hostile.last_octet.set()
        for number in (2, 3):
            budget.make_reservation(stranger(number)).reserve_octets(99)
        with pytest.raises(RequestRejectedError, match="too much arrives"):
            await hostile.reading

    asyncio.run(run())
