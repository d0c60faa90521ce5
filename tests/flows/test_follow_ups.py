"""What an attempt queues is claimed as soon as the attempt has ended, on the conditions of every claim."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from gateway.delivery.delivery_worker import DeliveryWorker
from gateway.store import DeliveryLease, deliveries, read_transaction, state_counts, write_transaction
from tests.kit.databases import BOTH
from tests.kit.desk import Desk
from tests.kit.rows import delivery
from tests.kit.waiting import until

#: Seconds: a worker that nothing wakes takes longer than a test waits.
RARELY = 300.0


def run_worker(worker: DeliveryWorker, is_done: Callable[[], bool]) -> None:
    """Run a worker until all is done; it ends what it holds."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        until(is_done, every=0.01)
    finally:
        stop.set()
        # What waits for something that is due looks for `stop` when it is woken.
        worker._attempt_ended.set()
        thread.join(60)
    assert not thread.is_alive()
    assert worker._slots.count_free() == worker._slots.total


@BOTH
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_what_an_attempt_queues_is_claimed_when_it_ends(engine: Engine, threads: int) -> None:
    """It is claimed at once, not when the worker looks the next time."""
    queued: list[int] = []

    def queue_others(lease: DeliveryLease) -> None:
        if lease.id == first:
            queued.extend(desk.queue(lane="KR-B") + desk.queue(lane="local"))

    desk = Desk(engine, queue_others)
    (first,) = desk.queue()
    worker = desk.new_worker("w1", threads, poll=RARELY)
    run_worker(
        worker, lambda: len(queued) == 2 and {desk.row(number).state for number in queued} == {"DELIVERED"}
    )
    assert sorted(desk.postman.made) == sorted([first, *queued])
    assert [desk.events(number) for number in queued] == [["lease", "delivered"]] * 2


@BOTH
@pytest.mark.parametrize("threads", [1, 4])
def test_deliveries_that_follow_each_other_are_made_in_order(engine: Engine, threads: int) -> None:
    desk = Desk(engine)
    chain = desk.queue(lane="KR-B")
    for _ in range(4):
        chain += desk.queue(lane="KR-B", follows=chain[-1])
    worker = desk.new_worker("w1", threads, poll=RARELY)
    run_worker(worker, lambda: desk.row(chain[-1]).state == "DELIVERED")
    assert desk.postman.made == chain
    assert [desk.events(number) for number in chain] == [["lease", "delivered"]] * len(chain)


def test_what_must_wait_is_not_claimed(engine: Engine) -> None:
    """It is not due yet, or what it follows is not done."""

    def queue_others(lease: DeliveryLease) -> None:
        if lease.id == first:
            held = desk.queue(lane="KR-B", due_at=desk.clock() + desk.worker._worker_settings.lease_time)
            waiting.extend([*held, *desk.queue(lane="KR-C", follows=held[0])])

    waiting: list[int] = []
    desk = Desk(engine, queue_others)
    (first,) = desk.queue()
    run_worker(desk.worker, lambda: desk.row(first).state == "DELIVERED")
    assert desk.worker.run_once() == 0
    assert [desk.row(number).state for number in waiting] == ["QUEUED"] * 2


@BOTH
def test_what_a_failed_transaction_queued_is_not_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *_: str) -> None:
        if name == "broken":
            raise RuntimeError("the disk is gone")

    def queue_in_vain(_lease: DeliveryLease) -> None:
        with pytest.raises(RuntimeError, match="disk"), write_transaction(engine, "broken") as conn:
            deliveries.enqueue_delivery(conn, delivery(destination="KR-B"), desk.clock())

    monkeypatch.setattr("gateway.store.engine.kill_at_failpoint", fail)
    desk = Desk(engine, queue_in_vain)
    (first,) = desk.queue()
    run_worker(desk.worker, lambda: desk.row(first).state == "DELIVERED")
    assert desk.worker.run_once() == 0
    assert desk.postman.made == [first]


@BOTH
def test_a_worker_that_stops_ends_what_it_claimed_last(engine: Engine) -> None:
    def queue_another(lease: DeliveryLease) -> None:
        desk.queue(lane=f"KR-{lease.id % 3}")

    desk = Desk(engine, queue_another)
    desk.queue()
    run_worker(desk.worker, lambda: len(desk.postman.made) > 5)
    assert desk.open_leases() == 0
    with read_transaction(engine) as conn:
        left = state_counts.count_deliveries(conn)
    assert left["DELIVERED"] == len(desk.postman.made) > 5
    assert left["QUEUED"] == 1
