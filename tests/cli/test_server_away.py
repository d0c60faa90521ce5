"""Processes of the gateway that start before the server of their database wait for it, and say so."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.store import InsufficientStorageError, disk_reserve, make_engine, schema_version
from gateway.store.postgresql_connections import does_server_answer
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

VERBS = ["work", "run", "serve", "console", "api"]


class Away:
    """A home whose database is on a server that can be reached after `come`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = folder / "home"
        self._socket = folder / "s"
        parsed = make_url(url)
        self._folder = str(parsed.query["host"])
        away = parsed.set(query={"host": str(self._socket)}).render_as_string(hide_password=False)
        copy_demo_keys(self.home / "pki", "hub")
        ports = [find_free_port() for _ in range(3)]
        (self.home / "gateway.toml").write_text(
            f"[http]\nport = {ports[0]}\n[console]\nport = {ports[1]}\n[api]\nport = {ports[2]}\n"
            f'[database]\nurl = "{away}"\n'
        )

    def come(self) -> None:
        self._socket.symlink_to(self._folder)


@pytest.fixture
def away(postgresql_url: str) -> Iterator[Away]:
    # The path of a socket has room for 107 octets.
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    yield Away(folder, postgresql_url)
    shutil.rmtree(folder)


@contextmanager
def started(verb: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway", verb, "--home", str(home)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GATEWAY_LOG": "INFO"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        watch = threading.Timer(120, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


def await_line(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"it has ended with {process.wait()} and without {words!r}")


@pytest.mark.night
@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_is_away_is_awaited(away: Away, verb: str) -> None:
    with started(verb, away.home) as process:
        line = await_line(process, "waiting for the database: GW806 the database cannot be reached now: ")
        assert "connection" in line
        away.come()
        await_line(process, "gateway.start ready")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.read()
        assert process.wait(60) == 0


@pytest.mark.night
@pytest.mark.parametrize("verb", VERBS)
def test_who_waits_for_a_server_is_stopped_at_once(away: Away, verb: str) -> None:
    with started(verb, away.home) as process:
        await_line(process, "waiting for the database")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        assert time.monotonic() - began < 5


@pytest.mark.long
@pytest.mark.parametrize("missing", ["username", "database"])
def test_a_server_that_refuses_for_long_ends_the_start(
    missing: str, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schema_version, "_REFUSED_SECONDS", 2.0)
    url = make_url(postgresql_url).set(**{missing: "nobody"})  # type: ignore[arg-type]
    engine = make_engine(url.render_as_string(hide_password=False))
    began = time.monotonic()
    with pytest.raises(InsufficientStorageError, match='"nobody" does not exist'):
        schema_version.await_server(engine)
    assert 2 <= time.monotonic() - began < 30
    assert '"nobody" does not exist' in caplog.text
    engine.dispose()


def test_of_several_hosts_that_refuse_the_primary_is_awaited(postgresql_url: str) -> None:
    url = make_url(postgresql_url)
    assert does_server_answer(url)
    assert does_server_answer(url.set(username="nobody"))
    assert not does_server_answer(url.update_query_dict({"host": "/nowhere"}))
    assert not does_server_answer(url.update_query_dict({"host": ["/nowhere", "/here"]}))
    assert not does_server_answer(url.update_query_dict({"target_session_attrs": "read-write"}))


@pytest.mark.night
def test_the_log_says_again_and_again_what_is_awaited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk_reserve, "_WAITING_EVERY", 0.2)
    tries: list[float] = []

    def fail_for_a_second() -> int:
        tries.append(time.monotonic())
        if tries[-1] - tries[0] < 1:
            raise InsufficientStorageError("away")
        return 7

    assert disk_reserve.retry_until_stored(fail_for_a_second, pause_seconds=0.01) == 7
    assert 3 <= caplog.text.count("waiting for the database: GW806 away") <= 6
