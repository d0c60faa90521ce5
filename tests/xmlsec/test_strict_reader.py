"""The strict reading of elements, base64 and references."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import C14N, DS, SOAP11, WSU, XADES
from gateway.xmlsec import SHA256, Transform
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N
from gateway.xmlsec.ebms2_signature import ENVELOPE_TRANSFORMS
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    read_text,
)
from gateway.xmlsec.xml_signature import (
    DigestReference,
    check_unique_ids,
    list_ids,
    read_reference,
    read_transform,
)
from gateway_conformance.message_signing import append_reference
from tests.xmlsec.sample_messages import element


def value(text: str) -> etree._Element:
    made = etree.Element("v")
    made.text = text
    return made


@given(st.binary(min_size=1, max_size=200), st.integers(1, 80))
def test_base64_of_anything_is_read(data: bytes, width: int) -> None:
    text = base64.b64encode(data).decode()
    assert decode_base64(value(text)) == data
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    assert decode_base64(value("\n\t " + " \r\n".join(lines) + "\r")) == data


@given(st.binary(min_size=1, max_size=40), st.integers(0, 60), st.characters(codec="utf-8"))
def test_each_value_has_one_spelling(data: bytes, place: int, character: str) -> None:
    text = base64.b64encode(data).decode()
    changed = text[:place] + character + text[place + 1 :]
    try:
        found = decode_base64(value(changed))
    except (GatewayError, ValueError):  # ValueError: lxml takes no control characters
        return
    kept = "".join(changed.split())
    assert base64.b64encode(found).decode() == kept


BAD_BASE64 = (
    *("", " ", "A", "AA", "AAA", "AA=", "AB==", "AAB=", "AAAA=", "AAAA====", "=AAA", "AA==AAAA", "AA-_"),
    *("ＡＡＡＡ", "AAAA.", "!AAAA", "AA\u00a0AA", "A" * 70000),
)


@pytest.mark.parametrize("text", BAD_BASE64, ids=lambda text: text[:9] or "empty")
def test_bad_base64(text: str) -> None:
    with pytest.raises(GatewayError, match="GW202"):
        decode_base64(value(text))


STRANGE = {
    "comment": "<a><!-- x --></a>",
    "instruction": "<a><?x y?></a>",
    "text before": "<a>x<b/></a>",
    "text after": "<a><b/>x</a>",
    "no-break space": "<a>\u00a0<b/></a>",
}


@pytest.mark.parametrize("case", STRANGE)
def test_only_elements(case: str) -> None:
    with pytest.raises(GatewayError, match="GW202"):
        list_children(etree.fromstring(STRANGE[case]))


def test_only_child_text_and_attributes() -> None:
    root = etree.fromstring('<a x="1" y="2"> <b>t</b>\n</a>')
    assert get_only_child(root, "b").text == "t"
    assert read_text(root[0]) == "t"
    assert read_text(etree.Element("e")) == ""
    check_attributes(root, required=("x",), optional=("y", "z"))
    for act in (
        lambda: get_only_child(root, "c"),
        lambda: get_only_child(etree.fromstring("<a><b/><b/></a>"), "b"),
        lambda: read_text(root),
        lambda: check_attributes(root, required=("x", "z"), optional=("y",)),
        lambda: check_attributes(root, required=("x",)),
    ):
        with pytest.raises(GatewayError) as refusal:
            act()
        assert refusal.value.location.startswith("/a")


METHODS = {
    "inclusive": (f'<ds:Transform Algorithm="{C14N}"/>', Transform(C14N)),
    "exclusive": (f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"/>', Transform(EXCLUSIVE_C14N)),
    "prefixes": (
        f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"><ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE_C14N}"'
        ' PrefixList="wsse  #default\nsoap"/></ds:Transform>',
        Transform(EXCLUSIVE_C14N, ("wsse", "#default", "soap")),
    ),
}


@pytest.mark.parametrize("case", METHODS)
def test_transforms(case: str) -> None:
    text, expected = METHODS[case]
    assert read_transform(element(text)) == expected


INNER = f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE_C14N}" PrefixList="%s"/>'
BAD_TRANSFORMS = {
    "no algorithm": "<ds:Transform/>",
    "unknown": '<ds:Transform Algorithm="urn:x"/>',
    "parameters of C14N": f'<ds:Transform Algorithm="{C14N}">{INNER % "a"}</ds:Transform>',
    "prefix that is none": f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}">{INNER % "1a"}</ds:Transform>',
    "prefix with colon": f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}">{INNER % "a:b"}</ds:Transform>',
    "two lists": f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}">{INNER % "a"}{INNER % "b"}</ds:Transform>',
    "no list": (
        f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}">'
        f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE_C14N}"/></ds:Transform>'
    ),
    "content in the list": (
        f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"><ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE_C14N}"'
        ' PrefixList="a"><x/></ec:InclusiveNamespaces></ds:Transform>'
    ),
    "XPath without expression": '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>',
    "XPath filter 2": '<ds:Transform Algorithm="http://www.w3.org/2002/06/xmldsig-filter2"/>',
}


@pytest.mark.parametrize("case", BAD_TRANSFORMS)
def test_bad_transforms(case: str) -> None:
    with pytest.raises(GatewayError, match="GW202"):
        read_transform(element(BAD_TRANSFORMS[case]))


METHOD = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
REFERENCE = f'<ds:Reference URI="#a">{METHOD}<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>'
END = "</ds:Reference>"
BAD_REFERENCES = {
    "no URI": REFERENCE.replace(' URI="#a"', ""),
    "no method": REFERENCE.replace(f'<ds:DigestMethod Algorithm="{SHA256}"/>', ""),
    "method without algorithm": REFERENCE.replace(f' Algorithm="{SHA256}"', ""),
    "method with parameters": REFERENCE.replace(
        "/><ds:DigestValue", "><x/></ds:DigestMethod><ds:DigestValue"
    ),
    "no value": REFERENCE.replace("<ds:DigestValue>AAAA</ds:DigestValue>", ""),
    "value with attribute": REFERENCE.replace("<ds:DigestValue>", '<ds:DigestValue x="1">'),
    "two values": REFERENCE.replace(
        "</ds:Reference>", "<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>"
    ),
    "empty transforms": REFERENCE.replace("<ds:DigestMethod", "<ds:Transforms/><ds:DigestMethod"),
    "transforms last": REFERENCE.replace(END, "<ds:Transforms/>" + END),
    "many transforms": REFERENCE.replace(
        "<ds:DigestMethod",
        "<ds:Transforms>" + f'<ds:Transform Algorithm="{C14N}"/>' * 5 + "</ds:Transforms><ds:DigestMethod",
        1,
    ),
    "something in transforms": REFERENCE.replace(
        "<ds:DigestMethod", f'<ds:Transforms><x Algorithm="{C14N}"/></ds:Transforms><ds:DigestMethod', 1
    ),
    "attribute on transforms": REFERENCE.replace(
        "<ds:DigestMethod",
        f'<ds:Transforms Id="x"><ds:Transform Algorithm="{C14N}"/></ds:Transforms><ds:DigestMethod',
        1,
    ),
    "not a reference": REFERENCE.replace("ds:Reference", "ds:Manifest"),
}


@pytest.mark.parametrize("case", BAD_REFERENCES)
def test_bad_references(case: str) -> None:
    with pytest.raises(GatewayError, match="GW202"):
        read_reference(element(BAD_REFERENCES[case]))


KEPT = [
    DigestReference("#a", SHA256, b"\x00\x00\x00"),
    DigestReference("", SHA256, b"d" * 32, ENVELOPE_TRANSFORMS),
    DigestReference("#b", SHA256, b"d" * 32, (Transform(EXCLUSIVE_C14N, ("a", "#default")),), "urn:type"),
]


@pytest.mark.parametrize("reference", KEPT, ids=["plain", "ebMS 2.0", "prefixes"])
def test_references_are_written_as_they_were_read(reference: DigestReference) -> None:
    parent = etree.Element(f"{{{DS}}}SignedInfo", nsmap={None: DS, "S": SOAP11})
    append_reference(parent, reference)
    again = etree.fromstring(etree.tostring(parent))
    assert read_reference(again[0]) == reference
    assert read_reference(element(REFERENCE)) == KEPT[0]


def test_no_other_expression_is_written() -> None:
    strange = Transform("http://www.w3.org/TR/1999/REC-xpath-19991116", expression=("false", "(", ")"))
    with pytest.raises(GatewayError):
        append_reference(etree.Element("p"), DigestReference("", SHA256, b"x", (strange,)))


IDS = {
    "two wsu:Id": ('<a xmlns:u="{WSU}"><b u:Id="i1"/><b u:Id="i1"/></a>', False),
    "xml:id and ds Id": ('<a xmlns:d="{DS}" xml:id="i1"><d:X Id="i1"/></a>', False),
    "xades Id and xml:id": (
        '<a xmlns:x="{XADES}" xml:id="i1"><x:X Id="i1"/></a>',
        False,
    ),
    "business id twice": ('<a><b id="i1"/><b Id="i1"/><b ID="i1"/></a>', True),
    "business id like a wsu:Id not referenced": ('<a xmlns:u="{WSU}" u:Id="i1"><b id="i1"/></a>', True),
    "referenced business id": ('<a><b id="r"/><b Id="r"/></a>', False),
    "referenced once": ('<a><b id="r"/><b Id="i1"/></a>', True),
    "odd case": ('<a xmlns:u="{WSU}" u:Id="r"><b iD="r"/></a>', False),
}


@pytest.mark.parametrize("case", IDS)
def test_identifiers(case: str) -> None:
    text, good = IDS[case]
    root = etree.fromstring(text.format(WSU=WSU, DS=DS, XADES=XADES))
    if good:
        check_unique_ids(root, ["r"])
        return
    with pytest.raises(GatewayError, match="GW202"):
        check_unique_ids(root, ["r"])


def test_identifiers_are_looked_for_in_the_whole_document() -> None:
    root = etree.fromstring('<a ID="1"><!--c--><b iD="2"><c><d x="0" Id="3"/></c></b>t<e xml:id="f"/></a>')
    assert list_ids(root) == list_ids(root[1]) == ["1", "2", "3", "f"]
