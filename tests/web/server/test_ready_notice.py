"""A gateway is ready when all its processes are ready at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.web import announce_readiness
from gateway.web.server import report_ready

FOLDER = "GATEWAY_READY_FOLDER"
CHILD = """
import sys
from gateway.web.server.child_process import report_ready
report_ready()
report_ready()
print("reported", flush=True)
sys.stdin.read()
"""


def start_child() -> subprocess.Popen[bytes]:
    """Start a process that reports once and goes on until it is ended."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"reported\n"
    return child


def end_child(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


@pytest.mark.long
def test_a_process_that_was_started_again_counts_once() -> None:
    ready = threading.Event()
    with announce_readiness(2, ready.set):
        end_child(start_child())
        again = start_child()
        try:
            assert len(list(Path(os.environ[FOLDER]).iterdir())) == 2
            assert not ready.wait(0.4)
            report_ready()
            assert ready.wait(60)
        finally:
            end_child(again)
    assert FOLDER not in os.environ
