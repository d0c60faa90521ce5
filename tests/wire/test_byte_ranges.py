"""Byte ranges: what stands there, read by itself, is the value of the tree."""

from __future__ import annotations

import random

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import TreeByteRanges
from gateway.wire.byte_ranges import ByteRange, scan_element_ranges
from gateway_conformance import DATA_FOLDER

TRICKY = (
    "<?xml version='1.0'?>\n<!-- <a> -->\n"
    '<a xmlns="u:1" xmlns:b=\'u:2\' b:k = \'v>"&lt;&#xD55C;\'\n\tz="한글">가<!--c>--><![CDATA[<x>]]>&amp;😀'
    '<b:c/><d></d ><e q="1"\n /><f k=""><!--only--></f><g>\r\n </g></a>'
)


def cut(span: ByteRange, data: bytes) -> bytes:
    return data[span.start : span.end]


def decoded(data: bytes, encoding: str, attribute: bool) -> str:
    """Return the value that octets of a content or an attribute mean, read by another parser."""
    text = data.decode(encoding)
    if attribute:
        quote = '"' if '"' not in text else "'"
        return str(etree.fromstring(f"<x a={quote}{text}{quote}/>").get("a"))
    return "".join(str(part) for part in etree.fromstring(f"<x xmlns:b='u:2'>{text}</x>").xpath("text()"))


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
    ],
)
def test_ranges_hold_the_values_whatever_the_encoding(mark: bytes, encoding: str) -> None:
    data = mark + TRICKY.encode(encoding)
    root = etree.fromstring(data)
    offsets = TreeByteRanges(data, root)
    for element in root.iter(tag=etree.Element):
        span, whole = offsets.find_content_range(element), offsets.find_element_range(element)
        assert span is not None
        assert whole is not None
        text = (element.text or "") + "".join(child.tail or "" for child in element)
        assert decoded(cut(span, data), encoding, False) == text
        assert cut(whole, data).decode(encoding)[0] + cut(whole, data).decode(encoding)[-1] == "<>"
        for name in map(str, element.attrib):
            value = offsets.find_content_range(element, name)
            assert value is not None
            assert decoded(cut(value, data), encoding, True) == element.get(name)


def test_one_octet_a_character() -> None:
    data = "<?xml version='1.0' encoding='ISO-8859-1'?><a b='é'>ü<c/></a>".encode("latin-1")
    (a, c) = scan_element_ranges(data)
    assert (cut(a.content, data), cut(a.attributes["b"], data)) == (b"\xfc<c/>", b"\xe9")
    assert cut(c.content, data) == b""


def test_every_leaf_of_a_real_submission() -> None:
    data = DATA_FOLDER.joinpath("samples", "import-three-items.xml").read_bytes()
    root = etree.fromstring(data)
    offsets = TreeByteRanges(data, root)
    seen = 0
    for element in root.iter(tag=etree.Element):
        if len(element) == 0:
            span = offsets.find_content_range(element)
            assert span is not None
            assert decoded(cut(span, data), "utf-8", False) == (element.text or "")
            seen += 1
    assert seen > 100


def test_random_documents() -> None:
    chance = random.Random(20)
    pieces = ("a", "가", "😀", "&lt;", "&#44;", "<![CDATA[<]>]]>", "<!--<-->", ">", " ", "\n", "é")
    for _ in range(300):
        body = "".join(chance.choice(pieces) for _ in range(chance.randrange(12)))
        value = "".join(chance.choice(("x", "한", "&gt;", ">", "/")) for _ in range(chance.randrange(6)))
        other = "<p:y xmlns:p='u'/>" * chance.randrange(3)
        text = f"<r>{other}<x k='{value}' xmlns:q='w' q:k=\"{value}\">{body}</x>{other}</r>"
        data = text.encode()
        root = etree.fromstring(data)
        element = root.find("x")
        assert element is not None
        offsets = TreeByteRanges(data, root)
        spans = [
            offsets.find_content_range(element),
            offsets.find_content_range(element, "k"),
            offsets.find_content_range(element, "{w}k"),
        ]
        assert [span and cut(span, data).decode() for span in spans] == [body, value, value]


@pytest.mark.parametrize(
    "data",
    [
        b"<a>",
        b"",
        b"<a b='1' b='2'/>",
        b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        b"<p:a/>",
        b"<?xml version='1.0' encoding='no-such'?><a/>",
        b"\xff\xfe<\x00a\x00",
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        scan_element_ranges(data)
    assert caught.value.problem.id == "GW104"


def test_another_document_is_refused() -> None:
    with pytest.raises(GatewayError):
        TreeByteRanges(b"<a><b/></a>", etree.fromstring(b"<a><c/></a>"))


def test_what_is_not_there_has_no_range() -> None:
    root = etree.fromstring(b"<a><b/></a>")
    offsets = TreeByteRanges(b"<a><b/></a>", root)
    assert offsets.find_content_range(root, "x") is None
    assert offsets.find_content_range(etree.Element("z")) is None
