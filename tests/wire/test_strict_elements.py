"""The strict reader of elements: what each of its forms refuses, by which problem and where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from gateway.errors import HEADER_INVALID, SIGNATURE_INVALID, GatewayError
from gateway.wire import EB, SOAP11, ElementReader

STRICT = ElementReader(SIGNATURE_INVALID)
HEADER = ElementReader(HEADER_INVALID, allows_comments=True, rejects_empty=True)
LOOSE_BASE64 = ElementReader(HEADER_INVALID, canonical_base64=False)


def read(text: str) -> etree._Element:
    return etree.fromstring(text)


def find_refusal(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(GatewayError) as refused:
        act()
    return refused.value.problem.id, refused.value.location


@pytest.mark.parametrize("text", ["<a>x<b/></a>", "<a><b/>x</a>", "<a><b/><c/>x</a>", "<a>\u00a0<b/></a>"])
@pytest.mark.parametrize("reader", [STRICT, HEADER])
def test_text_between_elements_is_refused(reader: ElementReader, text: str) -> None:
    assert find_refusal(lambda: reader.list_children(read(text))) == (reader.problem.id, "/a")


@pytest.mark.parametrize("text", ["<a><!-- x --><b/></a>", "<a><b/><?x y?> <c/>\n</a>"])
def test_comments_between_elements_are_skipped_or_refused(text: str) -> None:
    assert [child.tag for child in HEADER.list_children(read(text))] in (["b"], ["b", "c"])
    assert find_refusal(lambda: STRICT.list_children(read(text))) == ("GW202", "/a")
    assert find_refusal(lambda: HEADER.list_children(read(text.replace("<b/>", "<b/>x"))))[0] == "GW107"


@pytest.mark.parametrize("reader", [STRICT, HEADER])
def test_a_value_is_text_alone(reader: ElementReader) -> None:
    assert reader.read_text(read("<a> x </a>")) == " x "
    assert reader.read_text(read("<a/>")) == ""
    for text in ("<a>x<!-- y -->z</a>", "<a>x<b/></a>", "<a><?x y?></a>"):
        assert find_refusal(lambda text=text: reader.read_text(read(text)))[1] == "/a"


def test_children_are_taken_in_their_order() -> None:
    root = read("<r><a/><b/></r>")
    assert STRICT.get_exact_children(root, "a", "b") == list(root)
    assert STRICT.get_only_child(read("<r><a/></r>"), "a").tag == "a"
    for tags in (("b", "a"), ("a",), ("a", "b", "b"), ()):
        assert find_refusal(lambda tags=tags: STRICT.get_exact_children(root, *tags)) == ("GW202", "/r")


def test_an_empty_attribute_is_there_or_missing_as_the_form_says() -> None:
    element = read('<a x="" y="1"/>')
    STRICT.check_attributes(element, required=("x",), optional=("y",))
    assert (
        find_refusal(lambda: HEADER.check_attributes(element, required=("x",), optional=("y",)))[0] == "GW107"
    )
    for reader in (STRICT, HEADER):
        assert find_refusal(lambda reader=reader: reader.check_attributes(element, ("y", "z"), ("x",)))
        assert find_refusal(lambda reader=reader: reader.check_attributes(read("<a/>"), ("z",)))
        assert find_refusal(lambda reader=reader: reader.check_attributes(element, ("y",)))


def test_an_attribute_of_soap_or_ebms_is_never_foreign() -> None:
    HEADER.check_attributes(read('<a xmlns:o="urn:o" o:x="1"/>'), foreign=True)
    for text in (f'<a xmlns:o="{SOAP11}" o:actor="1"/>', f'<a xmlns:o="{EB}" o:x="1"/>', '<a x="1"/>'):
        assert find_refusal(lambda text=text: HEADER.check_attributes(read(text), foreign=True))
    assert find_refusal(lambda: HEADER.check_attributes(read('<a xmlns:o="urn:o" o:x="1"/>')))


@pytest.mark.parametrize("text", ["AB==", "AAB=", ""])
def test_other_spellings_of_base64_are_read_where_the_form_takes_them(text: str) -> None:
    assert LOOSE_BASE64.decode_base64(read(f"<a>\n{text} </a>")) in (b"\x00", b"\x00\x00", b"")
    assert find_refusal(lambda: STRICT.decode_base64(read(f"<a>{text}</a>"))) == ("GW202", "/a")


@pytest.mark.parametrize("text", ["A", "AA=", "AA-_", "AA==AAAA", "AA\u00a0AA", "A" * 80, "AA<b/>AA"])
@pytest.mark.parametrize("reader", [STRICT, LOOSE_BASE64])
def test_what_is_no_base64_or_too_long_is_refused(reader: ElementReader, text: str) -> None:
    assert reader.decode_base64(read("<a> AAAA\n</a>"), 4) == b"\x00\x00\x00"
    assert find_refusal(lambda: reader.decode_base64(read(f"<a>{text}</a>"), 79)) == (reader.problem.id, "/a")


def test_the_place_of_an_attribute_is_named() -> None:
    root = read("<r><a/><a/></r>")
    assert find_refusal(lambda: STRICT.raise_error(root[1], "x", HEADER_INVALID, at="b")) == (
        "GW107",
        "/r/a[2]/@b",
    )
