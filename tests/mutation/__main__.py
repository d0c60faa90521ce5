"""Draws mutants of rooms, runs the near tests that pass their lines, and writes what became of each."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from queue import Queue
from typing import Any

from coverage import CoverageData

from tests.kit.paths import ROOT, VECTORS
from tests.mutation.mutants import Mutant, choose_mutants, list_mutants

__all__ = ["ROOMS", "SAMPLES", "Row", "Sample", "main", "read_sample", "try_mutant", "write_sample"]

_HERE = Path(__file__).parent
#: What became of the mutants of each room that was sampled.
SAMPLES = _HERE / "samples"
#: The rooms that can be sampled: their files, and the tests that are near them.
ROOMS: dict[str, dict[str, list[str]]] = tomllib.loads((_HERE / "rooms.toml").read_text(encoding="utf-8"))
#: Tests of one run.
_MOST = 500
#: Seconds for the tests of one mutant, and for those of a whole room.
_LONGEST, _LONGEST_ROOM = 1200, 7200
#: The exit status of pytest where a test that it is to run is not there.
_NOT_FOUND = 4
_PYTEST = ("-m", "pytest", "-q", "-m", "", "-p", "no:xdist", "--timeout=120")
#: Tests on PostgreSQL say the same, and start a server for each mutant.
_LEFT_OUT = re.compile("postgresql")
#: Tests that tell a story: tests of values come before them.
_STORIES = tuple(f"tests/{room}/" for room in ("flows", "cli", "conformance", "web"))

#: The near tests that pass a line, by its path and number.
TestsByLine = dict[tuple[str, int], list[str]]


@dataclass(slots=True)
class Row:
    """A mutant, and what became of it.

    `status` is ``killed``, with the test that failed first in `by`; ``survived``; or ``argued``, with the
    reason in `by` why it changes nothing that anybody can see. Empty before it was tried, and where the
    tests say nothing since they fail without the change too.
    """

    mutant: Mutant
    status: str = ""
    by: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the row as it is written."""
        mutant = self.mutant
        return {
            "file": mutant.path,
            "line": mutant.line,
            "kind": mutant.kind,
            "change": str(mutant),
            "status": self.status,
            "by": self.by,
        }


@dataclass(slots=True)
class Sample:
    """The mutants that a seed has drawn from the `total` of a room."""

    room: str
    seed: int
    total: int
    rows: list[Row]


def write_sample(file: Path, sample: Sample) -> None:
    """Write a sample: what was drawn, and a line of JSON for each mutant."""
    head = {"room": sample.room, "seed": sample.seed, "of": sample.total, "count": len(sample.rows)}
    lines = [head, *(row.describe() for row in sample.rows)]
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")


def read_sample(file: Path, mutants: Iterable[Mutant]) -> Sample:
    """Return a written sample with the mutants of now, by file, kind and change.

    Of several the nearest to the written line is meant. Raises LookupError where the code is another one.
    """
    head, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_change: dict[tuple[str, str, str], list[Mutant]] = {}
    for mutant in (now := list(mutants)):
        by_change.setdefault((mutant.path, mutant.kind, str(mutant)), []).append(mutant)
    rows = []
    for line in lines:
        same = by_change.get((line["file"], line["kind"], line["change"]))
        if not same:
            raise LookupError(f"{line['file']}:{line['line']}: there is no such code: {line['change']}")
        distances = {abs(mutant.line - line["line"]): mutant for mutant in same}
        rows.append(Row(distances[min(distances)], line["status"], line["by"]))
    return Sample(head["room"], head["seed"], len(now), rows)


@dataclass(slots=True)
class Copies:
    """Copies of this checkout, in one of which each mutant is tried."""

    place: Path
    count: int
    free: Queue[Path] = field(default_factory=Queue)

    def __post_init__(self) -> None:
        left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache")
        for number in range(self.count):
            self.free.put(Path(shutil.copytree(ROOT, self.place / str(number), ignore=left_out)))

    def measure_room(self, name: str, kept: Path | None) -> TestsByLine:
        """Return the near tests of a room that pass each of its lines; measured once where they are kept."""
        file = (kept or self.place) / f"{name}.coverage"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._run_covered(name, file)
        measured = CoverageData(basename=str(file))
        measured.read()
        passing: TestsByLine = {}
        for path in measured.measured_files():
            relative = path[path.rindex("/gateway/") + 1 :]
            for line, contexts in measured.contexts_by_lineno(path).items():
                tests = {context.partition("|")[0] for context in contexts if context}
                passing[relative, line] = sorted(test for test in tests if not _LEFT_OUT.search(test))
        return passing

    def _run_covered(self, name: str, file: Path) -> None:
        copy = self.free.get()
        tests = [path.relative_to(ROOT).as_posix() for path in _list_files("tests", ROOMS[name]["tests"])]
        rules = self.place / "coveragerc"
        files = ",".join(f"{copy}/gateway/{glob}" for glob in ROOMS[name]["files"])
        rules.write_text(f"[run]\ninclude = {files}\nconcurrency = thread\ndata_file = {file}\n")
        options = ("--cov", f"--cov-config={rules}", "--cov-context=test", "--cov-report=")
        try:
            ended = _run_pytest(copy, (*options, "-k", "not postgresql", *tests), _LONGEST_ROOM)
        finally:
            self.free.put(copy)
        _require_verdict(ended, (0, 1))
        print(ended.stdout.splitlines()[-1], file=sys.stderr)

    def try_row(self, row: Row, passing: TestsByLine) -> Row:
        """Try a mutant, and write in its row what became of it."""
        mutant = row.mutant
        tests = sorted(passing.get((mutant.path, mutant.line), ()), key=_rank_test)
        if mutant.kind == "row":
            # A table is read when its module is imported, which is in the time of no test.
            tests = _list_tests_of_file(passing, mutant.path)
        if not tests:
            row.status, row.by = "survived", "no near test passes the line"
            return row
        copy = self.free.get()
        try:
            row.status, row.by = try_mutant(copy, mutant, tests[:_MOST], row.by)
        finally:
            self.free.put(copy)
        return row


def try_mutant(copy: Path, mutant: Mutant, tests: Sequence[str], former: str) -> tuple[str, str]:
    """Return status and reason of a mutant; the test that killed it before, `former`, runs first.

    A test kills a mutant when it fails with the change alone, each time: one that fails without the change
    too, or not again, is left out. Where all tests fail, without a name of one, they must pass without it.
    """
    left = sorted(tests, key=lambda test: test != former)
    while left:
        status, by = _run_changed(copy, mutant, left)
        if status == "survived":
            return status, by
        if by not in left:
            return ("killed", by) if _run_tests(copy, left)[0] == "survived" else ("", f"unclear: {by}")
        if _run_tests(copy, [by])[0] == "survived" and _run_changed(copy, mutant, [by])[0] == "killed":
            return "killed", by
        print(f"{by} tells nothing of {mutant}", file=sys.stderr)
        left.remove(by)
    return "", "every test of the line fails without the change too"


def _run_changed(copy: Path, mutant: Mutant, tests: Sequence[str]) -> tuple[str, str]:
    target = copy / mutant.path
    source = target.read_bytes()
    target.write_bytes(mutant.apply_to(source))
    try:
        return _run_tests(copy, tests)
    finally:
        target.write_bytes(source)


def _run_tests(copy: Path, tests: Sequence[str]) -> tuple[str, str]:
    """Return status and reason of a mutant whose tests are run."""
    options = ("-x", "--tb=no", "-p", "no:pytest_cov")
    try:
        ended = _run_pytest(copy, (*options, *tests), _LONGEST)
        if ended.returncode == _NOT_FOUND:
            # The parameters of a test may be rows of the table that has one less; those left count.
            ended = _run_pytest(
                copy, (*options, *sorted({test.partition("[")[0] for test in tests})), _LONGEST
            )
    except subprocess.TimeoutExpired:
        return "killed", "the time was over"
    if ended.returncode == 0:
        return "survived", ""
    if ended.returncode < 0:
        return "killed", f"the process ended by signal {-ended.returncode}"
    _require_verdict(ended, (1, 2, _NOT_FOUND))
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    # Without such a line the tests cannot be collected any more.
    failed = lines[0].split(" ", 1)[1].partition(" - ")[0] if lines else "no test can be collected"
    return "killed", failed


def _run_pytest(copy: Path, options: Sequence[str], seconds: int) -> subprocess.CompletedProcess[str]:
    # Without the options of the run that this one is a part of, as that coverage is measured.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment = inherited | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GATEWAY_VECTORS": str(VECTORS),
    }
    # Names of tests go as arguments: their parameters may hold characters that a shell would not take.
    command = [sys.executable, *_PYTEST, *options]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds)


def _require_verdict(ended: subprocess.CompletedProcess[str], statuses: tuple[int, ...]) -> None:
    if ended.returncode not in statuses:
        raise RuntimeError(
            f"pytest ended with {ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-2000:]}"
        )


def _rank_test(test: str) -> tuple[bool, str]:
    return test.startswith(_STORIES), test


def _list_tests_of_file(passing: TestsByLine, path: str) -> list[str]:
    """Return the tests that pass any line of a file, those of few lines last."""
    counts = Counter(test for (file, _), tests in passing.items() if file == path for test in tests)
    return sorted(counts, key=lambda test: (test.startswith(_STORIES), -counts[test], test))


def _list_files(below: str, globs: Iterable[str]) -> list[Path]:
    paths = {path for glob in globs for path in (ROOT / below).glob(glob)}
    return sorted(path for path in paths if below == "gateway" or path.name.startswith("test_"))


def _choose_sample(name: str, arguments: argparse.Namespace) -> Sample:
    files = [path for path in _list_files("gateway", ROOMS[name]["files"]) if path.name != "__init__.py"]
    mutants = [mutant for path in files for mutant in list_mutants(path, ROOT)]
    if arguments.again:
        return read_sample(SAMPLES / f"{name}.jsonl", mutants)
    drawn = choose_mutants(mutants, arguments.count, arguments.seed)
    return Sample(name, arguments.seed, len(mutants), [Row(mutant) for mutant in drawn])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="+", choices=sorted(ROOMS))
    parser.add_argument("--count", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="try what has survived of written samples")
    parser.add_argument("--coverage", type=Path, help="a folder for what tests pass which line, kept there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Try a sample of each room; the exit status is 1 when a mutant has survived."""
    arguments = _parse(argv)
    survived = False
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(arguments.jobs) as pool:
        copies = Copies(Path(place), arguments.jobs)
        for name in arguments.rooms:
            passing = copies.measure_room(name, arguments.coverage)
            sample = _choose_sample(name, arguments)
            waiting = [row for row in sample.rows if row.status in ("", "survived")]
            for row in pool.map(copies.try_row, waiting, repeat(passing)):
                print(json.dumps(row.describe()), flush=True)
                write_sample(SAMPLES / f"{name}.jsonl", sample)
            survived |= any(row.status == "survived" for row in sample.rows)
    return int(survived)


if __name__ == "__main__":
    raise SystemExit(main())
