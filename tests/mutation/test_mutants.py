"""The changes are what they say, and each is a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.mutation.mutants import list_mutants

SOURCE = b'''"""A module."""
LIMIT = 3


def check(count: int = 2, *names: str) -> bool:
    """Say it, 2 times."""
    if count < 1 or not names:
        raise ValueError("count")
    print(count + 4)
    return count in (5, LIMIT)
'''


def test_the_changes_of_a_function(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_bytes(SOURCE)
    assert sorted(f"{one.line} {one.was} -> {one.text}" for one in list_mutants(file, tmp_path)) == [
        "10 5 -> 6",
        "10 count in (5, LIMIT) -> count not in (5, LIMIT)",
        "10 return count in (5, LIMIT) -> return None",
        "7 1 -> 2",
        "7 count < 1 -> count <= 1",
        "7 count < 1 or not names -> ((count < 1) and (not names))",
        "7 not names -> (names)",
        '8 raise ValueError("count") -> pass',
        "9 4 -> 5",
        "9 count + 4 -> (count - 4)",
        "9 print(count + 4) -> pass",
    ]


@pytest.mark.long
def test_every_change_is_a_program_and_another_one() -> None:
    for path in sorted((ROOT / "gateway" / "wire").glob("*.py")):
        source = path.read_bytes()
        for mutant in list_mutants(path, ROOT):
            changed = mutant.apply_to(source)
            assert changed != source, mutant
            compile(changed, str(path), "exec")
