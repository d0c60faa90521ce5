"""The references of the goods: each place of a submission in which one stands."""

from __future__ import annotations

from lxml import etree

from gateway.cases import read_submission
from tests.flows.craft import all_of, at, text
from tests.kit.story import unsigned

STATED = {
    ("ucr", "HB-PO-2026-311"),
    ("container", "AKE26714KE"),
    ("cargo", "26KE0926I1200010001"),
    ("bill_of_lading", "180-44128890"),
    ("bill_of_lading", "NEG2611870"),
}


def read(root: etree._Element) -> set[tuple[str, str]]:
    return {(one.kind, one.value) for one in read_submission(root).references}


def test_each_reference_of_the_shipment_and_of_the_supplement_is_read() -> None:
    assert read(unsigned()) == STATED
    assert len(read_submission(unsigned()).references) == len(STATED)


def test_a_ucr_is_read_from_both_of_its_places() -> None:
    """No real declaration has the ID; twelve of 311 have the reference that the trader assigned."""
    root = unsigned()
    assert read_submission(root).ucr == "HB-PO-2026-311"
    ucr = at(root, ".//GoodsShipment/UCR")
    etree.SubElement(ucr, ucr[0].tag.replace("TraderAssignedReferenceID", "ID")).text = " UCR-2 "
    assert read_submission(root).ucr == "UCR-2"
    assert read(root) == STATED | {("ucr", "UCR-2")}


def test_the_references_of_an_item_are_read() -> None:
    root = unsigned()
    items = root.findall(".//{*}GovernmentAgencyGoodsItem")
    namespace = etree.QName(items[1]).namespace
    for parent, inner, name, value in (
        (items[1], "PreviousDocument", "ID", "26KE0002"),
        (items[2], "UCR", "TraderAssignedReferenceID", "UCR-3"),
        (at(items[2], "Commodity"), "TransportEquipment", "ID", "MSKU1234565"),
    ):
        element = etree.SubElement(parent, f"{{{namespace}}}{inner}")
        etree.SubElement(element, f"{{{namespace}}}{name}").text = value
    added = {("cargo", "26KE0002"), ("ucr", "UCR-3"), ("container", "MSKU1234565")}
    assert read(root) == STATED | added


def test_a_reference_without_text_is_none() -> None:
    root = unsigned()
    all_of(text(".//TransportEquipment/ID", " "), text(".//UCR/TraderAssignedReferenceID", ""))(root)
    submission = read_submission(root)
    assert submission.ucr is None
    assert {one.kind for one in submission.references} == {"bill_of_lading", "cargo"}
