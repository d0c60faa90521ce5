"""Numbers that nobody should convert: refused by their form, before anything is made of them."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest

import gateway
from gateway.cases import validate_document
from gateway.harmonize.language import DECIMAL
from gateway.protocols.element_reader import read_instant
from gateway.wire import SUBMISSION, load_shipped_schemas, parse_xml, read_multipart_related
from gateway_conformance.hostile import HttpRequest, number_attacks
from tests.flows.hostile.sample_kit import SAMPLE_KIT

BENCH = SAMPLE_KIT
CASES = {case.id: case for case in number_attacks.CASES}


@pytest.mark.parametrize("name", [name for name in CASES if ".submission-" in name])
def test_a_number_without_end_is_refused_by_the_schema(name: str) -> None:
    post = next(CASES[name].scenario(BENCH)).step
    assert isinstance(post, HttpRequest)
    (part,) = read_multipart_related(post.headers["Content-Type"], post.body).attachments
    accepted, remarks = validate_document(parse_xml(part.content), load_shipped_schemas(SUBMISSION))
    assert not accepted
    assert {one.problem.id for one in remarks} == {"GW402"}
    assert all(len(one.message) < 500 for one in remarks)


@pytest.mark.parametrize(
    "text", ["9" * 41, "1." + "1" * 41, "1e5", "INF", "NaN", "1_0", "１", "0x1", "--1", ""]
)
def test_a_number_of_a_mapping_has_a_bounded_form(text: str) -> None:
    assert DECIMAL.fullmatch(text) is None


def test_the_largest_number_of_a_mapping_is_exact() -> None:
    text = "-" + "9" * 40 + "." + "9" * 40
    assert DECIMAL.fullmatch(text)
    assert str(Decimal(text)) == text


def test_a_moment_is_measured_before_it_is_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    element = parse_xml(b"<a>2026-11-20T09:00:00.5Z</a>")
    assert read_instant(element).microsecond == 500_000
    monkeypatch.setattr("gateway.wire.xml_instants._DATETIME_PATTERN", None)
    for text in ("2026-11-20T09:00:00." + "1" * 5000, " " * 129):
        element.text = text
        with pytest.raises(gateway.errors.GatewayError, match="128 characters"):
            read_instant(element)


#: What makes a number or a date of text, as a function of its own and as a method.
FUNCTIONS, METHODS = {"int", "float", "Decimal"}, {"fromisoformat", "strptime"}


def converts(node: ast.AST) -> bool:
    """Return whether a call makes a number or a date of something that is not written in the program."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[first, *_]):
            return name in FUNCTIONS and not isinstance(first, ast.Constant)
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in METHODS
    return False


def find_unread_conversions(source: str) -> list[int]:
    """Return the lines that convert and do not say why what they convert is bounded: `# bounded: why`."""
    lines = ["", *source.splitlines()]
    places = {node.lineno for node in ast.walk(ast.parse(source)) if converts(node)}  # type: ignore[attr-defined]
    return [place for place in sorted(places) if "# bounded: " not in lines[place - 1] + lines[place]]


def test_every_place_that_converts_was_read() -> None:
    base = Path(gateway.__file__).parent
    paths = [
        path
        for room in ("wire", "protocols", "xmlsec", "encryption", "web")
        for path in (base / room).rglob("*.py")
    ]
    unread = [
        f"{path.relative_to(base)}:{line}"
        for path in paths
        for line in find_unread_conversions(path.read_text(encoding="utf-8"))
    ]
    assert unread == [], "read how these bound what they convert, and say so there"


def test_a_conversion_that_says_nothing_is_seen() -> None:
    assert find_unread_conversions("a = int(b)\nc = int(7)\nd = date.fromisoformat(e)\n") == [1, 3]
    assert (
        find_unread_conversions("a = int(b)  # bounded: a row\n# bounded: by the pattern\nc = Decimal(\nd)")
        == []
    )
