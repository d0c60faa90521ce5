"""Nothing is confirmed that is on one server only, whatever is done to the wait for the other."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, select, text

from gateway.errors import GatewayError
from gateway.monitor import health
from gateway.store import (
    CopiesMissingError,
    InsufficientStorageError,
    confirm_copies,
    database_copies,
    find_copies_problem,
    get_database_state,
    make_engine,
    messages,
    migrate_schema,
    read_transaction,
    write_transaction,
)
from tests.kit import tables as t
from tests.kit.rows import NOW, answer, message
from tests.kit.standby_pair import STANDBY
from tests.kit.waiting import retry

pytestmark = pytest.mark.long

BOTH = f"ANY 1 ({STANDBY})"


@pytest.fixture(scope="module")
def database(standby_pair):
    name = standby_pair.create_database()
    engine = make_engine(standby_pair.make_url(database=name))
    migrate_schema(engine)
    engine.dispose()
    return name


@pytest.fixture
def servers(standby_pair):
    """Give the two servers, and make them as they were afterwards."""
    yield standby_pair
    standby_pair.thaw()
    if standby_pair.ask("SHOW synchronous_standby_names") != BOTH:
        standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()


@pytest.fixture
def copied(servers, database):
    """Give an engine that wants two copies."""
    engine = make_engine(servers.make_url(database=database), copies=2, max_wait_seconds=60)
    yield engine
    engine.dispose()


@pytest.fixture
def hasty(servers, database):
    """Give an engine that wants two copies and soon gives up to wait for them."""
    engine = make_engine(
        servers.make_url(database=database), copies=2, max_wait_seconds=3
    )  # short: it must run out
    yield engine
    engine.dispose()


def keep(engine, name):
    """Store a message as the receiving step does; return whether it is new."""
    with write_transaction(engine, "test.message") as conn:
        return messages.accept_message(
            conn, message(message_id=name, identity_sha256=name), answer(), NOW
        ).is_new


def repeat_until_kept(engine, name):
    """Repeat a message as a sender does, until it is confirmed; return whether it was new then."""
    return retry(lambda: keep(engine, name), InsufficientStorageError, every=0.2)


def list_at(standby_pair, database, name):
    engine = make_engine(standby_pair.make_url(name, database))
    with read_transaction(engine) as conn:
        found = set(conn.execute(select(t.messages.c.message_id)).scalars())
    engine.dispose()
    return found


def test_what_is_confirmed_is_on_the_standby(copied, standby_pair, database):
    assert keep(copied, "kept@a")
    assert get_database_state(copied).copies.measure_age() < 60
    standby_pair.ask("SELECT pg_switch_wal()")
    end = time.monotonic() + 20
    while "kept@a" not in list_at(standby_pair, database, "standby"):
        assert time.monotonic() < end
    assert health.find_readiness_problem(copied) is None
    with read_transaction(copied) as conn:
        assert find_copies_problem(conn, get_database_state(conn.engine).copies) is None


def test_a_warning_before_the_commit_is_not_about_its_copies(copied):
    for _ in range(2):
        with write_transaction(copied) as conn:
            conn.execute(text("DO $$ BEGIN RAISE WARNING 'about something else'; END $$"))
    assert health.find_readiness_problem(copied) is None


def test_an_interrupt_of_the_commit_confirms_nothing(copied, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    keep(copied, "before-interrupt@a")
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            keep(copied, "interrupted@a")
    assert get_database_state(copied).copies.problem is not None
    assert repeat_until_kept(copied, "interrupted@a")


def test_a_list_without_standbys_keeps_nothing(copied, standby_pair, database):
    standby_pair.set_synchronous("")
    with pytest.raises(CopiesMissingError, match="makes a commit wait for 0"):
        keep(copied, "empty@a")
    assert "empty@a" not in list_at(standby_pair, database, "primary")
    said = health.find_readiness_problem(copied)
    assert health.describe_unreadiness(copied, said) == "GW806 the database keeps fewer than 2 copies"
    with read_transaction(copied) as conn:
        assert "makes a commit wait for 0" in str(
            find_copies_problem(conn, get_database_state(conn.engine).copies)
        )
    standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()
    assert repeat_until_kept(copied, "empty@a")
    assert health.find_readiness_problem(copied) is None


def test_a_session_that_does_not_wait_keeps_nothing(standby_pair, database):
    url = standby_pair.make_url(database=database)
    hasty = make_engine(f"{url}?options=-c%20timezone%3DUTC%20-c%20synchronous_commit%3Dlocal", copies=2)
    with pytest.raises(CopiesMissingError, match="synchronous_commit is local"):
        keep(hasty, "hasty@a")
    hasty.dispose()


@pytest.mark.parametrize("way", ["cancel", "terminate"])
def test_a_wait_that_is_ended_confirms_nothing_nor_does_a_repeat(copied, hasty, standby_pair, way):
    keep(copied, f"before-{way}@a")
    repeat_until_kept(hasty, f"hasty-{way}@a")
    standby_pair.freeze_receiver()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(keep, copied, f"{way}@a")
        standby_pair.ask(f"SELECT pg_{way}_backend({standby_pair.await_waiting()})")
        with pytest.raises(InsufficientStorageError):
            first.result()
    # The row is there for everybody now, on one server.
    assert standby_pair.list_waiting() == []
    for engine in (copied, hasty):
        with pytest.raises(GatewayError) as caught:
            keep(engine, f"{way}@a")
        assert caught.value.problem.id == "GW806"
        with pytest.raises(CopiesMissingError):
            confirm_copies(engine)
    standby_pair.thaw()
    assert repeat_until_kept(copied, f"{way}@a") is False


def test_settings_that_change_during_the_wait_confirm_nothing(copied, standby_pair):
    standby_pair.freeze_receiver()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(keep, copied, "changed@a")
        standby_pair.await_waiting()
        # As a cluster manager does that prefers to go on: the commits that wait are let go.
        standby_pair.set_synchronous("")
        with pytest.raises(CopiesMissingError, match="loaded again during the commit"):
            first.result()


def test_a_standby_that_is_away_holds_one_commit_and_no_others(hasty, standby_pair, monkeypatch):
    repeat_until_kept(hasty, "before-away@a")
    standby_pair.freeze_receiver()
    monkeypatch.setattr(database_copies, "_TRY_EVERY", 3600.0)
    with pytest.raises(InsufficientStorageError):
        keep(hasty, "away@a")
    for number in range(20):
        with pytest.raises(CopiesMissingError, match="tried again every second"):
            keep(hasty, f"away{number}@a")
    monkeypatch.setattr(database_copies, "_TRY_EVERY", 1.0)
    get_database_state(hasty).copies._next_try = 0.0
    threads = [threading.Thread(target=health.find_readiness_problem, args=(hasty,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(standby_pair.list_waiting()) <= 3
    standby_pair.thaw()
    assert repeat_until_kept(hasty, "away@a") is False


def test_a_standby_takes_no_writes_and_is_not_ready(standby_pair, database):
    engine = make_engine(standby_pair.make_url("standby", database))
    with pytest.raises(InsufficientStorageError, match="read-only"):
        keep(engine, "standby@a")
    said = health.find_readiness_problem(engine)
    assert health.describe_unreadiness(engine, said) == "GW806 the database is a standby"
    engine.dispose()


def test_of_several_servers_the_primary_is_taken(standby_pair, database):
    ports = standby_pair.ports
    hosts = f"127.0.0.1:{ports['standby']},127.0.0.1:{ports['primary']}"
    engine = make_engine(f"postgresql://postgres@{hosts}/{database}", copies=2, max_wait_seconds=60)
    assert keep(engine, "several@a")
    engine.dispose()


def test_a_frozen_primary_is_left_in_time_and_found_again(hasty, standby_pair):
    repeat_until_kept(hasty, "frozen0@a")
    standby_pair.freeze_primary()
    began = time.monotonic()
    with pytest.raises(InsufficientStorageError):
        keep(hasty, "frozen1@a")
    # Two seconds for the connection that was kept, and five for each new one.
    assert time.monotonic() - began < 60
    assert health.find_readiness_problem(hasty) is not None
    standby_pair.thaw()
    assert repeat_until_kept(hasty, "frozen1@a")
