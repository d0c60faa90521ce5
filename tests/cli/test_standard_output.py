"""A standard output that is closed, or that takes nothing, is no fault of the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERB = (sys.executable, "-m", "gateway", "error", "GW206")


@pytest.mark.night
@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_loses_what_is_printed_and_nothing_else(closed: int) -> None:
    other = {1: "stderr", 2: "stdout"}[closed]
    ended = subprocess.run(
        VERB, check=False, preexec_fn=lambda: os.close(closed), **{other: subprocess.PIPE}, text=True
    )
    assert ended.returncode == 0
    assert "Traceback" not in (ended.stderr or "")
    assert closed == 1 or "certificate expired" in ended.stdout


@pytest.mark.night
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_told_in_a_line(unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            VERB, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        "gateway: GW808 standard output cannot be written: No space left on device; "
        "what the verb has done stands\n"
    )
