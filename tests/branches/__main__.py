"""Marks the branches of a program for a measured run, and reads what was measured.

`python -m tests.branches mark FOLDER`: compiles the program of a folder with marks, for this Python.
`python -m tests.branches read MEASURED WRITTEN`: makes a data file with branches of one with lines.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.branches.marks import write_marked_program


def main(words: list[str]) -> int:
    """Run one command; return 2 for any other one."""
    match words:
        case ["mark", folder]:
            print(f"{write_marked_program(Path(folder))} files have marks")
        case ["read", measured, written]:
            # Marks are written by a Python without coverage.py too.
            from tests.branches.readings import read_marks

            read_marks(Path(measured), Path(written))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
