"""What `gateway run` and its processes log: what starts, that it is ready, in one format with time."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.program_version import describe_program
from gateway.errors import GatewayError
from gateway.process_log import set_up_logging
from gateway.store import describe_database
from gateway_conformance.verbs.forked_process import ForkedProcess
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.forked_verbs import fork_verb
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

#: Time as in RFC 3339 in UTC, level, place, text.
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR|CRITICAL) [\w.]+ \S.*")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    copy_demo_keys(tmp_path / "pki", "hub")
    (tmp_path / "gateway.toml").write_text(f"[http]\nport = {find_free_port()}\n")
    return tmp_path


@contextmanager
def running(*words: str, forked: bool = False) -> Iterator[list[str]]:
    """Run a verb until it says that it is ready; yield the lines so far, ended with all of them."""
    reading, writing = os.pipe()
    process: ForkedProcess | subprocess.Popen[bytes]
    with os.fdopen(writing, "wb") as errors:
        if forked:
            process = fork_verb(*words, errors=errors)
        else:
            command = [sys.executable, "-m", "gateway", *words]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=errors)
    watch = threading.Timer(240, process.kill)
    watch.start()
    lines: list[str] = []
    with os.fdopen(reading, encoding="utf-8") as told:
        try:
            for line in told:
                lines.append(line.rstrip("\n"))
                if "ready" in line:
                    break
            yield lines
            process.send_signal(signal.SIGTERM)
            lines += told.read().splitlines()
            assert process.wait(60) == 0
        finally:
            watch.cancel()
            process.kill()
            process.wait(60)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.mark.night
@pytest.mark.parametrize(("more", "number"), [((), 3), (("--workers", "2"), 2)])
def test_run_says_what_starts_and_that_it_is_ready(home: Path, more: tuple[str, ...], number: int) -> None:
    with (home / "gateway.toml").open("a") as settings:
        settings.write("[delivery]\nprocesses = 3\n")
    with running("run", "--new", "--home", str(home), *more, forked=bool(more)) as lines:
        first, last = lines[0], lines[-1]
    port = re.search(r"\d+", (home / "gateway.toml").read_text())
    assert port is not None
    assert first.partition("gateway.start ")[2] == (
        f"{describe_program()} starts, home {home}, database sqlite:///{home}/gateway.sqlite3, "
        f"serves http://127.0.0.1:{port[0]}, 1 serving process, {number} worker processes"
    )
    assert last.endswith(" INFO gateway.start ready")
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert sum("gateway.start ready" in line for line in lines) == 1


@pytest.mark.night
def test_the_log_can_be_json_lines(home: Path) -> None:
    assert main(["migrate", "--new", "--home", str(home)]) == 0
    with running("work", "--home", str(home), "--json", forked=True) as lines:
        pass
    told = [json.loads(line) for line in lines]
    assert all(one.keys() >= {"time", "level", "place", "text"} for one in told)
    assert told[0]["text"].endswith("1 worker process")
    assert "ready" in [one["text"] for one in told]


def test_a_line_break_in_a_text_begins_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    set_up_logging()
    logging.root.error("a%s", "\n2026-01-01T00:00:00.000Z INFO forged")
    assert LINE.fullmatch(screen.getvalue().rstrip("\n"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:secret@db:5/g?password=secret", "postgresql://u@db:5/g"),
        ("postgresql://u:secret@h1:5,h2:6/g", "postgresql://u@h1:5,h2:6/g"),
        ("sqlite:////d/gateway.sqlite3", "sqlite:////d/gateway.sqlite3"),
    ],
)
def test_a_database_is_told_without_its_password(url: str, told: str) -> None:
    assert describe_database(url) == told


def test_the_end_of_a_password_does_not_become_the_host() -> None:
    with pytest.raises(GatewayError, match=r"GW801 a password .* has %40 in the place of @") as caught:
        describe_database("postgresql://u:sec@ret@db/g")
    assert "ret" not in str(caught.value).replace("secret", "")
