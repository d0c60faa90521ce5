"""Nothing is opened and nobody is called because a message says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.flows.hostile.outbound import in_namespace
from tests.kit.paths import ROOT


@pytest.mark.night
def test_no_message_makes_this_process_open_or_call_anything() -> None:
    # In a process of its own: an audit hook stays as long as its process.
    command = [
        sys.executable,
        "-m",
        "tests.flows.hostile.outbound",
        "--only",
        "audit",
        "--every",
        "12",
        "--json",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    told = json.loads(done.stdout or "{}")
    assert told, done.stderr[-2000:]
    assert all(told["controls"].values()), told["controls"]
    assert (told["heard"], told["canaries"]) == ([], [])
    assert told["cases"] >= 30
    assert told["fetching"] >= 150
    assert told["readers"] >= 300


@pytest.mark.long
def test_a_gateway_without_routes_opens_and_calls_nothing_that_a_message_names() -> None:
    told = in_namespace(every=60)
    ways = [name for name in ("namespace", "strace") if told[name]]
    print(f"watched by hooks in every process, canaries and {' and '.join(ways) or 'nothing else'}")
    assert all(told["controls"].values()), told["controls"]
    assert (told["heard"], told["canaries"]) == ([], [])
    assert not told["namespace"] or told["routes"] == 0
    assert set(told["connections"]) <= {"127.0.0.1:9"} or not told["strace"]
    assert told["fetching"] >= 150
