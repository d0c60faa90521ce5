# ruff: noqa: E501 (tables and texts with long lines)
"""The form of a value: what it refuses, and that its XML schema type agrees."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from gateway.harmonize.language import ValueShape, count_octets, write_simple_type
from gateway.harmonize.samples import SeededDraws, draw_text

REFUSED = [
    (ValueShape(max_length=3), "abcd", "GW506"),
    (ValueShape(max_length=3), "", "GW506"),
    (ValueShape(max_length=3, is_fixed_length=True), "ab", "GW506"),
    (ValueShape(octets=4, charset="euc-kr"), "가나다", "GW506"),
    (ValueShape(octets=400, charset="euc-kr"), "é", "GW506"),
    (ValueShape(octets=4, charset="utf-8"), "가나", "GW506"),
    (ValueShape("decimal", total_digits=5, fraction_digits=2), "1234.56", "GW506"),
    (ValueShape("decimal", total_digits=5, fraction_digits=2), "1.234", "GW506"),
    (ValueShape("decimal", fraction_digits=2), "1e3", "GW404"),
    (ValueShape("decimal", fraction_digits=2), "NaN", "GW404"),
    (ValueShape("decimal", min_value="0", max_value="100"), "100.01", "GW404"),
    (ValueShape("decimal", min_value="0", max_value="100"), "-0.01", "GW404"),
    (ValueShape("integer"), "1.0", "GW404"),
    (ValueShape("digits", max_length=10, is_fixed_length=True), "123456789", "GW506"),
    (ValueShape("digits"), "١٢", "GW506"),
    (ValueShape("day"), "20260230", "GW404"),
    (ValueShape("day"), "2026-02-03", "GW404"),
    (ValueShape("date"), "2026-02-30", "GW404"),
    (ValueShape("date"), "2026-02-03T00:00:00", "GW404"),
    (ValueShape("moment"), "2026-02-03T25:00:00", "GW404"),
    (ValueShape("boolean"), "TRUE", "GW404"),
    (ValueShape(pattern="[A-Z]{3}"), "ABCD", "GW404"),
    (ValueShape(pattern="[0-9]+"), "٣", "GW404"),
    (ValueShape(codes=("A", "B")), "C", "GW403"),
]


@pytest.mark.parametrize(("shape", "text", "problem"), REFUSED)
def test_refused(shape: ValueShape, text: str, problem: str) -> None:
    violation = shape.find_violation(text)
    assert violation is not None
    assert violation.problem.id == problem


@pytest.mark.parametrize(
    ("shape", "detail"),
    [
        (ValueShape(max_length=35), "'' has 0 characters, 1 to 35 fit"),
        (ValueShape(octets=35), "'' has 0 octets of utf-8, 1 to 35 fit"),
        (ValueShape(max_length=3, is_fixed_length=True), "'' has 0 characters, exactly 3 fit"),
    ],
)
def test_an_empty_text_is_refused_as_too_short(shape: ValueShape, detail: str) -> None:
    violation = shape.find_violation("")
    assert violation is not None
    assert violation.detail == detail


ACCEPTED = [
    (ValueShape(max_length=3), "가나다"),
    (ValueShape(octets=4, charset="euc-kr"), "가나"),
    (ValueShape("decimal", total_digits=5, fraction_digits=2), "0000123.4500"),
    (ValueShape("decimal", total_digits=5, fraction_digits=2), "+.5"),
    (ValueShape("decimal", min_value="0", max_value="100"), "100.00"),
    (ValueShape("day"), "20240229"),
    (ValueShape("moment"), "2024-02-29"),
    (ValueShape("moment"), "2024-02-29T09:00:00.123+09:00"),
    (ValueShape("boolean"), "0"),
    (ValueShape(codes=("A", "B")), "B"),
]


@pytest.mark.parametrize(("shape", "text"), ACCEPTED)
def test_accepted(shape: ValueShape, text: str) -> None:
    assert shape.find_violation(text) is None
    assert _schema(shape).validate(_element(text))


@cache
def _schema(shape: ValueShape) -> etree.XMLSchema:
    body = "\n".join(write_simple_type(shape, ""))
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="v">{body}</xs:element></xs:schema>'
    return etree.XMLSchema(etree.fromstring(text))


def _element(text: str) -> etree._Element:
    element = etree.Element("v")
    element.text = text
    return element


SHAPES = [
    ValueShape(max_length=5),
    ValueShape(max_length=5, is_fixed_length=True),
    ValueShape("decimal", total_digits=5, fraction_digits=2),
    ValueShape("decimal", total_digits=5, fraction_digits=2, min_value="0", max_value="100"),
    ValueShape("integer", total_digits=3, fraction_digits=0, min_value="1"),
    ValueShape("digits", max_length=4),
    ValueShape("boolean"),
    ValueShape(pattern="[A-Z]{1,3}[0-9]"),
    ValueShape(max_length=4, pattern="[a-z]{1,9}"),
    ValueShape(codes=("A", "<", "090")),
    ValueShape("moment"),
]
TEXTS = st.text(alphabet="aAbZ09.+-< 가é", max_size=7) | st.from_regex(
    r"-?[0-9]{0,5}\.?[0-9]{0,4}", fullmatch=True
)


@pytest.mark.night
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@given(text=TEXTS)
@example(text="")
@example(text="A")
@example(text="-0")
@example(text="00100.100")
def test_the_schema_type_accepts_exactly_what_the_shape_accepts(shape: ValueShape, text: str) -> None:
    assert _schema(shape).validate(_element(text)) == (shape.find_violation(text) is None)


_NUMBER_SHAPES = st.builds(
    ValueShape,
    st.sampled_from(("decimal", "integer")),
    max_length=st.sampled_from((None, 4, 20)),
    octets=st.sampled_from((None, 4, 20)),
    is_fixed_length=st.booleans(),
    total_digits=st.sampled_from((None, 1, 3, 5, 20, 45)),
    fraction_digits=st.sampled_from((None, 0, 2, 5, 20)),
    min_value=st.sampled_from((None, "0", "0.5", "-1", "7")),
    max_value=st.sampled_from((None, "100")),
)
_DAY_SHAPES = st.builds(
    ValueShape,
    st.sampled_from(("day", "date")),
    max_length=st.sampled_from((None, 8, 9)),
    is_fixed_length=st.booleans(),
)
_DAYS = st.from_regex(r"[0-9]{4}-?[01][0-9]-?[0-3][0-9]\n?", fullmatch=True)
_NUMBERS = st.from_regex(r"[+-]?[0-9]{0,21}\.?[0-9]{0,19} ?", fullmatch=True)
_TEXT_SHAPES = st.builds(
    ValueShape,
    st.sampled_from(("text", "digits", "boolean", "moment")),
    max_length=st.sampled_from((None, 0, 1, 4, 19, 10**12)),
    octets=st.sampled_from((None, 0, 1, 4, 30)),
    charset=st.sampled_from(("euc-kr", "utf-8")),
    is_fixed_length=st.booleans(),
    pattern=st.sampled_from((None, None, "[0-9A-Z]{2,4}", "(true|가나)", "[0-9]{2}-[0-9]{2}")),
)
_MOMENTS = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,3})?(Z|[+-]1[0-5]:[0-9]0)?)?\n?",
    fullmatch=True,
)
_TEXTS = (
    st.text(alphabet="aAZ09-\n 가é", max_size=6) | st.sampled_from(("true", "1", "12-34", "가나")) | _MOMENTS
)


@pytest.mark.night
@given(st.tuples(_NUMBER_SHAPES, _NUMBERS) | st.tuples(_DAY_SHAPES, _DAYS) | st.tuples(_TEXT_SHAPES, _TEXTS))
@example((ValueShape("decimal", total_digits=5, fraction_digits=2), "1234.56"))
@example((ValueShape("date"), "2026-02-29"))
@example((ValueShape("day", max_length=7), "20260228"))
@example((ValueShape(max_length=0), "A"))
@example((ValueShape("moment"), "2026-02-28T24:00:00"))
@example((ValueShape(codes=("A", "B")), "A"))
@example((ValueShape(codes=("A", "B")), "AB"))
def test_a_usual_text_is_judged_as_every_other(drawn: tuple[ValueShape, str]) -> None:
    shape, text = drawn
    twin = replace(shape)
    object.__setattr__(twin, "fits", lambda one: one in (twin.codes or ()))
    assert shape.find_violation(text) == twin.find_violation(text)
    assert shape.find_violation(text) is None or not shape.fits(text)


@pytest.mark.parametrize(
    "shape", [*SHAPES, ValueShape("day"), ValueShape("date"), ValueShape(octets=9, charset="euc-kr")], ids=str
)
def test_drawn_texts_have_the_shape(shape: ValueShape) -> None:
    draws = SeededDraws("seed")
    good = sum(shape.find_violation(draw_text(draws, shape)) is None for _ in range(200))
    assert good >= (200 if shape.pattern is None or shape.max_length is None else 40)


def test_octets_counts_in_the_charset() -> None:
    assert (count_octets("가", "euc-kr"), count_octets("가", "utf-8"), count_octets("é", "euc-kr")) == (
        2,
        3,
        None,
    )


@pytest.mark.parametrize(
    "shape", [ValueShape(), ValueShape("text", max_length=3), ValueShape(max_length=3, min_value="5")]
)
@pytest.mark.parametrize("text", ["", "a", "한글이", "abcd", "\n"])
def test_a_text_has_the_shape_by_its_length_alone(shape: ValueShape, text: str) -> None:
    fits = 0 < len(text) <= shape.max_length if shape.max_length is not None else True
    assert (shape.find_violation(text) is None) == fits
