"""A program in a process of `tests.kit.forked`: its first word names the module."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import os
import sys
from typing import Any

from tests.kit.paths import ROOT

__all__ = ["main"]


def main() -> int:
    """Run the `main` of the module, as in a process that was started from nothing."""
    faulthandler.enable()
    os.chdir(ROOT)
    sys.argv = sys.argv[1:]
    # It has read the environment of the parent.
    importlib.reload(importlib.import_module("gateway.failpoints"))
    try:
        program: Any = importlib.import_module(sys.argv[0])
        return int(program.main() or 0)
    finally:
        atexit._run_exitfuncs()
