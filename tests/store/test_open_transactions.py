"""Threads of a worker continue one transaction: each has its own outcome, and waits for the commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text
from sqlalchemy.exc import IntegrityError, OperationalError

from gateway.store import InsufficientStorageError, make_engine, parties, tables, transaction_rows
from gateway.store import engine as room
from gateway.store import open_transactions as kept_open
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.follow_ups import take_follow_ups
from tests.kit.rows import NOW

Work = Callable[[Connection], object]


@pytest.fixture
def engine(tmp_path: Any) -> Iterator[Engine]:
    found = make_engine(f"sqlite:///{tmp_path}/gateway.db")
    tables.metadata.create_all(found)
    yield found
    found.dispose()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    counted: list[Engine] = []
    monkeypatch.setattr(kept_open, "count_commit", counted.append)
    monkeypatch.setattr(kept_open, "_LONGEST", 60.0)
    return counted


def add(name: str) -> Work:
    def work(conn: Connection) -> str:
        parties.register_party(conn, name, name, "applicant", NOW)
        return name

    return work


def list_names(engine: Engine) -> set[str]:
    with read_transaction(engine) as conn:
        return set(conn.execute(text("SELECT id FROM parties")).scalars())


def attempt(engine: Engine, work: Work) -> object:
    """Run work as a thread of a worker does; return its result or its problem."""
    try:
        with take_follow_ups(engine, lambda *_: None), write_transaction(engine, "t") as conn:
            return work(conn)
    except Exception as problem:
        return problem


def run_waiting(engine: Engine, works: Sequence[Work]) -> list[Any]:
    """Let all works wait for one writer, one after the other; return results or problems."""
    lock = room._get_write_lock(engine)
    with ThreadPoolExecutor(len(works) + 1) as pool:
        with write_transaction(engine):
            begun = []
            for number, work in enumerate(works, start=1):
                begun.append(pool.submit(attempt, engine, work))
                while lock._continuing < number:
                    time.sleep(0.001)
        return [one.result(20) for one in begun]


def leave_alone(engine: Engine, pool: ThreadPoolExecutor, work: Work) -> Future[object]:
    """Let a thread leave its transaction open to one that never comes; return what it will return."""
    lock = room._get_write_lock(engine)
    lock._continuing += 1
    future = pool.submit(attempt, engine, work)
    while lock._left is None and not future.done():
        time.sleep(0.001)
    lock._continuing -= 1
    return future


def test_writers_that_wait_share_commits(engine: Engine, commits: list[Engine]) -> None:
    names = [f"p{number}" for number in range(6)]
    assert run_waiting(engine, [add(name) for name in names]) == names
    assert list_names(engine) == set(names)
    # The first writer, four that share, and the other two.
    assert len(commits) == 3


def test_nobody_else_sees_anything_before_the_commit(engine: Engine, commits: list[Engine]) -> None:
    seen: list[tuple[Any, int]] = []

    def look(name: str) -> Work:
        def work(conn: Connection) -> None:
            add(name)(conn)
            inside = conn.execute(text("SELECT count(*) FROM parties")).scalar()
            with ThreadPoolExecutor(1) as pool:
                outside = pool.submit(list_names, engine).result()
            seen.append((inside, len(outside)))

        return work

    results = run_waiting(engine, [look("a"), look("b"), look("c")])
    assert results == [None] * 3
    assert sorted(seen) == [(1, 0), (2, 0), (3, 0)]
    assert len(commits) == 2


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", [LookupError, IntegrityError])
def test_one_that_fails_is_rolled_back_alone(engine: Engine, place: int, kind: type[Exception]) -> None:
    def fail(conn: Connection) -> None:
        add("failed")(conn)
        if kind is LookupError:
            raise LookupError("no")
        conn.execute(insert(tables.parties).values(id="failed"))

    works = [add("a"), add("b")]
    works.insert(place, fail)
    results = run_waiting(engine, works)
    assert isinstance(results.pop(place), kind)
    assert results == ["a", "b"]
    assert list_names(engine) == {"a", "b"}


def test_the_logs_of_one_that_fails_are_not_stored(engine: Engine) -> None:
    def record(name: str, *, fails: bool) -> Work:
        def work(conn: Connection) -> None:
            row = {"at": NOW, "subject_type": "case", "subject_id": 1, "state": name}
            transaction_rows.insert_log_rows(conn, transaction_rows.events, [row])
            assert not fails

        return work

    run_waiting(engine, [record("a", fails=False), record("no", fails=True), record("b", fails=False)])
    with read_transaction(engine) as conn:
        assert set(conn.execute(text("SELECT state FROM events")).scalars()) == {"a", "b"}


def test_a_commit_that_fails_is_told_to_all_and_leaves_nothing(engine: Engine, commits: list[Engine]) -> None:
    def break_commit(conn: Connection) -> None:
        add("x")(conn)
        conn.execute(text("PRAGMA defer_foreign_keys = ON"))
        conn.execute(text("INSERT INTO message_payloads VALUES (7, 1, '', '', '', 1, NULL, '[]')"))

    results = run_waiting(engine, [add("a"), break_commit, add("b")])
    assert all(isinstance(one, Exception) for one in results)
    assert list_names(engine) == set()
    assert attempt(engine, add("later")) == "later"


@pytest.mark.parametrize("told", [OperationalError("", {}, Exception("full")), LookupError("no")])
def test_where_the_database_has_rolled_back_everything_all_are_told(
    engine: Engine, told: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(conn: Connection) -> None:
        driver: Any = conn.connection.dbapi_connection
        driver.execute("ROLLBACK")
        raise told

    monkeypatch.setattr(room, "_PATIENCE", 60.0)
    with ThreadPoolExecutor(1) as pool:
        first = leave_alone(engine, pool, add("a"))
        assert isinstance(attempt(engine, lose), (InsufficientStorageError, LookupError))
        assert isinstance(first.result(20), InsufficientStorageError)
    assert list_names(engine) == set()
    assert attempt(engine, add("later")) == "later"


class InterruptedDriver:
    """A connection of the driver in which statements are interrupted."""

    def __init__(self, driver: Any, *statements: str) -> None:
        self._driver = driver
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def execute(self, statement: str) -> object:
        self._interrupt(statement)
        return self._driver.execute(statement)

    def commit(self) -> None:
        self._interrupt("COMMIT")
        self._driver.commit()
        self._interrupt("COMMITTED")

    def rollback(self) -> None:
        self._interrupt("ROLLBACK")
        self._driver.rollback()

    def _interrupt(self, statement: str) -> None:
        if statement in self._statements:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "statements", [("COMMIT",), ("ROLLBACK TO continued",), ("COMMIT", "ROLLBACK")], ids="-".join
)
def test_an_interrupt_is_told_to_others_as_an_error_that_passes(
    engine: Engine, statements: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(conn: Connection) -> None:
        left = room._get_write_lock(engine)
        add("b")(conn)
        taken[0]._driver = InterruptedDriver(taken[0]._driver, *statements)
        assert left._left is None
        if statements[0] != "COMMIT":
            raise LookupError("no")

    taken: list[kept_open.OpenTransaction] = []
    join = kept_open.OpenTransaction.join_waiting

    def note(transaction: kept_open.OpenTransaction) -> Any:
        taken.append(transaction)
        return join(transaction)

    monkeypatch.setattr(kept_open.OpenTransaction, "join_waiting", note)
    monkeypatch.setattr(room, "_PATIENCE", 60.0)
    with ThreadPoolExecutor(1) as pool:
        first = leave_alone(engine, pool, add("a"))
        with pytest.raises(KeyboardInterrupt):
            attempt(engine, fail)
        assert isinstance(first.result(20), InsufficientStorageError)
    assert list_names(engine) == set()
    assert attempt(engine, add("later")) == "later"
    assert list_names(engine) == {"later"}


def test_an_interrupt_after_the_commit_undoes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 60.0)
    begin = kept_open.OpenTransaction.begin_work

    def begin_work(transaction: kept_open.OpenTransaction) -> None:
        begin(transaction)
        if transaction._waiting:
            monkeypatch.setattr(transaction, "_driver", InterruptedDriver(transaction._driver, "COMMITTED"))

    monkeypatch.setattr(kept_open.OpenTransaction, "begin_work", begin_work)
    with ThreadPoolExecutor(1) as pool:
        first = leave_alone(engine, pool, add("a"))
        with pytest.raises(KeyboardInterrupt):
            attempt(engine, add("b"))
        assert first.result(20) == "a"
    assert list_names(engine) == {"a", "b"}


@pytest.mark.parametrize("place", ["begin_work", "end_work", "commit", "may_be_continued"])
def test_whoever_waits_goes_on_wherever_another_writer_is_interrupted(
    engine: Engine, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "_PATIENCE", 0.05)
    with ThreadPoolExecutor(1) as pool:
        first = leave_alone(engine, pool, add("a"))
        with monkeypatch.context() as changed:
            changed.setattr(kept_open.OpenTransaction, place, interrupt)
            changed.setattr(room._WriteLock, "is_awaited", lambda _: place == "may_be_continued")
            with pytest.raises(KeyboardInterrupt):
                attempt(engine, add("b"))
        told = first.result(20)
    assert told == "a" or isinstance(told, InsufficientStorageError)
    assert attempt(engine, add("later")) == "later"
    assert "b" not in list_names(engine)
    assert ("a" in list_names(engine)) == (told == "a")


def test_whoever_was_served_leaves_the_lock_to_what_is_left_open_now(engine: Engine) -> None:
    """One whose transaction has ended meanwhile finds that of others, and takes no lock from it."""
    lock = room._get_write_lock(engine)
    ended = kept_open.OpenTransaction(engine, room._get_write_connection(engine))
    ended.has_ended = True
    released: list[object] = []
    lock._release = lambda: released.append(lock)  # type: ignore[method-assign]
    lock._commit_left(ended)
    assert (released, lock._mutex.locked()) == ([], False)


def test_what_is_open_for_long_is_not_continued(
    engine: Engine, commits: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_open, "_LONGEST", -1.0)
    run_waiting(engine, [add("a"), add("b"), add("c")])
    assert len(commits) == 4


def test_a_writer_that_does_not_continue_it_commits_what_is_open(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 60.0)
    with ThreadPoolExecutor(1) as pool:
        left = leave_alone(engine, pool, add("a"))
        with write_transaction(engine) as conn:
            assert left.result(20) == "a"
            add("b")(conn)
    assert list_names(engine) == {"a", "b"}


def test_what_nobody_continues_is_committed_by_itself(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert leave_alone(engine, pool, add("a")).result(20) == "a"
    assert list_names(engine) == {"a"}


def test_an_engine_is_disposed_of_after_shared_commits(engine: Engine) -> None:
    run_waiting(engine, [add("a"), add("b")])
    engine.dispose()
    assert attempt(engine, add("c")) == "c"
