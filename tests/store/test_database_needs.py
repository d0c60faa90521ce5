"""What the hub needs of a PostgreSQL server: stated by each session, refused, or warned of."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, insert, select

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.store import (
    InsufficientStorageError,
    find_copies_problem,
    find_rights_problem,
    get_database_state,
    list_database_warnings,
    make_engine,
    read_transaction,
    shared_files,
    write_transaction,
)
from gateway.store.postgresql_connections import SERVER_WARNINGS, TransactionConflictError, find_conflict
from gateway.store.schema_revisions import list_tables
from tests.kit import tables as t
from tests.kit.databases import PostgresqlServer
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.paths import ROOT
from tests.kit.rows import NOW

#: A name in three scripts, as messages have it; EUC-KR has neither the second nor the third.
NAME = "관세청 Zoë 𠮷"


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    engine = make_engine(postgresql_url)
    yield engine
    engine.dispose()


def set_for_database(engine: Engine, **settings: str) -> None:
    """Set settings for all who connect to a database."""
    admin = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        for name, value in settings.items():
            conn.exec_driver_sql(f"ALTER DATABASE \"{engine.url.database}\" SET {name} = '{value}'")
    admin.dispose()
    engine.dispose()


#: Settings of a role or database that a session of the hub states otherwise.
OTHER_SETTINGS = {
    "client_encoding": "EUC_KR",
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Seoul",
    "default_transaction_isolation": "serializable",
}


@pytest.mark.long
@pytest.mark.parametrize("place", ["the database", "the environment", "the URL"])
def test_settings_of_others_change_no_session_of_the_hub(
    postgresql: Engine, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.url
    if place == "the database":
        set_for_database(postgresql, **OTHER_SETTINGS)
    elif place == "the environment":
        monkeypatch.setenv("PGCLIENTENCODING", "EUC_KR")
        monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable -c DateStyle=German")
    else:
        options = (
            "-c default_transaction_isolation=serializable -c DateStyle=German -c client_encoding=EUC_KR"
        )
        url = url.update_query_dict({"options": options, "client_encoding": "EUC_KR"})
    engine = make_engine(url.render_as_string(hide_password=False))
    for _ in range(2):
        with write_transaction(engine) as conn:
            assert conn.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        with read_transaction(engine) as conn:
            assert conn.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
            assert conn.exec_driver_sql("SHOW client_encoding").scalar() == "UTF8"
            assert conn.exec_driver_sql("SHOW TimeZone").scalar() == "UTC"
    party = {"id": NAME, "name": NAME, "role": "broker", "status": "ACTIVE", "created_at": NOW}
    with write_transaction(engine) as conn:
        conn.execute(insert(t.parties), [party])
    with read_transaction(engine) as conn:
        row = conn.execute(select(t.parties).where(t.parties.c.id == NAME)).one()
    assert (row.name, row.created_at) == (NAME, NOW)
    engine.dispose()


def make_home(home: Path, url: str) -> None:
    """Make a home whose database is that of a URL, without tables."""
    copy_demo_keys(home / "pki", "hub")
    (home / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')


def run_check(home: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    capsys.readouterr()
    main(["check", "--home", str(home), "--json"])
    report = json.loads(capsys.readouterr().out)
    return {
        "problems": [f"{problem['id']} {problem['detail']}" for problem in report["problems"]],
        "warnings": report["warnings"],
    }


@pytest.mark.long
@pytest.mark.parametrize(
    "encoding", ["EUC_KR", *(pytest.param(name, marks=pytest.mark.night) for name in ("SQL_ASCII", "LATIN1"))]
)
def test_a_database_in_another_encoding_is_refused(
    encoding: str, postgresql_server: PostgresqlServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a database is made, where a hub is checked and where one starts."""
    name = f"{postgresql_server.prefix}_{encoding}"
    url = postgresql_server.create_named(name, None, f"ENCODING '{encoding}' LOCALE 'C'")
    home, words = tmp_path / "home", f"GW801 the database has server_encoding = {encoding}, it must be UTF8"
    make_home(home, url)
    assert main(["migrate", "--new", "--home", str(home)]) == 2
    refusal = capsys.readouterr().err
    assert words in refusal
    assert "TEMPLATE template0 ENCODING 'UTF8'" in refusal
    assert [problem for problem in run_check(home, capsys)["problems"] if problem.startswith(words)]
    command = [sys.executable, "-m", "gateway", "run", "--home", str(home)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    postgresql_server.drop(url)


@pytest.mark.long
def test_short_time_limits_are_warnings(
    postgresql: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever plan the server makes for the question."""
    home = tmp_path / "home"
    make_home(home, postgresql.url.render_as_string(hide_password=False))
    with read_transaction(postgresql) as conn:
        assert list_database_warnings(conn) == []
    set_for_database(postgresql, statement_timeout="30s", lock_timeout="60s", idle_session_timeout="5s")
    set_for_database(postgresql, plan_cache_mode="force_generic_plan")
    expected = [
        "the database has idle_session_timeout = 5 s, set by ALTER DATABASE, which ends work of the hub: "
        "take it away there, or let it be 60 s at least",
        "the database has statement_timeout = 30 s, set by ALTER DATABASE, which ends work of the hub: "
        "take it away there, or let it be 600 s at least",
    ]
    for _ in range(12):
        with read_transaction(postgresql) as conn:
            assert list_database_warnings(conn) == expected
    assert set(expected) <= set(run_check(home, capsys)["warnings"])
    assert main(["migrate", "--home", str(home)]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert told == [f"warning: {warning}" for warning in expected]
    command = [sys.executable, "-m", "gateway", "work", "--home", str(home)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        watch = threading.Timer(120, process.kill)
        watch.start()
        lines = list(takewhile(lambda line: "starts, home" not in line, process.stderr))
        watch.cancel()
        process.terminate()
    assert [warning for line in lines for warning in expected if warning in line] == expected


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "value"), [("session_replication_role", "replica"), ("synchronous_commit", "off")]
)
def test_a_setting_with_which_the_hub_loses_something_is_refused(
    postgresql: Engine, setting: str, value: str
) -> None:
    set_for_database(postgresql, **{setting: value})
    with (
        pytest.raises(GatewayError, match=f"the database has {setting} = {value}, it must be") as caught,
        read_transaction(postgresql),
    ):
        pass
    assert (caught.value.problem.id, caught.value.location) == ("GW801", "database.url")
    assert "Take it away where it is set" in caught.value.detail


@pytest.mark.long
def test_a_warning_of_the_server_is_heard_whatever_the_role_wants_to_hear(postgresql: Engine) -> None:
    """Only such a warning says that a wait for copies was cancelled."""
    set_for_database(postgresql, client_min_messages="error")
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql("DO $$ BEGIN RAISE WARNING 'canceling wait'; END $$")
        assert conn.info[SERVER_WARNINGS] == ["canceling wait"]


@pytest.mark.long
def test_a_server_that_takes_no_writes_is_called_no_standby(postgresql: Engine) -> None:
    set_for_database(postgresql, default_transaction_read_only="on")
    with read_transaction(postgresql) as conn:
        problem = str(find_copies_problem(conn, get_database_state(conn.engine).copies))
    assert "the database takes no writes: default_transaction_read_only is on" in problem


def wait_beyond(engine: Engine, limit: str) -> None:
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"SET {limit} = 100")
        for _ in range(50):
            time.sleep(0.2)
            conn.exec_driver_sql("SELECT 1")


@pytest.mark.long
@pytest.mark.parametrize("limit", ["transaction_timeout", "idle_in_transaction_session_timeout"])
def test_a_session_that_the_server_has_ended_is_tried_again(postgresql: Engine, limit: str) -> None:
    with pytest.raises(InsufficientStorageError, match=rf"\({limit} of the role") as caught:
        wait_beyond(postgresql, limit)
    assert caught.value.problem.id == "GW806"
    with write_transaction(postgresql) as conn:
        assert conn.exec_driver_sql("SELECT 1").scalar() == 1
    # No disk was full: the next commit ends it.
    assert not get_database_state(postgresql).reserve.is_lacking


class KoreanError(Exception):
    """An error of a server that speaks Korean, as the driver raises it."""

    def __init__(self, sqlstate: str, source_function: str) -> None:
        super().__init__("캐시된 계획에서 결과 형식을 바꾸지 말아야 함")
        self.sqlstate = sqlstate
        self.diag = SimpleNamespace(source_function=source_function)


def test_an_outdated_plan_is_known_in_every_language_of_the_server() -> None:
    assert isinstance(find_conflict(KoreanError("0A000", "RevalidateCachedQuery")), TransactionConflictError)
    assert find_conflict(KoreanError("0A000", "ATExecAlterColumnType")) is None


@pytest.mark.long
def test_an_outdated_plan_is_known_by_its_function(postgresql: Engine) -> None:
    url = postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
    # The driver forgets its plans when it changes a table itself.
    with psycopg.connect(url, autocommit=True) as changer, psycopg.connect(url, autocommit=True) as reader:
        changer.execute("CREATE TABLE planned (name TEXT)")
        reader.execute("SELECT * FROM planned", prepare=True)
        changer.execute("ALTER TABLE planned ALTER COLUMN name TYPE VARCHAR")
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            reader.execute("SELECT * FROM planned", prepare=True)
    assert isinstance(find_conflict(caught.value), TransactionConflictError)


@pytest.mark.long
def test_a_role_that_may_not_read_or_write_is_told(
    postgresql: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a server that refuses the connection; no disk is full then."""
    with read_transaction(postgresql) as conn:
        assert find_rights_problem(conn) is None
    role = f"{postgresql.url.database}_reader"
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql(f"CREATE ROLE {role}")
        # The database has a store of large payloads: `gateway migrate` has nothing to write.
        shared_files.record_shared_file(conn, shared_files.PAYLOADS, "ab" * 16, NOW)
    url = postgresql.url.update_query_dict({"options": f"-c role={role}"})
    home = tmp_path / "home"
    make_home(home, url.render_as_string(hide_password=False))
    for verb in (["party", "list"], ["migrate"]):
        capsys.readouterr()
        assert main([*verb, "--home", str(home)]) == 1
        refusal = capsys.readouterr().err
        assert "GW806 the database cannot be reached now: permission denied for table alembic_ver" in refusal
    assert [each for each in run_check(home, capsys)["problems"] if "GW806" in each and "permission" in each]
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    reader = make_engine(url.render_as_string(hide_password=False))
    party = {"id": NAME, "name": NAME, "role": "broker", "status": "ACTIVE", "created_at": NOW}
    with (
        pytest.raises(InsufficientStorageError, match="accepts no writes now: permission denied for table p"),
        write_transaction(reader) as conn,
    ):
        conn.execute(insert(t.parties), [party])
    refusal = f"the role {role} may not read and write all tables of the hub: {len(list_tables())} are closed"
    assert [problem for problem in run_check(home, capsys)["problems"] if refusal in problem]
    assert main(["migrate", "--home", str(home)]) == 0
    assert refusal in capsys.readouterr().out
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    with write_transaction(reader) as conn:
        conn.execute(insert(t.parties), [party])
    assert not get_database_state(reader).reserve.is_lacking
    reader.dispose()
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql(f"DROP OWNED BY {role}")
        conn.exec_driver_sql(f"DROP ROLE {role}")


@pytest.mark.long
@pytest.mark.parametrize("search_path", ["", "pg_catalog"])
def test_a_database_whose_tables_the_role_does_not_see_is_not_called_empty_alone(
    postgresql: Engine, search_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    make_home(home, postgresql.url.render_as_string(hide_password=False))
    set_for_database(postgresql, search_path=search_path)
    words = (
        "is empty, or its role sees no tables in it (search_path, USAGE on their schema): if a hub was here"
    )
    for verb in (["party", "list"], ["migrate"]):
        capsys.readouterr()
        assert main([*verb, "--home", str(home)]) != 0
        assert words in capsys.readouterr().err
    assert [problem for problem in run_check(home, capsys)["problems"] if words in problem]


@pytest.mark.long
def test_a_refusal_names_the_time_limit_that_ended_the_work(
    postgresql: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    make_home(home, postgresql.url.render_as_string(hide_password=False))
    set_for_database(postgresql, statement_timeout="1ms")
    words = "(statement_timeout of the role, the database or the server may be too short)"
    assert [problem for problem in run_check(home, capsys)["problems"] if words in problem]
