"""What an attempt queues is claimed in the transaction that queues it, on the conditions of every claim."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.delivery_worker import DeliveryWorker
from gateway.store import deliveries, delivery_leases, lane_holds, lanes
from gateway.store.delivery_leases import DeliveryLease
from gateway.store.engine import read_transaction, write_transaction
from tests.kit.desk import Desk
from tests.kit.rows import delivery

FIRST = "KR-A"


@pytest.fixture(autouse=True)
def claims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a worker claim once by itself, so that everything else it does is a follow-up."""
    real, made = DeliveryWorker._claim_deliveries, [0]

    def claim_once(worker: DeliveryWorker) -> Sequence[DeliveryLease]:
        if made[0]:
            return ()
        leases = real(worker)
        made[0] += len(leases)
        return leases

    monkeypatch.setattr(DeliveryWorker, "_claim_deliveries", claim_once)
    return made


class Chain:
    """A worker whose first delivery lets a test queue others, within its attempt."""

    def __init__(self, engine: Engine, queue: Callable[[Desk], list[int]], threads: int = 8) -> None:
        self.desk = Desk(engine, self._act, threads=threads)
        self.states: dict[int, tuple[str, str | None]] = {}
        self._queue = queue
        self._looked, self._stop = threading.Event(), threading.Event()
        (self.first,) = self.desk.queue(lane=FIRST)

    def _act(self, lease: DeliveryLease) -> None:
        if lease.id != self.first:
            assert self._looked.wait(60)
            return
        try:
            for one in self._queue(self.desk):
                row = self.desk.row(one)
                self.states[one] = row.state, row.leased_by
        finally:
            self._looked.set()
            self._stop.set()

    def run(self) -> None:
        """Run the worker until the first attempt has queued, and everything claimed has ended."""
        thread = threading.Thread(target=self.desk.worker.run, args=(self._stop,))
        thread.start()
        thread.join(120)
        assert not thread.is_alive()
        assert self.desk.open_leases() == 0
        assert self.desk.worker._places.count_free() == self.desk.worker._places.number


def test_what_an_attempt_queues_is_leased_with_it_and_done(engine: Engine, claims: list[int]) -> None:
    chain = Chain(engine, lambda desk: desk.queue(lane="KR-B") + desk.queue(lane="local"))
    chain.run()
    assert list(chain.states.values()) == [("ACTIVE", "w1")] * 2
    for one in chain.states:
        assert chain.desk.row(one).state == "DELIVERED"
        assert chain.desk.events(one) == ["lease", "delivered"]
    assert sorted(chain.desk.postman.made) == sorted([chain.first, *chain.states])
    assert claims == [1]


def test_what_follows_a_delivery_is_leased_when_that_one_ends(engine: Engine, claims: list[int]) -> None:
    """The delivery says that another one follows it; what it does not lead is left to the next claim."""
    desk = Desk(engine, lambda lease: None)
    (first,) = desk.queue(lane="KR-B", parameters={delivery_leases.FOLLOWED: "yes"})
    (second,) = desk.queue(lane="KR-B", follows=first)
    (third,) = desk.queue(lane="KR-B", follows=second)
    stop = threading.Event()
    thread = threading.Thread(target=desk.worker.run, args=(stop,))
    thread.start()
    for _ in range(600):
        if desk.row(second).state == "DELIVERED":
            break
        threading.Event().wait(0.1)
    stop.set()
    thread.join(120)
    assert [desk.row(one).state for one in (first, second, third)] == ["DELIVERED", "DELIVERED", "QUEUED"]
    assert claims == [1]


def test_an_ending_attempt_passes_its_place_on_three_times_of_four(engine: Engine, claims: list[int]) -> None:
    """A worker of one place has no other one; what is left is claimed with all other lanes."""
    desk = Desk(engine, lambda lease: None, threads=1)
    (made,) = desk.queue(lane="KR-B", parameters={delivery_leases.FOLLOWED: "yes"})
    chain = [made]
    for _ in range(4):
        chain += desk.queue(lane="KR-B", follows=chain[-1], parameters={delivery_leases.FOLLOWED: "yes"})
    stop = threading.Event()
    thread = threading.Thread(target=desk.worker.run, args=(stop,))
    thread.start()
    for _ in range(600):
        if desk.row(chain[3]).state == "DELIVERED":
            break
        threading.Event().wait(0.1)
    stop.set()
    thread.join(120)
    assert [desk.row(one).state for one in chain] == ["DELIVERED"] * 4 + ["QUEUED"]
    assert desk.open_leases() == 0
    assert desk.worker._places.count_free() == 1
    assert claims == [1]


def hold(desk: Desk, lane: str) -> None:
    with write_transaction(desk.engine) as conn:
        lane_holds.hold_lane(conn, lane, desk.clock(), "operator", "a test")


def open_circuit(desk: Desk, lane: str) -> None:
    with write_transaction(desk.engine) as conn:
        lanes.ensure_lanes(conn, lane)
        lanes.set_lane_circuit(conn, lane, desk.clock() + timedelta(seconds=9), "GW601")


def make_pulled(desk: Desk, lane: str) -> None:
    with write_transaction(desk.engine) as conn:
        lanes.ensure_lanes(conn, lane, pulled=True)


CONDITIONS: dict[str, Callable[[Desk, str], Any]] = {
    "held": hold,
    "circuit open": open_circuit,
    "pulled": make_pulled,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_lane_that_nothing_is_claimed_from_gives_no_follow_up(engine: Engine, condition: str) -> None:
    def queue(desk: Desk) -> list[int]:
        CONDITIONS[condition](desk, "KR-B")
        return desk.queue(lane="KR-B")

    chain = Chain(engine, queue)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["QUEUED"]
    assert chain.desk.postman.made == [chain.first]


def test_what_must_wait_is_no_follow_up(engine: Engine) -> None:
    """It is not due yet, or what it follows is not done."""

    def queue(desk: Desk) -> list[int]:
        (held,) = desk.queue(lane="KR-B", due_at=desk.clock() + timedelta(seconds=5))
        return [held, *desk.queue(lane="KR-C", follows=held)]

    chain = Chain(engine, queue)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["QUEUED"] * 2


def test_a_lane_gives_no_more_follow_ups_than_its_capacity(engine: Engine) -> None:
    def queue(desk: Desk) -> list[int]:
        with write_transaction(engine) as conn:
            lanes.set_lane_capacity(conn, "KR-B", 1)
        desk.worker._claims._capacities["KR-B"] = 1
        return [*desk.queue(lane="KR-B"), *desk.queue(lane="KR-B")]

    chain = Chain(engine, queue)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["ACTIVE", "QUEUED"]


def test_follow_ups_leave_one_place_in_four(engine: Engine) -> None:
    """Of four places one is that of the attempt itself, and one is left to what waits elsewhere."""

    def queue(desk: Desk) -> list[int]:
        return [one for lane in ("KR-B", "KR-C", "KR-D") for one in desk.queue(lane=lane)]

    chain = Chain(engine, queue, threads=4)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["ACTIVE", "ACTIVE", "QUEUED"]


def test_a_worker_of_two_places_takes_no_follow_up(engine: Engine) -> None:
    """Its other place is the one that is left: otherwise a chain of tasks could hold both for good."""
    chain = Chain(engine, lambda desk: desk.queue(lane="local"), threads=2)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["QUEUED"]


def test_one_destination_gets_half_of_the_places_by_follow_ups_too(engine: Engine) -> None:
    chain = Chain(engine, lambda desk: desk.queue(6, lane="KR-B"), threads=8)
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["ACTIVE"] * 4 + ["QUEUED"] * 2


def test_what_waited_longer_goes_first(engine: Engine) -> None:
    def queue(desk: Desk) -> list[int]:
        desk.clock.forward(seconds=1)
        return [*waiting, *desk.queue(5, lane="KR-B")]

    chain = Chain(engine, queue)
    waiting = chain.desk.queue(2, lane="KR-B", due_at=chain.desk.clock() + timedelta(microseconds=1))
    chain.run()
    assert [state for state, _ in chain.states.values()] == ["ACTIVE"] * 4 + ["QUEUED"] * 3


def test_a_transaction_that_fails_leaves_no_lease_and_no_place(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[int] = []

    def fail_once(name: str, *_: str) -> None:
        if name == "broken":
            free.append(chain.desk.worker._places.count_free())
            raise RuntimeError("the disk is gone")

    def queue(desk: Desk) -> list[int]:
        monkeypatch.setattr("gateway.store.engine.kill_at_failpoint", fail_once)
        with pytest.raises(RuntimeError, match="disk"), write_transaction(engine, "broken") as conn:
            deliveries.enqueue_delivery(conn, delivery(destination="KR-B"), desk.clock())
        free.append(desk.worker._places.count_free())
        return []

    chain = Chain(engine, queue)
    chain.run()
    assert free == [6, 7]
    assert chain.desk.postman.made == [chain.first]


def test_a_worker_that_stops_ends_what_it_claimed_last(engine: Engine) -> None:
    chain = Chain(engine, lambda desk: [])
    stop = threading.Event()

    def queue_another(lease: DeliveryLease) -> None:
        chain.desk.queue(lane=f"KR-{lease.id % 3}")
        if len(chain.desk.postman.made) > 5:
            stop.set()

    chain.desk.postman.act = queue_another
    thread = threading.Thread(target=chain.desk.worker.run, args=(stop,))
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert chain.desk.open_leases() == 0
    with read_transaction(engine) as conn:
        left = deliveries.count_by_state(conn)
    assert left["DELIVERED"] == len(chain.desk.postman.made) > 5
    assert left["QUEUED"] == 1


def test_what_is_claimed_while_a_worker_stops_is_done_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_before_commit(name: str, *_: str) -> None:
        if name == "late":
            chain._stop.set()
            while chain.desk.worker._followed is not None:
                time.sleep(0.005)
            # Long enough for a worker that would not wait for this attempt.
            time.sleep(0.3)

    def queue(desk: Desk) -> list[int]:
        with write_transaction(engine, "late") as conn:
            made = deliveries.enqueue_delivery(conn, delivery(destination="KR-B"), desk.clock())
        assert made is not None
        return [made]

    chain = Chain(engine, queue)
    monkeypatch.setattr("gateway.store.engine.kill_at_failpoint", stop_before_commit)
    chain.run()
    assert sorted(chain.desk.postman.made) == sorted([chain.first, *chain.states])


def test_a_worker_that_runs_once_takes_no_follow_ups(engine: Engine) -> None:
    chain = Chain(engine, lambda desk: desk.queue(lane="KR-B"))
    assert chain.desk.worker.run_once() == 1
    assert list(chain.states.values()) == [("QUEUED", None)]
