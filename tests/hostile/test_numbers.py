"""Numbers that nobody should convert: refused by their form, before anything is made of them."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest

import gateway
from gateway.cases.documents import judge
from gateway.conformance.hostile import numbers
from gateway.conformance.hostile.case import Post
from gateway.conformance.hostile.partner import sample_bench
from gateway.harmonize.terms.shapes import DECIMAL
from gateway.protocols.ebms2.elements import moment
from gateway.wire.mime import read_related
from gateway.wire.shipped import SUBMISSION, schemas
from gateway.wire.xml import parse_xml

BENCH = sample_bench()
CASES = {case.id: case for case in numbers.CASES}


@pytest.mark.parametrize("name", [name for name in CASES if ".submission-" in name])
def test_a_number_without_end_is_refused_by_the_schema(name: str) -> None:
    post = next(CASES[name].play(BENCH)).step
    assert isinstance(post, Post)
    (part,) = read_related(post.headers["Content-Type"], post.body).attachments
    accepted, remarks = judge(parse_xml(part.content), schemas(SUBMISSION))
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
    assert moment(element).microsecond == 500_000
    monkeypatch.setattr("gateway.protocols.ebms2.elements._MOMENT", None)
    for text in ("2026-11-20T09:00:00." + "1" * 5000, " " * 129):
        element.text = text
        with pytest.raises(gateway.errors.GatewayError, match="128 characters"):
            moment(element)


#: Where text becomes a number or a date, and why what it is made of is bounded.
READ = {
    "web/bodies.py": "at most 18 ASCII digits",
    "wire/stored.py": "at most eight hexadecimal digits, by the pattern",
    "wire/pointers.py": "by the pattern",
    "wire/places.py": "a line number of libxml2",
    "wire/schemas.py": "a line number of libxml2",
    "wire/judging.py": "a line number of libxml2",
    "protocols/ebms2/elements.py": "by the pattern, at most 128 characters",
    "xmlsec/wss.py": "by the pattern",
    "xmlsec/xades.py": "by the pattern",
    "web/soap.py": "checked against the schema before",
    "web/spyne_shim.py": "a constant",
    "web/server.py": "a setting",
    "web/door.py": "a setting",
    "web/connections.py": "a port, from the operating system",
    "web/visitors.py": "a port, from our own server",
    "web/patience.py": "seconds of a clock",
    "web/terminator.py": "a constant",
    "web/respawns.py": "a setting",
    "web/heads.py": "digits, by the pattern",
}


def test_every_place_that_converts_was_read() -> None:
    found = set()
    base = Path(gateway.__file__).parent
    for room in ("wire", "protocols", "xmlsec", "web"):
        for path in (base / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(
                    getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", "")
                )
                if isinstance(node, ast.Call) and name in (
                    "int",
                    "float",
                    "Decimal",
                    "fromisoformat",
                    "strptime",
                ):
                    found.add(path.relative_to(base).as_posix())
    assert found <= set(READ), f"read how these bound what they convert, and say so here: {found - set(READ)}"
