"""A busy process with more connections than another one ends some of them."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.web.server.connection_balance import (
    ConnectionBalance,
    ConnectionCounts,
    join_connection_counts,
    share_connection_counts,
)

FORK = multiprocessing.get_context("fork")


@contextmanager
def neighbour(path: Path, count: int, now: float) -> Iterator[None]:
    """Let another process take a place and write its number, until the end of the block."""
    ready, done = FORK.Event(), FORK.Event()

    def live() -> None:
        counts = ConnectionCounts(path)
        counts.write_own(count, now)
        ready.set()
        done.wait(30)

    process = FORK.Process(target=live)
    process.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        done.set()
        process.join()


@pytest.fixture
def table(tmp_path: Path) -> Callable[[int], Path]:
    """Make a file with so many places."""

    def make(places: int) -> Path:
        path = tmp_path / "counts"
        path.write_bytes(bytes(16 * places))
        return path

    return make


def test_the_least_number_of_the_others_is_found(table: Callable[[int], Path]) -> None:
    path = table(4)
    own = ConnectionCounts(path)
    own.write_own(1, 100.0)
    assert own.find_least(100.0) is None, "nobody else lives"
    with neighbour(path, 7, 100.0), neighbour(path, 5, 99.5):
        assert own.find_least(100.0) == 5
        assert own.find_least(100.7) == 0, "nobody has asked that one for anything"
        assert own.find_least(200.0) == 0
    assert own.find_least(100.0) is None, "they have ended"


def test_a_place_is_for_one_process_and_free_when_it_ends(table: Callable[[int], Path]) -> None:
    path = table(2)
    own = ConnectionCounts(path)
    with neighbour(path, 3, 100.0):
        third = FORK.Process(target=ConnectionCounts, args=(path,))
        third.start()
        third.join()
        assert third.exitcode == 1, "there is no place"
        assert own.find_least(100.0) == 3
    with neighbour(path, 4, 100.0):
        assert own.find_least(100.0) == 4


def test_a_process_that_serves_alone_has_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_CONNECTION_COUNTS", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert join_connection_counts() is None
    with share_connection_counts(1):
        assert join_connection_counts() is None
        assert not list(tmp_path.iterdir())
    with share_connection_counts(2):
        assert join_connection_counts() is not None
        # What keeps temporary folders tidy may have been here.
        for folder in tmp_path.iterdir():
            shutil.rmtree(folder)
        assert join_connection_counts() is None
    assert join_connection_counts() is None


def test_a_full_disk_ends_no_answer(table: Callable[[int], Path]) -> None:
    load = Load(8, 0)
    load.full = True
    assert not any(load.answer(20, 1.0))
    load.balance.publish_count()
    load.full = False
    assert sum(load.answer(20, 1.0)) == 4


class Load:
    """What a process and the others have, in time that passes by itself."""

    def __init__(self, own: int, least: int | None) -> None:
        self.own, self.least, self.written = own, least, -1
        self.now = self.used = 0.0
        self.full = False
        counts: Any = self
        self.balance = ConnectionBalance(counts, lambda: self.own, lambda: self.now, lambda: self.used)

    def write_own(self, count: int, _now: float) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written = count

    def find_least(self, _now: float) -> int | None:
        return self.least

    def answer(self, number: int, seconds: float, busy: float = 1.0) -> list[bool]:
        """Answer so often, after so many seconds; return which answers end their connection."""
        self.now, self.used = self.now + seconds, self.used + seconds * busy
        return [self.balance.should_close() for _ in range(number)]


@pytest.mark.parametrize(
    ("own", "least", "ended"),
    [(5, 5, 0), (5, 4, 0), (5, 3, 1), (8, 0, 4), (3, 8, 0), (5, None, 0), (2, 0, 1)],
)
def test_half_of_the_difference_goes(own: int, least: int | None, ended: int) -> None:
    load = Load(own, least)
    assert sum(load.answer(20, 1.0)) == ended
    assert load.written == own


def test_a_process_that_has_time_ends_nothing() -> None:
    load = Load(8, 0)
    assert not any(load.answer(20, 1.0, busy=0.4))
    assert sum(load.answer(20, 1.0, busy=0.6)) == 4


def test_it_compares_at_most_twenty_times_a_second() -> None:
    load = Load(8, 0)
    assert sum(load.answer(20, 0.06)) == 4
    assert sum(load.answer(20, 0.04)) == 0
    assert sum(load.answer(20, 0.02)) == 4


def test_clients_that_come_back_to_the_same_process_are_left_in_peace() -> None:
    load = Load(100, 0)
    assert sum(load.answer(200, 1.0)) == 16
    assert sum(sum(load.answer(200, 0.1)) for _ in range(200)) == 20, "one in a second"
    load.answer(1, 60.0, busy=0.0)
    assert sum(load.answer(200, 1.0)) == 16, "as at first"
