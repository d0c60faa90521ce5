"""The processes below `gateway run`: they share what it has imported, and each heeds its own signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import end_process, wait_until_ready

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
#: A child that has not begun to work is told to end; its parent keeps the signal for itself.
EARLY = """
import os, signal, sys, time
from gateway.cli.commands import process
from gateway.cli.stop_signals import catch_stop_signals

process.exit_with_parent = lambda: time.sleep(60)
with catch_stop_signals() as stop:
    child = process._fork_child(lambda arguments: 0, None)
    os.kill(child.pid, signal.SIGTERM)
    child.join(30)
    assert not stop.is_set()
    signal.raise_signal(signal.SIGTERM)
    assert stop.is_set()
sys.exit(0 if child.exitcode == -signal.SIGTERM else 1)
"""


@pytest.mark.further
def test_a_child_is_ended_by_a_signal_before_it_has_begun() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], cwd=ROOT, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a whole gateway; yield the process that keeps the others, and the port."""
    port = find_free_port()
    assert main(["pki", "demo", "--out", str(tmp_path / "pki"), "--party", "hub"]) == 0
    (tmp_path / "gateway.toml").write_text(f"[http]\nport = {port}\n")
    words = [sys.executable, "-m", "gateway", "run", "--home", str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT)
    try:
        wait_until_ready(port, process, seconds=240)
        yield process, port
    finally:
        end_process(process, 60)


def list_children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.long
def test_children_share_the_imported_program_also_when_one_is_started_again(
    keeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = keeper
    own = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    first = list_children(process.pid)
    assert len(first) == 2
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while len(now := [pid for pid in list_children(process.pid) if pid not in first]) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    wait_until_ready(port, process, seconds=120)
    for pid in now:
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == own, "it was started from nothing"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert [pid for pid in now if Path(f"/proc/{pid}").exists()] == []
