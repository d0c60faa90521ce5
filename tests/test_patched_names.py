"""What a test replaces in the program is there under the name that the test says.

Many of these tests are long, and only a part of the long ones runs for each change: a name that is no longer
there is told here for all of them.
"""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator

import pytest

from tests.kit.paths import ROOT

_NAME = re.compile(r"gateway(_conformance|_workbench)?(\.\w+)+\.\w+")


def list_patched_names(source: str) -> Iterator[str]:
    """Yield the dotted names given to ``monkeypatch.setattr`` or beside a replacement in a table."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            told = node.args[:1] if node.func.attr in ("setattr", "delattr") else []
        elif isinstance(node, ast.Tuple):
            told = node.elts[:1] if len(node.elts) > 1 else []
        else:
            continue
        for one in told:
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and _NAME.fullmatch(one.value):
                yield one.value


def find_missing(names: set[str]) -> list[str]:
    """Return the names that nothing in the program has."""
    missing = []
    for name in sorted(names):
        try:
            pkgutil.resolve_name(name)
        except (AttributeError, ImportError):
            missing.append(name)
    return missing


def test_every_name_that_a_test_replaces_is_there() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert files
    places = {name for file in files for name in list_patched_names(file.read_text(encoding="utf-8"))}
    assert len(places) > 20
    assert find_missing(places) == []


@pytest.mark.parametrize(
    "source",
    [
        'monkeypatch.setattr("gateway.wire.xml.absent", nothing)',
        'TABLE = {"a": ("gateway.absent.thing", yes)}',
    ],
)
def test_a_name_that_is_not_there_is_found(source: str) -> None:
    (name,) = list_patched_names(source)
    assert find_missing({name, "gateway.wire.xml.parse_xml"}) == [name]
