"""Processes that are forked from one that has imported the program: each is alone with what is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gateway_conformance.verbs.demo_stage import _PRELOADED
from gateway_conformance.verbs.forked_process import ForkedProcess, ForkServer
from tests.kit.paths import ROOT
from tests.kit.served import is_running
from tests.kit.waiting import until

PROGRAM = "tests.kit.waiting_program"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
#: Forks two processes, says the numbers of all, and waits to be killed.
MAKER = f"""
import os, sys, time
from gateway_conformance.verbs.forked_process import ForkedProcess, ForkServer

server = ForkServer([{PROGRAM!r}], os.environ, sys.stderr)
made = [ForkedProcess(server, {PROGRAM!r}, [name, "0"], os.environ, sys.stderr) for name in ("a", "b")]
assert all(one.stdout.readline().startswith(b"READY") for one in made)
print(server.pid, *(one.pid for one in made), flush=True)
time.sleep(300)
"""


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with closing(ForkServer([PROGRAM], ENVIRONMENT)) as server:
        yield server


@pytest.fixture
def fork(server: ForkServer, tmp_path: Path) -> Iterator[Callable[..., ForkedProcess]]:
    """Fork a process that is ready; its log bears its name."""
    made: list[ForkedProcess] = []

    def fork_one(name: str, status: int = 0) -> ForkedProcess:
        environment = ENVIRONMENT | {"PLACE": f"place {name}"}
        with (tmp_path / f"{name}.log").open("wb") as errors:
            process = ForkedProcess(server, PROGRAM, [name, str(status)], environment, errors, name)
        made.append(process)
        assert process.stdout.readline() == f"READY {name}\n".encode()
        return process

    yield fork_one
    for process in made:
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()


def list_open_files(pid: int) -> set[str]:
    """Return the pipes and sockets that a process holds."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(entry))
    return {one for one in found if one.startswith(("pipe:", "socket:"))}


def test_processes_share_no_stream_and_end_with_their_own_input_alone(
    fork: Callable[..., ForkedProcess], server: ForkServer
) -> None:
    first, second, third = fork("first", 3), fork("second", 4), fork("third", 5)
    for one in (first, second, third):
        streams = {os.readlink(f"/proc/{one.pid}/fd/{number}") for number in (0, 1)}
        others = {first.pid, second.pid, third.pid, server.pid} - {one.pid}
        assert len(streams) == 2
        assert not any(streams & list_open_files(pid) for pid in others)
        # Neither line nor channel is left open: a descriptor of the server is in no process.
        assert not {name for name in list_open_files(one.pid) if name.startswith("socket:")}
    first.stdin.close()
    assert first.wait(30) == 3
    assert (second.poll(), third.poll()) == (None, None)
    third.stdin.close()
    assert third.wait(30) == 5
    assert second.poll() is None


def test_each_has_its_session_its_environment_its_log_and_its_name(
    fork: Callable[..., ForkedProcess], tmp_path: Path
) -> None:
    made = {name: fork(name) for name in ("first", "second")}
    for name, process in made.items():
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        assert (tmp_path / f"{name}.log").read_text() == f"{name} of place {name}\n"
        assert Path(f"/proc/{process.pid}/comm").read_text() == f"{name}\n"


def test_it_is_seen_how_a_process_ended(fork: Callable[..., ForkedProcess]) -> None:
    killed, asked = fork("killed"), fork("asked")
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0.0)
    os.kill(killed.pid, signal.SIGKILL)
    assert (killed.wait(30), killed.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    asked.terminate()
    assert asked.wait(30) == -signal.SIGTERM
    asked.terminate()
    assert asked.poll() == -signal.SIGTERM


def test_what_the_terminal_sends_does_not_reach_the_server(server: ForkServer) -> None:
    assert os.getsid(server.pid) == server.pid


def test_without_its_server_a_process_counts_as_ended(
    fork: Callable[..., ForkedProcess], server: ForkServer
) -> None:
    process = fork("alone")
    assert is_running(process.pid)  # the server has told its number
    os.kill(server.pid, signal.SIGKILL)
    assert process.wait(30) == 255
    os.kill(process.pid, 0)
    process.stdin.close()
    until(lambda: not any(map(is_running, [process.pid])))


def test_a_server_that_cannot_import_forks_nothing(tmp_path: Path) -> None:
    modules = ["tests.kit.no_such_program"]
    with (
        (tmp_path / "log").open("wb") as errors,
        closing(ForkServer(modules, ENVIRONMENT, errors)) as server,
    ):
        process = ForkedProcess(server, PROGRAM, ["one", "0"], ENVIRONMENT, errors)
        with process.stdin, process.stdout:
            assert process.stdout.read() == b""
        assert process.wait(30) == 255
        with pytest.raises(ProcessLookupError):
            _ = process.pid
        process.kill()
    assert "no_such_program" in (tmp_path / "log").read_text()


@pytest.mark.night
def test_a_killed_maker_leaves_no_process_and_nothing_is_complained_of() -> None:
    words = [sys.executable, "-X", "dev", "-c", MAKER]
    environment = ENVIRONMENT | {"PLACE": "here", "PYTHONDEVMODE": "1"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    numbers = [int(one) for one in process.stdout.readline().split()]
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert len(numbers) == 3, errors
    until(lambda: not any(map(is_running, numbers)))
    assert sorted(errors.splitlines()) == ["a of here", "b of here"]


@pytest.mark.night
def test_no_thread_runs_where_the_partners_of_a_demo_are_forked() -> None:
    with closing(ForkServer([*_PRELOADED, PROGRAM], ENVIRONMENT)) as server:
        with open(os.devnull, "wb") as errors:
            process = ForkedProcess(server, PROGRAM, ["one", "0"], ENVIRONMENT | {"PLACE": ""}, errors)
        with process.stdin, process.stdout:
            assert process.stdout.readline() == b"READY one\n"
            assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
        assert process.wait(30) == 0
