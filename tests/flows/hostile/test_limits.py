"""Every limit: what has just as much is taken, what has one more is refused as too large, at its place."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import pytest
from lxml import etree

from gateway.config import Settings, describe_settings
from gateway.errors import GatewayError
from gateway.hub import build_wire_limits
from gateway.protocols import ebms2
from gateway.protocols.encrypted_parts import check_encrypted_size
from gateway.web.server import read_request_body
from gateway.wire import (
    DEFAULT_LIMITS,
    SOAP11,
    MimePart,
    WireLimits,
    parse_xml,
    prescan_xml,
    read_envelope,
    read_http_message,
    read_multipart_related,
)
from gateway.wire import xml as wire_xml
from gateway.wire.header_fields import read_header_fields
from gateway.xmlsec import STRICT, signature_verifier, xml_signature
from gateway.xmlsec import ebms2_signature as xmlsec_ebms2
from tests.kit.paths import ROOT
from tests.protocols import sample_parties
from tests.protocols.message_mutation import Craft, swap_octets

#: Each case is short.

Reads = Callable[[WireLimits], object]
KIND = 'multipart/related; type="text/xml"; boundary="B"'
PART = b"Content-Type: text/xml\r\n\r\n<a/>"
CONTEXT = sample_parties.context()


def multipart(*parts: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    framed = b"".join(b"--B\r\n" + part + b"\r\n" for part in (PART, *parts))
    return before + framed + b"--B--\r\n" + after


def related(body: bytes) -> Reads:
    return lambda limits: read_multipart_related(KIND, body, limits)


def secret(octets: bytes) -> Reads:
    part = MimePart({}, "p1", "application/octet-stream", octets)
    return lambda limits: check_encrypted_size([part], limits)


def scanned(data: bytes, **how: Any) -> Reads:
    return lambda limits: prescan_xml(data, limits, **how)


def chunked(*chunks: bytes) -> Reads:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    return lambda limits: read_http_message(raw, limits)


def opened(**hooks: Any) -> Reads:
    parcel = Craft(**hooks).parcel(CONTEXT)
    return lambda limits: ebms2.open_units(parcel, replace(CONTEXT, limits=limits))


def prefixed(count: int) -> Callable[[WireLimits], object]:
    """Return what reads a signature whose only transform names so many prefixes."""
    names = " ".join(f"p{number}" for number in range(count))
    text = swap_octets(
        'Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/></ds:Transforms>',
        'Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><ec:InclusiveNamespaces '
        f'xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{names}"/>'
        "</ds:Transform></ds:Transforms>",
    )(sample_parties.octets(Craft(unit=sample_parties.message(payloads=())).parcel(CONTEXT)))
    element = next(parse_xml(text).iter("{*}Signature"))
    return lambda limits: xml_signature.read_signature(element, STRICT, limits=limits)


NESTED = b"<a><b><c/></b></a>"
SPACED = b"<a>" + b" " * 5000 + b"</a>"
CROWD = b"<r>" + b"<a/>" * 9 + b"</r>"  # a tree of ten elements and four names
DECLARED = b"<a xmlns:p='u:1' xmlns:q='u:2'><b/></a>"

# name of the limit: what reads something that has exactly `most` of it, `most`, and the place of the refusal
LIMITS: dict[str, tuple[Reads, int, str]] = {
    "body": (related(multipart()), len(multipart()), "body"),
    "secret": (secret(b"x" * 9), 9, "cid:p1"),
    "parts": (related(multipart(b"\r\nx", b"\r\ny")), 3, "octet "),
    "part_headers": (related(multipart(b"X: 123456789012345678901\r\n\r\n")), 24, "part 2"),
    "part_header_count": (related(multipart(b"X: 1\r\nY: 2\r\nZ: 3\r\n\r\n")), 3, "part 2"),
    "padding": (related(multipart(before=b"12345678\r\n", after=b"1234567890")), 10, "octet "),
    "chunks": (chunked(b"a", b"b"), 3, "octet "),
    "xml": (scanned(SPACED), len(SPACED), "document"),
    "envelope": (scanned(SPACED, is_envelope=True), len(SPACED), "document"),
    "depth": (scanned(NESTED), 3, "line 1, column 7"),
    "elements": (scanned(CROWD), 10, "line 1, column 36"),
    "attributes": (scanned(b"<a b='1' c='2'/>"), 2, "line 1, column 1"),
    "namespaces": (scanned(DECLARED), 2, "line 1, column 1"),
    "canonical_work": (scanned(DECLARED), 2 * 3 + 2 * 4, "line 1, column "),
    "name": (scanned(b"<abcdef/>"), 6, "line 1, column 1"),
    "value": (scanned(b"<a b='" + b"x" * 300 + b"'/>"), 300, "line 1, column 1"),
    "text": (scanned(b"<a>" + b"x" * 30 + b"</a>"), 30, "line 1, column "),
    "references": (opened(), 3, "/soap:Envelope/soap:Header/ds:Signature"),
    "prefixes": (prefixed(5), 5, "/soap:Envelope/soap:Header/ds:Signature"),
}
#: Those that hold against something else than a number alone are tried below.
RELATIVE = {"tree", "density", "canonical_rate"}


def problem(read: Reads, limits: WireLimits) -> GatewayError | None:
    try:
        read(limits)
    except GatewayError as refused:
        return refused
    return None


def test_every_limit_is_tried() -> None:
    assert set(LIMITS) | RELATIVE == {one.name for one in fields(WireLimits)}


@pytest.mark.parametrize("name", LIMITS)
def test_as_much_is_taken_and_one_more_is_refused(name: str) -> None:
    read, most, place = LIMITS[name]
    taken = problem(read, replace(DEFAULT_LIMITS, **{name: most}))
    assert taken is None, taken
    refused = problem(read, replace(DEFAULT_LIMITS, **{name: most - 1}))
    assert refused is not None
    assert refused.problem.id == "GW102", refused
    assert refused.location.startswith(place), refused.location
    assert str(most - 1) in refused.detail or name.startswith("canonical"), refused.detail


@pytest.mark.parametrize("name", sorted({one.name for one in fields(WireLimits)}))
def test_every_limit_is_a_setting_with_its_default(name: str, tmp_path: Any) -> None:
    (key,) = [one for one in describe_settings() if one.name == f"limits.{name}"]
    assert int(key.default) == getattr(DEFAULT_LIMITS, name)
    assert key.sentence
    settings = Settings.model_validate({"limits": {name: 7}}, context={"home": tmp_path})
    assert getattr(build_wire_limits(settings.limits), name) == 7


def largest(make: Callable[[int], bytes], limits: WireLimits, *, most: int = 40_000, **how: Any) -> int:
    """Return the largest number of something that the pre-scan lets through."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if problem(scanned(make(middle), **how), limits) else (middle, high)
    return low


TREES: dict[str, tuple[Callable[[int], bytes], int]] = {
    # what is repeated, and what each takes in the tree
    "elements": (lambda n: b"<r>" + b"<a/>" * n + b"</r>", 128),
    "names": (lambda n: b"<r>" + b"".join(b"<a%d/>" % one for one in range(n)) + b"</r>", 128 + 384),
    "attributes": (lambda n: b"<r>" + b"<a b=''/>" * n + b"</r>", 128 + 240),
    "declarations": (lambda n: b"<r>" + b"<a xmlns:b='u:'/>" * n + b"</r>", 128 + 128),
    "texts": (lambda n: b"<r>" + b"<a/>x" * n + b"</r>", 128 + 128),
    "comments": (lambda n: b"<r>" + b"<!---->" * n + b"</r>", 160),
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_may_have_so_many_octets_whatever_it_is_made_of(name: str) -> None:
    make, each = TREES[name]
    limits = replace(DEFAULT_LIMITS, tree=1_000_000, density=1)
    found = largest(make, limits, is_envelope=True)
    # Root and first names take a little, too.
    assert found * each <= 1_000_000 < (found + 12) * each
    refused = problem(scanned(make(found + 1), is_envelope=True), limits)
    assert refused is not None
    assert (refused.problem.id, refused.location[:5]) == ("GW102", "line ")


def test_a_larger_envelope_may_have_a_larger_tree_in_proportion() -> None:
    limits = replace(DEFAULT_LIMITS, tree=1, density=10)

    def spaced(spaces: int) -> Callable[[int], bytes]:
        return lambda count: b"<r>" + b"<a/>" * count + b" " * (spaces * count) + b"</r>"

    assert problem(scanned(spaced(0)(100), is_envelope=True), limits)
    assert problem(scanned(spaced(20)(1000), is_envelope=True), limits) is None
    # A document of somebody who is known has the other limits only.
    assert problem(scanned(spaced(0)(100)), limits) is None


def test_canonicalising_an_envelope_may_take_steps_in_proportion_to_its_octets() -> None:
    declared = b" ".join(b"xmlns:p%d='u:'" % one for one in range(50))

    def spaced(count: int, spaces: int) -> bytes:
        return b"<r " + declared + b">" + b"<a/>" * count + b" " * (spaces * count) + b"</r>"

    assert problem(scanned(spaced(1000, 5)), DEFAULT_LIMITS) is None
    refused = problem(scanned(spaced(1000, 5), is_envelope=True), DEFAULT_LIMITS)
    assert refused is not None
    assert "canonicalisation" in refused.detail
    assert problem(scanned(spaced(1000, 20), is_envelope=True), DEFAULT_LIMITS) is None
    # Twice the octets, twice the steps: the limit is one of proportion, whatever the size.
    counts = [
        largest(lambda n: spaced(n, 14), replace(DEFAULT_LIMITS, canonical_rate=rate), is_envelope=True)
        for rate in (16, 32)
    ]
    assert 1 < counts[0] < counts[1]


def test_many_attributes_are_refused_before_a_list_of_them_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"<a " + b"".join(b"a%d='' " % one for one in range(30_000)) + b"/>"
    monkeypatch.setattr(
        "gateway.wire.xml_prescan.expat.ParserCreate", None
    )  # nobody gets as far as the parser
    refused = problem(scanned(b"\n" + data, is_envelope=True), DEFAULT_LIMITS)
    assert refused is not None
    assert (refused.problem.id, refused.location) == ("GW102", "line 2, column 1")


@pytest.mark.parametrize(
    "inner",
    [
        b"a = 'b' " * 100,
        b"<![CDATA[" + b"a='b' " * 100 + b"]]>",
        b"<!-- " + b"a='b' " * 100 + b" -->",
        b"<b c='" + b'd="e" ' * 100 + b"'/>",
        b"</a><a>" * 0 + b"<b " + b"".join(b"c%d='>' " % one for one in range(64)) + b"/>",
    ],
)
def test_what_only_looks_like_many_attributes_is_none(inner: bytes) -> None:
    prescan_xml(b"<a>" + b" " * 70_000 + inner + b"</a>", is_envelope=True)


def test_a_call_has_no_more_octets_than_an_envelope() -> None:
    environ = {"CONTENT_LENGTH": "11", "wsgi.input": io.BytesIO(b"x" * 11)}
    with pytest.raises(GatewayError) as caught:
        read_request_body(environ, 10)
    assert (caught.value.problem.id, caught.value.location) == ("GW102", "Content-Length")


def test_header_fields_say_where_they_stand() -> None:
    with pytest.raises(GatewayError) as caught:
        read_header_fields(b"X: 1\r\nY: 2", b"\r\n", replace(DEFAULT_LIMITS, part_header_count=1))
    assert caught.value.location == "header fields"


class Counted:
    """Counts how often a function is called, and what it is called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
        self.calls = 0
        original = getattr(target, name)

        def counting(*args: Any, **more: Any) -> Any:
            self.calls += 1
            return original(*args, **more)

        monkeypatch.setattr(target, name, counting)


REFUSED_BEFORE: dict[str, dict[str, Any]] = {
    # Whoever has not the sender's key makes us canonicalise SignedInfo at most, and digest nothing.
    "another's key": {"signer": "broker2"},
    "a value that is not the key's": {
        "tampered": swap_octets("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"),
    },
    "another digest": {"tampered": swap_octets("<ds:DigestValue>", "<ds:DigestValue>AAAA")},
    "a payload that is not signed": {
        "parts": lambda parts: [*parts, replace(parts[0], content_id="more@broker.example")],
    },
}


@pytest.mark.parametrize("name", REFUSED_BEFORE)
def test_nothing_is_digested_for_whoever_has_not_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = Craft(**REFUSED_BEFORE[name]).parcel(CONTEXT)
    digests = Counted(monkeypatch, signature_verifier, "compute_digest")
    whole = Counted(monkeypatch, wire_xml, "_write_canonical_form")
    with pytest.raises(GatewayError):
        ebms2.open_units(parcel, CONTEXT)
    assert digests.calls == 0
    assert whole.calls <= 1
    assert ebms2.open_units(Craft().parcel(CONTEXT), CONTEXT).verified_signature
    assert digests.calls == 3


def test_a_strangers_signature_is_not_even_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = Craft(signer="broker2").parcel(CONTEXT)
    values = Counted(monkeypatch, signature_verifier, "verify_value_of_checked_key")
    with pytest.raises(GatewayError) as caught:
        ebms2.open_units(parcel, CONTEXT)
    assert caught.value.problem.id == "GW209"
    assert values.calls == 0


@pytest.mark.parametrize("place", ["/soap:Envelope/soap:Header", "/soap:Envelope"])
def test_a_crowd_of_blocks_is_counted_before_an_object_is_made_of_each(place: str) -> None:
    block = b'<x:b xmlns:x="urn:x"/>'

    def envelope(count: int) -> etree._Element:
        inner = b"<s:Header>" + block * count + b"</s:Header><s:Body/>"
        if not place.endswith("Header"):
            inner = b"<s:Header/><s:Body/>" + block * count
        return parse_xml(b'<s:Envelope xmlns:s="%s">%s</s:Envelope>' % (SOAP11.encode(), inner))

    if place.endswith("Header"):
        assert len(read_envelope(envelope(256)).header_blocks) == 256
    with pytest.raises(GatewayError) as caught:
        read_envelope(envelope(257))
    assert (caught.value.problem.id, caught.value.location) == ("GW102", place)


def test_no_path_through_a_strangers_document_joins_sets_of_nodes() -> None:
    """For a union, or a step to a parent, libxml2 looks for each node among all that it has found before."""
    paths = [
        one.path
        for module in (xml_signature, xmlsec_ebms2)
        for value in vars(module).values()
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, etree.XPath)
    ]
    assert len(paths) >= 3
    assert not [path for path in paths if "|" in path or ".." in path]


FIXED = {
    "256": ("gateway.wire.soap._MAX_BLOCKS", "gateway.protocols.element_reader._MAX_CHILDREN"),
    "1,024": (
        "gateway.protocols.element_reader._MAX_VALUE_OCTETS",
        "gateway.wire.addressing._MAX_IRI_OCTETS",
    ),
    "128": ("gateway.wire.xml_instants._MAX_CHARACTERS",),
    "4": (
        "gateway.xmlsec.xml_signature._MAX_TRANSFORMS",
        "gateway.xmlsec.key_info._MAX_X509_CERTIFICATES",
    ),
    "65,536": ("gateway.wire.strict_elements._MAX_VALUE_LENGTH",),
    "1,000 characters": ("gateway.xmlsec.xml_signature._MAX_EXPRESSION_LENGTH",),
    "32,768": ("gateway.xmlsec.key_info._MAX_CERTIFICATE_LENGTH",),
    "32 parameters": ("gateway.wire.header_fields._MAX_PARAMETERS",),
}


def test_bounds_that_are_not_set_are_told() -> None:
    page = (ROOT / "gateway" / "manual" / "security.md").read_text(encoding="utf-8")
    told = page.split("These are part of a form")[1].split("## Published bound")[0]
    for words, places in FIXED.items():
        assert words in told
        for place in places:
            module, _, name = place.rpartition(".")
            assert f"{getattr(import_module(module), name):,}" == words.split()[0], place
