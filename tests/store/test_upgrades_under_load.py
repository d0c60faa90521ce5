"""Upgrades of a database while nodes of the version before write to it: nothing fails, nothing is lost."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE

import pytest
from alembic.config import Config
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from gateway.errors import GatewayError
from gateway.store import get_head_revision, make_engine, migrate_schema, read_transaction, write_transaction
from gateway.store import schema_migration as module
from gateway.store.postgresql_connections import TransactionConflictError
from gateway.store.schema_revisions import LAST_OF_0_1_0, list_revisions
from gateway.store.schema_version import read_schema_version
from tests.kit.databases import PostgresqlServer, Templates
from tests.kit.levels import at_night
from tests.kit.revisions import further_revisions, make_database_at
from tests.kit.waiting import until

#: The version of 1.0.0, and what next ones may do to tables that are written to.
OLDEST = "0100"
FURTHER = {
    "9101": ("CREATE TABLE further (name TEXT PRIMARY KEY)",),
    "9102": (
        "ALTER TABLE messages ADD COLUMN further TEXT",
        "ALTER TABLE deliveries ADD COLUMN further TEXT",
    ),
    "9103": ("ALTER TABLE fees ADD COLUMN further TEXT",),
    "9104": (
        "CREATE INDEX ix_cases_further ON cases (state, id)",
        "ALTER TABLE cases ADD COLUMN further TEXT",
    ),
}
WRITERS = 4
_NOW = {"sqlite": "1", "postgresql": "now()"}
_MESSAGE = (
    "INSERT INTO messages (message_id, direction, protocol, kind, conversation_id, from_party, to_party,"
    " service, action, identity_sha256, state, received_at, parcel_headers, parcel_sha256)"
    " VALUES (:name, 'in', 'ebms2', 'UserMessage', 'c', 'b', 'h', 'urn:s', 'Submit', 'ab',"
    " 'RECEIVED', {now}, '{{}}', 'ab')"
)
_BUSY_TABLES = (
    "messages",
    "deliveries",
    "cases",
    "agency_requests",
    "notices",
    "decisions",
    "deadlines",
    "fees",
)


@pytest.fixture(autouse=True)
def next_version(tmp_path: Path) -> Iterator[None]:
    """Let this code be of a next version, which has further revisions."""
    with further_revisions(tmp_path, FURTHER):
        yield


def find_last_revision() -> str:
    """Return the newest revision that is not one of the further ones."""
    return max(set(list_revisions()) - set(FURTHER))


def make_older_database(url: str) -> None:
    make_database_at(url, OLDEST)


class Writers:
    """Threads that write as nodes do: each transaction locks several tables, in an order of its own."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self.committed: list[str] = []
        self.problems: list[BaseException] = []
        self.stop = threading.Event()
        found = set(inspect(self.engine).get_table_names())
        self._tables = [name for name in _BUSY_TABLES if name in found]
        self._columns = {
            name: inspect(self.engine).get_pk_constraint(name)["constrained_columns"][0]
            for name in self._tables
        }
        self._message = text(_MESSAGE.format(now=_NOW[self.engine.dialect.name]))
        self._threads = [threading.Thread(target=self._write, args=(each,)) for each in range(WRITERS)]

    def _write(self, seed: int) -> None:
        drawn = random.Random(seed)
        number = 0
        while not self.stop.is_set():
            number += 1
            name = f"{seed}-{number}@b"
            try:
                while True:
                    try:
                        self._write_once(name, drawn)
                        break
                    except TransactionConflictError:
                        """The hub runs such a transaction again, or its sender does."""
            except BaseException as problem:
                self.problems.append(problem)
                return
            self.committed.append(name)
            time.sleep(drawn.expovariate(200))

    def _write_once(self, name: str, drawn: random.Random) -> None:
        with write_transaction(self.engine) as conn:
            for table in drawn.sample(self._tables, 3):
                column = self._columns[table]
                conn.exec_driver_sql(f"UPDATE {table} SET {column} = {column} WHERE 1 = 0")
            conn.execute(self._message, {"name": name})

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(60)
        self.engine.dispose()


def await_growth(writers: Writers, number: int) -> None:
    """Return when so many transactions more are committed, or a writer has failed."""
    wanted = len(writers.committed) + number
    until(lambda: len(writers.committed) >= wanted or writers.problems, every=0.01)


@pytest.mark.long
@pytest.mark.parametrize("before", [OLDEST, *at_night(LAST_OF_0_1_0)])
def test_an_upgrade_goes_through_while_nodes_write(empty_database_url: str, before: str) -> None:
    url = empty_database_url
    make_older_database(url)
    engine = make_engine(url)
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{before}'")
    with Writers(url) as writers:
        await_growth(writers, 20)
        assert migrate_schema(engine) == (before, get_head_revision())
        await_growth(writers, 20)
    assert writers.problems == []
    with read_transaction(engine) as conn:
        stored = conn.exec_driver_sql("SELECT message_id FROM messages").scalars().all()
        counted = conn.exec_driver_sql(
            "SELECT SUM(number) FROM (SELECT measure, number FROM state_totals UNION ALL"
            " SELECT measure, number FROM state_changes) AS counts WHERE measure = 'messages'"
        ).scalar()
    engine.dispose()
    assert sorted(stored) == sorted(writers.committed)
    assert counted == len(stored)


def read_steps(steps: list[tuple[str | None, str]]) -> Callable[[Connection, str | None, str], None]:
    def record(_conn: Connection, before: str | None, after: str) -> None:
        steps.append((before, after))

    return record


@pytest.mark.long
def test_each_revision_is_a_transaction_of_its_own(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_older_database(empty_database_url)
    engine = make_engine(empty_database_url)
    real = module.command.upgrade

    def fail_at_9103(config: Config, revision: str) -> None:
        real(config, revision)
        if revision == "9103":
            raise ZeroDivisionError

    monkeypatch.setattr(module.command, "upgrade", fail_at_9103)
    steps: list[tuple[str | None, str]] = []
    with pytest.raises(ZeroDivisionError):
        migrate_schema(engine, read_steps(steps))
    expected = [each for each in list_revisions() if OLDEST <= each <= "9102"]
    assert steps == list(pairwise(expected))
    assert read_schema_version(engine) == "9102"
    monkeypatch.undo()
    steps.clear()
    assert migrate_schema(engine, read_steps(steps)) == ("9102", get_head_revision())
    assert steps == [("9102", "9103"), ("9103", "9104")]
    engine.dispose()


@pytest.mark.long
def test_a_new_database_is_made_in_one_transaction(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    steps: list[tuple[str | None, str]] = []
    migrate_schema(engine, read_steps(steps))
    assert steps == [(None, get_head_revision())]
    engine.dispose()


@pytest.mark.long
def test_two_that_migrate_at_once_do_it_once(empty_database_url: str) -> None:
    make_older_database(empty_database_url)
    engines = [make_engine(empty_database_url) for _ in range(2)]
    steps: list[tuple[str | None, str]] = []
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(migrate_schema, engine, read_steps(steps)) for engine in engines]
        assert {each.result(60)[1] for each in ended} == {get_head_revision()}
    expected = [each for each in list_revisions() if each >= OLDEST]
    assert steps == list(pairwise(expected))
    for engine in engines:
        engine.dispose()


def read_without_pause(url: str, seed: int, stop: threading.Event) -> int:
    """Read tables as lists of a console do, one transaction after another; return how many there were."""
    engine, drawn, number = make_engine(url), random.Random(seed), 0
    while not stop.is_set():
        with suppress(TransactionConflictError), read_transaction(engine) as conn:
            for table in drawn.sample(_BUSY_TABLES, 4):
                conn.exec_driver_sql(f"SELECT FROM {table} LIMIT 1")
                time.sleep(0.002)
            number += 1
    engine.dispose()
    return number


@pytest.mark.long
def test_an_upgrade_comes_through_where_transactions_always_overlap(templates: Templates) -> None:
    """At no moment all its tables are free."""
    url = templates.empty("postgresql")
    make_database_at(url, "0101")
    stop = threading.Event()
    with Writers(url) as writers, ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read_without_pause, url, seed, stop) for seed in range(3)]
        await_growth(writers, 20)
        engine = make_engine(url)
        try:
            assert migrate_schema(engine)[1] == get_head_revision()
            await_growth(writers, 20)
        finally:
            stop.set()
        assert all(reader.result(60) > 0 for reader in readers)
    assert writers.problems == []
    with read_transaction(engine) as conn:
        kept = conn.exec_driver_sql("SELECT message_id FROM messages").scalars().all()
    assert sorted(kept) == sorted(writers.committed)
    engine.dispose()
    templates.drop(url)


@pytest.fixture
def older_postgresql_url(templates: Templates) -> Iterator[str]:
    """Give the url of a PostgreSQL database that lacks the further revisions alone."""
    url = templates.empty("postgresql")
    make_database_at(url, find_last_revision())
    yield url
    templates.drop(url)


@pytest.mark.long
def test_a_reader_that_does_not_end_is_named(older_postgresql_url: str) -> None:
    """The revisions that come through before its table is wanted stay."""
    engine = make_engine(older_postgresql_url)
    reader = create_engine(older_postgresql_url, connect_args={"application_name": "pg_dump"})
    with reader.connect() as conn:
        conn.exec_driver_sql("SELECT 1 FROM fees")
        pid = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with pytest.raises(GatewayError) as caught:
            migrate_schema(engine, patience=1)  # short: it must run out
    assert caught.value.problem.id == "GW806"
    assert caught.value.location == "database.url"
    expected = (
        rf"no try came through in 1 s: the lock of fees is held by server process {pid} "
        r"\(pg_dump, \w+ from \S+, idle in transaction since \S+Z\)"
    )
    assert re.fullmatch(expected, caught.value.detail)
    assert read_schema_version(engine) == "9102"
    assert migrate_schema(engine) == ("9102", get_head_revision())
    reader.dispose()
    engine.dispose()


@pytest.mark.long
def test_who_ends_in_time_is_awaited_and_waits_for_nobody(older_postgresql_url: str) -> None:
    """A transaction that holds a table which the upgrade wants gets one that the upgrade holds."""
    engine = make_engine(older_postgresql_url)
    other = create_engine(older_postgresql_url)
    with ThreadPoolExecutor(1) as pool, other.connect() as conn:
        conn.exec_driver_sql("UPDATE deliveries SET id = id")
        ended = pool.submit(migrate_schema, engine, patience=30)
        time.sleep(0.3)
        # The upgrade has locked it before it waits for the deliveries.
        conn.exec_driver_sql("UPDATE messages SET id = id")
        conn.commit()
        assert ended.result(60) == (find_last_revision(), get_head_revision())
    other.dispose()
    engine.dispose()


@pytest.mark.long
def test_a_process_that_stopped_while_it_wrote_is_named(templates: Templates) -> None:
    url = templates.empty("sqlite")
    make_older_database(url)
    engine = make_engine(url)
    path = f"{engine.url.database}-writer"
    program = (
        f"import fcntl; f = open({path!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(GatewayError) as caught:
            migrate_schema(engine, patience=0.3)  # short: it must run out
        holder.communicate("\n")
    assert caught.value.problem.id == "GW806"
    assert caught.value.detail == (
        f"in 0.3 s the lock {path} was not free, it is held by process {holder.pid}"
    )
    assert migrate_schema(engine) == (OLDEST, get_head_revision())
    engine.dispose()
    templates.drop(url)


def make_role(url: str) -> str:
    """Give a database to a role that may do nothing else, as that of a hub; return the URL with it."""
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        name = f"hub_{conn.exec_driver_sql('SELECT pg_backend_pid()').scalar_one()}"
        conn.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        conn.exec_driver_sql(f'ALTER DATABASE "{admin.url.database}" OWNER TO {name}')
        conn.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {name}")
    admin.dispose()
    return make_url(url).set(username=name).render_as_string(hide_password=False)


@pytest.mark.long
def test_a_holder_of_another_role_is_named_as_far_as_it_is_shown(templates: Templates) -> None:
    url = templates.empty("postgresql")
    own = make_role(url)
    make_older_database(own)
    engine = make_engine(own)
    admin = create_engine(url, connect_args={"application_name": "pg_dump"})
    with admin.connect() as conn:
        conn.exec_driver_sql("LOCK TABLE deliveries")
        pid = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(GatewayError, match="GW806") as caught:
            migrate_schema(engine, patience=1.5)  # short: it must run out
    assert f"is held by server process {pid} (pg_dump, {admin.url.username})" in caught.value.detail
    admin.dispose()
    engine.dispose()
    templates.drop(url)


@pytest.mark.long
@pytest.mark.parametrize("sees_all", [True, *at_night(False)])
def test_a_vacuum_of_the_server_gives_way(sees_all: bool) -> None:
    """It does so for one who waits until the server looks for a deadlock, whatever a role is shown of it."""
    server = PostgresqlServer(hurried=False)
    url = server.create(1, None)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    url = url if sees_all else make_role(url)
    make_older_database(url)
    engine = make_engine(url)
    with admin.connect() as conn:
        conn.exec_driver_sql("ALTER SYSTEM SET autovacuum_naptime = 1")
        conn.exec_driver_sql("SELECT pg_reload_conf()")
        conn.exec_driver_sql(
            "ALTER TABLE fees SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
            " autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)"
        )
        # The application of the fees is of no interest here.
        conn.exec_driver_sql("SET session_replication_role = replica")
        conn.exec_driver_sql(
            "INSERT INTO fees (number, request_id, case_id, agency, kind, gate, state, payment_notice,"
            " refundable, levied_at) SELECT i::text, 1, 1, 'KFDA', 'inspection', 'result', 'PAID',"
            " repeat('x', 1000), false, now() FROM generate_series(1, 3000) AS i"
        )
        conn.exec_driver_sql("DELETE FROM fees")
        vacuums = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'autovacuum: %%fees%%'"
        until(lambda: conn.exec_driver_sql(vacuums).first(), every=0.1)
        assert migrate_schema(engine, patience=10) == (OLDEST, get_head_revision())
    admin.dispose()
    engine.dispose()
    server.close()
