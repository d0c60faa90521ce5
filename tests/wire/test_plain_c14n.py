"""Canonical forms that are written from octets: those of libxml2 or none, for whatever document."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.wire.plain_c14n import find_plain_form
from gateway.wire.xml import canonicalize_document, parse_scanned_xml
from gateway.wire.xml_prescan import prescan_xml

_ATTRIBUTES = ("b='1'", 'a="2"', "c = 'it'", 'A\t=\n"3"', "z='é  '", 'd="\'"')
_TEXTS = ("", "text", " \n\t", "\r\n", "\r", "a = 'b'", "xml", "é", "]]", "!", "?")
#: What makes a document another than a plain one, or looks like that: a tag, an attribute, or a text.
_ODD_NAMES = ("p:a", "xml:a", "é", "_")
_ODD_ATTRIBUTES = (
    "q='\"'", "t='a\tb'", "n='a\nb'", "r='a\rb'", "g='a>b'", "e='&lt;'", "xml:lang='en'", "p:a='1'",
    "xmlns=''", "xmlns='x'", "xmlns='urn:x'", "xmlns:p='urn:p'", "xmlns='http://example.org/a-b/1.0'",
)  # fmt: skip
_ODD_TEXTS = ("a > b", "/>", "xmlns", "&amp;", "&#10;", "<!--c-->", "<![CDATA[<a>]]>", "<?i?>", "<a><a/></a>")
_FIRST = (
    "",
    "<?xml version='1.0'?>",
    '<?xml version="1.0" encoding="UTF-8"?>\r\n',
    "\n",
    "<!--c-->",
    "\ufeff",
)
_PLAIN = (
    b"<a/>",
    b"<a>text</a>",
    b"<?xml version='1.0'?>\n<a c='1' b=\"it's\"\n>\r\n<b /></a >\n",
    b'<a xmlns="urn:x:1" b="1"><b c="2"/>\t</a>',
    b"<A.b-c_1 z = 'Z' a='A' B='\xc3\xa9'>\xc3\xa9</A.b-c_1>",
)


@pytest.mark.parametrize("document", _PLAIN)
def test_a_plain_document_needs_no_tree(document: bytes) -> None:
    form = find_plain_form(document)
    assert form is not None
    assert form == _canonicalize(document, exclusive=True) == _canonicalize(document, exclusive=False)


@pytest.mark.parametrize(
    "document",
    [
        b"<a>&amp;</a>",
        b"<a><!-- c --></a>",
        b"<!-- c --><a/>",
        b"<a><![CDATA[b]]></a>",
        b"<a>b > c</a>",
        b"<a b='&#10;'/>",
        b"<a b='c>d'/>",
        b"<a b='c\td'/>",
        b'<a b="c\nd"/>',
        b"<a b='\"'/>",
        b"<p:a xmlns:p='urn:x'/>",
        b"<p:a/>",
        b"<a xml:lang='en'/>",
        b"<a><b xmlns='urn:x'/></a>",
        b"<a xmlns='urn:x'><a xmlns='urn:x'></a></a>",
        b"<a xmlns=''/>",
        b"<a xmlns='relative'/>",
        "<é/>".encode(),
        "\ufeff<a/>".encode(),
    ],
)
def test_every_other_document_is_left_to_the_tree(document: bytes) -> None:
    assert find_plain_form(document) is None


def test_a_document_of_many_different_tags_is_left_to_the_tree() -> None:
    assert find_plain_form(b"<a>%s</a>" % b"".join(b"<b c='%d'/>" % one for one in range(10))) is not None
    assert find_plain_form(b"<a>%s</a>" % b"".join(b"<b c='%d'/>" % one for one in range(100))) is None


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    """Return a document with three odd things at most."""
    odd = draw(st.sets(st.integers(0, 24), max_size=3))
    places = iter(range(1000))

    def choose(usual: tuple[str, ...], unusual: tuple[str, ...]) -> str:
        return draw(st.sampled_from(unusual if next(places) in odd else usual))

    def write_element(depth: int) -> str:
        name = choose(("a", "x-1._y"), _ODD_NAMES)
        attributes = "".join(sorted({" " + choose(_ATTRIBUTES, _ODD_ATTRIBUTES) for _ in range(3 - depth)}))
        blank = draw(st.sampled_from(["", "\n"]))
        below = (write_element(depth + 1) for _ in range(draw(st.integers(0, 2)) if depth < 2 else 0))
        content = "".join(one + choose(_TEXTS, _ODD_TEXTS) for one in ("", *below))
        start = f"<{name}{attributes}{blank}"
        return f"{start}>{content}</{name}{blank}>" if content else f"{start}/>"

    return (choose(_FIRST[:4], _FIRST) + write_element(0) + choose(("", "\n "), ("<!--c-->",))).encode()


@pytest.mark.further
@given(_documents())  # type: ignore[call-arg]
@settings(max_examples=1000, deadline=None)
def test_a_form_is_that_of_libxml2(document: bytes) -> None:
    """What libxml2 refuses has no form: a part is not verified that another reader cannot read."""
    try:
        prescan_xml(document)
    except GatewayError:
        return
    form = find_plain_form(document)
    if form is not None:
        assert form == _canonicalize(document, exclusive=True) == _canonicalize(document, exclusive=False)


@pytest.mark.vectors
def test_the_forms_of_documents_of_others(vectors: Path) -> None:
    files = [
        *vectors.glob("data/**/*.xml"),
        *vectors.glob("vectors/**/*.xml"),
        *vectors.glob("outside/**/*.xml"),
    ]
    plain = 0
    for file in sorted(files):
        document = file.read_bytes()
        try:
            prescan_xml(document)
        except GatewayError:
            continue
        form = find_plain_form(document)
        if form is not None:
            plain += 1
            assert form == _canonicalize(document, exclusive=True), file
    assert plain > 10


def _canonicalize(document: bytes, *, exclusive: bool) -> bytes:
    return canonicalize_document(parse_scanned_xml(document), exclusive=exclusive)
