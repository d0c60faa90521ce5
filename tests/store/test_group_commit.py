"""Writes that share a commit: each has its own outcome, and nobody returns before the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from gateway.errors import NO_ROOM, GatewayError
from gateway.evidence import record_evidence
from gateway.store import engine as engine_room
from gateway.store import (
    get_database_state,
    make_engine,
    parties,
    payloads,
    read_transaction,
    run_in_group_commit,
    write_transaction,
)
from gateway.store import group_commit as room
from tests.kit import tables
from tests.kit.waiting import until

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def add(conn: Connection, name: str) -> str:
    parties.register_party(conn, name, name, "applicant", NOW)
    return name


def names(engine: Engine) -> set[str]:
    with read_transaction(engine) as conn:
        return set(conn.execute(text("SELECT id FROM parties")).scalars())


def test_one_alone_is_a_transaction(engine: Engine) -> None:
    assert run_in_group_commit(engine, "t", lambda conn: add(conn, "a")) == "a"
    assert names(engine) == {"a"}


def test_one_alone_that_fails_leaves_nothing(engine: Engine) -> None:
    def fail(conn: Connection) -> None:
        add(conn, "a")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        run_in_group_commit(engine, "t", fail)
    assert names(engine) == set()


def held_back(engine: Engine, works: list[object]) -> list[object]:
    """Let all the works wait for one writer, so that they share a commit; return results or problems."""
    begun = threading.Barrier(len(works) + 1)

    def run(work: object) -> object:
        begun.wait()
        try:
            return run_in_group_commit(engine, "t", work)  # type: ignore[arg-type]
        except Exception as problem:
            return problem

    with ThreadPoolExecutor(len(works)) as pool:
        with write_transaction(engine) as conn:
            conn.execute(text("SELECT 1"))
            running = [pool.submit(run, work) for work in works]
            begun.wait()
            wait_for_jobs(engine, running)
        return [one.result() for one in running]


def wait_for_jobs(engine: Engine, running: Sequence[Future[object]]) -> None:
    """Wait until all jobs stand in the queue; or one has ended, where a database has more than one writer."""
    group = room._get_commit_group(engine)
    until(lambda: len(group._waiting) >= len(running) or any(job.done() for job in running), every=0.01)


@pytest.mark.long
def test_many_at_once_each_have_their_own_result(engine: Engine) -> None:
    works = [lambda conn, n=n: add(conn, f"p{n}") for n in range(12)]
    assert held_back(engine, works) == [f"p{n}" for n in range(12)]  # type: ignore[arg-type]
    assert names(engine) == {f"p{n}" for n in range(12)}


@pytest.mark.long
def test_one_that_fails_takes_nobody_with_it(engine: Engine) -> None:
    def fail(conn: Connection) -> None:
        add(conn, "half")
        raise LookupError("no")

    results = held_back(engine, [lambda conn: add(conn, "a"), fail, lambda conn: add(conn, "b")])
    assert [type(one) for one in results] == [str, LookupError, str]
    assert names(engine) == {"a", "b"}


def test_each_sees_what_those_before_it_wrote(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)

    def count(conn: Connection) -> int:
        number = conn.execute(text("SELECT count(*) FROM parties")).scalar_one()
        add(conn, f"p{number}")
        return int(number)

    assert sorted(held_back(engine, [count] * 6)) == list(range(6))  # type: ignore[type-var]
    engine.dispose()


def test_they_share_one_commit(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    seen: list[object] = []
    held_back(engine, [lambda conn: seen.append(conn.get_transaction())] * 8)
    assert len({id(one) for one in seen}) <= 2, "the first may have gone alone, the others go together"
    engine.dispose()


def test_a_shared_commit_passes_the_failpoints_of_all_its_works(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash tests kill at the commit of each step by its name, whoever commits it."""
    engine, passed = make_engine(sqlite_url), list[tuple[str, ...]]()
    for module in (room, engine_room):
        monkeypatch.setattr(module, "kill_at_failpoint", lambda *words: passed.append(words))

    def fail(conn: Connection) -> None:
        raise LookupError("no")

    works = {"answer": lambda conn: add(conn, "a"), "claim": lambda conn: add(conn, "b"), "failed": fail}
    begun = threading.Barrier(len(works) + 1)

    def run(name: str) -> object:
        begun.wait()
        try:
            return run_in_group_commit(engine, name, works[name])
        except LookupError as problem:
            return problem

    with ThreadPoolExecutor(len(works)) as pool:
        with write_transaction(engine):
            running = [pool.submit(run, name) for name in works]
            begun.wait()
            wait_for_jobs(engine, running)
        assert [str(one.result()) for one in running] == ["a", "b", "no"]
    commits = [words for words in passed if words[0] != ""]
    for name in ("answer", "claim"):
        assert (name, "before_commit") in commits
        assert commits.index((name, "before_commit")) < commits.index((name, "after_commit"))
    engine.dispose()


def test_who_comes_while_another_writes_shares_the_next_commit(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one waits for the lock of the file, as for another process; the second one comes then."""
    engine, begun = make_engine(sqlite_url), threading.Semaphore(0)
    commits: list[str] = []

    def begin(engine: Engine, name: str) -> AbstractContextManager[Connection]:
        commits.append(name)
        begun.release()
        return write_transaction(engine, name)

    monkeypatch.setattr(room, "write_transaction", begin)
    group = room._get_commit_group(engine)
    with ThreadPoolExecutor(2) as pool:
        with write_transaction(engine):
            first = pool.submit(run_in_group_commit, engine, "t", lambda conn: add(conn, "a"))
            begun.acquire()
            waiting = len(group._waiting)
            second = pool.submit(run_in_group_commit, engine, "t", lambda conn: add(conn, "b"))
            until(lambda: len(group._waiting) != waiting, every=0.01)
        assert (first.result(), second.result()) == ("a", "b")
    assert len(commits) == 1
    assert names(engine) == {"a", "b"}
    engine.dispose()


def test_a_transaction_that_does_not_begin_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(sqlite_url)

    def fail(*_: object) -> AbstractContextManager[Connection]:
        raise OSError("the file of the lock cannot be opened")

    with monkeypatch.context() as patch:
        patch.setattr(room, "write_transaction", fail)
        with pytest.raises(OSError, match="lock"):
            run_in_group_commit(engine, "t", lambda conn: add(conn, "a"))
    assert run_in_group_commit(engine, "t", lambda conn: add(conn, "b")) == "b"
    assert names(engine) == {"b"}
    engine.dispose()


def test_a_commit_that_fails_is_told_to_all(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(sqlite_url)
    real = room.write_transaction

    class Broken:
        def __init__(self, *arguments: object) -> None:
            self._whole = real(*arguments)  # type: ignore[arg-type]

        def __enter__(self) -> Connection:
            return self._whole.__enter__()

        def __exit__(self, *_: object) -> None:
            self._whole.__exit__(OSError, OSError("disk"), None)
            raise OSError("disk")

    monkeypatch.setattr(room, "write_transaction", Broken)
    results = held_back(engine, [lambda conn, n=n: add(conn, f"p{n}") for n in range(4)])
    assert all(isinstance(one, OSError) for one in results), results
    assert names(engine) == set()
    engine.dispose()


def test_the_next_commit_begins_before_the_others_of_this_one_run_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two share a commit; one that comes meanwhile is woken first, and commits."""
    engine, woken = make_engine(sqlite_url), []
    wake = room._CommitJob.wake

    def note(job: room._CommitJob[object]) -> None:
        woken.append(job.ended)
        wake(job)

    monkeypatch.setattr(room._CommitJob, "wake", note)
    group, shared = room._get_commit_group(engine), threading.Event()

    def wait_for_third(conn: Connection) -> str:
        shared.set()
        until(lambda: group._waiting, every=0.01)
        return add(conn, "a")

    with ThreadPoolExecutor(3) as pool:
        with write_transaction(engine):
            first = pool.submit(run_in_group_commit, engine, "t", wait_for_third)
            until(lambda: group._waiting, every=0.01)
            second = pool.submit(run_in_group_commit, engine, "t", lambda conn: add(conn, "b"))
            until(lambda: len(group._waiting) == 2, every=0.01)
        shared.wait()
        third = pool.submit(run_in_group_commit, engine, "t", lambda conn: add(conn, "c"))
        assert [one.result() for one in (first, second, third)] == ["a", "b", "c"]
    assert woken == [False, True, True, True]
    assert names(engine) == {"a", "b", "c"}
    engine.dispose()


def test_one_that_is_interrupted_hands_over(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)

    def interrupt(conn: Connection) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_group_commit(engine, "t", interrupt)
    assert run_in_group_commit(engine, "t", lambda conn: add(conn, "b")) == "b"
    assert names(engine) == {"b"}
    engine.dispose()


def keep_evidence(number: int, ran: list[int]) -> Callable[[Connection], None]:
    def record(conn: Connection) -> None:
        ran.append(number)
        record_evidence(conn, "NRO", "message", number, None, {}, NOW)
        if number < 0:
            raise LookupError("no")

    return record


def list_subjects(engine: Engine) -> list[str]:
    with read_transaction(engine) as conn:
        return sorted(conn.execute(text("SELECT subject_id FROM evidence")).scalars())


def test_logs_are_stored_once_where_another_one_fails(sqlite_url: str) -> None:
    engine, ran = make_engine(sqlite_url), list[int]()
    results = held_back(engine, [keep_evidence(number, ran) for number in (1, 2, -3, 4, 5)])
    assert [type(one).__name__ for one in results] == [
        "NoneType",
        "NoneType",
        "LookupError",
        "NoneType",
        "NoneType",
    ]
    assert list_subjects(engine) == ["1", "2", "4", "5"]
    assert max(ran.count(number) for number in ran) <= 2
    engine.dispose()


def test_evidence_that_was_rolled_back_is_not_taken_for_committed(sqlite_url: str, tmp_path: Path) -> None:
    engine = make_engine(sqlite_url, mark_path=tmp_path / "acknowledged.json")

    def fail(conn: Connection) -> None:
        record_evidence(conn, "NRO", "message", -3, None, {}, NOW)
        conn.execute(select(func.count()).select_from(tables.evidence))  # It is inserted now.
        raise LookupError("no")

    held_back(engine, [keep_evidence(1, []), keep_evidence(2, []), fail, keep_evidence(4, [])])
    guard = get_database_state(engine).guard
    assert guard is not None
    with read_transaction(engine) as conn:
        stored = set(conn.execute(select(tables.evidence.c.leaf_hash)).scalars())
    assert set(guard.list_committed_leaves()) == stored
    assert len(stored) == 3
    engine.dispose()


def test_a_disk_that_is_full_is_so_for_all_that_share_a_commit(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)

    def fill(conn: Connection) -> None:
        driver: Any = conn.connection.dbapi_connection
        (pages,) = driver.execute("PRAGMA page_count").fetchone()
        driver.execute(f"PRAGMA max_page_count = {pages + 8}").fetchall()
        try:
            payloads.store_payload(conn, bytes(1024**2), NOW)
        finally:
            driver.execute("PRAGMA max_page_count = 1000000").fetchall()

    results = held_back(engine, [lambda conn: add(conn, "a"), fill, lambda conn: add(conn, "b")])
    full = [one for one in results if isinstance(one, GatewayError) and one.problem is NO_ROOM]
    assert len(full) + len(names(engine)) == 3, "who went alone before is stored"
    assert len(full) >= 2
    engine.dispose()


def test_an_exception_refers_to_no_other_message(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)

    def fail(words: str) -> Callable[[Connection], None]:
        def work(_conn: Connection) -> None:
            raise LookupError(words)

        return work

    results = held_back(engine, [fail("x"), fail("y"), fail("z")])
    assert sorted(map(str, results)) == ["x", "y", "z"]
    assert [one.__context__ for one in results if isinstance(one, LookupError)] == [None] * 3
    engine.dispose()
