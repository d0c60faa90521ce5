"""The processes below `gateway run`: they share what it has imported, and each heeds its own signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import end_process, is_running, wait_until_ready
from tests.kit.waiting import until

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
#: A child that has not begun to work is told to end; its parent keeps the signal for itself.
EARLY = """
import os, signal, sys, time
from gateway.cli import child_processes
from gateway.stop_signals import catch_stop_signals

child_processes.exit_with_parent = lambda: time.sleep(60)
with catch_stop_signals() as stop:
    child = child_processes._fork_child(lambda arguments: 0, None)
    os.kill(child.pid, signal.SIGTERM)
    child.join(30)
    assert not stop.is_set()
    signal.raise_signal(signal.SIGTERM)
    assert stop.wait(60)
sys.exit(0 if child.exitcode == -signal.SIGTERM else 1)
"""


@pytest.mark.night
def test_a_child_is_ended_by_a_signal_before_it_has_begun() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], cwd=ROOT, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a whole gateway; yield the process that keeps the others, and the port."""
    port = find_free_port()
    copy_demo_keys(tmp_path / "pki", "hub")
    affinity = 'cpu_affinity = "always"\n'
    (tmp_path / "gateway.toml").write_text(f"[http]\nport = {port}\n{affinity}[delivery]\n{affinity}")
    words = [sys.executable, "-m", "gateway", "run", "--new", "--home", str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT)
    try:
        wait_until_ready(port, process, seconds=240)
        yield process, port
    finally:
        end_process(process, 60)


def list_children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_bound(pid: int) -> bool:
    """Return whether a process was bound to one of several processors."""
    return len(os.sched_getaffinity(pid)) < len(os.sched_getaffinity(0))


@pytest.mark.night
def test_children_share_the_imported_program_also_when_one_is_started_again(
    keeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = keeper
    own = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    first = list_children(process.pid)
    assert len(first) == 2
    working, keeping_servers = first
    (serving,) = list_children(keeping_servers)
    bound = [is_bound(pid) for pid in (process.pid, working, keeping_servers, serving)]
    assert bound == [False, True, False, True] or len(os.sched_getaffinity(0)) == 1
    # What validates certificates leaves the processor of its parent when it has started.
    until(lambda: (examiners := list_children(serving)) and not any(map(is_bound, examiners)))
    for pid in first:
        os.kill(pid, signal.SIGKILL)

    def list_new_children() -> list[int]:
        children = [pid for pid in list_children(process.pid) if pid not in first]
        return children if len(children) == 2 else []

    now = until(list_new_children)
    wait_until_ready(port, process, seconds=120)
    for pid in now:
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == own, "it was started from nothing"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert [pid for pid in now if Path(f"/proc/{pid}").exists()] == []


@pytest.fixture
def delivering(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `gateway work` with two processes, and yield the process that keeps them."""
    copy_demo_keys(tmp_path / "pki", "hub")
    (tmp_path / "gateway.toml").write_text('[delivery]\nprocesses = 2\ncpu_affinity = "never"\n')
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    words = [sys.executable, "-m", "gateway", "work", "--home", str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(240, process.kill)
    watch.start()
    try:
        yield process
    finally:
        watch.cancel()
        end_process(process, 60)
        assert process.stderr is not None
        process.stderr.close()


def find_line(process: subprocess.Popen[str], words: str) -> str:
    """Return the next line of the log with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


@pytest.mark.night
def test_two_working_processes_are_kept_and_end_together(delivering: subprocess.Popen[str]) -> None:
    assert find_line(delivering, "gateway.start").rstrip().endswith("2 worker processes")
    find_line(delivering, "gateway.start ready")
    first, other = list_children(delivering.pid)
    # As the settings say.
    assert not is_bound(first)
    assert not is_bound(other)
    os.kill(first, signal.SIGKILL)
    assert f"process {first} ended with -9 and is started again" in find_line(delivering, "ended")

    def list_both() -> list[int]:
        children = list_children(delivering.pid)
        return children if len(children) == 2 and first not in children else []

    now = until(list_both)
    assert other in now
    delivering.send_signal(signal.SIGTERM)
    assert delivering.wait(60) == 0
    assert [pid for pid in now if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.night
def test_working_processes_end_when_what_keeps_them_is_killed(delivering: subprocess.Popen[str]) -> None:
    find_line(delivering, "gateway.start ready")
    kept = list_children(delivering.pid)
    assert len(kept) == 2
    delivering.kill()
    until(lambda: not any(map(is_running, kept)))
