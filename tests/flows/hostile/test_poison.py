"""What kills its worker does so three times at most, and others are served meanwhile (APP-09)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.evidence import list_subject_leaves
from gateway.hub import RejectingComposer, build_hub, receive_parcel
from gateway.monitor import metrics
from gateway.state_machines import DELIVERY
from gateway.store import deliveries, lanes, make_engine, messages, read_transaction, write_transaction
from gateway.store.transitions import list_transitions
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.desk import Desk
from tests.kit.gateway import RunningGateway
from tests.kit.house import EBMS2, Clock, Neighbour
from tests.kit.live import LiveHouse
from tests.kit.waiting import until


def dies(desk: Desk, name: str = "short-lived", *, steady: bool = True) -> list[int]:
    """Let a worker claim what it may and never come back; return what it held."""
    held = [lease.id for lease in desk.new_worker(name, threads=8, steady=steady)._claim_deliveries()]
    desk.clock.forward(seconds=61)
    desk.worker.run_maintenance()
    return held


@BOTH_AT_LANDING
def test_one_suspect_at_a_time_next_to_everything_else(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    old = desk.queue(3)
    assert dies(desk) == old
    assert [desk.row(one).lost for one in old] == [1, 1, 1]
    new = desk.queue(2, lane="KR-B")
    held = [lease.id for lease in desk.worker._claim_deliveries()]
    assert sorted(held) == sorted([old[0], *new])
    assert not desk.worker._claim_deliveries()
    assert [lease.id for lease in desk.new_worker("w2")._claim_deliveries()] == [old[1]]


def test_an_innocent_is_cleared_by_its_first_end(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    innocent, poison = desk.queue(2)
    for _ in range(2):
        assert dies(desk)
    # One of the two was tried alone the second time: the other has had one worker's death only.
    assert sorted(desk.row(one).lost for one in (innocent, poison)) == [1, 2]
    while desk.worker.run_once():
        pass
    assert [desk.row(one).lost for one in (innocent, poison)] == [0, 0]
    assert {desk.row(one).state for one in (innocent, poison)} == {"DELIVERED"}


def test_the_third_death_puts_it_aside_and_the_operator_may_try_again(engine: Engine) -> None:
    desk = Desk(engine)
    (poison,) = desk.queue()
    for _ in range(3):
        assert dies(desk) == [poison]
    assert dies(desk) == []
    row = desk.row(poison)
    assert (row.state, row.problem, row.lost, row.leased_by) == ("FAILED", "GW605", 3, None)
    assert desk.postman.given_up == [(poison, "GW605")]
    with read_transaction(engine) as conn:
        (evidence,) = [
            one for one in list_subject_leaves(conn, "delivery", str(poison)) if one.kind == "put_aside"
        ]
        steps = list_transitions(conn, DELIVERY, poison)
    assert json.loads(evidence.data)["workers"] == 3
    assert steps[-1].detail == "3 workers crashed during this delivery"
    assert "gateway_deliveries_put_aside 1.0\n" in metrics.render_metrics(engine)
    with write_transaction(engine) as conn:
        deliveries.requeue_delivery(conn, poison, desk.clock(), "operator")
    assert desk.row(poison).lost == 0
    assert desk.worker.run_once() == 1
    assert desk.row(poison).state == "DELIVERED"
    assert "gateway_deliveries_put_aside 0.0\n" in metrics.render_metrics(engine)


@BOTH_AT_LANDING
def test_a_hub_that_dies_again_and_again_puts_nothing_aside(engine: Engine) -> None:
    """The last crash counts only where the worker has run for ten minutes before it tried the delivery."""
    desk = Desk(engine, threads=8)
    old = desk.queue(3)
    for _ in range(9):
        dies(desk, steady=False)
    rows = [desk.row(each) for each in old]
    assert {(row.state, row.lost) for row in rows} == {("QUEUED", 2)}
    assert desk.postman.given_up == []
    # A hub that runs delivers all, and these when it has run for long enough.
    (new,) = desk.queue()
    young, steady = desk.new_worker("young", threads=8, steady=False), desk.new_worker("steady", threads=8)
    while young.run_once():
        pass
    assert [desk.row(each).state for each in (*old, new)] == ["QUEUED"] * 3 + ["DELIVERED"]
    with read_transaction(engine) as conn:
        assert lanes.list_due_lanes(conn, desk.clock(), 2) == ()
        assert [lane.suspected for lane in lanes.list_due_lanes(conn, desk.clock())] == [True]
    while steady.run_once():
        pass
    assert {(desk.row(each).state, desk.row(each).lost) for each in old} == {("DELIVERED", 0)}


def test_where_one_crash_is_enough_a_young_worker_delivers(engine: Engine) -> None:
    desk = Desk(engine)
    (only,) = desk.queue()
    pace = WorkerSettings(threads=1, lease_time=timedelta(seconds=60), max_crashes=1)
    worker = DeliveryWorker(engine, {"soap": desk.postman}, desk.clock, name="w", worker_settings=pace)
    assert worker.run_once() == 1
    assert desk.row(only).state == "DELIVERED"


def test_a_suspect_behind_another_holds_up_no_lane(engine: Engine) -> None:
    desk = Desk(engine, threads=8)
    first, second = desk.queue(), desk.queue(lane="KR-B")
    assert sorted(dies(desk)) == sorted([*first, *second])
    with write_transaction(engine) as conn:
        lanes.hold_lane(conn, "KR-A", desk.clock.now, "kim", "its partner is away")
    assert [lease.id for lease in desk.worker._claim_deliveries()] == second


class Stage:
    """A home with messages that were taken and wait for a worker; `poison` is one of them."""

    def __init__(self, live: LiveHouse) -> None:
        self.live = live
        self.engine = make_engine(live.database_url)
        self.hub = build_hub(read_home_settings(live.home), RejectingComposer())
        self.broker = Neighbour("broker1", Clock(live.now), live.agreement)

    def close(self) -> None:
        self.engine.dispose()
        self.hub.close()

    def take(self, name: str) -> None:
        """Take a message in."""
        unit = replace(self.broker.message("Submit", b"<declaration/>"), message_id=f"{name}@broker1.example")
        answer = receive_parcel(self.hub, EBMS2, self.broker.seal(unit))
        assert (answer.status, b"ErrorList" in answer.body) == (200, False)

    def worker(self, **words: Any) -> RunningGateway:
        """Start a worker; what was leased before is long lost."""
        self.live.let_leases_end()
        return RunningGateway(self.live.home, "work", **words)

    def states(self) -> dict[str, str]:
        """Return the state of every message, by the first word of its id."""
        with read_transaction(self.engine) as conn:
            found = messages.list_messages(conn, direction="in")
        return {row.message_id.partition("@")[0]: row.state for row in found}

    def task(self, name: str) -> Any:
        """Return the delivery that admits a message."""
        with read_transaction(self.engine) as conn:
            row = messages.find_by_message_id(conn, "in", "broker1", f"{name}@broker1.example")
            return deliveries.find_by_dedupe_key(conn, f"admit:{row.id}")


@pytest.fixture
def stage(tmp_path: Path, database_url: str) -> Iterator[Stage]:
    stage = Stage(LiveHouse(tmp_path, database_url))
    yield stage
    stage.close()


INNOCENT = tuple(f"good{number}" for number in range(4))


@in_turn
@pytest.mark.long
def test_a_message_that_crashes_the_program_is_put_aside_and_others_flow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stage.live.home / "gateway.toml"
    settings.write_text(settings.read_text() + '[delivery]\nsteady = "0s"\n')
    for name in (*INNOCENT[:2], "poison", *INNOCENT[2:]):
        stage.take(name)
    for how, status in (("segfault", -signal.SIGSEGV), ("exit", 70), ("kill", -signal.SIGKILL)):
        monkeypatch.setenv("POISON", how)
        with stage.worker(program="tests.flows.hostile.poisoned") as running:
            assert running.process.wait(60) == status
    stage.take("later")
    monkeypatch.setenv("POISON", "segfault")
    with stage.worker(program="tests.flows.hostile.poisoned") as running:
        until(lambda: set(stage.states().values()) == {"PROCESSED", "FAILED"})
        assert running.process.poll() is None
    assert stage.states() == dict.fromkeys((*INNOCENT, "later"), "PROCESSED") | {"poison": "FAILED"}
    task = stage.task("poison")
    assert (task.state, task.problem) == ("FAILED", "GW605")
    log = (stage.live.home / "work.log").read_text()
    assert "the delivery has FAILED: GW605 " in log

    assert main(["queue", "requeue", str(task.id), "--home", str(stage.live.home)]) == 0
    monkeypatch.delenv("POISON")
    with stage.worker(program="tests.flows.hostile.poisoned"):
        until(lambda: set(stage.states().values()) == {"PROCESSED"})


@in_turn
@pytest.mark.long
def test_a_worker_killed_at_one_place_again_and_again_stops_dying(stage: Stage) -> None:
    point = "admit.refused.before_commit"
    settings = stage.live.home / "gateway.toml"
    settings.write_text(settings.read_text() + "[delivery]\ncrashes = 2\nsteady = '0s'\n")
    stage.take("poison")
    for _ in range(2):
        with stage.worker(failpoint=point) as running:
            assert running.ended_by() == signal.SIGKILL
    with stage.worker(failpoint=point) as running:
        until(lambda: stage.states()["poison"] == "FAILED")
        assert running.process.poll() is None
    assert stage.task("poison").problem == "GW605"
