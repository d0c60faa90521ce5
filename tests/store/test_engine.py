from __future__ import annotations

import fcntl
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, StatementError

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.store import (
    CopiesMissingError,
    find_copies_problem,
    get_database_state,
    make_engine,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.store.database_damage import SQLITE_ERROR, get_sqlite_errors
from gateway.store.write_lock import get_lock_path
from tests.kit import tables as t
from tests.kit.rows import NOW


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "no url", "", "oracle+cx://x"],
)
def test_only_two_databases_and_none_in_memory(url):
    with pytest.raises(GatewayError) as caught:
        make_engine(url)
    assert caught.value.problem.id == "GW801"
    assert caught.value.location == "database.url"


def test_a_driver_that_is_not_installed_is_told_with_the_extra_that_brings_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    (tmp_path / "gateway.toml").write_text('[database]\nurl = "postgresql://me:secret@db.example/gateway"\n')
    assert main(["case", "list", "--home", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gateway: GW801 a PostgreSQL database needs the extra postgresql")
    assert "pip install 'singlewindow-gateway[postgresql]'" in told
    assert told.count("database.url") == 1
    assert "secret" not in told


def test_a_url_without_driver_uses_ours(engine):
    if engine.dialect.name == "postgresql":
        assert engine.dialect.driver == "psycopg"
        bare = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        made = make_engine(bare)
        assert made.dialect.driver == "psycopg"
        made.dispose()


def _list_open_files():
    return [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]


def test_an_engine_that_is_disposed_leaves_no_file_open(tmp_path):
    made, other = (make_engine(f"sqlite:///{tmp_path}/hub.db") for _ in range(2))
    for _ in range(2):  # disposed, it can be used again
        with write_transaction(made):
            other.dispose()
            assert made.url.database + "-writer" in _list_open_files()  # a lock that is held stays
        made.dispose()
        assert not [path for path in _list_open_files() if path.startswith(str(tmp_path))]


def test_every_connection_is_durable(engine):
    # Three at once, so that they are three.
    connections = [engine.connect() for _ in range(3)]
    for conn in connections:
        if engine.dialect.name == "sqlite":
            found = [
                conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 10000]
        else:
            assert conn.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
            assert conn.exec_driver_sql("SHOW TimeZone").scalar_one() == "UTC"
    for conn in connections:
        conn.close()


@pytest.mark.long
@pytest.mark.parametrize("how", ["local", "remote_write", "on", "remote_apply"])
def test_a_standby_has_a_commit_on_disk_by_two_of_the_levels_alone(postgresql_url, how):
    """`remote_write`: the standby has handed it to its system, which a power cut takes along."""
    url = make_url(postgresql_url)
    url = url.update_query_dict({"options": f"-c timezone=UTC -c synchronous_commit={how}"})
    hasty = make_engine(url.render_as_string(hide_password=False), copies=2)
    flushed = how in ("on", "remote_apply")
    words = "makes a commit wait for 0" if flushed else f"synchronous_commit is {how}, it must be on"
    with pytest.raises(CopiesMissingError, match=words), write_transaction(hasty) as conn:
        register_version.increment_register_version(conn)
    with read_transaction(hasty) as conn:
        assert words in str(find_copies_problem(conn, get_database_state(conn.engine).copies))
        assert register_version.get_register_version(conn) == 0
    hasty.dispose()


def test_a_connection_that_is_not_durable_is_refused(engine, monkeypatch):
    engine.dispose()
    if engine.dialect.name == "sqlite":
        monkeypatch.setitem(
            sys.modules["gateway.store.sqlite_connections"]._PRAGMAS, "journal_mode", "nonsense"
        )
    else:
        name = engine.url.database
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        engine.dispose()
    with (
        pytest.raises(GatewayError, match=r"GW801 .*(journal_mode|synchronous_commit)"),
        read_transaction(engine),
    ):
        pass


def failing(opened, act):
    with opened as conn:
        act(conn)
        raise ZeroDivisionError


def test_what_is_committed_is_there_and_what_failed_is_not(engine):
    with write_transaction(engine) as conn:
        register_version.increment_register_version(conn)
    with pytest.raises(ZeroDivisionError):
        failing(write_transaction(engine), register_version.increment_register_version)
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 1


def test_schema_changes_are_undone_too(engine):
    with pytest.raises(ZeroDivisionError):
        failing(
            write_transaction(engine), lambda conn: conn.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        )
    with pytest.raises(DBAPIError), read_transaction(engine) as conn:
        conn.exec_driver_sql("SELECT * FROM half")


@pytest.mark.long
def test_reading_cannot_write_and_the_next_transaction_can(engine):
    for _ in range(3):
        with pytest.raises((DBAPIError, GatewayError)), read_transaction(engine) as conn:
            register_version.increment_register_version(conn)
        with write_transaction(engine) as conn:
            register_version.increment_register_version(conn)
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 3


def test_reading_sees_one_moment(engine):
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 0
        with write_transaction(engine) as other:
            register_version.increment_register_version(other)
        assert register_version.get_register_version(conn) == 0
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 1


def test_a_transaction_within_a_transaction_is_noticed(engine):
    if engine.dialect.name == "sqlite":
        with (
            write_transaction(engine),
            pytest.raises(RuntimeError, match="within"),
            write_transaction(engine),
        ):
            pass
    with write_transaction(engine) as conn:
        assert register_version.increment_register_version(conn) == 1


@pytest.mark.parametrize("kind", ["error of the driver", "interrupt", "lack of memory"])
def test_a_commit_that_fails_is_no_part_of_the_next_transaction(engine, monkeypatch, kind):
    problem = {"interrupt": KeyboardInterrupt, "lack of memory": MemoryError}.get(
        kind, engine.dialect.loaded_dbapi.OperationalError
    )

    def fail(_connection):
        raise problem("no commit")

    with monkeypatch.context() as patch:
        patch.setattr(engine.dialect, "do_commit", fail)
        with pytest.raises((GatewayError, KeyboardInterrupt, MemoryError)), write_transaction(engine) as conn:
            register_version.increment_register_version(conn, "failed")
    with write_transaction(engine) as conn:
        register_version.increment_register_version(conn, "next")
    with read_transaction(engine) as conn:
        found = [register_version.get_register_version(conn, name) for name in ("failed", "next")]
    assert found == [0, 1]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_a_writer_that_fails_leaves_the_lock_to_other_processes(sqlite_url, problem):
    engine = make_engine(sqlite_url)
    with pytest.raises(problem), write_transaction(engine):
        raise problem
    lock = os.open(get_lock_path(get_database_state(engine).sqlite.path), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
    engine.dispose()


def test_going_past_transaction_still_commits_as_one(engine):
    with pytest.raises(ZeroDivisionError):
        failing(engine.begin(), lambda conn: conn.execute(insert(t.epochs), {"name": "a", "value": 1}))
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn, "a") == 0


@pytest.mark.long
def test_threads_count_without_loss(engine):
    def work():
        for _ in range(25):
            with write_transaction(engine) as conn:
                seen = register_version.increment_register_version(conn)
                assert register_version.get_register_version(conn) == seen

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 200


def _raise_many(url, times):
    engine = make_engine(url)
    for _ in range(times):
        with write_transaction(engine) as conn:
            register_version.increment_register_version(conn)
    engine.dispose()


@pytest.mark.long
def test_processes_count_without_loss(database_url):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_raise_many, args=(database_url, 50)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    engine = make_engine(database_url)
    with read_transaction(engine) as conn:
        assert register_version.get_register_version(conn) == 100
    engine.dispose()


@pytest.mark.long
def test_a_writer_waits_for_the_lock_of_another_process(sqlite_url):
    path = sqlite_url.removeprefix("sqlite:///")
    code = (
        "import fcntl, os, sys\n"
        "lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", code, path + "-writer"]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    engine = make_engine(sqlite_url)

    def write():
        with write_transaction(engine) as conn:
            register_version.increment_register_version(conn)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(0.3)
    waits = writer.is_alive()
    holder.communicate()
    writer.join(60)
    assert (waits, writer.is_alive()) == (True, False)
    engine.dispose()


@pytest.mark.long
def test_a_forked_child_takes_a_lock_of_its_own(sqlite_url):
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as conn:
        register_version.increment_register_version(conn)
    engine.dispose()
    locks = sys.modules["gateway.store.engine"]._locks
    assert locks
    child = os.fork()
    if child == 0:
        os._exit(0 if not locks else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert locks


@pytest.mark.long
def test_a_database_that_takes_nothing_is_a_problem_of_ours(sqlite_url, monkeypatch):
    monkeypatch.setitem(sys.modules["gateway.store.sqlite_connections"]._PRAGMAS, "busy_timeout", "1")
    engine = make_engine(sqlite_url)
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(GatewayError) as caught, write_transaction(engine):
        pass
    holder.execute("ROLLBACK")
    holder.close()
    assert caught.value.problem.id == "GW806"
    assert caught.value.problem.retry
    with write_transaction(engine) as conn:
        register_version.increment_register_version(conn)
    engine.dispose()


def test_the_errors_of_sqlite_are_those_of_its_driver(monkeypatch):
    assert get_sqlite_errors() == (sqlite3.Error,)
    assert get_sqlite_errors("OperationalError") == (sqlite3.OperationalError,)
    # An open connection that is forgotten is told by Python 3.13, in whatever test runs then.
    with closing(sqlite3.connect(":memory:")) as database, pytest.raises(sqlite3.Error) as caught:
        database.execute("SELECT nothing")
    assert isinstance(caught.value, get_sqlite_errors("OperationalError"))
    assert caught.value.sqlite_errorcode == SQLITE_ERROR
    monkeypatch.delitem(sys.modules, "sqlite3")
    assert get_sqlite_errors() == ()


def test_a_server_that_is_away_is_a_problem_of_ours():
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing")
    for opened in (write_transaction, read_transaction):
        with pytest.raises(GatewayError) as caught, opened(engine):
            pass
        assert caught.value.problem.id == "GW806"
        assert len(caught.value.detail) < 200
    engine.dispose()


MOMENTS = [
    NOW,
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 11, 20, 17, 30, tzinfo=timezone(timedelta(hours=9))),
]


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_time_comes_back_aware_and_exact(engine, moment):
    row = {"id": "p", "name": "P", "role": "agency", "status": "ACTIVE", "created_at": moment}
    with write_transaction(engine) as conn:
        conn.execute(insert(t.parties), row)
        found = conn.execute(select(t.parties.c.created_at)).scalar_one()
        same = conn.execute(select(t.parties.c.id).where(t.parties.c.created_at == moment))
        assert same.scalar_one() == "p"
    assert found == moment
    assert found.tzinfo is UTC


def test_a_time_without_zone_is_refused(engine):
    row = {
        "id": "p",
        "name": "P",
        "role": "agency",
        "status": "ACTIVE",
        "created_at": NOW.replace(tzinfo=None),
    }
    with pytest.raises(StatementError, match="without a zone"), write_transaction(engine) as conn:
        conn.execute(insert(t.parties), row)


@pytest.mark.long
@pytest.mark.parametrize(
    "value", [None, {}, [], {"b": [1, True, None], "a": "한글 \u2028 ' \" \\"}, "text", 0]
)
def test_json_comes_back_as_it_was(engine, value):
    row = {"at": NOW, "actor": "a", "role": "r", "action": "x", "object": "o", "outcome": "done"}
    with write_transaction(engine) as conn:
        conn.execute(insert(t.audit), row | {"before": value, "after": "x"})
        assert conn.execute(select(t.audit.c.before)).scalar_one() == value


def test_an_error_of_the_database_shows_no_values(engine):
    """It is logged with its statement; digests of passwords and names of people are among the values."""
    with pytest.raises(DBAPIError) as caught, engine.connect() as conn:
        conn.execute(text("INSERT INTO no_such_table (name) VALUES (:name)"), {"name": "canary"})
    assert "canary" not in str(caught.value)
    assert "no_such_table" in str(caught.value)
