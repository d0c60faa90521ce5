"""A program that writes its name to both outputs and waits for the end of its standard input."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Take a name and an exit status."""
    name, status = sys.argv[1:]
    sys.stderr.write(f"{name} of {os.environ['PLACE']}\n")
    sys.stderr.flush()
    print(f"READY {name}", flush=True)
    while os.read(0, 1024):
        pass
    return int(status)
