"""Requests wait for a thread by turns: a crowd waits for itself, and too much of one sender is told so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from gateway.errors import GatewayError
from gateway.web.server.fair_queue import FairQueue, QueuePath

A: QueuePath = ("party", "a", "192.0.2.1")
A_ELSEWHERE: QueuePath = ("party", "a", "192.0.2.9")
B: QueuePath = ("party", "b", "192.0.2.2")
STRANGER: QueuePath = ("stranger", "192.0.2.3", "x")


class Bench:
    """One thread that waits until it is told to go on, and writes down whom it works for."""

    def __init__(self, most: int = 100) -> None:
        self.turns = FairQueue(1, most)
        self.gate = threading.Event()
        self.order: list[str] = []

    def work(self, name: str) -> Callable[[], str]:
        def do() -> str:
            self.gate.wait(60)
            self.order.append(name)
            return name

        return do

    def take(self, line: QueuePath, name: str) -> asyncio.Task[str]:
        return asyncio.ensure_future(self.turns.run_queued(line, self.work(name)))


def played(play: Callable[[Bench], object], most: int = 100) -> Bench:
    """Run a play on an event loop, its threads started and ended."""
    bench = Bench(most)

    async def run() -> None:
        bench.turns.start_threads()
        try:
            await play(bench)  # type: ignore[misc]
        finally:
            bench.gate.set()
            bench.turns.stop_threads()

    asyncio.run(run())
    return bench


async def in_order(bench: Bench, *asked: tuple[QueuePath, str]) -> None:
    tasks = []
    for line, name in asked:
        tasks.append(bench.take(line, name))
        await asyncio.sleep(0)
    bench.gate.set()
    await asyncio.gather(*tasks)


def test_a_party_does_not_wait_behind_the_crowd_of_another() -> None:
    crowd = [(A, f"a{number}") for number in range(20)]
    bench = played(lambda bench: in_order(bench, *crowd, (B, "b0"), (B, "b1")))
    assert bench.order[:5] == ["a0", "a1", "b0", "a2", "b1"]
    assert bench.order[5:] == [f"a{number}" for number in range(3, 20)]


def test_parties_do_not_wait_behind_strangers_from_everywhere() -> None:
    strangers = [(("stranger", f"198.51.100.{number}", ""), f"s{number}") for number in range(20)]
    bench = played(lambda bench: in_order(bench, *strangers, (B, "b0"), (B, "b1")))
    # One stranger is at work already; from then on the two groups take turns.
    assert [name for name in bench.order[:5] if name.startswith("b")] == ["b0", "b1"]


def test_a_party_gets_no_more_turns_by_coming_from_many_addresses() -> None:
    crowd = [(("party", "a", f"192.0.2.{number}"), f"a{number}") for number in range(20)]
    bench = played(lambda bench: in_order(bench, *crowd, (B, "b0"), (B, "b1")))
    assert [name for name in bench.order[:5] if name.startswith("b")] == ["b0", "b1"]


def test_too_much_of_one_sender_comes_again_and_others_are_not_told_so() -> None:
    async def play(bench: Bench) -> None:
        held = [bench.take(A, "a0"), bench.take(A, "a1")]
        await asyncio.sleep(0)
        with pytest.raises(GatewayError) as caught:
            await bench.turns.run_queued(A, bench.work("a2"))
        assert caught.value.problem.id == "GW807"
        assert caught.value.problem.codes.http == 503
        others = [bench.take(line, "other") for line in (B, STRANGER, A_ELSEWHERE)]
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(*held, *others)
        assert await bench.turns.run_queued(A, bench.work("again")) == "again"

    bench = played(play, most=2)
    assert "a2" not in bench.order


def test_a_stranger_has_no_more_requests_by_stating_many_senders() -> None:
    async def play(bench: Bench) -> None:
        held = [bench.take(("stranger", "192.0.2.1", f"b{number}"), "mine") for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(GatewayError, match="GW807"):
            await bench.turns.run_queued(("stranger", "192.0.2.1", "b9"), bench.work("mine"))
        held.append(bench.take(("stranger", "192.0.2.2", "b0"), "other"))
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(*held)

    assert played(play, most=2).order == ["mine", "mine", "other"]


def test_work_whose_client_has_gone_gets_no_thread() -> None:
    async def play(bench: Bench) -> None:
        tasks = [bench.take(A, "first"), bench.take(A, "gone"), bench.take(A, "last")]
        await asyncio.sleep(0)
        tasks.pop(1).cancel()
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(*tasks)

    assert played(play).order == ["first", "last"]


def test_a_mistake_is_the_askers_and_the_thread_goes_on() -> None:
    async def play(bench: Bench) -> None:
        bench.gate.set()

        def wrong() -> str:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await bench.turns.run_queued(A, wrong)
        assert await bench.turns.run_queued(A, bench.work("next")) == "next"

    assert played(play, most=1).order == ["next"]


def test_who_stops_waiting_holds_nothing() -> None:
    async def play(bench: Bench) -> None:
        first, second = bench.take(A, "a0"), bench.take(A, "a1")
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        third = bench.take(A, "a2")
        await asyncio.sleep(0)
        bench.gate.set()
        assert await asyncio.gather(second, third) == ["a1", "a2"]

    assert played(play, most=2).order == ["a0", "a1", "a2"]


def test_a_party_has_few_threads_at_once_and_its_other_requests_wait() -> None:
    """Of four threads each party gets two; the others are for whoever else asks."""
    turns = FairQueue(4, 100, max_running=2)
    gate, lock, seen = threading.Event(), threading.Lock(), list[str]()

    def work(name: str) -> Callable[[], str]:
        def do() -> str:
            with lock:
                seen.append(name)
            gate.wait(60)
            return name

        return do

    async def run() -> None:
        turns.start_threads()
        try:
            lines = [*[(A, "a"), (A_ELSEWHERE, "a")] * 4, (B, "b"), (STRANGER, "s"), (STRANGER, "s")]
            tasks = [asyncio.ensure_future(turns.run_queued(line, work(name))) for line, name in lines]
            while len(seen) < 4:
                await asyncio.sleep(0.01)
            assert sorted(seen) == ["a", "a", "b", "s"]
            gate.set()
            assert sorted(await asyncio.gather(*tasks)) == ["a"] * 8 + ["b", "s", "s"]
        finally:
            gate.set()
            turns.stop_threads()

    asyncio.run(run())


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (3, 2), (8, 2)])
def test_a_party_never_has_all_threads(threads: int, most: int) -> None:
    turns = FairQueue(threads, 100, max_running=2)
    gate, seen = threading.Event(), list[int]()

    def work() -> None:
        seen.append(1)
        gate.wait(60)

    async def run() -> None:
        turns.start_threads()
        try:
            tasks = [asyncio.ensure_future(turns.run_queued(A, work)) for _ in range(6)]
            await asyncio.sleep(0.3)
            assert len(seen) == most
            gate.set()
            await asyncio.gather(*tasks)
            assert len(seen) == 6
        finally:
            gate.set()
            turns.stop_threads()

    asyncio.run(run())
