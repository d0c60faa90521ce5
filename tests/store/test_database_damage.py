"""A file of SQLite that is damaged, or lies beside the log of another, is not taken for a good one."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, text

from gateway.cli import main
from gateway.cli.commands.process import log_expiries_daily
from gateway.cli.home_folder import read_home_settings
from gateway.errors import GatewayError
from gateway.hub import build_engine
from gateway.monitor.health import find_readiness_problem, find_write_problem
from gateway.monitor.metrics import render_process_metrics
from gateway.store import (
    InsufficientStorageError,
    check_database_file,
    check_file_at_start,
    check_schema_version,
    close_database_file,
    database_damage,
    get_database_state,
    make_engine,
    migrate_schema,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.store.write_lock import get_lock_path
from tests.kit.databases import BOTH_AT_LANDING, Templates
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.forked_verbs import run_verb
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

_PAGE = 4096


@pytest.fixture
def home(tmp_path: Path, templates: Templates) -> Path:
    copy_demo_keys(tmp_path / "pki", "hub")
    templates.fill_home(tmp_path)
    assert main(["party", "add", "hub", "--role", "hub", "--home", str(tmp_path)]) == 0
    return tmp_path


@pytest.fixture
def file_engine(home: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{home}/gateway.sqlite3")
    yield engine
    engine.dispose()


def overwrite_table(home: Path, name: str = "audit") -> None:
    """Overwrite the first page of a table, as a failing disk does."""
    file = home / "gateway.sqlite3"
    connection = sqlite3.connect(file)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    connection.close()
    with file.open("r+b") as stream:
        stream.seek((page - 1) * _PAGE)
        stream.write(b"\x5a" * _PAGE)


def copy_beside_log(home: Path) -> None:
    """Put an older copy of the file where the file was, and leave the log of its last writer there."""
    file = home / "gateway.sqlite3"
    writer = sqlite3.connect(file)
    writer.execute("CREATE TABLE filler (words TEXT)")
    writer.executemany("INSERT INTO filler VALUES (?)", [("x" * 3000,)] * 200)
    writer.commit()
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    writer.execute("DROP TABLE filler")
    writer.executescript("CREATE TABLE other (words TEXT); INSERT INTO other VALUES (1)")
    writer.execute("VACUUM INTO ?", (str(home / "backup"),))
    writer.execute("UPDATE other SET words = 2")
    writer.commit()
    shutil.copyfile(home / "gateway.sqlite3-wal", home / "log")
    writer.close()
    (home / "backup").rename(file)
    shutil.copyfile(home / "log", home / "gateway.sqlite3-wal")


@pytest.mark.long
@pytest.mark.parametrize("spoil", [overwrite_table, copy_beside_log])
@pytest.mark.parametrize("verb", ["check", "evidence check", "run", "serve", "work"])
def test_a_damaged_file_is_reported_and_not_opened(spoil: object, verb: str, home: Path) -> None:
    spoil(home)  # type: ignore[operator]
    if spoil is overwrite_table:
        (home / "gateway.sqlite3-damaged").touch()
    before = (home / "gateway.sqlite3").read_bytes()
    done = run_verb(*verb.split(), "--home", str(home))
    assert done.returncode == 1
    assert "GW805 the file of the database is damaged" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (home / "gateway.sqlite3").read_bytes() == before


@BOTH_AT_LANDING
def test_a_database_that_was_restored_in_part_is_not_taken(engine: Engine) -> None:
    """Its version was there before its tables, or some of them were not restored."""
    with write_transaction(engine) as conn:
        conn.exec_driver_sql("DROP TABLE audit")
    for judge in (check_schema_version, migrate_schema):
        with pytest.raises(
            GatewayError, match="GW805 the database lacks tables of its version, restore it whole: audit"
        ):
            judge(engine)
    problem = find_readiness_problem(engine)
    assert problem is not None
    assert problem.problem.id == "GW805"


@pytest.mark.long
def test_a_copy_is_good_without_the_log_of_another(home: Path, file_engine: Engine) -> None:
    copy_beside_log(home)
    with pytest.raises(GatewayError, match="GW805"):
        check_database_file(get_database_state(file_engine).damage)
    for name in ("wal", "shm"):
        (home / f"gateway.sqlite3-{name}").unlink(missing_ok=True)
    check_database_file(get_database_state(file_engine).damage)


@pytest.mark.long
def test_damage_that_was_met_keeps_the_hub_unready_until_the_file_is_restored(
    home: Path, file_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_engine(str(file_engine.url))
    good = (home / "gateway.sqlite3").read_bytes()
    overwrite_table(home)
    assert find_readiness_problem(file_engine) is None
    for _ in range(3):
        with pytest.raises(GatewayError, match="GW805"), read_transaction(file_engine) as conn:
            conn.execute(text("SELECT * FROM audit")).all()
    assert [one.levelname for one in caplog.records if "GW805" in one.getMessage()] == ["ERROR"]
    for engine in (file_engine, other):
        # The pages that readiness reads are good.
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
        problem = find_readiness_problem(engine)
        assert problem is not None
        assert problem.problem.id == "GW805"
        measured = render_process_metrics(engine, is_key_unavailable=False, is_database_readable=True)
        assert "gateway_database_damaged 1.0\n" in measured
        engine.dispose()
    with pytest.raises(GatewayError, match="GW805"):
        check_file_at_start(get_database_state(file_engine).damage)
    (home / "gateway.sqlite3").write_bytes(good)
    again = make_engine(str(file_engine.url))
    with pytest.raises(GatewayError, match="a process of the hub has met it"):
        check_database_file(get_database_state(again).damage)
    check_file_at_start(get_database_state(again).damage)
    again.dispose()
    again = make_engine(str(file_engine.url))
    assert find_readiness_problem(again) is None
    assert "gateway_database_damaged 0.0\n" in render_process_metrics(
        again, is_key_unavailable=False, is_database_readable=True
    )
    check_database_file(get_database_state(again).damage)
    again.dispose()


def test_a_server_that_meets_damage_keeps_the_hub_unready(postgresql_url: str) -> None:
    engine = make_engine(postgresql_url)
    for state in ("XX001", "XX002"):
        raise_it = f"DO $$ BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = '{state}'; END $$"
        with pytest.raises(GatewayError, match="GW805"), write_transaction(engine) as conn:
            conn.execute(text(raise_it))
    problem = find_readiness_problem(engine)
    assert problem is not None
    assert problem.problem.id == "GW805"
    engine.dispose()


def leave_log(home: Path) -> None:
    """Leave the log beside the file as a process that was killed does."""
    writer = sqlite3.connect(home / "gateway.sqlite3")
    writer.execute("PRAGMA user_version = 7")
    shutil.copyfile(home / "gateway.sqlite3-wal", home / "log")
    writer.close()
    shutil.copyfile(home / "log", home / "gateway.sqlite3-wal")


@pytest.mark.long
def test_the_file_is_checked_after_an_unclean_stop_alone(
    home: Path, file_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    close_database_file(get_database_state(file_engine).damage)
    overwrite_table(home)
    check_file_at_start(get_database_state(file_engine).damage)
    assert not caplog.records
    leave_log(home)
    close_database_file(get_database_state(file_engine).damage)
    check_file_at_start(get_database_state(file_engine).damage)
    assert not caplog.records
    leave_log(home)
    with pytest.raises(GatewayError, match="GW805"):
        check_file_at_start(get_database_state(file_engine).damage)
    assert "it is checked, for 60 seconds at most" in caplog.text


@pytest.mark.long
def test_the_check_at_a_start_is_bounded_and_told(
    home: Path, file_engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_log(home)
    monkeypatch.setattr(database_damage, "_INSTRUCTIONS", 1)
    monkeypatch.setattr(database_damage, "_PROGRESS_SECONDS", 0.0)
    check_file_at_start(get_database_state(file_engine).damage)
    assert "the database is being checked, 0 seconds so far" in caplog.text
    assert "the database is in order" in caplog.text
    caplog.clear()
    monkeypatch.setattr(database_damage, "_START_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING):
        check_file_at_start(get_database_state(file_engine).damage)
    assert "was not finished: `gateway check` reads all of it" in caplog.text
    assert "in order" not in caplog.text.partition("was not finished")[2]


@pytest.mark.parametrize("exchanged", ["removed", "replaced", "home"])
def test_nothing_is_stored_once_the_file_is_removed_or_another_one(
    exchanged: str, home: Path, tmp_path_factory: pytest.TempPathFactory, file_engine: Engine
) -> None:
    file = home / "gateway.sqlite3"
    shutil.copyfile(file, home / "older")
    with write_transaction(file_engine) as conn:
        register_version.probe_commit(conn)
    if exchanged == "home":
        away = tmp_path_factory.mktemp("away") / "home"
        shutil.copytree(home, away.with_name("copy"))
        home.rename(away)
        away.with_name("copy").rename(home)
    elif exchanged == "replaced":
        (home / "older").rename(file)
    else:
        file.unlink()
    for transaction in (write_transaction, read_transaction) * 2:
        with (
            pytest.raises(GatewayError, match=r"^GW806 .* its file was removed or replaced"),
            transaction(file_engine) as conn,
        ):
            register_version.get_register_version(conn)
    for problem in (find_write_problem(file_engine), find_readiness_problem(file_engine)):
        assert problem is not None
        assert problem.problem.id == "GW806"
    assert file.exists() is (exchanged != "removed")


@pytest.mark.long
@pytest.mark.parametrize(("verb", "replaced"), [("serve", False), ("work", True)])
def test_a_process_does_nothing_to_the_file_in_place_of_its_own_when_it_ends(
    verb: str, replaced: bool, home: Path
) -> None:
    (home / "gateway.toml").write_text(f"[http]\nport = {find_free_port()}\n")
    file, log = home / "gateway.sqlite3", home / "gateway.sqlite3-wal"
    shutil.copyfile(file, home / "older")
    older = file.read_bytes()
    # Holds the log open, so that it lies beside the file after the exchange.
    looking = sqlite3.connect(file)
    looking.execute("SELECT count(*) FROM audit").fetchall()
    command = [sys.executable, "-m", "gateway", verb, "--home", str(home)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GATEWAY_LOG": "INFO"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        watch = threading.Timer(120, process.kill)
        watch.start()
        assert process.stderr is not None
        assert any(" ready" in line for line in process.stderr)
        own = make_engine(f"sqlite:///{file}")
        with write_transaction(own) as conn:
            register_version.probe_commit(conn)
        (home / "older").rename(file) if replaced else file.unlink()
        own.dispose()
        process.terminate()
        lines = process.stderr.read()
        assert process.wait() == 0, lines
        watch.cancel()
    looking.close()
    assert "the file of the database was removed or replaced" in lines
    assert log.stat().st_size > 0
    assert (file.read_bytes() if file.exists() else None) == (older if replaced else None)


def test_the_daily_check_does_not_touch_the_file_in_place_of_that_of_its_process(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_home_settings(home)
    file, log = home / "gateway.sqlite3", home / "gateway.sqlite3-wal"
    shutil.copyfile(file, home / "older")
    engine = build_engine(settings)
    with write_transaction(engine) as conn:
        register_version.probe_commit(conn)
    written = log.read_bytes()
    (home / "older").rename(file)
    older = file.read_bytes()
    stop = threading.Event()
    stop.set()
    log_expiries_daily(settings, stop, engine)
    engine.dispose()
    assert (file.read_bytes(), log.read_bytes()) == (older, written)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("was removed or replaced" in str(record.exc_info) for record in caplog.records)


def test_a_file_behind_a_link_is_checked_with_its_log(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "disk").mkdir()
    (home / "gateway.sqlite3").rename(tmp_path / "disk" / "hub.sqlite3")
    (home / "gateway.sqlite3").symlink_to(tmp_path / "disk" / "hub.sqlite3")
    engine = make_engine(f"sqlite:///{home}/gateway.sqlite3")
    with write_transaction(engine) as conn:
        register_version.probe_commit(conn)
    check_file_at_start(get_database_state(engine).damage)
    assert "the database is in order" in caplog.messages
    direct_engine = make_engine(f"sqlite:///{tmp_path}/disk/hub.sqlite3")
    paths = {get_database_state(each).sqlite.path for each in (engine, direct_engine)}
    assert [get_lock_path(path) for path in paths] == [str(tmp_path / "disk" / "hub.sqlite3-writer")]
    # Another file behind the link is another one in the place of this one.
    (home / "gateway.sqlite3").unlink()
    shutil.copyfile(tmp_path / "disk" / "hub.sqlite3", home / "other")
    (home / "gateway.sqlite3").symlink_to("other")
    with pytest.raises(GatewayError, match="GW806"), write_transaction(engine):
        raise AssertionError("it is written to")
    engine.dispose()


def test_a_volume_that_takes_no_writes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite says that it is unable to open the file."""
    engine = make_engine(f"sqlite:///{tmp_path}/hub.sqlite3")
    migrate_schema(engine)
    engine.dispose()
    for file in tmp_path.glob("hub.sqlite3-*"):
        file.unlink()
    monkeypatch.setattr(database_damage.os, "access", lambda *_, **__: False)
    monkeypatch.setattr(database_damage.os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    monkeypatch.setattr(sqlite3, "connect", refuse_to_open)
    words = (
        f"GW806 the database cannot be read now: {tmp_path} is on a volume that is mounted for reading only"
    )
    with pytest.raises(InsufficientStorageError, match=re.escape(words)):
        check_database_file(get_database_state(engine).damage)


def refuse_to_open(*_: object, **__: object) -> None:
    problem = sqlite3.OperationalError("unable to open database file")
    problem.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    raise problem
