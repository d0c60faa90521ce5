"""Pointers: each form they can take, and that each leads back to where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import build_attribute_pointer, build_pointer, iterate_pointers, load_wco_elements
from gateway.wire.wco_pointers import find_element, find_value, read_leaf_text

SUBMISSION = b"""
<Submission version="1" xmlns="urn:single-window:submission:1">
  <Reference>R1</Reference>
  <Function>9</Function>
  <md:MetaData xmlns:md="urn:wco:datamodel:WCO:DocumentMetaData-DMS:2">
    <md:WCOTypeName>DEC</md:WCOTypeName>
    <w:Declaration xmlns:w="urn:wco:datamodel:WCO:DEC-DMS:2"
                   xmlns:t="urn:wco:datamodel:WCO:Declaration_DS:DMS:2">
      <w:FunctionCode>9</w:FunctionCode>
      <w:IssueDateTime><t:DateTimeString formatCode="102">20261120</t:DateTimeString></w:IssueDateTime>
      <w:InvoiceAmount currencyID="KRW">5</w:InvoiceAmount>
      <w:AdditionalDocument><w:ID>H1</w:ID></w:AdditionalDocument>
      <w:AdditionalDocument><w:ID>H2</w:ID></w:AdditionalDocument>
      <w:GoodsShipment>
        <w:GovernmentAgencyGoodsItem>
          <w:SequenceNumeric>3</w:SequenceNumeric>
          <w:AdditionalDocument><w:ID>D1</w:ID></w:AdditionalDocument>
          <w:AdditionalDocument><w:LPCOExemptionCode>001</w:LPCOExemptionCode></w:AdditionalDocument>
          <w:Commodity><w:Classification><w:ID>33</w:ID>
            <w:IdentificationTypeCode>TSP</w:IdentificationTypeCode></w:Classification></w:Commodity>
        </w:GovernmentAgencyGoodsItem>
        <w:GovernmentAgencyGoodsItem>
          <w:SequenceNumeric>01</w:SequenceNumeric>
        </w:GovernmentAgencyGoodsItem>
      </w:GoodsShipment>
    </w:Declaration>
  </md:MetaData>
  <Supplement>
    <Value path="Declaration/BorderTransportMeans/ArrivalDateTime" wcoID="172">2026-11-20T00:00:00Z</Value>
    <Value path="Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name"
           wcoID="R042" item="3" n="2">M</Value>
  </Supplement>
  <Application id="a" document="FIRST"><Items>3</Items><Fields xmlns:f="urn:single-window:document:first:1">
    <f:DrugClass>1AG</f:DrugClass></Fields></Application>
  <Application id="b" document="SECOND"><Items>3 1</Items>
   <Fields xmlns:f="urn:single-window:document:second:1">
    <f:Store unitCode="EA">S</f:Store>
    <f:Item sequence="3"><f:Lot>L1</f:Lot><f:Lot>L2</f:Lot>
      <f:Batch><f:Made>2026-01-01</f:Made></f:Batch><f:Batch><f:Made>2026-01-02</f:Made></f:Batch></f:Item>
  </Fields><Attachment cid="x"/></Application>
  <Disclaimer item="1" law="05" reason="A"/>
</Submission>"""

POINTERS = {
    "42A/017": "9",
    "42A/D011/DateTimeString": "20261120",
    "42A/D011/DateTimeString/@formatCode": "102",
    "42A/109/@currencyID": "KRW",
    "42A/02A[1]/D005": "H1",
    "42A/02A[2]/D005": "H2",
    "42A/67A[1]/68A[3]/006": "3",
    "42A/67A[1]/68A[1]/006": "01",
    "42A/67A[1]/68A[3]/02A[1]/D005": "D1",
    "42A/67A[1]/68A[3]/02A[2]/360": "001",
    "42A/67A[1]/68A[3]/23A[1]/21A[1]/IdentificationTypeCode": "TSP",
    "SUP/Declaration/BorderTransportMeans/ArrivalDateTime[1]": "2026-11-20T00:00:00Z",
    "SUP/Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name[3][2]": "M",
    "APP[1]/FIRST/DrugClass": "1AG",
    "APP[2]/SECOND/Store": "S",
    "APP[2]/SECOND/Store/@unitCode": "EA",
    "APP[2]/SECOND/ITEM[3]/Lot[1]": "L1",
    "APP[2]/SECOND/ITEM[3]/Lot[2]": "L2",
    "APP[2]/SECOND/ITEM[3]/Batch[1]/Made": "2026-01-01",
    "APP[2]/SECOND/ITEM[3]/Batch[2]/Made": "2026-01-02",
    "APP[2]/Items": "3 1",
    "Reference": "R1",
    "Disclaimer/@law": "05",
    "MetaData[1]/WCOTypeName": "DEC",
}


@pytest.fixture
def submission() -> etree._Element:
    return etree.fromstring(SUBMISSION)


@pytest.mark.parametrize(("pointer", "value"), POINTERS.items())
def test_a_pointer_leads_to_its_value_and_back(submission: etree._Element, pointer: str, value: str) -> None:
    element = find_element(submission, pointer)
    assert element is not None
    assert find_value(submission, pointer) == value
    way, _, name = pointer.partition("/@")
    assert build_pointer(element, submission) == way
    if name:
        assert build_attribute_pointer(element, name, submission) == pointer


def test_all_pointers_of_a_document_differ_and_lead_back(submission: etree._Element) -> None:
    found = list(iterate_pointers(submission))
    assert [element for element, _ in found] == list(submission.iter(tag=etree.Element))
    pointers = [pointer for _, pointer in found]
    assert len(set(pointers)) == len(pointers)
    for element, pointer in found:
        assert build_pointer(element, submission) == pointer
        assert find_element(submission, pointer) is element


def test_a_pointer_does_not_depend_on_what_the_declaration_stands_in(submission: etree._Element) -> None:
    inner = next(submission.iter("{urn:wco:datamodel:WCO:DEC-DMS:2}LPCOExemptionCode"))
    shell = next(submission.iter("{urn:wco:datamodel:WCO:DocumentMetaData-DMS:2}MetaData"))
    declaration = next(submission.iter("{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration"))
    expected = "42A/67A[1]/68A[3]/02A[2]/360"
    assert {build_pointer(inner, root) for root in (submission, shell, declaration, None)} == {expected}
    bare = etree.fromstring(etree.tostring(declaration))
    assert find_value(bare, expected) == "001"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("7", "7"), ("007", "7"), ("+7", "7"), ("7.0", "7"), (" 7 ", "7"), ("7<!-- -->1", "71"),
        ("", "1"), ("-7", "1"), ("7.5", "1"), ("x", "1"), ("٧", "1"), ("1" * 40, "1"),
    ],
)  # fmt: skip
def test_an_item_goes_by_the_number_it_states_else_by_its_place(number: str, expected: str) -> None:
    text = f"<SequenceNumeric>{number}</SequenceNumeric>"
    item = f"<GovernmentAgencyGoodsItem>{text}</GovernmentAgencyGoodsItem>"
    shipment = f"<GoodsShipment>{item}</GoodsShipment>"
    root = etree.fromstring(f"<Declaration xmlns='urn:wco:datamodel:WCO:DEC-DMS:2'>{shipment}</Declaration>")
    assert build_pointer(root[0][0]) == f"42A/67A[1]/68A[{expected}]"


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        ("<ID/><ID/>", (1,), "42A/D014[2]"),
        ("<Nothing/>", (0,), "42A/Nothing"),
        ("<Nothing/><Nothing/>", (1,), "42A/Nothing[2]"),
        ("<Nothing><ID/></Nothing>", (0, 0), "42A/Nothing[1]/ID"),
        ("<Importer xmlns='urn:other'><ID/></Importer>", (0, 0), "42A/Importer[1]/ID"),
        ("<GoodsShipment/><GoodsShipment/>", (1,), "42A/67A[2]"),
    ],
)
def test_what_no_schema_allows_has_a_pointer_all_the_same(
    body: str, path: tuple[int, ...], expected: str
) -> None:
    root = etree.fromstring(f"<Declaration xmlns='urn:wco:datamodel:WCO:DEC-DMS:2'>{body}</Declaration>")
    element = root
    for index in path:
        element = element[index]
    assert build_pointer(element, root) == expected
    assert find_element(root, expected) is element


def test_responses_have_pointers_of_their_own() -> None:
    root = etree.fromstring(
        "<Response xmlns='urn:wco:datamodel:WCO:RES-DMS:2'><Error><Pointer><TagID>1</TagID></Pointer></Error>"
        "<Declaration><ID>7</ID></Declaration></Response>"
    )
    assert find_value(root, "07B/53A[1]/97A[1]/381") == "1"
    assert find_value(root, "07B/42A/D014") == "7"


@pytest.mark.parametrize(
    "pointer", ["", "42A/999", "42A/67A", "APP[9]/FIRST/DrugClass", "x" * 10_000, "/@", "//"]
)
def test_what_is_not_there_is_not_found(submission: etree._Element, pointer: str) -> None:
    if pointer:
        assert find_value(submission, pointer) is None
    else:
        assert find_element(submission, pointer) is submission


def test_comments_have_no_pointer() -> None:
    with pytest.raises(GatewayError) as raised:
        build_pointer(etree.Comment("x"))
    assert raised.value.problem.id == "GW404"


def test_a_comment_does_not_shorten_a_value() -> None:
    assert read_leaf_text(etree.fromstring("<ID>AB<!-- x -->CD<!-- y -->E</ID>")) == "ABCDE"


@pytest.mark.long
@given(st.lists(st.sampled_from(["GoodsShipment", "Importer", "ID", "Odd"]), min_size=1, max_size=12))
def test_any_tree_has_distinct_pointers_that_lead_back(names: list[str]) -> None:
    root = etree.Element("{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration")
    here = root
    for index, name in enumerate(names):
        child = etree.SubElement(here, f"{{urn:wco:datamodel:WCO:DEC-DMS:2}}{name}")
        here = child if index % 2 else here
    found = list(iterate_pointers(root))
    assert len({pointer for _, pointer in found}) == len(found)
    assert all(find_element(root, pointer) is element for element, pointer in found)


def test_the_table_of_tags_is_whole() -> None:
    kinds = [tag.kind for tag in load_wco_elements().values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"class": 139, "element": 394, "supplement": 6}
    assert all(
        tag.path.rpartition("/")[0] in load_wco_elements()
        for tag in load_wco_elements().values()
        if tag.kind == "element"
    )


@pytest.mark.vectors
def test_real_declarations_lead_back(vectors: Path) -> None:
    for path in sorted((vectors / "data/own").glob("*.xml")):
        root = etree.parse(str(path)).getroot()
        for element, pointer in iterate_pointers(root):
            assert find_element(root, pointer) is element
            assert build_pointer(element, root) == pointer
