"""Processes of the gateway that are forked from one that has imported the program already.

Importing takes longer than most of what a test of kills looks at. The parent has imported the program,
read the shipped rules (`tests.kit.preloaded_rules`) and done nothing else: no thread, no connection, no
key. Processes that are started from nothing are tried by the tests that run `gateway run`, `gateway
serve` and `gateway demo`.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.kit.paths import ROOT

__all__ = ["PRELOADED", "ForkedProcess"]

#: The programs that the parent has imported.
PRELOADED = ("tests.kit.single", "tests.kit.gated", "gateway.conformance.__main__")
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload([*PRELOADED, "tests.kit.preloaded_rules"])


class ForkedProcess:
    """One process of a program of `PRELOADED`, with what tests use of `subprocess.Popen`.

    Its standard input ends when the process that made it has gone.
    """

    def __init__(self, program: str, words: list[str], environment: Mapping[str, str], log: Path) -> None:
        ours, theirs = _forking.Pipe(duplex=False)
        leash, self.stdin = _forking.Pipe(duplex=False)
        given = (leash, theirs, program, words, dict(environment), str(log))
        self._process = _forking.Process(target=_run, args=given)
        with ours, theirs, leash:
            self._process.start()
            self.stdout = os.fdopen(os.dup(ours.fileno()), "rb")
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Return how the process ended, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how the process ended, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return how it ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process where it still runs."""
        # The parent that forked it may just have seen its end.
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)


def _run(
    leash: Connection, output: Connection, name: str, words: list[str], environment: dict[str, str], log: str
) -> None:
    for connection, number in ((leash, 0), (output, 1)):
        os.dup2(connection.fileno(), number)
        connection.close()
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(written, 2)
    os.close(written)
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [name, *words]
    # It has read the environment of the parent.
    importlib.reload(importlib.import_module("gateway.failpoints"))
    try:
        program: Any = importlib.import_module(name)
        program.main()
    finally:
        atexit._run_exitfuncs()
