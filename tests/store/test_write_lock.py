"""Writers of one SQLite file wait for each other, and no longer than their engine says."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Engine

from gateway.errors import NO_ROOM, GatewayError, find_resource_problem
from gateway.store import (
    get_database_state,
    make_engine,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.store.write_lock import get_lock_path
from tests.kit.waiting import retry

SECONDS = 0.4


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    engine = make_engine(sqlite_url, max_wait_seconds=SECONDS)
    yield engine
    engine.dispose()


def write(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        register_version.increment_register_version(conn)


def count_writes(engine: Engine) -> int:
    with read_transaction(engine) as conn:
        return register_version.get_register_version(conn)


@contextmanager
def hold_as_thread(engine: Engine) -> Iterator[None]:
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with write_transaction(engine):
            held.set()
            end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    yield
    end.set()
    thread.join(60)


@contextmanager
def hold_as_process(engine: Engine) -> Iterator[None]:
    """Hold the lock by another open file, as another process of ours does."""
    descriptor = os.open(get_lock_path(get_database_state(engine).sqlite.path), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


@contextmanager
def hold_as_stranger(engine: Engine) -> Iterator[None]:
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def measure_refusal(engine: Engine) -> float:
    began = time.monotonic()
    with pytest.raises(GatewayError) as refused:
        write(engine)
    assert refused.value.problem is NO_ROOM
    assert "accepts no writes now" in refused.value.detail
    return time.monotonic() - began


@pytest.mark.parametrize("hold", [hold_as_thread, hold_as_process, hold_as_stranger])
def test_a_writer_waits_no_longer_than_its_engine_says(engine: Engine, hold) -> None:
    write(engine)
    with hold(engine):
        for _ in range(2):
            assert SECONDS / 2 < measure_refusal(engine) < SECONDS * 5
    write(engine)
    assert count_writes(engine) == 2


@pytest.mark.parametrize("hold", [hold_as_thread, hold_as_process, hold_as_stranger])
def test_many_writers_do_not_wait_for_each_other_s_refusals(engine: Engine, hold) -> None:
    write(engine)
    seconds: list[float] = []
    with hold(engine):
        threads = [
            threading.Thread(target=lambda: seconds.append(measure_refusal(engine))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(seconds) == 12
    # A turn, and then the wait of SQLite itself.
    assert max(seconds) < SECONDS * 6
    write(engine)


def test_a_writer_that_gave_up_leaves_the_lock_to_other_processes(engine: Engine) -> None:
    write(engine)
    with hold_as_process(engine):
        measure_refusal(engine)
    descriptor = os.open(get_lock_path(get_database_state(engine).sqlite.path), os.O_RDWR)
    retry(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), BlockingIOError, every=0.01)
    # Nor does it take it afterwards, while this one has it.
    measure_refusal(engine)
    os.close(descriptor)
    write(engine)


def test_a_writer_takes_over_the_wait_of_the_one_that_gave_up(engine: Engine) -> None:
    write(engine)
    with hold_as_process(engine):
        measure_refusal(engine)
        thread = threading.Thread(target=write, args=(engine,))
        thread.start()
        time.sleep(SECONDS / 4)
    thread.join(60)
    assert count_writes(engine) == 2
    for _ in range(3):
        write(engine)
    assert count_writes(engine) == 5


def test_an_engine_that_is_closed_while_it_waits_leaves_no_lock(engine: Engine) -> None:
    write(engine)
    with hold_as_process(engine):
        measure_refusal(engine)
        engine.dispose()
    write(engine)
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")


def test_a_verb_waits_as_long_as_it_takes(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    write(engine)
    with hold_as_process(engine):
        thread = threading.Thread(target=write, args=(engine,))
        thread.start()
        thread.join(SECONDS * 2)
        assert thread.is_alive()
    thread.join(60)
    assert count_writes(engine) == 2
    engine.dispose()


def test_a_wait_for_which_no_thread_can_be_started_keeps_no_later_writer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the limit of processes, while another process has locked the file."""

    def start_no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    write(engine)
    with open(get_lock_path(str(engine.url.database)), "r+b") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start_no_thread)
            with pytest.raises(RuntimeError) as shortage:
                write(engine)
            problem = find_resource_problem(shortage.value)
            assert problem is not None
            assert problem.problem is NO_ROOM
    write(engine)
    assert count_writes(engine) == 2
