"""What an amendment says that it changes is compared with what it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from gateway.cases import compare_amendment_pointers
from gateway.wire import WCO_DEC
from tests.flows.craft import all_of, at, attribute, because, text, without
from tests.flows.item_changes import add_item, remove_item
from tests.kit.story import unsigned

Change = Callable[[etree._Element], None]
NAME = ".//Declarant/Name"
NAMED = ("57B", "1", "R124")


def named(*chains: tuple[str, ...]) -> Change:
    """Add one amendment for each chain, written as class, number, class, number, …, tag."""

    def change(root: etree._Element) -> None:
        first = at(root, ".//Amendment")
        for chain in chains:
            one = etree.Element(f"{{{WCO_DEC}}}Amendment")
            first.addnext(one)
            pairs = [*zip(chain[::2], chain[1::2], strict=False)]
            for section, number in pairs:
                step = etree.SubElement(one, f"{{{WCO_DEC}}}Pointer")
                etree.SubElement(step, f"{{{WCO_DEC}}}SequenceNumeric").text = number
                etree.SubElement(step, f"{{{WCO_DEC}}}DocumentSectionCode").text = section
            if len(chain) % 2:
                step = etree.SubElement(one, f"{{{WCO_DEC}}}Pointer")
                etree.SubElement(step, f"{{{WCO_DEC}}}TagID").text = chain[-1]

    return change


def judge(*changes: Change) -> list[tuple[str, str]]:
    """Return id and place of each finding."""
    amended = unsigned()
    all_of(lambda root: because(root, "17", "wrong"), *changes)(amended)
    found = compare_amendment_pointers(at(unsigned(), ".//Declaration/Declarant/.."),
                                       at(amended, ".//Declaration/Declarant/.."))  # fmt: skip
    return [(one.problem.id, one.pointer) for one in found]


def test_without_pointers_nothing_is_said() -> None:
    assert judge(text(NAME, "X")) == []


def test_the_reason_and_the_function_are_no_change() -> None:
    assert judge(text(".//FunctionCode", "13"), text(NAME, "X"), named(NAMED)) == []


@pytest.mark.parametrize("chain", [NAMED, ("42A", "1", *NAMED), ("57B", "1"), ("57B", "01", "R124")])
def test_a_chain_names_an_element_or_all_that_is_in_a_class(chain: tuple[str, ...]) -> None:
    assert judge(text(NAME, "X"), named(chain)) == []


def test_a_change_that_no_pointer_names_and_a_pointer_that_names_no_change() -> None:
    assert judge(text(NAME, "X"), named(("67A", "1", "68A", "2"))) == [
        ("GW417", "42A/57B[1]/R124"),
        ("GW418", "42A/06A[2]/97A[1]"),
    ]


def test_what_is_left_out_and_an_attribute_are_changes_too() -> None:
    (gone,) = judge(without(NAME), named(("67A", "9")))[:1]
    assert gone == ("GW417", "42A/57B[1]/R124")
    found = judge(attribute(NAME, "languageID", "ko"), named(NAMED))
    assert found == []


def test_another_item_is_another_place() -> None:
    path = ".//GovernmentAgencyGoodsItem/Commodity/Description"
    assert judge(text(path, "7"), named(("67A", "1", "68A", "1"))) == []
    first = judge(text(path, "7"), named(("67A", "1", "68A", "2")))
    assert [one for one, _ in first] == ["GW417", "GW418"]
    assert first[0][1].startswith("42A/67A[1]/68A[1]/")


def test_the_finding_names_the_chain_of_its_own_amendment() -> None:
    found = judge(text(NAME, "X"), named(("68A", "1"), NAMED))
    assert len(found) == 1
    assert found[0][0] == "GW418"
    assert found[0][1].startswith("42A/06A[")


def test_an_item_that_is_added_or_removed_is_one_change() -> None:
    """The others keep their places: a place has the number of its item."""
    removed = remove_item(1)
    assert judge(removed, named(("67A", "1", "68A", "1"))) == []
    assert judge(removed, named(("67A", "1", "68A", "3"))) == [
        ("GW417", "42A/67A[1]/68A[1]"),
        ("GW418", "42A/06A[2]/97A[1]"),
    ]
    added = add_item(4, 2)
    assert judge(added, named(("67A", "1", "68A", "4"))) == []
    # A value of the item is a part of it only.
    assert judge(added, named(("67A", "1", "68A", "4", "006"))) == [("GW417", "42A/67A[1]/68A[4]")]
