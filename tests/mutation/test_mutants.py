"""The changes are what they say, and each is a program; of those that were drawn nearly all are killed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.mutation.__main__ import ROOMS, SAMPLES, Row, Sample, read_sample, try_mutant, write_sample
from tests.mutation.mutants import choose_mutants, list_mutants

SOURCE = b'''"""A module."""
__all__ = ["check", "LIMIT"]
LIMIT = 3
TABLE = {"a": (1, 2), "b": (3, LIMIT)}


def check(count: int = 2, *names: str) -> bool:
    """Say it, 2 times."""
    if count < 1 or not names:
        raise ValueError("count")
    for name in names:
        print(name, count + 4, end="")
    return count in (5, LIMIT) and name in ("x", "y")
'''


def test_the_changes_of_a_module(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_bytes(SOURCE)
    mutants = list_mutants(file, tmp_path)
    assert sorted(f"{mutant.line} {mutant.kind}: {mutant}" for mutant in mutants) == [
        '10 error: raise ValueError("count") -> pass',
        "11 first item: names -> list(names)[:1]",
        "12 arithmetic: count + 4 -> (count - 4)",
        '12 call: print(name, count + 4, end="") -> pass',
        "12 constant: 4 -> 5",
        "12 keyword: without end=''",
        "13 comparison: count in (5, LIMIT) -> count not in (5, LIMIT)",
        "13 comparison: name in (\"x\", \"y\") -> name not in ('x', 'y')",
        '13 condition: count in (5, LIMIT) and name in ("x", "y")'
        " -> ((count in (5, LIMIT)) or (name in ('x', 'y')))",
        "13 constant: 5 -> 6",
        "13 element: without 'x'",
        "13 element: without 'y'",
        "13 half: without count in (5, LIMIT)",
        "13 half: without name in ('x', 'y')",
        '13 return: return count in (5, LIMIT) and name in ("x", "y") -> return None',
        "4 row: without (1, 2)",
        "4 row: without (3, LIMIT)",
        "4 row: without 1",
        "4 row: without 2",
        "4 row: without 3",
        "4 row: without LIMIT",
        "9 comparison: count < 1 -> count <= 1",
        "9 condition: count < 1 or not names -> ((count < 1) and (not names))",
        "9 constant: 1 -> 2",
        "9 half: without count < 1",
        "9 half: without not names",
        "9 negation: not names -> (names)",
    ]
    for mutant in mutants:
        ast.parse(mutant.apply_to(SOURCE))


def test_a_sample_has_every_kind_and_no_line_twice(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_bytes(SOURCE)
    mutants = list_mutants(file, tmp_path)
    assert [mutant.line for mutant in choose_mutants(mutants, 99, 1)] == [4, 9, 10, 11, 12, 13]
    assert choose_mutants(mutants, 4, 1) == choose_mutants(mutants, 4, 1)
    assert len({tuple(choose_mutants(mutants, 4, seed)) for seed in range(9)}) > 1


def test_a_sample_is_read_again_by_what_it_changes(tmp_path: Path) -> None:
    file, written = tmp_path / "module.py", tmp_path / "samples" / "room.jsonl"
    file.write_bytes(SOURCE)
    mutants = list_mutants(file, tmp_path)
    sample = Sample("room", 1, len(mutants), [Row(mutant, "killed", "a test") for mutant in mutants[:5]])
    write_sample(written, sample)
    assert read_sample(written, mutants) == sample
    file.write_bytes(b"# moved\n" + SOURCE)
    moved = read_sample(written, list_mutants(file, tmp_path))
    assert [row.mutant.line for row in moved.rows] == [row.mutant.line + 1 for row in sample.rows]


@pytest.mark.night
def test_a_test_that_fails_without_the_change_too_kills_nothing(tmp_path: Path) -> None:
    (tmp_path / "limits.py").write_text("def is_over(count: int) -> bool:\n    return count > 3\n")
    (tmp_path / "test_limits.py").write_text(
        "from limits import is_over\n\n"
        "def test_that_always_fails():\n    assert is_over(2)\n\n"
        "def test_far_beyond():\n    assert is_over(9)\n\n"
        "def test_the_limit():\n    assert not is_over(3)\n"
    )
    (mutant,) = (
        mutant for mutant in list_mutants(tmp_path / "limits.py", tmp_path) if mutant.kind == "comparison"
    )
    failing, beyond, limit = (
        f"test_limits.py::test_{name}" for name in ("that_always_fails", "far_beyond", "the_limit")
    )
    assert try_mutant(tmp_path, mutant, [failing, beyond, limit], "") == ("killed", limit)
    assert try_mutant(tmp_path, mutant, [failing, beyond], failing) == ("survived", "")
    assert try_mutant(tmp_path, mutant, [failing], "")[0] == ""


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_every_room_has_files_and_tests(name: str) -> None:
    for below, globs in (("gateway", ROOMS[name]["files"]), ("tests", ROOMS[name]["tests"])):
        for glob in globs:
            assert list((ROOT / below).glob(glob)), glob


def test_of_what_was_drawn_nearly_all_are_killed() -> None:
    rows = []
    for file in sorted(SAMPLES.glob("*.jsonl")):
        head, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert (head["room"], head["count"]) == (file.stem, len(lines))
        assert len(lines) >= 13
        assert all(line["by"] for line in lines), "a test, or a reason"
        rows += lines
    ended = [line["status"] for line in rows]
    assert set(ended) <= {"killed", "argued"}
    assert ended.count("killed") >= 0.9 * len(rows)
    assert ended.count("argued") <= 0.05 * len(rows)


@pytest.mark.night
def test_every_change_is_a_program_and_another_one() -> None:
    for path in sorted((ROOT / "gateway" / "wire").glob("*.py")):
        source = path.read_bytes()
        for mutant in list_mutants(path, ROOT):
            changed = mutant.apply_to(source)
            assert changed != source, mutant
            compile(changed, str(path), "exec")
