# ruff: noqa: E501 (tables and texts with long lines)
"""The form of a value: what it refuses, and that its XML schema type agrees."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from gateway.harmonize.sampling.draws import Draws, draw_text
from gateway.harmonize.terms.shapes import Shape, octets, simple_type

REFUSED = [
    (Shape(longest=3), "abcd", "GW506"),
    (Shape(longest=3), "", "GW506"),
    (Shape(longest=3, exact=True), "ab", "GW506"),
    (Shape(octets=4, charset="euc-kr"), "가나다", "GW506"),
    (Shape(octets=400, charset="euc-kr"), "é", "GW506"),
    (Shape(octets=4, charset="utf-8"), "가나", "GW506"),
    (Shape("decimal", total=5, fraction=2), "1234.56", "GW506"),
    (Shape("decimal", total=5, fraction=2), "1.234", "GW506"),
    (Shape("decimal", fraction=2), "1e3", "GW404"),
    (Shape("decimal", fraction=2), "NaN", "GW404"),
    (Shape("decimal", low="0", high="100"), "100.01", "GW404"),
    (Shape("decimal", low="0", high="100"), "-0.01", "GW404"),
    (Shape("integer"), "1.0", "GW404"),
    (Shape("digits", longest=10, exact=True), "123456789", "GW506"),
    (Shape("digits"), "١٢", "GW506"),
    (Shape("day"), "20260230", "GW404"),
    (Shape("day"), "2026-02-03", "GW404"),
    (Shape("date"), "2026-02-30", "GW404"),
    (Shape("date"), "2026-02-03T00:00:00", "GW404"),
    (Shape("moment"), "2026-02-03T25:00:00", "GW404"),
    (Shape("boolean"), "TRUE", "GW404"),
    (Shape(pattern="[A-Z]{3}"), "ABCD", "GW404"),
    (Shape(pattern="[0-9]+"), "٣", "GW404"),
    (Shape(codes=("A", "B")), "C", "GW403"),
]


@pytest.mark.parametrize(("shape", "text", "problem"), REFUSED)
def test_refused(shape: Shape, text: str, problem: str) -> None:
    refusal = shape.refuse(text)
    assert refusal is not None
    assert refusal[0].id == problem


ACCEPTED = [
    (Shape(longest=3), "가나다"),
    (Shape(octets=4, charset="euc-kr"), "가나"),
    (Shape("decimal", total=5, fraction=2), "0000123.4500"),
    (Shape("decimal", total=5, fraction=2), "+.5"),
    (Shape("decimal", low="0", high="100"), "100.00"),
    (Shape("day"), "20240229"),
    (Shape("moment"), "2024-02-29"),
    (Shape("moment"), "2024-02-29T09:00:00.123+09:00"),
    (Shape("boolean"), "0"),
    (Shape(codes=("A", "B")), "B"),
]


@pytest.mark.parametrize(("shape", "text"), ACCEPTED)
def test_accepted(shape: Shape, text: str) -> None:
    assert shape.refuse(text) is None
    assert _schema(shape).validate(_element(text))


@cache
def _schema(shape: Shape) -> etree.XMLSchema:
    body = "\n".join(simple_type(shape, ""))
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="v">{body}</xs:element></xs:schema>'
    return etree.XMLSchema(etree.fromstring(text))


def _element(text: str) -> etree._Element:
    element = etree.Element("v")
    element.text = text
    return element


SHAPES = [
    Shape(longest=5),
    Shape(longest=5, exact=True),
    Shape("decimal", total=5, fraction=2),
    Shape("decimal", total=5, fraction=2, low="0", high="100"),
    Shape("integer", total=3, fraction=0, low="1"),
    Shape("digits", longest=4),
    Shape("boolean"),
    Shape(pattern="[A-Z]{1,3}[0-9]"),
    Shape(longest=4, pattern="[a-z]{1,9}"),
    Shape(codes=("A", "<", "090")),
    Shape("moment"),
]
TEXTS = st.text(alphabet="aAbZ09.+-< 가é", max_size=7) | st.from_regex(
    r"-?[0-9]{0,5}\.?[0-9]{0,4}", fullmatch=True
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@given(text=TEXTS)
@example(text="")
@example(text="A")
@example(text="-0")
@example(text="00100.100")
def test_the_schema_type_accepts_exactly_what_the_shape_accepts(shape: Shape, text: str) -> None:
    assert _schema(shape).validate(_element(text)) == (shape.refuse(text) is None)


@pytest.mark.parametrize(
    "shape", [*SHAPES, Shape("day"), Shape("date"), Shape(octets=9, charset="euc-kr")], ids=str
)
def test_drawn_texts_have_the_shape(shape: Shape) -> None:
    draws = Draws("seed")
    good = sum(shape.refuse(draw_text(draws, shape)) is None for _ in range(200))
    assert good >= (200 if shape.pattern is None or shape.longest is None else 40)


def test_octets_counts_in_the_charset() -> None:
    assert (octets("가", "euc-kr"), octets("가", "utf-8"), octets("é", "euc-kr")) == (2, 3, None)
