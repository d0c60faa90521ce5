"""The Python files of the packages, each read and parsed once for all tests of a process."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.kit.paths import ROOT

__all__ = [
    "CONFORMANCE",
    "PACKAGE",
    "WORKBENCH",
    "get_module_name",
    "get_place",
    "list_sources",
    "parse_source",
    "parse_sources",
    "read_facades",
    "read_source",
    "walk_source",
    "walk_sources",
]

PACKAGE = ROOT / "gateway"
#: The package `gateway_conformance`.
CONFORMANCE = ROOT / "conformance"
#: The package `gateway_workbench`.
WORKBENCH = ROOT / "mappings" / "workbench"
_PACKAGES = {"gateway": PACKAGE, "gateway_conformance": CONFORMANCE, "gateway_workbench": WORKBENCH}


@cache
def list_sources() -> tuple[Path, ...]:
    """Return every Python file of the packages."""
    return tuple(path for package in _PACKAGES.values() for path in sorted(package.rglob("*.py")))


def get_place(path: Path) -> str:
    """Return the path of a file below `gateway`, or with `conformance` or `workbench` at its start."""
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).as_posix()
    return path.relative_to(WORKBENCH.parent if path.is_relative_to(WORKBENCH) else ROOT).as_posix()


@cache
def read_source(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


def parse_source(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return _parse_all()[path]


@cache
def _parse_all() -> dict[Path, ast.Module]:
    # A million nodes that stay: whoever looks for garbage meanwhile, or later, looks at each in vain.
    gc.collect()
    gc.disable()
    try:
        return {path: ast.parse(read_source(path), str(path)) for path in list_sources()}
    finally:
        gc.freeze()
        gc.enable()


def parse_sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every file with its syntax tree."""
    for path in list_sources():
        yield path, parse_source(path)


def walk_sources() -> Iterator[tuple[Path, tuple[ast.AST, ...]]]:
    """Yield every file with the nodes of its syntax tree."""
    for path in list_sources():
        yield path, walk_source(path)


@cache
def walk_source(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of the syntax tree of a file, as `ast.walk` yields them."""
    return tuple(ast.walk(parse_source(path)))


def get_module_name(path: Path) -> str:
    """Return the dotted name of a file."""
    name, folder = next((name, top) for name, top in _PACKAGES.items() if path.is_relative_to(top))
    parts = [name, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def read_facades() -> dict[str, dict[str, str]]:
    """Return what each package offers by its stub ``__init__.pyi``: names, and the module of each."""
    found: dict[str, dict[str, str]] = {}
    for stub in [stub for top in _PACKAGES.values() for stub in sorted(top.rglob("__init__.pyi"))]:
        package = get_module_name(stub)
        offered = found[package] = {}
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            assert isinstance(node, ast.ImportFrom), f"{stub}: not an import"
            assert node.level == 1, f"{stub}: not its own"
            module = f"{package}.{node.module}" if node.module else package
            for alias in node.names:
                assert alias.asname == alias.name, f"{stub}: {alias.name} is not offered"
                assert alias.name not in offered, f"{stub}: {alias.name} is offered twice"
                offered[alias.name] = module
    return found
