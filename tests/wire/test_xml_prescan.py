"""The pre-scan: what it refuses, where it says so, and that it stays fast."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.wire import DEFAULT_LIMITS, WireLimits, canonicalize_document, parse_xml, prescan_xml
from gateway.wire import xml_prescan as module
from tests.wire.refusal_capture import refusal

ACCEPTED = [
    b"<a/>",
    b"\xef\xbb\xbf<a/>",
    b'<?xml version="1.0"?><a/>',
    b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n<a/>\n',
    b"<a>&lt;&#13;&#x10FFFF;<![CDATA[<b>]]></a>",
    "<\uac00 \u00e9='\U0001f600'/>".encode(),
    b"<a xmlns:p='urn:p'><p:b p:c='1'/><!-- c --></a>",
]


@pytest.mark.parametrize("data", ACCEPTED)
def test_plain_documents_pass(data: bytes) -> None:
    prescan_xml(data)
    parse_xml(data)


REFUSED = [
    (b"", "no element found"),
    (b"   ", "no element found"),
    (b"<a>", "no element found"),
    (b"<a/><b/>", "junk"),
    (b"text", "syntax"),
    (b"<a b='1' b='2'/>", "duplicate attribute"),
    (b"<a>&unknown;</a>", "undefined entity"),
    (b"<a>\x00</a>", "invalid token"),
    (b"<a>\xc0\xaf</a>", "invalid token"),
    (b"<a>\xed\xa0\x80</a>", "invalid token"),
    (b"<a>\xff</a>", "invalid token"),
    (b"<!DOCTYPE a><a/>", "document type"),
    (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type"),
    (b"<!DOCTYPE a SYSTEM 'http://127.0.0.1/x.dtd'><a/>", "document type"),
    (b"<?xml-stylesheet href='x'?><a/>", "processing instruction"),
    (b"<a><?php x?></a>", "processing instruction"),
    (b"<a/><?after?>", "processing instruction"),
    (b'<?xml version="1.1"?><a/>', "version"),
    (b'<?xml version="1.0" encoding="UTF-7"?><a/>', "UTF-7"),
    (b'<?xml version="1.0" encoding="UTF-16"?><a/>', "UTF-16"),
    (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "ISO-8859-1"),
    (b'<?xml version="1.0" encoding="utf8"?><a/>', "utf8"),
    (b'<?xml version="1.0" encoding="bogus"?><a/>', "bogus"),
    ("<a/>".encode("utf-16"), "UTF-16"),
    ("<a/>".encode("utf-16-le"), "UTF-16"),
    ("<a/>".encode("utf-16-be"), "UTF-16"),
    ("<a/>".encode("utf-32"), "UTF-32"),
    ("<a/>".encode("utf-32-le"), "UTF-32"),
    ("<a/>".encode("utf-32-be"), "UTF-32"),
    ('<?xml version="1.0"?><a/>'.encode("cp037"), "EBCDIC"),
    (b"+ADw-a/+AD4-", "invalid token"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED)
def test_what_is_no_plain_utf8_document_is_malformed(data: bytes, words: str) -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        prescan_xml(data)
    assert caught.value.problem.id == "GW104"
    assert caught.value.location.startswith("line ")


TINY = WireLimits(
    xml=100_000,
    depth=3,
    elements=5,
    attributes=2,
    namespaces=3,
    name=10,
    value=20,
    text=30,
    canonical_work=10**9,
)
WITHIN = [
    b"<a><b><c/></b></a>",
    b"<a><b/><b/><b/><b/></a>",
    b"<a b='1' c='2'/>",
    b"<a xmlns='u:1' xmlns:b='u:2'><b:c xmlns:d='u:3'/><b:c xmlns:d='u:3'/></a>",
    b"<aaaaaaaaaa bbbbbbbbbb='12345678901234567890'/>",
    b"<a>" + b"x" * 30 + b"</a>",
    b"<a>" + b"x" * 20 + b"<b>" + b"x" * 20 + b"</b>" + b"x" * 20 + b"</a>",
]
BEYOND = [
    (b"<a><b><c><d/></c></b></a>", "nested", "line 1, column 10"),
    (b"<a><b/><b/><b/>\n<b/> <b/></a>", "elements", "line 2, column 6"),
    (b"<a b='1' c='2' d='3'/>", "attributes", "line 1, column 1"),
    (
        b"<a xmlns='u:1' xmlns:b='u:2'><b xmlns:c='u:3'><c xmlns:d='u:4'/></b></a>",
        "namespace",
        "line 1, column 47",
    ),
    (b"<aaaaaaaaaab/>", "name", "line 1, column 1"),
    (b"<a bbbbbbbbbbc=''/>", "name", "line 1, column 1"),
    (b"<a b='123456789012345678901'/>", "an attribute", "line 1, column 1"),
    (b"<a>" + b"x" * 31 + b"</a>", "a text", "line 1"),
    (b"<a>" + b"x" * 20 + b"<![CDATA[" + b"y" * 20 + b"]]></a>", "a text", "line 1"),
    (b"<a>" + b" " * 100_000 + b"</a>", "octets", "document"),
]


@pytest.mark.parametrize("data", WITHIN)
def test_at_the_limit_passes(data: bytes) -> None:
    prescan_xml(data, TINY)


@pytest.mark.parametrize(("data", "words", "place"), BEYOND)
def test_beyond_the_limit_is_too_large(data: bytes, words: str, place: str) -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        prescan_xml(data, TINY)
    assert caught.value.problem.id == "GW102"
    assert caught.value.location.startswith(place)


def test_comments_are_refused_where_they_are_not_allowed() -> None:
    prescan_xml(b"<a><!-- c --></a>")
    with pytest.raises(GatewayError, match="comment") as caught:
        prescan_xml(b"<a>\n<!-- c --></a>", allow_comments=False)
    assert caught.value.location == "line 2, column 1"
    with pytest.raises(GatewayError, match="comment"):
        parse_xml(b"<a/><!-- c -->", allow_comments=False)


def test_the_cost_of_canonicalisation_is_counted() -> None:
    declared = " ".join(f"xmlns:n{i}='urn:{i}'" for i in range(60))
    data = f"<r {declared}>{'<a/>' * 2000}</r>".encode()
    work = 60 * 61 + 2000 * 60 * 62
    prescan_xml(data, replace(DEFAULT_LIMITS, canonical_work=work))
    with pytest.raises(GatewayError, match="canonicalisation") as caught:
        prescan_xml(data, replace(DEFAULT_LIMITS, canonical_work=work - 1))
    assert caught.value.problem.id == "GW102"


def test_values_in_errors_are_capped() -> None:
    with pytest.raises(GatewayError) as caught:
        prescan_xml(b"<a><?" + b"x" * 10_000 + b"?></a>")
    assert len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>/ax:='\" &;!-[]?\n", max_size=60).map(str.encode))
def test_garbage_gives_a_tree_or_a_gateway_error(data: bytes) -> None:
    error = refusal(lambda: parse_xml(data))
    assert error is None or error.problem.id in ("GW102", "GW104")


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.just("<a/>"),
        lambda inner: st.lists(inner, max_size=4).map(
            lambda many: f"<b xmlns:p{len(many)}='urn:x' c='d'>{''.join(many)}</b>"
        ),
        max_leaves=30,
    )
)
def test_the_short_cut_never_passes_what_counting_refuses(document: str) -> None:
    data = document.encode()
    for limits in (replace(TINY, depth=100), replace(TINY, depth=100, canonical_work=40, namespaces=64)):
        verdicts = []
        for counting in (True, None):
            with pytest.MonkeyPatch.context() as patch:
                if counting:
                    patch.setattr(module, "_needs_counting", lambda *_: True)
                verdicts.append(str(refusal(lambda limits=limits: prescan_xml(data, limits))))
        assert verdicts[0] == verdicts[1]


# --- bombs -------------------------------------------------------------------------------


def _nested(count: int, inside: bytes = b"") -> bytes:
    return b"<a>" * count + inside + b"</a>" * count


def _declaring(count: int) -> bytes:
    return b"<r " + b" ".join(b"xmlns:n%d='urn:%d'" % (i, i) for i in range(count)) + b">"


BOMBS = {
    "depth": _nested(100_000),
    "siblings": b"<r>" + b"<a/>" * 3_000_000 + b"</r>",
    "attributes": b"<a " + b" ".join(b"a%d='1'" % i for i in range(200_000)) + b"/>",
    "name": b"<" + b"a" * 12_000_000 + b"/>",
    "text": b"<a>" + b"x" * 20_000_000 + b"</a>",
    "octets": b"<a>" + b"x" * 40_000_000 + b"</a>",
    "namespaces on the root": _declaring(2000) + _nested(90) + b"</r>",
    "namespaces on the way": b"".join(b"<a xmlns:n%d='urn:%d'>" % (i, i) for i in range(90)) + b"</a>" * 90,
    "namespaces times elements": _declaring(64) + _nested(90) * 1000 + b"</r>",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_time(name: str) -> None:
    started = time.process_time()
    with pytest.raises(GatewayError) as caught:
        parse_xml(BOMBS[name])
    assert caught.value.problem.id == "GW102"
    assert time.process_time() - started < 20


def test_the_worst_that_passes_has_a_canonical_form_in_time() -> None:
    worst = _declaring(64) + _nested(98) * 60 + b"</r>"
    root = parse_xml(worst)
    started = time.process_time()
    canonicalize_document(root)
    assert time.process_time() - started < 20


@pytest.mark.vectors
def test_the_bombs_of_defusedxml(vectors: Path) -> None:
    place = vectors / "vectors/xml-bombs/defusedxml/xmltestdata"
    passed = set()
    for file in sorted(place.iterdir()):
        error = refusal(lambda file=file: parse_xml(file.read_bytes()))
        if error is None:
            passed.add(file.name)
            continue
        assert error.problem.id == "GW104", file.name
        assert error.location, file.name
    # Harmless as documents: no style sheet and no schema location is ever followed here.
    assert passed == {"simple.xml", "schema-include.xsd", "xalan_exec.xsl", "xalan_write.xsl"}


_TIGHT = WireLimits(depth=12, attributes=6, name=20)


@pytest.mark.long
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_small_document_is_judged_as_element_by_element(data: st.DataObject) -> None:
    """What octets prove is never more than what the elements show."""
    document = data.draw(_documents())
    with pytest.MonkeyPatch.context() as patch:
        # A small document has several stretches, too.
        patch.setattr(module, "_STRETCH_OCTETS", data.draw(st.sampled_from([7, 64, 1024])))
        quick = _judge(document)
        patch.setattr(module, "_needs_element_checks", lambda *_: True)
        assert quick == _judge(document)


@pytest.mark.parametrize(("opened", "closed"), [("<!--", "-->"), ("<![CDATA[", "]]>")])
def test_ends_that_are_none_hide_no_depth(opened: str, closed: str) -> None:
    """Ends in a comment or a section before what is too deep, and as many begins behind it."""
    ends, begins = f"{opened}</a></a></a>{closed}", f"{opened}<a>{closed}"
    document = "<a>" * 10 + ends + "<a>" * 3 + "</a>" * 3 + begins + "</a>" * 10
    assert "nested more than 12 deep" in _judge(document.encode())
    assert _judge(document.replace("<a></a>", "").encode()) == "accepted"


@pytest.mark.parametrize("empty", ["<e/>", "<e></e>", "<e v='>'>/></e>"])
def test_many_shallow_elements_are_accepted(empty: str) -> None:
    document = "<?xml version='1.0'?><a>" + empty * 100 + "</a>"
    assert _judge(document.encode()) == "accepted"
    assert "nested more than 12 deep" in _judge(("<a>" * 12 + empty * 100 + "</a>" * 12).encode())


def _judge(document: bytes) -> str:
    try:
        prescan_xml(document, _TIGHT)
    except GatewayError as problem:
        return f"{problem.problem.id} {problem.detail} {problem.location}"
    return "accepted"


_BESIDE = ("<e/>", "<e></e>", "<e>/></e>", "<e v='/>'/>", "<e v='>'>></e>", "<!-- -->", "<![CDATA[<a><a>]]>")


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    """Return a document near the limits, with texts that look like markup."""
    depth = draw(st.integers(1, 15))
    names = st.sampled_from(["a", "b" * 19, "c" * 20, "d" * 21, "p:" + "e" * 18, "f" * 60])
    text = draw(
        st.sampled_from(["", "x" * 40, "y z", "</", "<!-- </a></a> -->", "&lt;/", "/>", "= = = = = = ="])
    )
    # What is deepest stands in the middle; a comment hides ends and begins.
    beside = "".join(draw(st.lists(st.sampled_from(_BESIDE), max_size=4)))
    before = draw(
        st.sampled_from(["", "<!-- </a></a></a> -->", "<![CDATA[</a></a>]]>", "<?xml version='1.0'?>"])
    )
    parts, closing = [], []
    odd = draw(st.integers(0, 20))  # one element at most is near the limits of a single one
    for level in range(depth):
        name = draw(names) if level == odd else "a"
        count = draw(st.sampled_from([0, 1, 5, 6, 7])) if level == odd else 0
        quote = draw(st.sampled_from("\"'"))
        value = draw(st.sampled_from(["", "1", "/>", "=", "v" * 30]))
        long = draw(st.sampled_from(["k", "l" * 19]))
        parts.append(f"<{name}" + "".join(f"\n{long}{n}={quote}{value}{quote}" for n in range(count)) + ">")
        closing.append(f"</{name}>")
    inside = "".join(parts) + text + "".join(reversed(closing))
    first = before if before.startswith("<?") else ""
    return f"{first}<a>{'' if first else before}{beside}{inside}{beside}</a>".encode()
