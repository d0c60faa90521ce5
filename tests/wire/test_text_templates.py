"""Templates of documents: what differs in the values alone is recognised, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import (
    LONGEST_VALUE,
    ValuePlace,
    fill_template,
    is_template_value,
    make_template,
    match_template,
    split_at_values,
)
from gateway.wire.text_templates import TextTemplate

DOCUMENT = b'<a id="x1" href="cid:p1"><b>m1</b><c>other</c><d ref="#x1">t1</d></a>'
PLACES = (
    ValuePlace(0, b'="', b"x1", b'"'),
    ValuePlace(0, b'"#', b"x1", b'"'),
    ValuePlace(1, b'"cid:', b"p1", b'"'),
    ValuePlace(2, b">", b"m1", b"<"),
    ValuePlace(3, b">", b"t1", b"<"),
)
VALUE = st.text("abcXYZ019+/=.@:_-", min_size=1, max_size=40).map(str.encode)


def template() -> TextTemplate:
    found = make_template(DOCUMENT, PLACES)
    assert found is not None
    return found


@given(st.lists(VALUE, min_size=4, max_size=4))
def test_a_filled_template_has_the_values_that_were_filled_in(values: list[bytes]) -> None:
    document = fill_template(template(), values)
    assert match_template(template(), document, 4) == values
    assert document == b'<a id="%b" href="cid:%b"><b>%b</b><c>other</c><d ref="#%b">%b</d></a>' % (
        values[0], values[1], values[2], values[0], values[3],
    )  # fmt: skip


@given(st.integers(0, len(DOCUMENT)), st.integers(0, 4), st.binary(max_size=4))
def test_whatever_is_changed_is_a_value_or_is_noticed(at: int, length: int, octets: bytes) -> None:
    document = DOCUMENT[:at] + octets + DOCUMENT[at + length :]
    values = match_template(template(), document, 4)
    if values is not None:
        assert fill_template(template(), values) == document
        assert all(map(is_template_value, values))


WRONG = ["", "a b", "a\n", "a<b", "a&amp;b", 'a"b', "a'b", "a>b", "a#b", "a%20", "\u00e4", "a\0"]
TOO_LONG = "a" * (LONGEST_VALUE + 1)


@pytest.mark.parametrize("wrong", [*map(str.encode, WRONG), TOO_LONG.encode()])
def test_a_value_is_neither_markup_nor_blank_nor_long(wrong: bytes) -> None:
    assert not is_template_value(wrong)
    document = fill_template(template(), [b"x1", b"p1", wrong, b"t1"])
    assert match_template(template(), document, 4) is None


def test_the_longest_value_is_one() -> None:
    values = [b"a" * LONGEST_VALUE, b"p", b"m", b"t"]
    assert match_template(template(), fill_template(template(), values), 4) == values


def test_one_value_in_two_places_is_the_same() -> None:
    assert match_template(template(), DOCUMENT.replace(b"#x1", b"#x2"), 4) is None
    assert match_template(template(), DOCUMENT.replace(b"x1", b"x2"), 4) == [b"x2", b"p1", b"m1", b"t1"]


@pytest.mark.parametrize("other", [DOCUMENT + b" ", DOCUMENT[:-1], b" " + DOCUMENT, b"", DOCUMENT * 2])
def test_a_document_is_matched_from_its_first_octet_to_its_last(other: bytes) -> None:
    assert match_template(template(), other, 4) is None


def test_no_template_has_values_that_overlap() -> None:
    assert (
        make_template(b"<a>bc</a>", [ValuePlace(0, b">", b"bc", b"<"), ValuePlace(1, b">b", b"c", b"<")])
        is None
    )


@pytest.mark.parametrize("name", [b"xmlns", b"xmlns:x", b"xmlns:Id"])
def test_no_value_is_the_name_of_a_namespace(name: bytes) -> None:
    place = ValuePlace(0, b'="', b"x1", b'"')
    assert make_template(b"<a %b='y' id=\"x1\"/>" % name, [place]) is not None
    assert make_template(b'<a %b="x1" id="x1"/>' % name, [place]) is None


def test_a_text_is_split_wherever_a_value_stands() -> None:
    found = split_at_values(b"x-one-two-one", [b"one", b"two"])
    assert found == TextTemplate((b"x-", b"-", b"-", b""), (0, 1, 0))
    assert fill_template(found, [b"1", b"2"]) == b"x-1-2-1"
    assert fill_template(split_at_values(b"nothing", [b"one"]), [b"1"]) == b"nothing"


def test_a_template_has_as_many_values_as_it_has() -> None:
    numbers = (*range(80), *range(80))
    many = TextTemplate(tuple(b"<%d>" % one for one in range(161)), numbers, wrapped=79)
    values = [b"v%d" % one for one in range(79)] + [b"a\n b"]
    document = fill_template(many, values)
    assert match_template(many, document, 81) == [*values, b""]
    assert match_template(many, document.replace(b"v78", b"v7 8"), 81) is None
    assert match_template(many, document.replace(b"v78", b"v79", 1), 81) is None
