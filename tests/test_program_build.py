"""The build tells programs of one version apart by their code."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from gateway import program_build


def compute_build(package: Path) -> str:
    build = runpy.run_path(str(package / "program_build.py"))["BUILD"]
    assert isinstance(build, str)
    return build


def test_each_change_of_code_is_another_build(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    shutil.copy(program_build.__file__, tmp_path)
    (tmp_path / "room" / "door.py").write_text("x = 1\n")
    first = compute_build(tmp_path)
    assert len(first) == 12
    assert compute_build(tmp_path) == first
    (tmp_path / "room" / "door.py").write_text("x = 2\n")
    second = compute_build(tmp_path)
    (tmp_path / "room" / "door.py").rename(tmp_path / "room" / "gate.py")
    assert len({first, second, compute_build(tmp_path)}) == 3
