"""What a schema refuses is told in words: what was found, what is expected, which namespace is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import DOCUMENT_INVALID
from gateway.wire import SchemaSet, describe_choices, describe_pattern, quote_value
from gateway.wire.violation_words import describe_libxml_violation

XS = "xmlns:xs='http://www.w3.org/2001/XMLSchema'"

FACETS = [
    ("xs:string", "<xs:enumeration value='A'/><xs:enumeration value='B'/>", "C", "one of A or B"),
    ("xs:string", "<xs:pattern value='[0-9]{2,7}-[0-9]'/>", "x", '2 to 7 digits, "-", 1 digit'),
    ("xs:decimal", "<xs:minInclusive value='5'/>", "4", "5 or more"),
    ("xs:decimal", "<xs:maxExclusive value='5'/>", "5", "less than 5"),
    ("xs:string", "<xs:maxLength value='2'/>", "abc", "a length of at most 2"),
    ("xs:date", "", "2026-02-30", "a date as 2026-01-31"),
    ("xs:integer", "", "1.5", "a whole number"),
    ("xs:boolean", "", "yes", "true or false"),
    ("xs:decimal", "<xs:fractionDigits value='1'/>", "1.23", "at most 1 digits behind the point"),
]


def schemas(place: Path, base: str, facets: str) -> SchemaSet:
    one = f"<xs:simpleType><xs:restriction base='{base}'>{facets}</xs:restriction></xs:simpleType>"
    (place / "s.xsd").write_text(
        f"<xs:schema {XS} targetNamespace='urn:t' elementFormDefault='qualified'><xs:element name='r'>"
        f"<xs:complexType><xs:sequence><xs:element name='e'>{one}</xs:element></xs:sequence>"
        f"<xs:attribute name='a'>{one}</xs:attribute></xs:complexType></xs:element></xs:schema>"
    )
    return SchemaSet(place, "s.xsd", DOCUMENT_INVALID)


@pytest.mark.long
@pytest.mark.parametrize(("base", "facets", "value", "expected"), FACETS)
def test_a_refused_value_is_told_with_what_is_allowed(
    tmp_path: Path, base: str, facets: str, value: str, expected: str
) -> None:
    judge = schemas(tmp_path, base, facets)
    root = etree.fromstring(f"<r xmlns='urn:t' a='{value}'><e>{value}</e></r>")
    told = [one.message for one in judge.list_violations(root)]
    assert told == [
        f"attribute a: '{value}' is not allowed; expected is {expected}",
        f"'{value}' is not allowed; expected is {expected}",
    ]


NAMESPACES = [
    ("<r xmlns='urn:z'/>", "the namespace of r is 'urn:z'; expected is 'urn:t'"),
    ("<r/>", "the namespace of r is empty (the element has none); expected is 'urn:t'"),
    ("<r xmlns='urn:t'><e xmlns='urn:z'>1</e></r>", "the namespace of e is 'urn:z'; expected is 'urn:t'"),
    ("<q xmlns='urn:t'/>", "q is not expected here; expected is r"),
    ("<r xmlns='urn:t'><f/></r>", "f is not expected here; expected is e"),
    ("<r xmlns='urn:t'/>", "r is not complete; expected is e next"),
]


@pytest.mark.parametrize(("document", "told"), NAMESPACES)
def test_a_wrong_namespace_is_told_as_that(tmp_path: Path, document: str, told: str) -> None:
    judge = schemas(tmp_path, "xs:string", "")
    assert [one.message for one in judge.list_violations(etree.fromstring(document))] == [told]


LIBXML = [
    (
        "Element '{urn:t}e': [facet 'enumeration'] The value 'C' is not an element of the set {'A', 'B'}.",
        "Element 'e': 'C' is not allowed; expected is one of A or B",
    ),
    (
        "Element 'e', attribute 'a': [facet 'pattern'] The value 'x' is not accepted by the pattern "
        "'[0-9]{2}'.",
        "Element 'e', attribute 'a': 'x' is not allowed; expected is 2 digits",
    ),
    (
        "Element '{urn:z}e': This element is not expected. Expected is ( {urn:t}e ).",
        "the namespace of e is 'urn:z'; expected is 'urn:t'",
    ),
    (
        "Element '{urn:t}x': This element is not expected. Expected is one of ( {urn:t}e, {urn:t}f ).",
        "x is not expected here; expected is one of e or f",
    ),
    (
        "Element 'e': 'x' is not a valid value of the atomic type 'xs:date'.",
        "Element 'e': 'x' is not allowed; expected is a date as 2026-01-31",
    ),
]


@pytest.mark.parametrize(("message", "told"), LIBXML)
def test_the_messages_of_libxml_are_told_in_the_same_words(message: str, told: str) -> None:
    assert describe_libxml_violation(message) == told


PATTERNS = [
    ("[A-Z]{2}[0-9A-Z-]{4,28}", '2 capital letters, 4 to 28 capital letters or digits or "-"'),
    ("[A-Z]{2}[ -]{0,1}[0-9]", "2 capital letters, optionally one of a space or -, 1 digit"),
    ("UN[0-9]{4}", '"UN", 4 digits'),
    (r"TUG-\d{1,5}", '"TUG-", 1 to 5 digits'),
    ("A|B", '"A" or "B"'),
    ("(yes|no){0,1}", 'optionally "yes" or "no"'),
    (r"[^\s<>]+", "1 or more characters other than a space < >"),
    ("[01]", "one of 0 or 1"),
    ("[가-힣]{1,3}", "1 to 3 characters of 가-힣"),
    ("a(b(c))", "a text of the form a(b(c))"),
]


@pytest.mark.parametrize(("pattern", "words"), PATTERNS)
def test_a_pattern_is_told_in_words(pattern: str, words: str) -> None:
    assert describe_pattern(pattern) == words


def test_long_lists_are_cut_and_say_how_many_more() -> None:
    assert describe_choices(["A"]) == "A"
    assert describe_choices(["", "B"]) == "one of an empty value or B"
    assert describe_choices(map(str, range(40))).endswith("10, 11 and 28 more")
    assert quote_value("x" * 61) == f"'{'x' * 60}…'"
    assert quote_value("\n" * 61) == "'" + r"\n" * 30 + "…'"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (" I ", "' I '"),
        ("a  b", "'a  b'"),
        ("I\u00a0", r"'I\u00a0'"),
        ("\u200bI", r"'\u200bI'"),
        ("\n\tI\r\n", r"'\n\tI\r\n'"),
        ("가 나", "'가 나'"),
        ("x" * 60, f"'{'x' * 60}'"),
    ],
)
def test_a_value_is_shown_with_what_cannot_be_seen(value: str, shown: str) -> None:
    assert quote_value(value) == shown


def test_a_long_message_takes_time_in_proportion_to_its_length() -> None:
    """A value of the sender stands in what libxml2 says: each piece of a form, again and again."""
    pieces = (
        *("[facet 'enumeration'] The value '", "' is not an element of the set {'", ": '", "{", "{:", "{a:"),
        *("[facet 'pattern'] The value '", "' is not accepted by the pattern '", "duplicated value ("),
        *("' is not a valid value of the atomic type 'xs:", "<class 'a", "<class 'a.", "Xsd", "Xsda('", " "),
        *(") for Xsda(", "duplicated value () for Xsda('", "Element '", "Expected is one of ( ", "a.", "\n"),
    )
    for piece in pieces:
        value = piece * (2_000_000 // len(piece))
        for message in (value, f"Element 'e': '{value}' is not a valid value of the local atomic type."):
            begin = time.process_time()
            told = describe_libxml_violation(message)
            assert time.process_time() - begin < 1, piece
            assert len(told) < 10_000


def test_the_words_of_libxml2_within_a_value_are_the_value() -> None:
    value = "a'b [facet 'enumeration'] The value ' is not an element"
    facet = f"[facet 'enumeration'] The value '{value}' is not an element of the set {{'A'}}."
    message = f"Element '{{urn:t}}e': {facet}"
    assert describe_libxml_violation(message) == f"Element 'e': '{value}' is not allowed; expected is A"
    message = "Element '{urn:t}e', attribute 'x': 'v': 'w' is not a valid value of the atomic type 'xs:date'."
    shown = "Element 'e', attribute 'x': 'v': 'w' is not allowed; expected is a date as 2026-01-31"
    assert describe_libxml_violation(message) == shown
