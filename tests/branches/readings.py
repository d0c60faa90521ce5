"""Lines that were measured in a marked program, written as coverage.py writes branches."""

from __future__ import annotations

from pathlib import Path

from coverage import Coverage, CoverageData
from coverage.python import PythonFileReporter

from tests.branches.marks import Branch, mark_branches

__all__ = ["read_marks"]


def read_marks(measured: Path, written: Path, configuration: Path | None = None) -> None:
    """Read measured lines from one data file of coverage.py, and write lines and branches into another one.

    Which way leads to which line coverage.py knows from the source; it counts the result as its own.
    Without a configuration it is that of the folder of the process.
    """
    lines, arcs = CoverageData(str(measured)), CoverageData(str(written))
    lines.read()
    rules = Coverage(data_file=None, branch=True, config_file=str(configuration) if configuration else True)
    # A page of the console is compiled from a template: it has lines of its own, and no branches of ours.
    programs = sorted(name for name in lines.measured_files() if name.endswith(".py"))
    for name in programs:
        seen = set(lines.lines(name) or ())
        source = Path(name).read_text(encoding="utf-8")
        _, branches = mark_branches(source)
        last = len(source.splitlines())
        # A line that leads to itself is one that was run, wherever it went on.
        taken = {(line, line) for line in seen if line <= last}
        taken |= _find_taken_ways(seen, branches, PythonFileReporter(name, rules))
        arcs.add_arcs({name: taken})
    # What no test has run counts too.
    arcs.touch_files(programs)
    arcs.write()


def _find_taken_ways(
    seen: set[int], branches: list[Branch], reporter: PythonFileReporter
) -> set[tuple[int, int]]:
    ways: dict[int, set[int]] = {}
    for begin, end in reporter.arcs():
        ways.setdefault(begin, set()).add(end)
    taken = set()
    for branch in branches:
        for line in reporter.translate_lines({branch.line}):
            ends = ways.get(line, set())
            inside = {end for end in ends if end in branch.body}
            chosen = (inside if branch.entered in seen else set()) | (
                ends - inside if branch.passed in seen else set()
            )
            taken |= {(line, end) for end in chosen}
    return taken
