"""Which items an amended declaration may add and remove, and under which numbers."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.cases import (
    UsedNumbers,
    check_item_numbers,
    compute_item_change,
    list_changed_items,
    restore_items,
)
from gateway.errors import GatewayError
from tests.flows.craft import Change, all_of, at, attribute, text
from tests.flows.item_changes import add_item, concern, drop_application, new_application, remove_item
from tests.kit.story import unsigned

_ITEM = ".//GovernmentAgencyGoodsItem"


def test_numbers_of_removed_items_are_kept() -> None:
    first = compute_item_change([1, 2, 3], UsedNumbers(3), [1, 3, 5])
    assert (first.added_items, first.removed_items, first.used_numbers) == ((5,), (2,), UsedNumbers(5, (2,)))
    second = compute_item_change([1, 3, 5], first.used_numbers, [1, 3])
    assert (second.added_items, second.removed_items, second.used_numbers) == (
        (),
        (5,),
        UsedNumbers(5, (2, 5)),
    )


@pytest.mark.parametrize(
    ("declared", "problem", "words"),
    [
        ([4], "GW404", "keeps an item"),
        ([1, 2], "GW419", "item 2 was removed"),
        ([1, 3, 4], "GW419", "4 is not above 5"),
        ([1, 3, 5], "GW419", "5 is not above 5"),
        ([], "GW404", "keeps an item"),
    ],
)
def test_a_number_that_is_not_free_is_refused(declared: list[int], problem: str, words: str) -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        compute_item_change([1, 3], UsedNumbers(5, (2,)), declared)
    assert caught.value.problem.id == problem


def test_an_item_of_a_child_has_the_number_of_its_parent() -> None:
    """It may be lower than the last; what was removed does not come back all the same."""
    assert compute_item_change([1, 3], UsedNumbers(3), [1, 2, 3], is_child=True).added_items == (2,)
    with pytest.raises(GatewayError, match="removed"):
        compute_item_change([1, 3], UsedNumbers(3, (2,)), [1, 2, 3], is_child=True)


def declaration(*changes: Change) -> etree._Element:
    root = unsigned()
    all_of(*changes)(root)
    return at(root, ".//Declaration/GoodsShipment/..")


def swap(root: etree._Element) -> None:
    one, two = [*root.iter("{*}GovernmentAgencyGoodsItem")][:2]
    at(one, "SequenceNumeric").text, at(two, "SequenceNumeric").text = "2", "1"


def shift(root: etree._Element) -> None:
    remove_item(1)(root)
    for number, one in enumerate(root.iter("{*}GovernmentAgencyGoodsItem"), start=1):
        at(one, "SequenceNumeric").text = str(number)


@pytest.mark.parametrize(("change", "place"), [(swap, "68A[2]"), (shift, "68A[1]")])
def test_goods_under_another_number_are_refused(change: Change, place: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_item_numbers(declaration(), declaration(change))
    assert (caught.value.problem.id, caught.value.location) == ("GW420", f"42A/67A[1]/{place}")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: None,
        remove_item(2),
        add_item(4, 2),
        # The same goods once more are another item, as long as the first one stays.
        add_item(4, 2, "Caramel wafers 320 g"),
        # In another unit they are other goods.
        all_of(
            add_item(4, 2, "Caramel wafers 320 g"),
            attribute(f"{_ITEM}[4]/Commodity/GoodsMeasure/TariffQuantity", "unitCode", "NMP"),
            remove_item(2),
        ),
        text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Amoxicillin capsules"),
    ],
)
def test_goods_that_keep_their_numbers_are_admitted(change: Change) -> None:
    check_item_numbers(declaration(), declaration(change))


def test_restored_items_are_those_of_the_former_submission() -> None:
    former, amended = unsigned(), unsigned()
    all_of(
        remove_item(3),
        drop_application("A3"),
        add_item(4, 2),
        concern("A2", 4, 2),
        new_application("A5", 4, "A1"),
        text(".//GoodsItemQuantity", "4"),
    )(amended)
    untouched = etree.tostring(amended)
    restored = restore_items(amended, former)
    assert etree.tostring(amended) == untouched
    # An application that is left out stays out: nobody compares it.
    drop_application("A3")(former)
    sort = etree.XSLT(_SORT)
    assert etree.tostring(sort(restored), method="c14n") == etree.tostring(sort(former), method="c14n")


def test_other_changes_stay_in_restored_items() -> None:
    amended = unsigned()
    all_of(remove_item(3), text(".//Declarant/Name", "Other"))(amended)
    restored = restore_items(amended, unsigned())
    assert at(restored, ".//Declarant/Name").text == "Other"
    assert len([*restored.iter("{*}GovernmentAgencyGoodsItem")]) == 3


@pytest.mark.parametrize(
    ("change", "items"),
    [
        (text(".//Declarant/Name", "Other"), set()),
        (text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Other"), {1}),
        (text("Application[@id='A2']/Fields/Item/ProductNameKo", "Other"), {2}),
        (text("Supplement/Value[@item='2']", "Other"), {2}),
        (lambda root: at(root, "Supplement").remove(at(root, "Supplement/Value[@item='2']")), {2}),
        (lambda root: at(root, "Supplement/Value[@item='2']").set("path", "Other"), {2}),
        (add_item(4, 2), set()),
        (remove_item(3), set()),
    ],
)
def test_what_is_said_of_an_item_is_known_and_taken_back(change: Change, items: set[int]) -> None:
    """Only what it says of these items is taken back with them; without them it stays as it is."""
    former, amended = unsigned(), unsigned()
    change(amended)
    assert list_changed_items(amended, former) == items
    kept = restore_items(amended, former)
    assert list_changed_items(kept, former) == items
    assert list_changed_items(restore_items(amended, former, items), former) == set()


#: A change of one attribute, and the item that it changes: every text stays as it was.
_ATTRIBUTE_CHANGES: dict[str, tuple[Change, int]] = {
    "unit of the goods": (attribute(f"{_ITEM}[2]//NetNetWeightMeasure", "unitCode", "TNE"), 2),
    "currency of the goods": (attribute(f"{_ITEM}[3]//ItemChargeAmount", "currencyID", "EUR"), 3),
    "unit of a used certificate": (
        attribute(f"{_ITEM}/AdditionalDocument//QuantityQuantity", "unitCode", "MIL"),
        1,
    ),
    "unit of an answer": (attribute("Application[@id='A1']/Fields/Item/ModelQuantity", "unitCode", "EA"), 1),
    "currency of an answer": (
        attribute("Application[@id='A1']/Fields/Item/UnitPrice", "currencyID", "EUR"),
        1,
    ),
    "unit within an answer": (attribute("Application[@id='A1']//IdentityTest/Quantity", "unitCode", "BX"), 1),
    "id of a supplement value": (attribute("Supplement/Value[@item='3']", "wcoID", "R043"), 3),
}


@pytest.mark.parametrize(("change", "item"), _ATTRIBUTE_CHANGES.values(), ids=_ATTRIBUTE_CHANGES)
def test_an_item_of_which_an_attribute_alone_changes_is_changed(change: Change, item: int) -> None:
    """100 boxes are not 100 pieces, and 9,300 euros are not 9,300 dollars."""
    former, amended = unsigned(), unsigned()
    change(amended)
    assert list_changed_items(amended, former) == {item}
    assert list_changed_items(restore_items(amended, former), former) == {item}
    assert list_changed_items(restore_items(amended, former, {item}), former) == set()


#: The values of a supplement have no order, and space between elements says nothing.
_SORT = etree.XML("""
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:strip-space elements="*"/>
  <xsl:template match="@*|node()">
    <xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy>
  </xsl:template>
  <xsl:template match="*[local-name()='Supplement']">
    <xsl:copy>
      <xsl:apply-templates select="*">
        <xsl:sort select="concat(@path, ' ', @item, ' ', @n)"/>
      </xsl:apply-templates>
    </xsl:copy>
  </xsl:template>
</xsl:stylesheet>
""")
