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
from typing import IO

from gateway_conformance.verbs.forked_process import ForkedProcess, ForkServer
from tests.kit.paths import ROOT

__all__ = ["PRELOADED", "fork_process", "fork_program"]

#: The programs that the parent has imported.
PRELOADED = ("tests.kit.single", "tests.kit.gated", "gateway_conformance.__main__", "gateway.cli")
_SHARED = (
    *("gateway_conformance.partner_program", "tests.kit.preloaded_rules", "tests.kit.forked_program"),
    *("gateway.pki.path_library", "gateway.cli.verb_runner", "gateway.cli.commands.process"),
    *("gateway.cli.commands.submit", "gateway.cli.commands.case"),
)


@cache
def _get_server() -> ForkServer:
    """Return the one parent; it ends with the process of the tests."""
    server = ForkServer([*PRELOADED, *_SHARED], os.environ | {"PYTHONPATH": str(ROOT)})
    atexit.register(server.close)
    return server


def fork_program(
    program: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    errors: IO[bytes],
    folder: Path = ROOT,
    title: str = "",
) -> ForkedProcess:
    """Start a program of `PRELOADED` in a folder; its standard input ends when this process has gone."""
    given = [str(folder), program, *words]
    return ForkedProcess(_get_server(), "tests.kit.forked_program", given, environment, errors, title)


def fork_process(
    program: str, words: Sequence[str], environment: Mapping[str, str], log: Path
) -> ForkedProcess:
    """Start a program of `PRELOADED` that writes its errors to a log."""
    with log.open("ab") as errors:
        return fork_program(program, words, environment, errors, title=log.stem)
