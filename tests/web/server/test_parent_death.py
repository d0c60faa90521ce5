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
from tests.kit.served import is_running
from tests.kit.waiting import until

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
        assert is_running(pid), "it ends while its keeper lives"
        parent.kill()
        parent.wait(60)
        until(lambda: not is_running(pid), problem=lambda: "it outlives its keeper")
    finally:
        parent.stdout.close()
        parent.kill()
        parent.wait(60)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
