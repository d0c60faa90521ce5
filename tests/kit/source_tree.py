"""The Python files of the package, each read and parsed once for all tests of a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.kit.paths import ROOT

__all__ = ["PACKAGE", "get_place", "list_sources", "parse_source", "parse_sources", "read_source"]

PACKAGE = ROOT / "gateway"


@cache
def list_sources() -> tuple[Path, ...]:
    """Return every Python file of the package."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


def get_place(path: Path) -> str:
    """Return the path of a file below the package."""
    return path.relative_to(PACKAGE).as_posix()


@cache
def read_source(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


@cache
def parse_source(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(read_source(path), str(path))


def parse_sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every file with its syntax tree."""
    for path in list_sources():
        yield path, parse_source(path)
