"""A database that is older than what was acknowledged stores and promises nothing."""

from __future__ import annotations

import fcntl
import json
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, event, insert, select

from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.monitor.health import find_readiness_problem
from gateway.monitor.metrics import render_process_metrics
from gateway.store import (
    DatabaseHeldError,
    find_database_hold,
    get_database_state,
    keep_database_mark,
    make_database_mark,
    make_engine,
    read_mark_file,
    read_transaction,
    run_in_group_commit,
    write_transaction,
)
from gateway.store.database_marks import list_generations, make_missing_error, write_mark_file
from gateway.store.transitions import evidence
from tests.kit.backups import back_up, restore

AT = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "acknowledged.json"


@pytest.fixture
def working(database_url: str, mark: Path) -> Iterator[Engine]:
    """Give the engine of a process at work."""
    made = make_engine(database_url, mark_path=mark)
    yield made
    made.dispose()


def record(engine: Engine, number: int) -> None:
    with write_transaction(engine) as conn:
        record_evidence(conn, "closed", "case", number, None, {"number": number}, AT)


def begin_generation(engine: Engine, number: int, after: int, shift: int) -> None:
    with write_transaction(engine) as conn:
        data = {"generation": number, "after_message": after, "shift": shift}
        record_evidence(conn, "restored", "database", number, None, data, AT)


@pytest.mark.long
def test_an_older_database_is_held_until_a_new_generation(
    database_url: str, mark: Path, working: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 1)
    keep_database_mark(working)
    back_up(database_url, tmp_path / "backup")
    record(working, 2)
    assert read_mark_file(mark).leaf == 1  # type: ignore[union-attr]
    keep_database_mark(working)
    assert read_mark_file(mark).leaf == 2  # type: ignore[union-attr]
    working.dispose()
    restore(database_url, tmp_path / "backup")

    restored, verb = make_engine(database_url, mark_path=mark), make_engine(database_url)
    try:
        with pytest.raises(
            DatabaseHeldError, match=r"^GW810 the database is older .* evidence 2 of 2026-11-26T"
        ):
            record(restored, 3)
        with pytest.raises(DatabaseHeldError), read_transaction(restored, acknowledges_data=True):
            raise AssertionError("something is promised")
        with pytest.raises(DatabaseHeldError):
            run_in_group_commit(restored, "", lambda _: None)
        # A mark is not replaced by that of the older database.
        with pytest.raises(DatabaseHeldError):
            keep_database_mark(restored)
        assert read_mark_file(mark).leaf == 2  # type: ignore[union-attr]
        problem = find_readiness_problem(restored)
        assert problem is not None
        assert problem.problem.id == "GW810"
        assert "gateway_database_held 1.0\n" in render_process_metrics(
            restored, is_key_unavailable=False, is_database_readable=True
        )
        with read_transaction(restored) as conn:  # Operators may look.
            assert make_database_mark(conn).leaf == 1  # type: ignore[union-attr]
        # Another process without a mark has gone on: the row is there again, and is another one.
        record(verb, 9)
        with pytest.raises(DatabaseHeldError):
            record(restored, 3)

        begin_generation(verb, 2, 0, 500)
        record(restored, 3)
        assert find_database_hold(restored) is None
        assert find_readiness_problem(restored) is None
        keep_database_mark(restored)
        assert read_mark_file(mark).generation == 2  # type: ignore[union-attr]
        # The next backup that is restored is of a generation before.
        restored.dispose()
        restore(database_url, tmp_path / "backup")
        with pytest.raises(DatabaseHeldError):
            record(restored, 3)
    finally:
        restored.dispose()
        verb.dispose()


@pytest.mark.long
def test_a_database_that_goes_on_is_not_held(database_url: str, mark: Path, working: Engine) -> None:
    keep_database_mark(working)
    assert not mark.exists()  # Nothing is acknowledged.
    record(working, 1)
    keep_database_mark(working)
    record(working, 2)
    # Killed before the next mark: the database has more than the mark says.
    again = make_engine(database_url, mark_path=mark)
    record(again, 3)
    keep_database_mark(again)
    again.dispose()
    assert read_mark_file(mark).leaf == 3  # type: ignore[union-attr]


@pytest.mark.long
def test_an_empty_database_in_the_place_of_a_lost_one_is_held(
    database_url: str, mark: Path, working: Engine
) -> None:
    record(working, 1)
    keep_database_mark(working)
    with write_transaction(working) as conn:
        conn.execute(delete(evidence))
    again = make_engine(database_url, mark_path=mark)
    with pytest.raises(DatabaseHeldError):
        record(again, 1)
    again.dispose()


@pytest.mark.long
def test_the_database_of_another_hub_is_told(mark: Path, database_url: str, working: Engine) -> None:
    record(working, 1)
    keep_database_mark(working)
    known = read_mark_file(mark)
    assert known is not None
    write_mark_file(mark, replace(known, database="0" * 64))
    again = make_engine(database_url, mark_path=mark)
    with pytest.raises(DatabaseHeldError, match="the mark of another hub's database"):
        record(again, 2)
    again.dispose()


def make_mark_octets(**changes: object) -> bytes:
    """Return the octets of a mark with other values."""
    mark: dict[str, object] = dict.fromkeys(("generation", "leaf", "message", "serial"), 1)
    mark |= {"database": "a" * 64, "leaf_hash": "b" * 64, "at": AT.isoformat()}
    return json.dumps(mark | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"{}", b"[]", b'{"leaf": 1}', b"\xff", b"0" * 9999, b"[" * 4096),
        make_mark_octets(leaf=2**63),
        make_mark_octets(generation=-1),
        make_mark_octets(serial=float("inf")),
        make_mark_octets(message="1"),
        make_mark_octets(leaf_hash="\ud800" * 64),
        make_mark_octets(database=1),
        make_mark_octets(later_leaves=["c" * 63]),
        make_mark_octets(later_leaves=1),
        make_mark_octets(later_from=-1),
    ],
)
def test_a_database_is_held_by_a_file_that_is_no_mark(
    sqlite_url: str, mark: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    if content is None:
        mark.mkdir()
    else:
        mark.write_bytes(content)
    with pytest.raises(GatewayError, match=r"GW808 .* is not the mark of a database"):
        read_mark_file(mark)
    engine = make_engine(sqlite_url, mark_path=mark)
    for _ in range(2):
        with pytest.raises(DatabaseHeldError, match=r"^GW810 .* is not the mark of a database .* `gateway"):
            record(engine, 1)
        with pytest.raises(DatabaseHeldError):
            keep_database_mark(engine)
    assert content is None or mark.read_bytes() == content
    mark.rename(mark.with_name("away"))
    record(engine, 1)
    keep_database_mark(engine)
    assert read_mark_file(mark).leaf == 1  # type: ignore[union-attr]
    engine.dispose()


def test_a_mark_that_cannot_be_written_stops_nothing(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(sqlite_url, mark_path=tmp_path / "gone" / "acknowledged.json")
    for number in (1, 2):
        record(engine, number)
        keep_database_mark(engine)
    assert caplog.text.count("the mark of the database cannot be written") == 1
    engine.dispose()


def test_a_mark_of_which_a_disk_takes_a_part_only_is_not_taken(sqlite_url: str, mark: Path) -> None:
    engine = make_engine(sqlite_url, mark_path=mark)
    record(engine, 1)
    keep_database_mark(engine)
    engine.dispose()
    before = read_mark_file(mark)
    assert before is not None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_mark_file(mark, replace(before, leaf=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert read_mark_file(mark) == before


@pytest.mark.long
@pytest.mark.parametrize("lost", [1, 2])
def test_commits_that_a_lost_primary_took_with_it_are_missed(
    database_url: str, mark: Path, working: Engine, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """After a lost connection the database lacks one of the last commits, which no mark covers yet."""
    record(working, 1)
    keep_database_mark(working)
    losses: list[str] = []
    guard = get_database_state(working).guard
    monkeypatch.setattr(guard, "_count_losses", lambda: len(losses))
    record(working, 2)
    record(working, 3)
    with suppress(ZeroDivisionError), write_transaction(working) as conn:
        record_evidence(conn, "closed", "case", 4, None, {}, AT)
        raise ZeroDivisionError  # What was rolled back is not missed.
    losses.append("one connection")
    record(working, 5)
    verb = make_engine(database_url)
    with write_transaction(verb) as conn:
        conn.execute(delete(evidence).where(evidence.c.id >= 4 - lost))
    verb.dispose()
    losses.append("another one")
    with pytest.raises(
        DatabaseHeldError, match=r"\d records? of evidence (was|were) acknowledged and (is|are) not in it"
    ):
        record(working, 6)


def test_a_mark_that_could_not_be_written_is_written_later(database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    working = make_engine(database_url, mark_path=home / "acknowledged.json")
    record(working, 1)
    keep_database_mark(working)
    record(working, 2)
    home.rename(tmp_path / "away")
    keep_database_mark(working)
    (tmp_path / "away").rename(home)
    # Nothing is recorded any more, and the last record was acknowledged.
    keep_database_mark(working)
    assert read_mark_file(home / "acknowledged.json").leaf == 2  # type: ignore[union-attr]
    working.dispose()


@pytest.mark.long
def test_commits_beside_a_snapshot_are_not_missed_in_it(
    database_url: str, mark: Path, working: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is lost, and while a reader compares, others commit and the mark goes on."""
    record(working, 1)
    keep_database_mark(working)
    state = get_database_state(working)
    losses: list[str] = []
    monkeypatch.setattr(state.guard, "_count_losses", lambda: len(losses))
    numbers = iter(range(2, 100))
    reading = working if state.sqlite is None else state.sqlite.readers
    is_reading = False

    def commit_more(*_: object) -> None:
        nonlocal is_reading
        if is_reading:
            is_reading = False
            record(working, next(numbers))
            keep_database_mark(working)
            record(working, next(numbers))
            is_reading = True

    event.listen(reading, "after_cursor_execute", commit_more)
    for _ in range(3):
        losses.append("a connection")
        is_reading = True
        with read_transaction(working, acknowledges_data=True):
            is_reading = False
        losses.append("another one")
        is_reading = True
        assert find_database_hold(working) is None
        is_reading = False
    event.remove(reading, "after_cursor_execute", commit_more)
    assert next(numbers) > 20, "something was committed in between"


@pytest.mark.long
def test_missed_commits_hold_every_process_of_the_home_and_its_next_start(
    database_url: str, mark: Path, working: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server became primary without the last commits of one process, and each process is restarted."""
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 1)
    keep_database_mark(working)
    other = make_engine(database_url, mark_path=mark)
    keep_database_mark(other)
    back_up(database_url, tmp_path / "backup")
    for number in range(2, 100):
        record(working, number)
    back_up(database_url, tmp_path / "newer")
    working.dispose()
    other.dispose()
    restore(database_url, tmp_path / "backup")
    with pytest.raises(DatabaseHeldError, match="98 records of evidence were acknowledged and are not"):
        record(working, 100)
    with pytest.raises(DatabaseHeldError, match="32 records of evidence were"):
        keep_database_mark(other)
    again = make_engine(database_url, mark_path=mark)
    with pytest.raises(DatabaseHeldError, match="32 records of evidence were"):
        record(again, 100)
    engines = (working, other, again)
    for engine in engines:
        engine.dispose()
    restore(database_url, tmp_path / "newer")
    for engine in engines:
        keep_database_mark(engine)
        assert find_database_hold(engine) is None
    restored = read_mark_file(mark)
    assert restored is not None
    assert (restored.leaf, restored.later_leaves) == (99, ())
    for engine in engines:
        engine.dispose()


@pytest.mark.long
def test_evidence_that_one_process_misses_holds_another_one_until_a_new_generation(
    database_url: str, mark: Path, working: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has lost no connection: it learns of the missing evidence by the mark."""
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 1)
    keep_database_mark(working)
    known = read_mark_file(mark)
    assert known is not None
    write_mark_file(mark, replace(known, later_leaves=("0" * 64,)))
    record(working, 2)
    with pytest.raises(DatabaseHeldError, match="1 record of evidence was acknowledged and is not"):
        keep_database_mark(working)
    with pytest.raises(DatabaseHeldError):
        record(working, 3)
    verb = make_engine(database_url)
    begin_generation(verb, 2, 0, 500)
    verb.dispose()
    keep_database_mark(working)
    after = read_mark_file(mark)
    assert after is not None
    assert (after.generation, after.later_leaves) == (2, ())
    record(working, 3)


@pytest.mark.long
def test_what_a_new_generation_has_given_up_is_not_missed_again(
    database_url: str, mark: Path, working: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 1)
    keep_database_mark(working)
    losses: list[str] = []
    monkeypatch.setattr(get_database_state(working).guard, "_count_losses", lambda: len(losses))
    record(working, 2)
    verb = make_engine(database_url)
    with write_transaction(verb) as conn:
        conn.execute(delete(evidence).where(evidence.c.id == 2))
    losses.append("a connection")
    with pytest.raises(DatabaseHeldError):
        record(working, 3)
    begin_generation(verb, 2, 0, 500)
    verb.dispose()
    record(working, 3)
    keep_database_mark(working)
    losses.append("another one")
    record(working, 4)
    assert find_database_hold(working) is None


@pytest.fixture
def other(database_url: str, mark: Path, working: Engine) -> Iterator[Engine]:
    """Give the engine of another process of the same home, where both know evidence 1."""
    made = make_engine(database_url, mark_path=mark)
    record(working, 1)
    keep_database_mark(working)
    keep_database_mark(made)
    yield made
    made.dispose()


def lose(database_url: str, *leaves: int) -> None:
    """Let a server without these rows of evidence be the primary."""
    verb = make_engine(database_url)
    with write_transaction(verb) as conn:
        conn.execute(delete(evidence).where(evidence.c.id.in_(leaves)))
    verb.dispose()


@pytest.mark.long
@pytest.mark.parametrize("is_connection_lost", [True, False])
def test_the_mark_of_another_process_holds_a_process_whose_own_mark_is_older(
    database_url: str, mark: Path, working: Engine, other: Engine, *, is_connection_lost: bool
) -> None:
    record(other, 2)
    keep_database_mark(other)
    lose(database_url, 2)
    if is_connection_lost:
        working.dispose()
        with pytest.raises(DatabaseHeldError, match=r"evidence 2 of .* was acknowledged and is not in it"):
            record(working, 3)
    with pytest.raises(DatabaseHeldError, match=r"evidence 2 of .* was acknowledged and is not in it"):
        keep_database_mark(working)
    assert read_mark_file(mark).leaf == 2  # type: ignore[union-attr]


@pytest.mark.long
def test_missing_evidence_is_written_beside_the_newer_mark_of_another_process(
    database_url: str, mark: Path, working: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 2)
    record(other, 3)
    keep_database_mark(other)
    verb = make_engine(database_url)
    with read_transaction(verb) as conn:
        rows = {row.id: row._asdict() for row in conn.execute(select(evidence))}
    lose(database_url, 2, 3)
    working.dispose()
    with pytest.raises(DatabaseHeldError, match=r"evidence 3 of .* was acknowledged"):
        record(working, 4)
    written = read_mark_file(mark)
    assert written is not None
    assert (written.leaf, written.later_leaves) == (3, (rows[2]["leaf_hash"],))
    # A server that has one of the two is not the right one either.
    for number in (2, 3):
        for engine in (working, other):
            with pytest.raises(DatabaseHeldError):
                keep_database_mark(engine)
        with write_transaction(verb) as conn:
            conn.execute(insert(evidence).values(rows[number]))
    verb.dispose()
    for engine in (working, other):
        keep_database_mark(engine)
    assert read_mark_file(mark).later_leaves == ()  # type: ignore[union-attr]


@pytest.mark.long
def test_an_older_file_that_cannot_be_replaced_does_not_hide_what_is_missing(
    database_url: str, mark: Path, working: Engine, other: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (2, 3):
        record(working, number)
    mark.with_name(f"{mark.name}.{os.getpid()}").mkdir()
    keep_database_mark(working)
    assert read_mark_file(mark).leaf == 1  # type: ignore[union-attr]
    lose(database_url, 3)
    working.dispose()
    with pytest.raises(DatabaseHeldError, match="evidence 3 of "):
        record(working, 4)
    for _ in "12":
        with pytest.raises(DatabaseHeldError, match="evidence 3 of "):
            keep_database_mark(working)
    assert caplog.text.count("a restart forgets which evidence is missing") == 1


@pytest.mark.long
def test_a_process_does_not_write_over_what_another_one_misses(
    mark: Path, working: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process writes between the comparison of this one and its new mark."""
    known = read_mark_file(mark)
    assert known is not None
    missing = replace(known, later_leaves=("0" * 64,))
    record(working, 2)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.mark_keeping.confirm_copies", lambda _: write_mark_file(mark, missing))
        with pytest.raises(DatabaseHeldError, match="1 record of evidence was acknowledged"):
            keep_database_mark(working)
    assert read_mark_file(mark) == missing
    for engine in (working, other):
        with pytest.raises(DatabaseHeldError, match="1 record of evidence was acknowledged and is not in it"):
            keep_database_mark(engine)


@pytest.mark.long
def test_a_process_that_has_made_no_mark_does_not_miss_what_was_given_up(
    database_url: str, mark: Path, working: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    fresh = make_engine(database_url, mark_path=mark)
    record(fresh, 2)
    lose(database_url, 2)
    fresh.dispose()
    for engine in (fresh, working):
        with pytest.raises(DatabaseHeldError, match="1 record of evidence"):
            keep_database_mark(engine)
    verb = make_engine(database_url)
    begin_generation(verb, 2, 0, 500)
    verb.dispose()
    for engine in (working, fresh, other):
        keep_database_mark(engine)
        record(engine, 3)
    fresh.dispose()
    assert read_mark_file(mark).generation == 2  # type: ignore[union-attr]


@pytest.mark.long
def test_what_is_missing_of_an_earlier_generation_is_not_written_into_a_later_mark(
    database_url: str, mark: Path, working: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was held by its comparison writes after an operator has confirmed the loss."""
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    record(working, 2)
    lose(database_url, 2)

    def confirm_before(count: int) -> DatabaseHeldError:
        verb = make_engine(database_url)
        begin_generation(verb, 2, 0, 500)
        verb.dispose()
        keep_database_mark(other)
        return make_missing_error(count)

    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.database_guard.make_missing_error", confirm_before)
        with pytest.raises(DatabaseHeldError):
            keep_database_mark(working)
    for engine in (working, other):
        keep_database_mark(engine)
        assert find_database_hold(engine) is None
    written = read_mark_file(mark)
    assert written is not None
    assert (written.generation, written.later_leaves) == (2, ())


def test_a_first_row_that_is_committed_after_others_is_of_the_same_database(
    database_url: str, mark: Path, working: Engine
) -> None:
    record(working, 1)
    record(working, 2)
    with read_transaction(working) as conn:
        second = conn.execute(select(evidence.c.leaf_hash).where(evidence.c.id == 2)).scalar_one()
    keep_database_mark(working)
    known = read_mark_file(mark)
    assert known is not None
    write_mark_file(mark, replace(known, database=second))
    again = make_engine(database_url, mark_path=mark)
    record(again, 3)
    keep_database_mark(again)
    assert read_mark_file(mark).leaf == 3  # type: ignore[union-attr]
    again.dispose()


@pytest.mark.parametrize("data", ["no JSON", "[1]", "7", "{}", '{"generation":"x"}'])
def test_a_generation_that_cannot_be_read_is_broken_evidence(working: Engine, data: str) -> None:
    begin_generation(working, 2, 7, 10_000_000)
    with write_transaction(working) as conn:
        conn.execute(evidence.update().values(data=data))
    with read_transaction(working) as conn, pytest.raises(GatewayError, match=r"GW805 .* at evidence 1"):
        list_generations(conn)


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_mark_that_is_removed_or_spoiled_is_written_again_also_without_traffic(
    mark: Path, working: Engine, content: bytes | None
) -> None:
    record(working, 1)
    keep_database_mark(working)
    known = read_mark_file(mark)
    mark.unlink()
    if content is not None:
        mark.write_bytes(content)
    keep_database_mark(working)
    assert read_mark_file(mark) == known


def test_a_mark_that_others_have_locked_is_written_later(
    mark: Path, working: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    record(working, 1)
    keep_database_mark(working)
    record(working, 2)
    with open(f"{mark}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep_database_mark(working)
        assert "the mark of the database cannot be written: " in caplog.text
        assert read_mark_file(mark).leaf == 1  # type: ignore[union-attr]
    keep_database_mark(working)
    assert read_mark_file(mark).leaf == 2  # type: ignore[union-attr]


def count_committed_leaves(engine: Engine) -> int:
    """Return how many leaves a process keeps in mind: those since the mark before its last one."""
    guard = get_database_state(engine).guard
    assert guard is not None
    return len(guard.list_committed_leaves())


@pytest.mark.long
def test_many_processes_of_a_home_each_store_their_mark(database_url: str, mark: Path) -> None:
    """None writes an older mark over a newer one, and each stores its own as soon as the others pause."""
    engines = [make_engine(database_url, mark_path=mark) for _ in range(4)]

    def work(engine: Engine) -> None:
        for number in range(15):
            record(engine, number)
            keep_database_mark(engine)

    with ThreadPoolExecutor(len(engines)) as processes:
        for done in [processes.submit(work, engine) for engine in engines]:
            done.result()
    assert read_mark_file(mark).leaf == 60  # type: ignore[union-attr]
    for engine in engines:
        for number in (16, 17):
            record(engine, number)
            keep_database_mark(engine)
        assert count_committed_leaves(engine) == 1
        engine.dispose()
    assert read_mark_file(mark).leaf == 68  # type: ignore[union-attr]


@pytest.mark.long
def test_a_process_stores_its_mark_although_another_one_has_just_written(
    mark: Path, working: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(working, 2)
    keep_database_mark(working)
    interruptions = [3]

    def let_the_other_write(_: Engine) -> None:
        while interruptions:
            record(other, interruptions.pop())
            keep_database_mark(other)

    record(working, 4)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.mark_keeping.confirm_copies", let_the_other_write)
        keep_database_mark(working)
    assert interruptions == []
    record(working, 5)
    keep_database_mark(working)
    assert count_committed_leaves(working) == 1
    assert read_mark_file(mark).leaf == 5  # type: ignore[union-attr]
