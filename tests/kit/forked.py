"""Processes of the gateway that are forked from one that has imported the program already.

Importing takes longer than most of what a test of kills looks at. The parent has imported the program,
read the shipped rules (`tests.kit.preloaded_rules`) and done nothing else: no thread, no connection, no
key. Processes that are started from nothing are tried by the tests that run `gateway run`, `gateway
serve` and `gateway demo`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from gateway.cli.forked_process import ForkedProcess, ForkServer
from tests.kit.paths import ROOT

__all__ = ["PRELOADED", "fork_process"]

#: The programs that the parent has imported.
PRELOADED = ("tests.kit.single", "tests.kit.gated", "gateway.conformance.__main__")
_SHARED = ("gateway.conformance.partner_program", "tests.kit.preloaded_rules", "tests.kit.forked_program")


@cache
def _get_server() -> ForkServer:
    """Return the one parent; it ends with the process of the tests."""
    server = ForkServer([*PRELOADED, *_SHARED], os.environ | {"PYTHONPATH": str(ROOT)})
    atexit.register(server.close)
    return server


def fork_process(
    program: str, words: Sequence[str], environment: Mapping[str, str], log: Path
) -> ForkedProcess:
    """Start a program of `PRELOADED`, whose standard input ends when this process has gone."""
    with log.open("ab") as errors:
        return ForkedProcess(
            _get_server(), "tests.kit.forked_program", [program, *words], environment, errors, log.stem
        )
