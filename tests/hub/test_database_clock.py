"""What is due is told by the clock of the database: no machine with a wrong clock takes a lease early."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from gateway.hub import DatabaseClock, choose_clock
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
    clock = DatabaseClock(server, read_wrong_clock)
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=2)
    assert timedelta(minutes=4) < clock.measure_skew() < timedelta(minutes=6)
    (told,) = caplog.messages
    # A machine that is busy measures it a little late.
    assert re.fullmatch(r"the clock of this machine is \d{3}\.\d s ahead of that of the database", told)


def test_the_time_goes_on_while_the_server_is_away(server):
    seconds = Seconds()
    clock = DatabaseClock(server, read_wrong_clock, seconds)
    first = clock()
    server.dispose()
    away = make_engine("postgresql://nobody@127.0.0.1:9/none", seconds=1.0)
    clock._engine = away
    seconds.now += 60
    assert clock() - first == timedelta(seconds=60)
    away.dispose()


def test_before_its_first_answer_the_time_is_that_of_the_machine():
    away = make_engine("postgresql://nobody@127.0.0.1:9/none", seconds=1.0)
    assert DatabaseClock(away, read_wrong_clock)() - datetime.now(UTC) > timedelta(minutes=4)
    away.dispose()


def test_sqlite_has_the_clock_of_its_machine(sqlite_url):
    engine = make_engine(sqlite_url)
    assert not isinstance(choose_clock(engine), DatabaseClock)
    engine.dispose()
