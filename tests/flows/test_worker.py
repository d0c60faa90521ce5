"""The delivery worker: leases, lanes, mistakes of ours, and the end."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine

from gateway.delivery.alive_file import AliveFile
from gateway.delivery.attempt_outcome import FailedDelivery
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.errors import (
    DATABASE_HELD,
    NO_ROOM,
    NODE_DRAINED,
    REFUSED_FOR_GOOD,
    TRANSITION_REFUSED,
    UNREACHABLE,
    WRONG_STORE,
    GatewayError,
    Problem,
)
from gateway.store import DeliveryLease, deliveries, lanes, read_transaction, state_counts, write_transaction
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.desk import Desk
from tests.kit.waiting import until


@BOTH_AT_LANDING
def test_a_lease_that_ran_out_is_taken_over(engine: Engine) -> None:
    desk = Desk(engine)
    (one,) = desk.queue()
    late = desk.new_worker("late")
    (lease,) = late._claim_deliveries()
    desk.clock.forward(seconds=59)
    desk.worker.run_maintenance()
    assert desk.worker.run_once() == 0
    desk.clock.forward(seconds=2)
    desk.worker.run_maintenance()
    assert desk.worker.run_once() == 1
    assert desk.row(one).state == "DELIVERED"
    assert lease.attempt == 1
    assert desk.events(one) == ["lease", "lease_lost", "lease", "delivered"]


@BOTH_AT_LANDING
def test_a_worker_of_a_drained_node_claims_nothing(engine: Engine) -> None:
    desk = Desk(engine, lambda lease: None)
    (one,) = desk.queue()
    drained = [GatewayError(NODE_DRAINED)]
    worker = DeliveryWorker(
        engine,
        {"soap": desk.postman},
        desk.clock,
        name="a/1",
        worker_settings=WorkerSettings(threads=4),
        find_drain=lambda: drained[0] if drained else None,
    )
    assert [worker.run_once(), worker.run_once()] == [0, 0]
    assert desk.row(one).state == "QUEUED"
    drained.clear()
    assert worker.run_once() == 1


def test_a_worker_whose_search_hangs_touches_its_file_no_more(engine: Engine, tmp_path: Path) -> None:
    """The other threads of the worker go on meanwhile."""
    hangs, is_hanging, goes_on = threading.Event(), threading.Event(), threading.Event()
    upkeep, stop = threading.Event(), threading.Event()
    seconds = itertools.count(step=10)

    def find_drain() -> None:
        if hangs.is_set():
            is_hanging.set()
            goes_on.wait()

    worker = DeliveryWorker(
        engine,
        {},
        Desk(engine).clock,
        name="a/1",
        worker_settings=WorkerSettings(threads=1, poll_seconds=0.01, maintenance_seconds=0.01),
        maintain_hub=upkeep.set,
        find_drain=find_drain,
        alive_file=AliveFile(tmp_path, lambda: float(next(seconds))),
    )
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    path = tmp_path / str(os.getpid())
    try:
        until(path.exists)
        os.utime(path, (1, 1))
        until(lambda: path.stat().st_mtime > 1)
        hangs.set()
        assert is_hanging.wait(60)
        os.utime(path, (1, 1))
        upkeep.clear()
        assert upkeep.wait(60)
        assert path.stat().st_mtime == 1
        goes_on.set()
        until(lambda: path.stat().st_mtime > 1)
    finally:
        goes_on.set()
        stop.set()
        thread.join()
    assert not path.exists()


@BOTH_AT_LANDING
def test_a_worker_that_comes_back_late_changes_nothing(engine: Engine) -> None:
    """It failed, at last, with what another has delivered meanwhile."""

    def slow(lease: DeliveryLease) -> None:
        if lease.attempt > 1:
            return
        desk.clock.forward(seconds=61)
        other.run_maintenance()
        assert other.run_once() == 1
        raise GatewayError(UNREACHABLE, "too late")

    desk = Desk(engine, slow)
    other = desk.new_worker("w2")
    (one,) = desk.queue()
    assert desk.worker.run_once() == 1
    assert (desk.row(one).state, desk.row(one).problem) == ("DELIVERED", None)
    assert desk.events(one) == ["lease", "lease_lost", "lease", "delivered"]
    assert desk.postman.given_up == []


@BOTH_AT_LANDING
def test_giving_up_late_changes_nothing_either(engine: Engine) -> None:
    def slow(lease: DeliveryLease) -> None:
        if lease.attempt > 1:
            return
        desk.clock.forward(seconds=61)
        other.run_maintenance()
        assert other.run_once() == 1
        raise GatewayError(REFUSED_FOR_GOOD, "no")

    desk = Desk(engine, slow)
    other = desk.new_worker("w2")
    (one,) = desk.queue()
    desk.worker.run_once()
    assert desk.row(one).state == "DELIVERED"
    assert desk.postman.given_up == []


@BOTH_AT_LANDING
def test_a_partner_that_is_slower_than_the_lease_is_called_once(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease is renewed while the attempt runs, also while the worker stops; the log names it once."""
    has_begun, may_answer, stop = threading.Event(), threading.Event(), threading.Event()

    def answer_late(_lease: DeliveryLease) -> None:
        has_begun.set()
        assert may_answer.wait(30)

    def is_renewed() -> bool:
        return bool(desk.row(one).lease_until > desk.clock() + timedelta(seconds=30))

    desk = Desk(engine, answer_late)
    other = desk.new_worker("w2")
    (one,) = desk.queue()
    running = threading.Thread(target=desk.worker.run, args=(stop,))
    running.start()
    try:
        assert has_begun.wait(30)
        for turn in range(14):
            desk.clock.forward(seconds=50)
            until(is_renewed)
            other.run_maintenance()
            assert other.run_once() == 0
            if turn == 12:
                stop.set()
    finally:
        stop.set()
        may_answer.set()
        running.join(30)
    assert desk.events(one) == ["lease", "delivered"]
    assert desk.postman.made == [one]
    logged = [record for record in caplog.records if "is under way for" in record.message]
    assert [record.delivery for record in logged] == [one]


@BOTH_AT_LANDING
def test_a_mistake_of_ours_is_tried_again_and_ends(engine: Engine) -> None:
    def broken(lease: DeliveryLease) -> None:
        raise ZeroDivisionError("inside")

    desk = Desk(engine, broken)
    (one,) = desk.queue()
    desk.worker.run_once()
    assert (desk.row(one).state, desk.row(one).problem) == ("QUEUED", "GW901")
    for _ in range(5):
        desk.clock.forward(minutes=5)
        desk.worker.run_once()
    assert (desk.row(one).state, desk.row(one).problem) == ("FAILED", "GW604")
    assert len(desk.postman.made) == 3
    assert desk.postman.given_up == [(one, "GW604")]


@BOTH_AT_LANDING
def test_memory_that_is_used_up_uses_up_no_attempt(engine: Engine) -> None:
    lacking = [True] * 6

    def lack(lease: DeliveryLease) -> None:
        if lacking:
            lacking.pop()
            raise MemoryError

    desk = Desk(engine, lack)
    (one,) = desk.queue()
    for _ in range(6):
        desk.worker.run_once()
        assert (desk.row(one).state, desk.row(one).problem, desk.row(one).tries) == ("QUEUED", "GW806", 0)
        desk.clock.forward(minutes=6)
    desk.worker.run_once()
    assert desk.row(one).state == "DELIVERED"
    assert desk.postman.given_up == []


@BOTH_AT_LANDING
@pytest.mark.parametrize("how", ["no agent", "no plan"])
def test_a_delivery_that_no_agent_understands_ends_too(engine: Engine, how: str) -> None:
    desk = Desk(engine, lambda lease: lease.parameters["missing"])
    if how == "no plan":
        desk.postman.get_retry_plan = lambda lease: lease.parameters["retries"]  # type: ignore[method-assign]
    (one,) = desk.queue(agent="pigeon" if how == "no agent" else "soap")
    (other,) = desk.queue()
    for _ in range(9):
        desk.worker.run_once()
        desk.clock.forward(hours=1)
    assert desk.row(one).state == "FAILED"
    assert desk.row(other).state == "FAILED"
    assert desk.worker._slots.count_free() == 4


@BOTH_AT_LANDING
def test_a_delivery_that_takes_its_worker_down_ends_as_well(engine: Engine) -> None:
    desk = Desk(engine)
    (one,) = desk.queue()
    for lost in range(3):
        assert desk.row(one).lost == lost
        desk.new_worker("short-lived")._claim_deliveries()
        desk.clock.forward(seconds=61)
        desk.worker.run_maintenance()
    assert desk.worker.run_once() == 0
    assert desk.postman.made == []
    assert (desk.row(one).state, desk.row(one).problem) == ("FAILED", "GW605")
    assert desk.postman.given_up == [(one, "GW605")]
    assert desk.events(one) == ["lease", "lease_lost", "lease", "lease_lost", "lease", "put_aside"]


@BOTH_AT_LANDING
def test_what_may_pass_waits_until_its_time_is_over(engine: Engine) -> None:
    def away(lease: DeliveryLease) -> None:
        raise GatewayError(UNREACHABLE, "away")

    desk = Desk(engine, away)
    (soon,) = desk.queue(expires_at=desk.clock() + timedelta(seconds=5))
    (later,) = desk.queue(expires_at=desk.clock() + timedelta(seconds=20))
    desk.worker.run_once()
    assert (desk.row(soon).state, desk.row(later).state) == ("FAILED", "QUEUED")
    desk.clock.forward(seconds=21)
    desk.worker.run_maintenance()
    assert desk.row(later).state == "FAILED"
    assert desk.postman.given_up == [(soon, "GW604"), (later, "GW604")]
    assert desk.events(later) == ["lease", "defer", "expire"]
    desk.worker.run_maintenance()
    assert len(desk.postman.given_up) == 2


@BOTH_AT_LANDING
@pytest.mark.parametrize(
    "mistake", [KeyError("a row of another version"), GatewayError(TRANSITION_REFUSED)], ids=repr
)
def test_a_delivery_that_cannot_be_ended_delays_no_other(
    engine: Engine, caplog: pytest.LogCaptureFixture, mistake: Exception
) -> None:
    """What follows from the end of one delivery may be impossible; others end, and recurring tasks begin."""
    desk = Desk(engine)
    schedule: list[Any] = []
    worker = desk.new_worker(
        "w2", schedule=cast(RecurringSchedule, SimpleNamespace(queue_due_periods=schedule.append))
    )
    expiring = desk.queue(3, expires_at=desk.clock() + timedelta(seconds=5))
    record_failure = desk.postman.record_failure

    def break_once(conn: Connection, failure: FailedDelivery) -> None:
        if failure.delivery.id == expiring[0]:
            raise mistake
        record_failure(conn, failure)

    desk.postman.record_failure = break_once  # type: ignore[method-assign]
    desk.clock.forward(seconds=6)
    worker.run_maintenance()
    assert [desk.row(one).state for one in expiring] == ["QUEUED", "FAILED", "FAILED"]
    assert [record.delivery for record in caplog.records if "cannot be ended" in record.message] == expiring[
        :1
    ]
    assert schedule == [desk.clock()]
    desk.postman.record_failure = record_failure  # type: ignore[method-assign]
    worker.run_maintenance()
    assert desk.row(expiring[0]).state == "FAILED"


@BOTH_AT_LANDING
def test_two_hundred_deliveries_that_cannot_be_ended_delay_no_other(engine: Engine) -> None:
    """Those that cannot be ended are the oldest, and those behind them end in the next pass."""
    desk = Desk(engine)
    stuck = desk.queue(201, expires_at=desk.clock() + timedelta(seconds=4))
    (behind,) = desk.queue(expires_at=desk.clock() + timedelta(seconds=5))
    record_failure = desk.postman.record_failure

    def break_most(conn: Connection, failure: FailedDelivery) -> None:
        if failure.delivery.id in stuck:
            raise KeyError("a row of another version")
        record_failure(conn, failure)

    desk.postman.record_failure = break_most  # type: ignore[method-assign]
    desk.clock.forward(seconds=6)
    for _ in range(2):
        desk.worker.run_maintenance()
    assert desk.row(behind).state == "FAILED"
    assert {desk.row(one).state for one in stuck} == {"QUEUED"}


@BOTH_AT_LANDING
def test_a_step_of_the_upkeep_that_fails_stops_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease that ran out is taken back although every turn of the hub's own upkeep fails."""
    desk = Desk(engine)
    (one,) = desk.queue()
    desk.new_worker("short-lived")._claim_deliveries()
    desk.clock.forward(seconds=61)
    for mistake in (KeyError("inside"), GatewayError(TRANSITION_REFUSED)):

        def fail(mistake: Exception = mistake) -> None:
            raise mistake

        monkeypatch.setattr(desk.worker, "_maintain_hub", fail)
        desk.worker.run_maintenance()
    assert caplog.text.count("upkeep failed; it is done again") == 2
    assert desk.row(one).state == "QUEUED"
    monkeypatch.setattr(desk.worker, "_maintain_hub", lambda: desk.clock.forward(seconds=1))

    for problem in (NO_ROOM, DATABASE_HELD, WRONG_STORE):

        def end_all(problem: Problem = problem) -> None:
            raise GatewayError(problem, "the database is not reached")

        monkeypatch.setattr(desk.worker, "_store_ended_attempts", end_all)
        before = desk.clock()
        with pytest.raises(GatewayError, match=problem.id):
            desk.worker.run_maintenance()
        assert desk.clock() == before


@BOTH_AT_LANDING
def test_what_follows_a_failed_one_expires_without_being_tried(engine: Engine) -> None:
    desk = Desk(engine)
    (first,) = desk.queue()
    (second,) = desk.queue(follows=first, expires_at=desk.clock() + timedelta(seconds=5))
    with write_transaction(engine) as conn:
        deliveries.hold_delivery(conn, first, desk.clock(), "operator")
    desk.clock.forward(seconds=6)
    desk.worker.run_once()
    desk.worker.run_maintenance()
    assert (desk.row(second).state, desk.postman.made) == ("FAILED", [])


@BOTH_AT_LANDING
def test_a_lane_is_not_crowded(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    desk.queue(6)
    with write_transaction(engine) as conn:
        lanes.set_lane_capacity(conn, "KR-A", 2)
    assert len(desk.worker._claim_deliveries()) == 2
    assert not desk.new_worker("w2")._claim_deliveries()


@BOTH_AT_LANDING
def test_one_lane_fills_half_the_threads_and_others_get_the_rest(engine: Engine) -> None:
    desk = Desk(engine, threads=4)
    desk.queue(20, lane="A-DEAD")
    first = desk.worker._claim_deliveries()
    assert [lease.lane for lease in first] == ["A-DEAD"] * 2
    desk.queue(20, lane="Z-ALIVE")
    assert [lease.lane for lease in desk.worker._claim_deliveries()] == ["Z-ALIVE"] * 2
    assert not desk.worker._claim_deliveries()


def count_claimed(desk: Desk) -> Counter[str]:
    """Claim until nothing more may be claimed; return how many by lane."""
    claimed: Counter[str] = Counter()
    while leases := desk.worker._claim_deliveries():
        claimed.update(lease.lane for lease in leases)
    return claimed


@BOTH_AT_LANDING
def test_the_lanes_of_a_party_share_half_the_threads_and_webhooks_a_quarter(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    desk.queue(20, lane="webhook:broker1")
    desk.queue(20, lane="msh:broker1")
    claimed = count_claimed(desk)
    assert claimed.total() == 4
    assert claimed["webhook:broker1"] <= 2
    desk.queue(20, lane="webhook:broker2")
    desk.queue(20, lane="KR-A")
    desk.queue(20, lane="msh:broker2")
    more = count_claimed(desk)
    assert more["KR-A"]
    assert more["msh:broker2"]
    assert claimed["webhook:broker1"] + more["webhook:broker2"] <= 2
    assert (claimed + more).total() == 8


@BOTH_AT_LANDING
def test_answers_to_senders_that_proved_nothing_share_a_quarter_of_the_threads(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    desk.queue(20, lane="msh:https://broker1.example/msh")
    desk.queue(20, lane="msh:https://broker2.example/msh")
    assert count_claimed(desk).total() == 2
    desk.queue(20, lane="msh:broker1")
    desk.queue(20, lane="KR-A")
    assert count_claimed(desk) == {"msh:broker1": 3, "KR-A": 3}


@BOTH_AT_LANDING
def test_slow_destinations_leave_a_quarter_of_the_threads_to_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr("gateway.delivery.delivery_worker.monotonic", lambda: seconds[0])

    def wait(lease: DeliveryLease) -> None:
        seconds[0] += 6.0 if lease.destination.startswith("msh:") else 0.1

    desk = Desk(engine, wait, threads=8)
    slow = [f"msh:broker{number}" for number in range(4)]
    for lane in (*slow, "KR-A"):
        desk.queue(1, lane=lane)
    while desk.worker.run_once():
        pass
    for lane in slow:
        desk.queue(20, lane=lane)
    claimed = count_claimed(desk)
    assert claimed.total() == 6
    assert max(claimed.values()) <= 2
    desk.queue(20, lane="KR-A")
    assert count_claimed(desk) == {"KR-A": 2}


@BOTH_AT_LANDING
def test_lanes_are_served_in_turn(engine: Engine) -> None:
    desk = Desk(engine, threads=1)
    for lane in ("A", "B", "C"):
        desk.queue(5, lane=lane)
    served = []
    for _ in range(6):
        (lease,) = desk.worker._claim_deliveries()
        served.append(lease.lane)
        desk.worker._run_attempt(lease)
    assert sorted(served) == ["A", "A", "B", "B", "C", "C"]


@BOTH_AT_LANDING
def test_lanes_that_may_have_no_more_leave_the_places_to_others(engine: Engine) -> None:
    desk = Desk(engine, threads=4)
    full = [f"A{number}" for number in range(9)]
    with write_transaction(engine) as conn:
        for lane in full:
            lanes.set_lane_capacity(conn, lane, 1)
    for lane in full:
        desk.queue(2, lane=lane)
    assert len(desk.new_worker("w2", threads=len(full) * 2)._claim_deliveries()) == len(full)
    desk.queue(2, lane="Z")
    assert {lease.lane for lease in desk.worker._claim_deliveries()} == {"Z"}


def run(desk: Desk, is_done: Callable[[], bool]) -> threading.Thread:
    """Run the worker until something is done; return its thread, which ends what it holds."""
    stop = threading.Event()
    thread = threading.Thread(target=desk.worker.run, args=(stop,))
    thread.start()
    try:
        until(is_done, every=0.005)
    finally:
        stop.set()
    return thread


@BOTH_AT_LANDING
def test_a_dead_destination_does_not_keep_others_waiting(engine: Engine) -> None:
    released = threading.Event()

    def act(lease: DeliveryLease) -> None:
        if lease.lane.startswith("A-DEAD"):
            released.wait(60)

    desk = Desk(engine, act, threads=4)
    desk.queue(20, lane="A-DEAD")
    alive = desk.queue(30, lane="B-ALIVE")
    thread = run(desk, lambda: set(alive) <= set(desk.postman.made))
    assert set(alive) <= set(desk.postman.made)
    assert not released.is_set()
    released.set()
    thread.join(30)


@BOTH_AT_LANDING
def test_it_finishes_what_it_holds_before_it_stops(engine: Engine) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def act(lease: DeliveryLease) -> None:
        begun.set()
        assert go_on.wait(60)

    desk = Desk(engine, act, threads=2)
    desk.queue(9)
    thread = run(desk, begun.is_set)
    thread.join(0.2)
    assert thread.is_alive()
    go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert desk.open_leases() == 0
    with read_transaction(engine) as conn:
        left = state_counts.count_deliveries(conn)
    assert left["DELIVERED"] >= 1
    assert left["QUEUED"] == 9 - left["DELIVERED"]


@pytest.mark.long
@in_turn
def test_it_goes_on_when_nothing_can_be_claimed_for_a_while(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("the database is gone"), GatewayError(UNREACHABLE, "gone")]
    real = lanes.list_due_lanes

    def due(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(lanes, "list_due_lanes", due)
    desk = Desk(engine)
    (one,) = desk.queue()
    run(desk, lambda: desk.row(one).state == "DELIVERED").join(30)
    assert desk.row(one).state == "DELIVERED"


@BOTH_AT_LANDING
def test_two_workers_make_each_delivery_once(engine: Engine) -> None:
    desk = Desk(engine)
    wanted = desk.queue(40) + desk.queue(40, lane="KR-B")
    stop = threading.Event()
    threads = [
        threading.Thread(target=desk.new_worker(f"w{number}").run, args=(stop,)) for number in range(2)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(desk.postman.made) >= len(wanted), every=0.01)
    finally:
        stop.set()
    for thread in threads:
        thread.join(60)
    assert sorted(desk.postman.made) == sorted(wanted)
