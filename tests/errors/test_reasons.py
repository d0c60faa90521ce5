"""Each problem of a message says what failed: no empty reason, no name of a type of the language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError, describe_exception
from gateway.pki import load_signer
from tests.kit.paths import ROOT

PLACES = [
    path
    for name in ("xmlsec", "wire", "protocols", "pki", "recognition")
    for path in sorted((ROOT / "gateway" / name).rglob("*.py"))
]


class InvalidSampleValueError(Exception):
    """An exception without a text, as cryptography raises them."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidSampleValueError(), "invalid sample value error"),
        (ValueError(""), "value error"),
        (ValueError("  two\n lines "), "two lines"),
        (ValueError("verification failed: "), "verification failed"),
        (KeyError("name"), "'name' is missing"),
        (KeyError(), "key error"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_what_an_exception_says_is_never_empty(error: Exception, said: str) -> None:
    assert describe_exception(error) == said


def calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


@pytest.mark.night
@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.relative_to(ROOT / "gateway").as_posix())
def test_every_problem_has_a_reason_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for call in calls(tree, "GatewayError"):
        assert len(call.args) >= 2, f"line {call.lineno}: a problem without a reason"
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name):
        quoted = rf"(?:str\({handler.name}\)(?:\[.*\])?|{handler.name})"
        for node in ast.walk(handler):
            if isinstance(node, ast.FormattedValue):
                inner = ast.unparse(node.value)
                line = f"line {node.lineno}: {inner} may be empty, use describe_exception"
                assert not re.fullmatch(quoted, inner), line


def test_an_unreadable_key_says_why() -> None:
    certificate = b"-----BEGIN CERTIFICATE-----"
    with pytest.raises(GatewayError) as caught:
        load_signer(b"no key", certificate)
    assert "(" not in caught.value.detail
