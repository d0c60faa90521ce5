"""A process ends with the one that keeps it, also when that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.kit.paths import ROOT

CHILD = """
import signal, sys, time
from gateway.web.server.child_process import exit_with_parent
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0) if {heeds} else None)
exit_with_parent(at_once={at_once})
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and is not yet taken note of does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.parametrize(("at_once", "heeds"), [(True, False), (False, True)])
def test_a_child_ends_when_its_keeper_was_killed(at_once: bool, heeds: bool) -> None:
    child = CHILD.format(at_once=at_once, heeds=heeds)
    command = [sys.executable, "-c", PARENT, child]
    parent = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        time.sleep(1.0)
        assert runs(pid), "it ends while its keeper lives"
        parent.kill()
        parent.wait(60)
        end = time.monotonic() + 30
        while runs(pid):
            assert time.monotonic() < end, "it outlives its keeper"
            time.sleep(0.05)
    finally:
        parent.stdout.close()
        parent.kill()
        parent.wait(60)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
