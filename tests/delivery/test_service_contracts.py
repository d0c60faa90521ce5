"""Calls composed by the shipped WSDLs: what arrives is what was split, and nothing is fetched."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from lxml import etree

from gateway.delivery import ServiceCall, load_contract
from gateway.delivery.service_contracts import CallAttachment, ServiceContract
from gateway.delivery.soap_client import sign_call
from gateway.errors import GatewayError
from gateway.share import get_data_folder
from gateway.wire import (
    AGENCY,
    SOAP11,
    WSA,
    bind_document_namespaces,
    canonicalize_element,
    parse_xml,
    read_envelope,
)
from tests.kit.soap import DOCUMENT, ENDPOINT, NOW, signer

TEMPLATE = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
BOUND = ServiceContract("test", bind_document_namespaces(TEMPLATE, "TEST", {DOCUMENT: "test.xsd"}))
ARGUMENTS = {"ApplicationNumber": "A-1", "CaseNumber": "C-1"}
SIMPLE = etree.fromstring(f'<Request xmlns="{DOCUMENT}"><Q>1</Q></Request>')
CALL = ServiceCall("SubmitApplication", "urn:uuid:1", ENDPOINT, ARGUMENTS, SIMPLE)

DOCUMENTS = {
    "values that types would rewrite": '<D xmlns="{}"><At>2026-11-20T09:00:00.000Z</At>'
    "<Q>010.500</Q><B>TRUE</B><N>1E3</N></D>",
    "spaces": '<D xmlns="{}">  <A> two  spaces </A>\n\t<B>\n</B>  </D>',
    "carriage return and entities": '<D xmlns="{}" a="x&#10;&#9;y&#13;">&#13;&amp;&lt;]]&gt;</D>',
    "Korean, astral and composed": '<D xmlns="{}"><A 이름="값">한국어 가\u1100\u1161 𠮷 é</A></D>',
    "prefixes": '<p:D xmlns:p="{}" xmlns:q="urn:q" xmlns:unused="urn:u">'
    '<q:A p:x="1" q:x="2"/><A xmlns=""/></p:D>',
    "one namespace, three prefixes": '<a:D xmlns:a="{0}"><b:E xmlns:b="{0}"/><E xmlns="{0}"/></a:D>',
    "the namespaces of our own envelope": '<D xmlns="{}"><soap:X xmlns:soap="urn:other"/>'
    '<s:Y xmlns:s="urn:single-window:agency:1"/></D>',
    "prefix inside a value": '<D xmlns="{}" xmlns:t="urn:t" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
    '<A i:type="t:Kind">t:name</A></D>',
    "CDATA and empty": '<D xmlns="{}"><![CDATA[<x>&]]><A></A><B/></D>',
}


def arrived(octets: bytes, tag: str = "Document") -> etree._Element:
    """Return the document as the far side reads it."""
    content = read_envelope(parse_xml(octets)).body_elements[0]
    return content.find(f"{{{AGENCY}}}{tag}")[0]


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_the_document_arrives_as_it_was_split(text: str) -> None:
    document = etree.fromstring(text.format(DOCUMENT))
    before = canonicalize_element(document, exclusive=True)
    call = replace(CALL, document=document)
    stored = BOUND.compose_envelope(call)
    sent = sign_call(stored, BOUND, signer("hub"), NOW).body
    for octets in (stored, sent):
        there = arrived(octets)
        assert canonicalize_element(there, exclusive=True) == before
        assert there.tail is None
        for prefix, uri in document.nsmap.items():
            assert there.nsmap[prefix] == uri
    assert canonicalize_element(document, exclusive=True) == before, "the caller's element is untouched"
    assert document.getparent() is None


def test_a_document_inside_a_larger_tree_keeps_what_it_inherits() -> None:
    outer = etree.fromstring(f'<o xmlns:t="urn:t" xmlns:d="{DOCUMENT}"><d:D k="t:v"/>tail</o>')
    there = arrived(BOUND.compose_envelope(replace(CALL, document=outer[0])))
    assert there.nsmap["t"] == "urn:t"
    assert there.tail is None
    assert len(outer) == 1, "zeep moved it"


def test_one_call_has_one_addressing_and_always_the_same_octets() -> None:
    one, two = BOUND.compose_envelope(CALL), BOUND.compose_envelope(CALL)
    assert one == two
    header = read_envelope(parse_xml(one)).header
    assert [(child.tag, child.text) for child in header][:3] == [
        (f"{{{WSA}}}Action", f"{AGENCY}:SubmitApplication"),
        (f"{{{WSA}}}MessageID", "urn:uuid:1"),
        (f"{{{WSA}}}To", ENDPOINT),
    ]
    assert len(header) == 4


def test_attachments_travel_inside_with_their_digest() -> None:
    octets = BOUND.compose_envelope(
        replace(CALL, attachments=(CallAttachment("a@b", "application/pdf", b"%PDF\x00"),))
    )
    found = parse_xml(octets).find(f".//{{{AGENCY}}}Attachment")
    assert dict(found.attrib) == {
        "cid": "a@b",
        "mediaType": "application/pdf",
        "sha256": "bf84f404f8c87183bafd56762e8cb4238508058269d3110d1057cc08720a0cbb",
    }
    assert found.text == "JVBERgA="


@pytest.mark.parametrize("text", ["<A/>", "a&b", "]]>", "<!--document-->", "</soap:Body>", "\u00e9 \"'"])
def test_markup_in_a_value_arrives_as_its_text(text: str) -> None:
    """The document takes the place of a mark, which a value may contain as well."""
    call = replace(CALL, message_id=text, address=text, arguments={**ARGUMENTS, "CaseNumber": text})
    root = parse_xml(BOUND.compose_envelope(call))
    names = (f"{{{AGENCY}}}CaseNumber", f"{{{WSA}}}MessageID", f"{{{WSA}}}To")
    assert [[element.text for element in root.iter(name)] for name in names] == [[text]] * 3
    document = root.find(f".//{{{AGENCY}}}Document")
    assert [child.tag for child in document] == [SIMPLE.tag]


def test_an_argument_of_the_name_of_attachments_gives_way_to_them() -> None:
    file = CallAttachment("a@b", "text/plain", b"a")
    call = replace(CALL, arguments={**ARGUMENTS, "Attachment": "x"}, attachments=(file,))
    octets = BOUND.compose_envelope(call)
    assert octets == BOUND.compose_envelope(replace(CALL, attachments=(file,)))
    assert b'cid="a@b"' in octets


@pytest.mark.long
def test_an_attachment_that_could_not_be_read_again_is_refused() -> None:
    huge = CallAttachment("a", "application/pdf", bytes(8_000_000))
    with pytest.raises(GatewayError) as caught:
        BOUND.compose_envelope(replace(CALL, attachments=(huge,)))
    assert caught.value.problem.id == "GW102"


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "Nothing"},
        {"arguments": {"ApplicationNumber": "A-1"}},
        {"arguments": {**ARGUMENTS, "Extra": "1"}},
        {"arguments": {**ARGUMENTS, "CaseNumber": ""}},
        {"arguments": {**ARGUMENTS, "CaseNumber": "x" * 129}},
        {"document": None},
        {"document": etree.fromstring('<D xmlns="urn:other"/>')},
        {"document": etree.fromstring("<D/>")},
        {"attachments": (CallAttachment("", "text/plain", b""),)},
        {"attachments": (CallAttachment("a", "text", b""),)},
    ],
)
def test_a_call_that_does_not_fit_the_contract_is_never_composed(changes: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        BOUND.compose_envelope(replace(CALL, **changes))
    assert caught.value.problem.id == "GW504"


@pytest.mark.parametrize(
    ("wsdl", "operation", "arguments", "document"),
    [
        ("agency-template.wsdl", "SubmitSupplement", ARGUMENTS, SIMPLE),
        ("agency-template.wsdl", "CancelApplication", {"ApplicationNumber": "A", "Reason": "취하"}, None),
        (
            "customs.wsdl",
            "RegisterDeclaration",
            {"CaseNumber": "C"},
            etree.fromstring('<Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2"/>'),
        ),
        (
            "customs.wsdl",
            "ReportRequirements",
            {
                "CaseNumber": "C",
                "PendingCode": "19",
                "Requirement": [{"item": 1, "law": "01", "number": "P", "quantity": "10.500", "unit": "KGM"}],
            },
            None,
        ),
    ],
)
def test_every_operation_that_we_call_can_be_composed(
    wsdl: str, operation: str, arguments: dict[str, object], document: etree._Element | None
) -> None:
    octets = load_contract(wsdl).compose_envelope(
        ServiceCall(operation, "urn:uuid:2", ENDPOINT, arguments, document)
    )
    assert read_envelope(parse_xml(octets)).body_elements[0].tag.endswith("}" + operation)


def test_decimals_keep_their_zeros() -> None:
    requirement = {"item": 1, "law": "01", "quantity": "10.500"}
    arguments = {"CaseNumber": "C", "PendingCode": "19", "Requirement": [requirement]}
    octets = load_contract("customs.wsdl").compose_envelope(
        ServiceCall("ReportRequirements", "urn:uuid:2", ENDPOINT, arguments)
    )
    assert b"quantity>10.500<" in octets


@pytest.mark.parametrize("day", [date.min, date(999, 12, 31), date(2026, 11, 20), date.max])
def test_a_day_has_a_year_of_four_digits(day: date) -> None:
    requirement = {"item": 1, "law": "01", "number": "P", "date": day, "decision": "APPROVED"}
    arguments = {"CaseNumber": "C", "PendingCode": "19", "Requirement": [requirement]}
    octets = load_contract("customs.wsdl").compose_envelope(
        ServiceCall("ReportRequirements", "urn:uuid:2", ENDPOINT, arguments)
    )
    assert f"date>{day.isoformat()}<".encode() in octets


def agency_files() -> list[str]:
    names = [file.name for file in get_data_folder("wsdl").joinpath("agencies").iterdir()]
    return sorted(name for name in names if name.endswith(".wsdl"))


@pytest.mark.long
@pytest.mark.parametrize("name", agency_files())
def test_an_agency_wsdl_is_the_template_bound_to_its_documents(name: str) -> None:
    data = get_data_folder("wsdl").joinpath("agencies", name).read_bytes()
    places = {
        one.get("namespace"): one.get("schemaLocation")
        for one in etree.fromstring(data).iter("{http://www.w3.org/2001/XMLSchema}import")
    }
    assert bind_document_namespaces(TEMPLATE, name.removesuffix(".wsdl"), places) == data
    loaded = load_contract(f"agencies/{name}")
    assert loaded.description.document_namespaces == frozenset(places)
    for namespace in places:
        loaded.compose_envelope(replace(CALL, document=etree.Element(f"{{{namespace}}}Request")))


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:9/x.xsd",
        "https://example.org/x.xsd",
        "file:///etc/passwd",
        "/etc/passwd",
        "other.xsd",
    ],
)
def test_nothing_is_fetched(place: str) -> None:
    """An import is left out, an include is refused; neither opens anything."""
    bound = bind_document_namespaces(TEMPLATE, "TEST", {DOCUMENT: place})
    assert ServiceContract("test", bound).compose_envelope(CALL)
    start = b'elementFormDefault="qualified">'
    included = TEMPLATE.replace(start, start + f'<xs:include schemaLocation="{place}"/>'.encode(), 1)
    with pytest.raises(GatewayError) as caught:
        ServiceContract("test", included)
    assert caught.value.problem.id == "GW801"


@pytest.mark.parametrize(
    "prologue",
    ['<!DOCTYPE d [<!ENTITY x "y">]>', '<!DOCTYPE d SYSTEM "http://127.0.0.1:9/x.dtd">'],
    ids=["entity", "dtd"],
)
def test_a_wsdl_with_a_document_type_is_refused(prologue: str) -> None:
    data = TEMPLATE.replace(b"?>", b"?>" + prologue.encode(), 1)
    with pytest.raises(GatewayError) as caught:
        ServiceContract("test", data)
    assert caught.value.problem.id == "GW801"


@pytest.mark.parametrize(
    "name", ["", "../setup.cfg", "agencies/../agency-template.wsdl", "none.wsdl", "agencies"]
)
def test_only_files_below_the_folder_are_contracts(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        load_contract(name)
    assert caught.value.problem.id == "GW801"


def test_a_contract_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_contract("customs.wsdl")
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
    assert load_contract("customs.wsdl") is first


def test_soap_namespace_of_the_envelope_is_1_1() -> None:
    assert parse_xml(BOUND.compose_envelope(CALL)).tag == f"{{{SOAP11}}}Envelope"


def test_threads_may_share_a_contract() -> None:
    calls = [
        replace(CALL, message_id=f"urn:{n}", arguments={**ARGUMENTS, "CaseNumber": f"C-{n}"})
        for n in range(200)
    ]
    alone = [BOUND.compose_envelope(call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(BOUND.compose_envelope, calls)) == alone


def test_composing_is_cheap() -> None:
    """It happens within the transaction that admits a case: a load of the WSDL there would be felt."""
    document = etree.fromstring(f'<D xmlns="{DOCUMENT}">{"<F>값 1</F>" * 1000}</D>')
    call = replace(CALL, document=document)
    BOUND.compose_envelope(call)
    started = time.process_time()
    for _ in range(50):
        BOUND.compose_envelope(call)
    assert (time.process_time() - started) / 50 < 0.05


def test_items_and_laws_are_named_where_the_wsdl_has_a_place_for_them() -> None:
    named = replace(CALL, attribute_values={"items": ("1", "3"), "laws": ("01", "70")})
    assert scope_of(BOUND.compose_envelope(named)) == {"items": "1 3", "laws": "01 70"}
    assert scope_of(BOUND.compose_envelope(CALL)) == {}
    older = re.sub(rb"<xs:attribute name=\"(?:items|laws)\"[^>]*>", b"", TEMPLATE)
    assert older != TEMPLATE
    assert scope_of(ServiceContract("older", older).compose_envelope(named)) == {}


def scope_of(octets: bytes) -> dict[str, str]:
    return dict(parse_xml(octets).find(f".//{{{AGENCY}}}Document").attrib)
