"""Verbs in processes that are forked from one that has imported the program (`tests.kit.forked`).

What a verb does is the same there. That it starts from nothing is tried by at least one test of each verb.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from gateway_conformance.verbs.forked_process import ForkedProcess
from tests.kit.forked import fork_program
from tests.kit.paths import ROOT

__all__ = ["fork_verb", "run_verb"]


def fork_verb(
    *words: str, errors: IO[bytes], folder: Path = ROOT, more: Mapping[str, str] | None = None
) -> ForkedProcess:
    """Start a verb in a folder, with `more` in its environment."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(more or {})
    return fork_program("gateway.cli", words, environment, errors, folder)


def run_verb(
    *words: str, folder: Path = ROOT, more: Mapping[str, str] | None = None, timeout: float = 120
) -> CompletedProcess[str]:
    """Run a verb to its end; return what `subprocess.run` returns."""
    with tempfile.TemporaryFile() as errors:
        process = fork_verb(*words, errors=errors, folder=folder, more=more)
        watch = threading.Timer(timeout, process.kill)
        watch.start()
        try:
            with process.stdin, process.stdout:
                output = process.stdout.read()
            status = process.wait(timeout)
        finally:
            watch.cancel()
        errors.seek(0)
        return CompletedProcess(words, status, output.decode(), errors.read().decode())
