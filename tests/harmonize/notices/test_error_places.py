"""An agency's error on its own field finds the field: section and keys become a place in the request."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, draw_notice, list_error_places, load_bundle, read_notice
from gateway.harmonize.language import DocumentMapping
from gateway.harmonize.notices import RequestPlace
from gateway.harmonize.notices.error_places import find_error_place
from gateway.harmonize.notices.notice_reader import NoticeFact
from gateway.share import get_data_folder
from tests.kit.documents import each_document
from tests.kit.error_keys import get_error_keys, list_request_leaves

ITEM = "Declaration/LPCO"
GOODS = f"{ITEM}/Consignment/ConsignmentItem/Commodity"


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def error(section: str = "", key1: str = "", key2: str = "", part: str = "") -> Mapping[str, NoticeFact]:
    mark = shipped().documents["KPTA-PHARM-IMP"].mark
    said = {"error.section": section, "error.key1": key1, "error.key2": key2, "error.part": part}
    return {name: NoticeFact(name, value, "", mark) for name, value in said.items() if value}


def find(*said: str, name: str = "KPTA-PHARM-IMP") -> tuple[str, str | None, bool]:
    place = find_error_place(shipped().documents[name], error(*said))
    return place.path, place.item, place.is_single_leaf


def per_item(document: DocumentMapping, path: str) -> bool:
    items = next(
        t for t in document.root.walk_elements() if t.repetition is not None and t.repetition.over == "item"
    )
    return f"/{items.name}/" in f"/{path}/"


@pytest.mark.night
@pytest.mark.parametrize("name", each_document())
def test_every_leaf_of_every_request_can_be_named_and_is_found(name: str) -> None:
    document = shipped().documents[name]
    leaves = list(list_request_leaves(document))
    assert len(leaves) > 50
    for path, target in leaves:
        item = "12" if per_item(document, path) else None
        section, key1, key2 = get_error_keys(document, path, item)
        assert len(section.encode("utf-8")) <= 50
        assert max(len(key1), len(key2)) <= 10
        place = find_error_place(document, error(section, key1, key2))
        assert place.is_single_leaf, path
        # Several elements of one line (a text that is split) are one place.
        assert (place.target.mark, place.item) == (target.mark, item), path


FOUND = [
    (("품목사항", "", "", "item"), (ITEM, None, False)),
    (("품목사항", "FR2001", "", "item"), (ITEM, "1", False)),
    (("", "FR2012", "BSESubject"), (f"{ITEM}/DetailContents/Product/BSESubjectItemCode", "12", True)),
    (("", "BSESubject", "FR2012"), (f"{ITEM}/DetailContents/Product/BSESubjectItemCode", "12", True)),
    (("DetailContents/Product", "FR2012", ""), (f"{ITEM}/DetailContents/Product", "12", False)),
    (("Declaration/Importer/Name",), ("Declaration/Importer/Name", None, True)),
    (("Importer", "Name"), ("Declaration/Importer/Name", None, True)),
    (("Agent", "FR2001", "Name"), (f"{ITEM}/Agent/Name", "1", True)),
    (("", "DutyTaxFee"), ("Declaration/DutyTaxFee/Payment", None, False)),
    (("결제방법",), ("Declaration/DutyTaxFee/Payment/MethodCode", None, True)),
    (("Payment method",), ("Declaration/DutyTaxFee/Payment/MethodCode", None, True)),
    (("품목사항", "FR2003", "BATCH NO", "item"), (f"{ITEM}/DetailContents/Product/BatchNo", "3", True)),
    (("Agent/ID[@schemeAgencyID='KFT']",), ("Declaration/Agent/ID[@schemeAgencyID='KFT']", None, True)),
    (("", "FR2001", "Commodity"), (GOODS, "1", False)),
    (("어딘가", "??", "!!"), ("Declaration", None, False)),
    ((), ("Declaration", None, False)),
    (("", "FR2000"), ("Declaration", None, False)),
    (("공통사항", "", "", "header"), ("Declaration", None, False)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "place"), FOUND)
def test_what_an_agency_says_narrows_the_place(
    said: tuple[str, ...], place: tuple[str, str | None, bool]
) -> None:
    assert find(*said) == place


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (("", "ZZZ", "BatchNo"), "ZZZ"),
        (("DetailContents/Product/BatchNo", "??"), "??"),
        (("품목사항", "BatchNo", "ZZZ", "item"), "ZZZ"),
        (("", "FR2001", "BatchNo"), None),
        (("", "FR2000", "BatchNo"), None),
        (("", "BatchNo"), None),
        (("Declaration/Importer/Name", "ZZZ"), None),
        (("어딘가", "??", "!!"), None),
    ],
)
def test_a_key_that_names_nothing_leaves_the_item_open(said: tuple[str, ...], lost: str | None) -> None:
    place = find_error_place(shipped().documents["KPTA-PHARM-IMP"], error(*said))
    assert (None if place.unmatched_key is None else place.unmatched_key.value) == lost


def test_items_are_named_by_their_numbers_where_the_document_does() -> None:
    assert find("", "3", "BotanicalN", name="NPQS-PLA-IMP") == ("Application/Item/BotanicalName", "3", True)


def test_an_error_notice_gives_a_place_for_each_error() -> None:
    document = shipped().documents["KPTA-PHARM-IMP"]
    notices = shipped().notices
    for seed in range(40):
        root, _ = draw_notice(notices.notices["GOVCBRRBG"], notices, str(seed), document)
        places = named(root, "FR2002", f"{ITEM}/DetailContents/Product/BatchNo")
        if len(places) < 2:
            continue
        assert [said["error.number"].value for said, _ in places] == [
            one.text for one in root.iter("{*}SequenceNumeric")
        ]
        first = places[0][1]
        assert (first.path, first.item, first.is_single_leaf) == (
            f"{ITEM}/DetailContents/Product/BatchNo",
            "2",
            True,
        )
        return
    raise AssertionError("no notice of two errors was drawn")


def named(root: etree._Element, key: str, path: str) -> list[tuple[Mapping[str, NoticeFact], RequestPlace]]:
    """Make the first error of a notice one about the leaf at `path`, and return all places."""
    document = shipped().documents["KPTA-PHARM-IMP"]
    section, key1, key2 = get_error_keys(document, path, "2")
    assert key1 == key
    pointer = next(root.iter("{*}Pointer"))
    space = etree.QName(root).namespace
    for child in list(pointer)[1:]:
        pointer.remove(child)
    for name, text in (("DocumentSectionCode", section), ("TagID", key1), ("TagID", key2)):
        etree.SubElement(pointer, f"{{{space}}}{name}").text = text
    return list(list_error_places(read_notice(root, shipped().notices, document)))


def test_without_a_document_there_is_no_place() -> None:
    root, _ = draw_notice(shipped().notices.notices["GOVCBRRBG"], shipped().notices, "1")
    assert not list(list_error_places(read_notice(root, shipped().notices)))


def test_a_correction_by_the_agency_finds_the_field_that_it_names() -> None:
    document, notices = shipped().documents["KPTA-PHARM-IMP"], shipped().notices
    for seed in range(20):
        root, _ = draw_notice(notices.notices["GOVCBRDD2"], notices, str(seed), document)
        field = root.find(".//{*}Amendment/{*}Content")
        if field is None:
            continue
        field.text = "결제방법"
        places = [place.path for _, place in list_error_places(read_notice(root, notices, document))]
        assert "Declaration/DutyTaxFee/Payment/MethodCode" in places
        return
    raise AssertionError("no correction that names a field was drawn")
