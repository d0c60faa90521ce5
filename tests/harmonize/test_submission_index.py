# ruff: noqa: E501 (tables and texts with long lines)
"""What a submission says: leaves, items, the supplement, places of missing values."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, make_placeholder_numbers, write_requests
from gateway.harmonize.language.data_dictionary import SiblingSelector
from gateway.harmonize.samples import make_sample
from gateway.harmonize.split import (
    DEC,
    FoundValue,
    SiblingFields,
    index_submission,
    list_children,
    make_missing_pointer,
    parse_sequence_number,
    read_element_text,
    read_item_numbers,
    submission_index,
    unique_field_reader,
)
from gateway.wire import convert_wco_moment
from tests.harmonize import small_bundle
from tests.kit.filling import shipped

SEQUENCES = [("1", "1"), ("01", "1"), (" 7 ", "7"), ("1.0", "1"), ("+3", "3"), ("0", "0"), ("x", None), ("", None), ("1.5", None), ("-1", None)]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SEQUENCES)
def test_sequence_number(text: str, expected: str | None) -> None:
    assert parse_sequence_number(text) == expected


DATES = [
    ("20261120", "2026-11-20"),
    ("202611200930", "2026-11-20T09:30:00"),
    ("20261120093015", "2026-11-20T09:30:15"),
    ("20261120093015Z", "2026-11-20T09:30:15Z"),
    ("20261120093015+0900", "2026-11-20T09:30:15+09:00"),
    ("20261120093015+09:00", "2026-11-20T09:30:15+09:00"),
    (" 20261120 ", "2026-11-20"),
    ("2026-11-20", "2026-11-20"),
    ("nonsense", "nonsense"),
]


@pytest.mark.parametrize(("text", "expected"), DATES)
def test_wco_dates_become_iso_dates_without_inventing_a_time(text: str, expected: str) -> None:
    assert convert_wco_moment(text) == expected


TEXTS = [
    ("<a>x</a>", "x"),
    ("<a/>", ""),
    ("<a>x<!-- c -->y</a>", "xy"),
    ("<a><!-- c -->y</a>", "y"),
    ("<a>x<?p i?>y<!-- c --></a>", "xy"),
    ("<a> x </a>", " x "),
]


@pytest.mark.parametrize(("xml", "expected"), TEXTS)
def test_the_whole_text_is_read(xml: str, expected: str) -> None:
    assert read_element_text(etree.fromstring(xml)) == expected


ITEMS = [
    ("1", ["1"]),
    ("1 2 3", ["1", "2", "3"]),
    (" 03 1 ", ["3", "1"]),
    ("2 2", ["2"]),
    ("", []),
    ("x", ["x"]),
]


@pytest.mark.parametrize(("items", "expected"), ITEMS)
def test_items_of_an_application(items: str, expected: list[str]) -> None:
    root = small_bundle.submission(items=items)
    assert list(read_item_numbers(root.find("{*}Application"))) == expected


def test_an_application_without_items_names_none() -> None:
    assert list(read_item_numbers(etree.fromstring("<Application/>"))) == []


def test_leaves_are_in_document_order_with_their_place() -> None:
    facts = index_submission(small_bundle.submission())
    paths = [leaf.path for leaf in facts.leaves if leaf.path]
    assert paths[:4] == [
        "Declaration/IssueDateTime/DateTimeString",
        "Declaration/IssueDateTime/DateTimeString/@formatCode",
        "Declaration/InvoiceAmount",
        "Declaration/InvoiceAmount/@currencyID",
    ]
    assert paths[-1].startswith("SUP/Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Name/@")
    by_value = {leaf.value: leaf for leaf in facts.leaves}
    assert by_value["L-911"].item == "1"
    assert by_value["Maker Two"].item == "2"
    assert by_value["sharp"].item == "1"
    assert by_value["sharp"].application == 0
    assert by_value["BL-1"].item is None
    assert by_value["한빛무역"].application is None


def test_two_items_of_one_number_are_told_apart() -> None:
    text = small_bundle.DECLARATION.replace(
        "<SequenceNumeric>2</SequenceNumeric>\n      <Com", "<SequenceNumeric>01</SequenceNumeric><Com"
    )
    facts = index_submission(small_bundle.submission(declaration=text))
    assert (list(facts.items), facts.repeated_items) == (["1"], {"1"})
    assert {leaf.item for leaf in facts.leaves if leaf.value == "0601101000"} == {"1+"}


def test_supplement_values_are_ordered_by_their_number() -> None:
    values = "".join(
        f'<Value path="{small_bundle.G}/Consignment/TransportContractDocument/ID" wcoID="D023"{n}>{v}</Value>'
        for n, v in ((' n="10"', "ten"), ("", "last"), (' n="2"', "two"), (' n="02"', "also two"))
    )
    facts = index_submission(small_bundle.submission(supplement=values))
    (found,) = facts.supplement.values()
    assert [value.text for value in found] == ["two", "also two", "ten", "last"]


def test_a_declaration_may_stand_bare_in_a_shell_or_in_its_own_element() -> None:
    shell = '<m:MetaData xmlns:m="urn:wco:datamodel:WCO:DocumentMetaData-DMS:2">{}</m:MetaData>'
    for text in (
        small_bundle.DECLARATION,
        shell.format(small_bundle.DECLARATION),
        f"<Declaration>{shell.format(small_bundle.DECLARATION)}</Declaration>",
    ):
        facts = index_submission(small_bundle.submission(declaration=text))
        assert facts.declaration.tag == "{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration"
        assert not any(leaf.path.endswith("MetaData") for leaf in facts.leaves)


POINTERS = [
    ("importer.name", None, "42A/67A[1]/74A[1]/R037"),
    ("issued_at", None, "42A/D011"),
    ("item.hs", "3", "42A/67A[1]/68A[3]/23A[1]/21A[1]/145"),
    ("transport_document", None, "SUP/Declaration/GoodsShipment/Consignment/TransportContractDocument/ID[1]"),
    ("manufacturer.country", "2", "SUP/Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Manufacturer/Address/CountryCode[2][1]"),
    ("phytosanitary.certificate", "1", "42A/67A[1]/68A[1]/02A[1]/D005"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "item", "pointer"), POINTERS)
def test_pointer_of_a_missing_value(bundle: MappingBundle, name: str, item: str | None, pointer: str) -> None:
    assert make_missing_pointer(bundle.dictionary.meanings[name], item) == pointer


def test_the_value_of_each_meaning_is_found_where_its_missing_pointer_says(
    bundle: MappingBundle, three_items: bytes
) -> None:
    """A pointer to what is missing is the pointer that it has when it is there."""
    root = etree.fromstring(three_items)
    facts = index_submission(root)
    compared = 0
    for meaning in bundle.dictionary.meanings.values():
        per_item = bundle.dictionary.is_per_item(meaning.per)
        if meaning.per in bundle.dictionary.groups or meaning.selector is not None:
            continue
        base = facts.items["1"] if per_item else facts.declaration
        for found in facts.find_values(meaning, base, "1" if per_item else None)[:1]:
            pointer = facts.leaves[found.leaves[0]].pointer.removesuffix("/DateTimeString")
            assert pointer == make_missing_pointer(meaning, "1" if per_item else None), meaning.name
            compared += 1
    assert compared > 40


def test_an_element_is_found_by_its_place_as_by_a_search(bundle: MappingBundle, three_items: bytes) -> None:
    """Elements are noted once by item and path; a search below the item finds the same ones."""
    root = etree.fromstring(three_items)
    items = root.findall(".//{*}GovernmentAgencyGoodsItem")
    _first(items[1], "SequenceNumeric").text = "01"  # said twice: the first of them is meant
    stranger = etree.SubElement(items[2], "{urn:other}Commodity")
    etree.SubElement(stranger, f"{{{DEC}}}Description").text = "of another namespace"
    facts = index_submission(root)
    assert (facts.items["1"], facts.repeated_items) == (items[0], {"1"})
    found = 0
    for meaning in bundle.dictionary.meanings.values():
        if meaning.per not in ("header", "item") or meaning.supplement or meaning.join:
            continue
        for item in ("1", "3") if meaning.per == "item" else (None,):
            base = facts.items[item] if item else facts.declaration
            searched = base.findall("/".join(f"{{{DEC}}}{name}" for name in meaning.relative))
            hits = facts.find_values(meaning, base, item)
            assert facts.find_values(meaning, base, item) is hits
            there = {one.element for one in hits}
            assert there <= {inner for one in searched for inner in one.iter()}, meaning.name
            if meaning.selector is None and not meaning.first and meaning.type != "datetime":
                assert there == {one for one in searched if read_element_text(one).strip()}, meaning.name
            found += len(there)
    assert found > 40


def _first(element: etree._Element, name: str) -> etree._Element:
    child = element.find(f"{{{DEC}}}{name}")
    assert child is not None
    return child


def test_what_is_read_of_a_branch_is_forgotten_with_its_field() -> None:
    element = etree.Element("A")
    branch = SiblingFields({"a": [element], "b": [element]}, {"a": (FoundValue("1", (0,), element),)})
    branch.drop_field("a")
    branch.drop_field("b")
    assert branch == SiblingFields()


def test_groups_nest(tmp_path: Path) -> None:
    dictionary = small_bundle.mapping(tmp_path).dictionary
    assert dictionary.list_enclosing_groups("seal") == ("container", "seal")
    assert dictionary.list_enclosing_groups("header") == ()
    assert not dictionary.is_per_item("seal")
    assert dictionary.is_per_item("item")


def test_children_are_told_with_their_tags_also_where_memory_is_spared() -> None:
    root = etree.fromstring("<a xmlns='urn:x'><b/><!--c--><c xmlns=''>d</c></a>")
    tags, children = list_children(root)
    assert tags == ["{urn:x}b", etree.Comment, "c"]
    assert children == list(root)
    assert list_children(root, saves_memory=True) == (tags, children)


def test_a_long_declaration_is_read_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = make_sample(shipped(), shipped().documents["KPTA-PHARM-IMP"], "spared", 3)
    told = []
    for long in (1, 100):
        monkeypatch.setattr(submission_index, "_LONG", long)
        monkeypatch.setattr(unique_field_reader, "_LONG", long)
        root = etree.fromstring(octets)
        made = write_requests(
            index_submission(root, keeps_fields=False), shipped(), make_placeholder_numbers(root)
        )
        assert not made.problems
        told.append([etree.tostring(one.xml) for one in made.requests])
    assert told[0] == told[1] != []


def test_a_sibling_selects_by_its_text_without_the_spaces_around_it() -> None:
    selector = SiblingSelector("IdentificationTypeCode", ("none", "TSP"))
    ranks = [selector.find_rank(text) for text in (None, "", "TSP", " TSP\n", "none", "TRC")]
    assert ranks == [0, 0, 1, 1, None, None]
