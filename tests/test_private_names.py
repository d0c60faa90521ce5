"""The private names of libraries that the program uses are those that CONTRIBUTING lists, with reasons.

A private name may change with any release of its library. What ruff finds (SLF001) is an error unless the
line says so; what it does not find is looked for here: a private method that a class of ours overrides or
inherits, a private name given as text, and a private module.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.markdown import read_table
from tests.kit.paths import ROOT
from tests.kit.source_tree import get_module_name, list_sources, read_source, walk_source

_OWN_PACKAGES = {"gateway", "gateway_conformance", "gateway_workbench", "builtins"}
#: One that Python documents, and one that only type checkers read.
_PUBLIC_MODULES = {"_thread", "_typeshed"}
_READS_BY_TEXT = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}


@dataclass(frozen=True, slots=True, order=True)
class PrivateName:
    """A private name of a library, and the file that uses it."""

    place: str
    name: str


def is_private(name: str) -> bool:
    """Return whether a name is private; one between underscores, such as `__init__`, is not."""
    return name.startswith("_") and not name.endswith("_")


def list_used_names(path: Path) -> Iterator[str]:
    """Yield every private name of a library that a file uses."""
    lines = read_source(path).splitlines()
    for node in walk_source(path):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if "SLF001" in lines[node.lineno - 1].partition("# noqa:")[2]:
                yield node.attr
        elif isinstance(node, ast.Call):
            yield from filter(is_private, list_names_by_text(node))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from list_private_imports(node)
        elif isinstance(node, ast.ClassDef) and node.bases:
            yield from list_overridden_names(path, node)


def list_names_by_text(call: ast.Call) -> Iterator[str]:
    """Yield the names that a call gives as text to `getattr` and its like."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function in _READS_BY_TEXT:
        for argument in call.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def list_private_imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the private modules and names that an import takes from a library."""
    module = getattr(node, "module", None) or ""
    imported = [part for alias in node.names for part in alias.name.split(".")]
    if isinstance(node, ast.ImportFrom) and (node.level or module.partition(".")[0] in _OWN_PACKAGES):
        return
    yield from {*filter(is_private, [*module.split("."), *imported])} - _PUBLIC_MODULES


def list_overridden_names(path: Path, definition: ast.ClassDef) -> Iterator[str]:
    """Yield the private names of a library's class that a class of ours defines, or reads of itself."""
    names = {
        node.name for node in definition.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    names |= {
        node.attr
        for node in ast.walk(definition)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls", "super()")
    }
    names = set(filter(is_private, names))
    if names:
        our_class = find_class(path, definition.name)
        for library_class in our_class.__mro__[1:]:
            if library_class.__module__.partition(".")[0] not in _OWN_PACKAGES:
                yield from names & list_names_of_class(library_class)


def find_class(path: Path, name: str) -> type:
    """Return the class of a file; one inside a function or another class cannot be judged."""
    defined = getattr(importlib.import_module(get_module_name(path)), name, None)
    assert isinstance(defined, type), f"{path}: move {name}, which has private methods, to the file itself"
    return defined


def list_names_of_class(library_class: type) -> set[str]:
    """Return the names that a class has, and those that its methods set; of a compiled one only the first."""
    try:
        source = inspect.getsource(library_class)
    except (OSError, TypeError):
        source = ""
    return set(vars(library_class)) | set(re.findall(r"\bself\.(\w+)", source))


def test_the_private_names_of_libraries_are_those_that_contributing_lists() -> None:
    rows = read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "Private names of libraries")
    listed = [
        PrivateName(row["where"].strip("`"), name)
        for row in rows
        for name in re.findall(r"`(\w+)`", row["private names"])
    ]
    assert sorted(listed) == sorted(set(listed))
    used = {
        PrivateName(path.relative_to(ROOT).as_posix(), name)
        for path in list_sources()
        for name in list_used_names(path)
    }
    assert used == set(listed)
    assert all(row["why"] for row in rows)
    # The database is reached by what SQLAlchemy documents alone.
    assert not [row for row in rows if "sqlalchemy" in row["library"].lower()]
