"""What a signal sets is set, whatever the main thread does in that moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: The signal comes while the main thread holds the lock of the event that it sets.
PROGRAM = """
import signal, sys, threading
from {module} import {name} as catch_signals

def raise_signal(frame, event, argument):
    if event == "call" and frame.f_code is threading.Condition.wait.__code__:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGTERM)

with catch_signals() as stop:
    sys.setprofile(raise_signal)
    print(stop.wait(100), sys.getprofile())
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("gateway.stop_signals", "catch_stop_signals"), ("gateway_conformance.verbs.practice", "_catch_end")],
)
def test_a_signal_is_heeded_while_the_event_that_it_sets_is_locked(module: str, name: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(module=module, name=name)]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE, timeout=120)
    assert done.stdout == b"True None\n"
