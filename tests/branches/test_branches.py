"""What the marks say is what coverage.py's own measure of branches says, for each form of a branch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.branches.marks import mark_branches, write_marked_program
from tests.branches.readings import read_marks

_CONFIGURATION = "[run]\nparallel = false\n[report]\nexclude_also =\n    if NEVER:\n"
_PROGRAM = '''
import contextlib
import sys

NEVER = False
if NEVER:
    import no_such_module


def choose(number, word=""):
    """Go another way for each number."""
    if number == 1:
        word += "one"
    elif (
        number == 2
        and not word
    ):
        word += "two"
    else:
        choices: str
        if number > 50:
            return None
        choices = word
    with contextlib.suppress(ValueError):
        if number == 4:
            raise ValueError
        if number == 5:
            word += "five"
    return word


def loop(numbers):
    for number in numbers:
        if number == 3:
            break
        if number == 4:
            continue
    else:
        numbers = []
    while numbers:
        number = numbers.pop()
        if number == 9:
            return number
    while True:
        try:
            if len(numbers) > 2:
                break
            numbers.append(1)
        finally:
            if numbers[-1:] == [7]:
                numbers.append(8)
    for number in numbers:
        @contextlib.contextmanager
        def inner(*, given=number):
            yield given

        with inner() as got:
            numbers = [got for got in numbers if got]
    return None


def match(value):
    match value:
        case 1 | 2:
            found = "low"
        case [first, *_] if first > 1:
            found = "list"
        case [_]:
            found = "one"
        case str(word):
            return word
    match value:
        case 1:
            return "one"
        case (
            {"a": found}
            | {"b": found}
        ):
            pass
        case _:
            found = "rest"
    match value:
        case "only":
            found = "only"
    return found


for step in sys.argv[1:]:
    with contextlib.suppress(UnboundLocalError):
        print(eval(step))
'''

_RUNS = (
    [],
    ["choose(1)", "choose(4)", "loop([1, 2])", "match(1)"],
    ["choose(2)", "choose(5)", "loop([3, 9])", "match([2])", "match('a')"],
    ["choose(2, 'x')", "choose(60)", "loop([4])", "loop([])", "match([1])", "match({'b': 1})"],
    ["choose(60)"],
    ["loop([3])", "match('only')", "match(2)", "match(None)", "choose(3)"],
)


@pytest.mark.parametrize("steps", _RUNS, ids=range(len(_RUNS)))
def test_marks_say_what_coverage_says(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    (tmp_path / ".coveragerc").write_text(_CONFIGURATION)
    traced = _measure(tmp_path, "traced", steps, "--branch")
    # `coverage run` compiles the file that it is given; what that file imports is read as it was compiled.
    assert write_marked_program(tmp_path) == 2
    marked = _measure(tmp_path, "lines", steps)
    read_marks(tmp_path / "lines", tmp_path / "marked", tmp_path / ".coveragerc")
    assert marked == traced
    assert _report(tmp_path, "marked") == _report(tmp_path, "traced")


def test_each_branch_has_a_mark_for_each_way() -> None:
    tree, branches = mark_branches("if a:\n    b()\nfor c in d:\n    e()\n")
    assert [(branch.line, branch.body, branch.entered, branch.passed) for branch in branches] == [
        (1, range(2, 3), 5, 6),
        (3, range(4, 5), 7, 8),
    ]
    assert compile(tree, "two.py", "exec")


def test_a_changed_file_is_not_run_as_it_was(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("if 1 < 2:\n    print('before')\n")
    write_marked_program(tmp_path)
    program.write_text("if 1 < 2:\n    print('afterwards')\n")
    assert _run(tmp_path, "-c", "import program") == "afterwards\n"


def test_a_page_that_a_template_was_compiled_to_is_no_program(tmp_path: Path) -> None:
    program, page = tmp_path / "chosen.py", tmp_path / "page.html"
    program.write_text("chosen = 1\n")
    page.write_text("{% extends 'base.html' %}\n")
    measured = CoverageData(str(tmp_path / "lines"))
    measured.add_lines({str(program): [1], str(page): [1]})
    measured.write()
    read_marks(tmp_path / "lines", tmp_path / "marked")
    written = CoverageData(str(tmp_path / "marked"))
    written.read()
    assert written.measured_files() == {str(program)}


def _measure(folder: Path, data: str, steps: list[str], *options: str) -> str:
    return _run(
        folder,
        "-m",
        "coverage",
        "run",
        f"--data-file={data}",
        *options,
        "--include=program.py",
        "-m",
        "start",
        *steps,
    )


def _report(folder: Path, data: str) -> dict[str, object]:
    _run(folder, "-m", "coverage", "json", "-q", f"--data-file={data}", "-o", f"{data}.json")
    (measured,) = json.loads((folder / f"{data}.json").read_text())["files"].values()
    return {
        name: measured[name] for name in ("summary", "missing_lines", "missing_branches", "executed_branches")
    }


def _run(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    if sys.version_info >= (3, 12) and "--branch" not in words:
        environment["COVERAGE_CORE"] = "sysmon"
    (folder / "start.py").write_text("import program\n")
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout
