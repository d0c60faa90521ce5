"""A program in a process of `tests.kit.forked`: its first words name the folder and the module."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import multiprocessing.process
import os
import sys
from typing import Any

__all__ = ["main"]


def main() -> int:
    """Run the `main` of the module, as in a process that was started from nothing."""
    faulthandler.enable()
    # What the parent does at its end is not for this process, least of all to end its measuring of branches.
    atexit._clear()
    os.chdir(sys.argv[1])
    sys.argv = sys.argv[2:]
    # A verb of a process that others have started is silent about its start.
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    # It has read the environment of the parent.
    importlib.reload(importlib.import_module("gateway.failpoints"))
    try:
        program: Any = importlib.import_module(sys.argv[0])
        return int(program.main() or 0)
    finally:
        atexit._run_exitfuncs()
