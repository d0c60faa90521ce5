"""Draws mutants and runs the tests that pass their lines; JSON lines, and a summary at the end."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from coverage import CoverageData

from tests.kit.paths import ROOT
from tests.mutation.mutants import Mutant, list_mutants

_PACKAGES = ("wire", "xmlsec", "pki", "hub")
#: Tests of one run; the nearest come first.
_MOST = 150
_PYTEST = ("-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:xdist", "-p", "no:pytest_cov", "--timeout=60")


def main(argv: list[str] | None = None) -> int:
    """Run a sample; the exit status is 1 when fewer than 90 of 100 are killed."""
    arguments = _parse(argv)
    tests = _read_contexts(arguments.coverage)
    mutants = [
        mutant
        for package in arguments.packages
        for path in sorted((ROOT / "gateway" / package).rglob("*.py"))
        for mutant in list_mutants(path, ROOT)
    ]
    drawn = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    drawn = drawn[arguments.skip :]
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(arguments.jobs) as pool:
        copies: Queue[Path] = Queue()
        for number in range(arguments.jobs):
            copies.put(_copy_tree(Path(place) / str(number)))
        told = [pool.submit(_try_mutant, mutant, tests, copies) for mutant in drawn]
        rows = []
        for one in told:
            rows.append(one.result())
            print(json.dumps(rows[-1]), flush=True)
    killed = sum(row["verdict"] in ("killed", "timed out") for row in rows)
    print(json.dumps({"mutants": len(rows), "of": len(mutants), "killed": killed}))
    return int(killed < 0.9 * len(rows))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--coverage", required=True, help="a data file of `pytest --cov --cov-context=test`")
    parser.add_argument("--packages", nargs="+", default=_PACKAGES)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many of the sample: done before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(argv)


def _read_contexts(file: str) -> dict[tuple[str, int], list[str]]:
    """Return of each line the tests that pass it, by path and line."""
    data = CoverageData(basename=file)
    data.read()
    found: dict[tuple[str, int], list[str]] = {}
    for name in data.measured_files():
        place = name[name.rindex("/gateway/") + 1 :]
        for line, contexts in data.contexts_by_lineno(name).items():
            found[place, line] = sorted({one.partition("|")[0] for one in contexts if one})
    return found


def _copy_tree(place: Path) -> Path:
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
    return place


def _try_mutant(
    mutant: Mutant, tests: dict[tuple[str, int], list[str]], copies: Queue[Path]
) -> dict[str, Any]:
    begun = time.monotonic()
    passing = tests.get((mutant.path, mutant.line), [])
    if not passing:
        return {"mutant": str(mutant), "verdict": "not passed by any test"}
    copy = copies.get()
    target = copy / mutant.path
    source = target.read_bytes()
    target.write_bytes(mutant.apply_to(source))
    try:
        verdict, by = _run_tests(copy, _choose(mutant, passing))
    finally:
        target.write_bytes(source)
        copies.put(copy)
    return {
        "mutant": str(mutant),
        "verdict": verdict,
        "by": by,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _choose(mutant: Mutant, passing: list[str]) -> list[str]:
    """Return the tests to run: those of the same package first."""
    near = f"tests/{mutant.path.split('/')[1]}/"
    return sorted(passing, key=lambda name: (not name.startswith(near), name))[:_MOST]


def _run_tests(copy: Path, names: list[str]) -> tuple[str, str]:
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    # The nodes of a test go by file: its parameters may hold characters that a shell would not take.
    command = [sys.executable, *_PYTEST, *names]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "timed out", ""
    if done.returncode == 0:
        return "survived", ""
    if done.returncode not in (1, 2, 4):
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    if done.returncode == 4:  # the tests cannot be collected any more, or have other parameters
        return "killed", (done.stdout + done.stderr)[-200:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "killed", lines[0][:200] if lines else done.stdout[-200:]


if __name__ == "__main__":
    raise SystemExit(main())
