"""The log of SQLite is copied beside the writers, by a thread of each process that writes."""

from __future__ import annotations

import gc
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.store import log_checkpoints as room
from gateway.store import make_engine, parties, start_checkpoints, write_transaction

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
#: Where the index of the log counts its pages, and those of them that are in the database (walformat, §2.2).
_PAGES, _COPIED = 16, 96


@pytest.fixture
def written(sqlite_url: str) -> Iterator[Engine]:
    engine = make_engine(sqlite_url)
    yield engine
    engine.dispose()


def write(engine: Engine, commits: int = room._COMMITS) -> None:
    for _ in range(commits):
        with write_transaction(engine) as conn:
            name = f"p{time.monotonic_ns()}"
            parties.register_party(conn, name, name, "applicant", NOW)


def count_pages(engine: Engine) -> tuple[int, int]:
    """Return the pages of the log, and how many of them are in the database."""
    index = Path(f"{engine.url.database}-shm").read_bytes()
    pages, copied = (struct.unpack_from("=I", index, place)[0] for place in (_PAGES, _COPIED))
    return pages, copied


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def list_threads(engine: Engine) -> list[threading.Thread]:
    found = room._threads.get(engine)
    return [] if found is None else [found._thread]


def test_the_log_is_copied_without_a_writer(written: Engine) -> None:
    start_checkpoints(written)
    write(written)
    # All pages, not only those that the thread found when it started.
    wait_until(lambda: len(set(count_pages(written))) == 1)
    # What is in the database starts the log anew with the next commit.
    write(written, 1)
    assert count_pages(written)[0] < room._COMMITS


def test_few_commits_wake_nobody(written: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    connect = room._connect

    def note(database: str) -> Any:
        begun.set()
        return connect(database)

    monkeypatch.setattr(room, "_connect", note)
    start_checkpoints(written)
    assert begun.wait(20), "it opens what it needs when it starts"
    write(written, room._COMMITS - 1)
    assert not room._threads[written]._due.is_set()
    write(written, 1)
    wait_until(lambda: count_pages(written)[1] > 0)


def test_a_copy_that_fails_is_made_again(written: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, failed = room._connect, threading.Event()

    def fail_once(database: str) -> Any:
        if failed.is_set():
            return connect(database)
        failed.set()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(room, "_connect", fail_once)
    start_checkpoints(written)
    write(written)
    assert failed.wait(20)
    write(written)
    wait_until(lambda: count_pages(written)[1] > 0)


def test_one_thread_ends_with_its_engine(written: Engine) -> None:
    start_checkpoints(written)
    (thread,) = list_threads(written)
    start_checkpoints(written)
    assert list_threads(written) == [thread]
    assert thread.is_alive()
    written.dispose()
    assert not thread.is_alive()
    assert list_threads(written) == []


def test_the_thread_ends_with_an_engine_that_is_forgotten(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    start_checkpoints(engine)
    (thread,) = list_threads(engine)
    del engine
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_nothing_is_copied_where_nobody_asked_for_it(database_url: str) -> None:
    engine = make_engine(database_url)
    if engine.dialect.name == "postgresql":
        start_checkpoints(engine)
    write(engine, 2 * room._COMMITS)
    assert list_threads(engine) == []
    if engine.dialect.name == "sqlite":
        assert count_pages(engine)[1] == 0
    engine.dispose()
