"""What is due is told by the clock of the database: no machine with a wrong clock takes a lease early."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.hub import HubClock
from gateway.store import make_engine

AHEAD = timedelta(minutes=5)


def read_wrong_clock() -> datetime:
    return datetime.now(UTC) + AHEAD


class Seconds:
    """Seconds that are counted by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server(postgresql_url):
    made = make_engine(postgresql_url)
    yield made
    made.dispose()


def test_a_wrong_clock_of_the_machine_counts_for_nothing(server, caplog):
    clock = HubClock(server, read_wrong_clock)
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=2)
    assert timedelta(minutes=4) < clock.measure_skew() < timedelta(minutes=6)
    (told,) = caplog.messages
    # A machine that is busy measures it a little late.
    assert re.fullmatch(r"the clock of this machine is \d{3}\.\d s ahead of that of the database", told)


def test_the_time_goes_on_while_the_server_is_away(server):
    seconds = Seconds()
    clock = HubClock(server, read_wrong_clock, seconds)
    first = clock()
    server.dispose()
    away = make_engine("postgresql://nobody@127.0.0.1:9/none", max_wait_seconds=60)
    clock._engine = away
    seconds.now += 60
    assert clock() - first == timedelta(seconds=60)
    away.dispose()


def test_nobody_waits_for_a_server_that_hangs(server, monkeypatch):
    seconds, asked, answered = Seconds(), [], threading.Event()
    clock = HubClock(server, read_wrong_clock, seconds)
    first = clock()

    def hang(_conn):
        asked.append(threading.current_thread())
        answered.wait(60)

    monkeypatch.setattr("gateway.hub.database.read_database_time", hang)
    began = time.monotonic()
    for passed in (20, 40, 60):
        seconds.now = 100 + passed
        assert clock() - first == timedelta(seconds=passed)
    assert time.monotonic() - began < 5
    answered.set()
    (thread,) = asked
    thread.join(60)
    seconds.now += 20
    clock()
    assert len(asked) == 2


def test_a_process_without_threads_asks_again_later(server, monkeypatch):
    seconds, start_thread = Seconds(), threading.Thread.start
    clock = HubClock(server, read_wrong_clock, seconds)

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert clock() - datetime.now(UTC) > timedelta(minutes=4)
    monkeypatch.setattr(threading.Thread, "start", start_thread)
    seconds.now += 20
    assert abs(clock() - datetime.now(UTC)) < timedelta(minutes=4)


def test_before_its_first_answer_the_time_is_that_of_the_machine():
    away = make_engine("postgresql://nobody@127.0.0.1:9/none", max_wait_seconds=60)
    assert HubClock(away, read_wrong_clock)() - datetime.now(UTC) > timedelta(minutes=4)
    away.dispose()


def test_sqlite_has_the_clock_of_its_machine(sqlite_url):
    engine = make_engine(sqlite_url)
    assert abs(HubClock(engine)() - datetime.now(UTC)) < timedelta(seconds=1)
    engine.dispose()


class Machine:
    """A machine whose clock is set by hand, beside seconds that nobody sets."""

    def __init__(self, engine) -> None:
        self.seconds = Seconds()
        self.step = timedelta(0)
        self.hub = HubClock(engine, self.read_clock, self.seconds)
        self.start = self.hub()

    def read_clock(self) -> datetime:
        return datetime(2026, 11, 20, 9, tzinfo=UTC) + self.count() + self.step

    def count(self) -> timedelta:
        return timedelta(seconds=self.seconds.now - 100)

    def pass_seconds(self, number: float) -> timedelta:
        """Let time pass, and return how far the hub is then from the counted time."""
        for _ in range(int(number / 5)):
            self.seconds.now += 5
            self.hub()
        return self.hub() - self.start - self.count()


@pytest.fixture
def machine(sqlite_url):
    engine = make_engine(sqlite_url)
    yield Machine(engine)
    engine.dispose()


@pytest.mark.parametrize("step", [timedelta(days=2), timedelta(hours=-9)])
def test_a_step_of_some_seconds_is_not_followed_and_told(machine, step, caplog):
    machine.step = step
    assert machine.pass_seconds(60) == timedelta(0)
    machine.step = timedelta(0)
    assert machine.pass_seconds(600) == timedelta(0)
    assert [line.split(":")[0] for line in caplog.messages] == [
        f"the clock has stepped by {step.total_seconds():+.0f} s",
        "the clock has stepped back to the time that the hub has counted",
    ]


@pytest.mark.parametrize("step", [timedelta(days=2), timedelta(hours=-9)])
def test_a_step_that_stays_is_followed_after_a_while_and_told(machine, step, caplog):
    machine.step = step
    assert machine.pass_seconds(290) == timedelta(0)
    assert machine.pass_seconds(30) == step
    _, followed = caplog.messages
    assert followed == f"the hub follows the clock, which has stepped by {step.total_seconds():+.0f} s"


def test_the_time_of_a_step_begins_anew_with_another_step(machine):
    machine.step = timedelta(days=2)
    assert machine.pass_seconds(200) == timedelta(0)
    machine.step = timedelta(hours=-9)
    assert machine.pass_seconds(200) == timedelta(0)
    assert machine.pass_seconds(120) == timedelta(hours=-9)


def test_a_clock_that_is_set_right_by_seconds_is_followed_at_once(machine, caplog):
    machine.step = timedelta(seconds=-50)
    assert machine.pass_seconds(15) == timedelta(seconds=-50)
    assert not caplog.messages


def test_a_step_of_the_server_is_not_followed_at_once(server, monkeypatch):
    seconds = Seconds()
    clock = HubClock(server, read_monotonic_seconds=seconds)
    first, ahead = clock(), datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr(
        "gateway.hub.database.read_database_time",
        lambda _conn: ahead + timedelta(seconds=seconds.now - 100),
    )
    seconds.now += 20
    assert clock() - first == timedelta(seconds=20)
    seconds.now += 301
    assert clock() == ahead + timedelta(seconds=321)


def test_a_machine_that_slept_has_no_step(tmp_path, monkeypatch, caplog):
    """CLOCK_MONOTONIC stands while Linux sleeps, the time and CLOCK_BOOTTIME go on."""
    seconds = {time.CLOCK_MONOTONIC: 100.0, time.CLOCK_BOOTTIME: 100.0}
    monkeypatch.setattr(time, "clock_gettime", seconds.__getitem__)
    monkeypatch.setattr(time, "monotonic", lambda: seconds[time.CLOCK_MONOTONIC])
    now = [datetime(2026, 11, 26, 9, 0, tzinfo=UTC)]
    engine = make_engine(f"sqlite:///{tmp_path / 'hub.sqlite3'}")
    clock = HubClock(engine, lambda: now[0])
    assert clock() == now[0]
    now[0] += timedelta(hours=1)
    seconds[time.CLOCK_BOOTTIME] += 3600
    assert (clock(), caplog.messages) == (now[0], [])
    engine.dispose()
