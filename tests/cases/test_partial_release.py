"""Which previous documents name the parent of a child declaration is a table of the mappings."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.cases import read_declared_release, read_parent_codes, read_releasable_items
from gateway.errors import GatewayError
from gateway.hub import load_shipped_rules
from gateway.wire import WCO_DEC

HEAD = "code,name,role\n"


def declare(code: str) -> etree._Element:
    previous = f"<PreviousDocument><ID>P</ID><TypeCode>{code}</TypeCode></PreviousDocument>"
    return declare_item(previous)


def test_the_codes_of_the_role_parent_name_a_parent() -> None:
    assert load_shipped_rules().parent_codes == {"998"}
    codes = read_parent_codes(f"{HEAD}998,previous,parent\nX1,ours,parent\n705,bill of lading,transport\n")
    assert codes == {"998", "X1"}
    for code, parent in (("998", "P"), ("X1", "P"), ("705", None)):
        claim = read_declared_release(declare(code), codes)
        assert (claim and claim.parent) == parent


@pytest.mark.parametrize(
    ("table", "told", "place"),
    [
        ("code,role\n998,parent\n", "there is no column name", "previous-document.csv:1"),
        (f"{HEAD}998,a,parent\n998,b,parent\n", "'998': it stands twice", "previous-document.csv:3"),
        (f"{HEAD},a,parent\n", "a code is empty", "previous-document.csv:2"),
        (f"{HEAD}705,a,transport\n", "no code has the role parent", "previous-document.csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(table: str, told: str, place: str) -> None:
    with pytest.raises(GatewayError, match="GW502") as wrong:
        read_parent_codes(table)
    assert told in wrong.value.detail
    assert wrong.value.location == place


@pytest.mark.parametrize(
    ("classifications", "alike"),
    [
        ([("", "3002904000")], True),
        ([("TRC", "00"), ("TSP", "30029040")], True),
        ([("TSP", "3002904001")], False),
        ([("TSP", "3002904000"), ("GN", "VATZ")], False),
    ],
)
def test_goods_are_alike_by_their_tariff_code_and_other_classifications(
    classifications: list[tuple[str, str]], alike: bool
) -> None:
    (whole,) = read_releasable_items(classify([("TSP", "3002904000")]))
    (part,) = read_releasable_items(classify(classifications))
    assert (part.identity == whole.identity) is alike


@pytest.mark.parametrize(
    ("description", "origin", "alike"),
    [("seeds", "BR", True), (" seeds ", "BR", True), ("seedlings", "BR", False), ("seeds", "CN", False)],
)
def test_goods_are_alike_by_their_description_and_origin(description: str, origin: str, alike: bool) -> None:
    (whole,) = read_releasable_items(describe("seeds", "BR"))
    (part,) = read_releasable_items(describe(description, origin))
    assert (part.identity == whole.identity) is alike


def describe(description: str, origin: str) -> etree._Element:
    """Return a declaration of an item with this description and country of origin."""
    return declare_item(
        f"<Commodity><Description>{description}</Description></Commodity>"
        f"<Origin><CountryCode>{origin}</CountryCode></Origin>"
    )


def classify(classifications: list[tuple[str, str]]) -> etree._Element:
    """Return a declaration of an item with these classifications, each a type and a code."""
    written = "".join(
        f"<Classification><ID>{code}</ID><IdentificationTypeCode>{kind}</IdentificationTypeCode></Classification>"
        for kind, code in classifications
    ).replace("<IdentificationTypeCode></IdentificationTypeCode>", "")
    return declare_item(f"<Commodity>{written}</Commodity>")


def declare_item(content: str) -> etree._Element:
    """Return a declaration of one item, its number followed by this content."""
    return etree.fromstring(
        f'<Declaration xmlns="{WCO_DEC}"><GoodsShipment><GovernmentAgencyGoodsItem>'
        f"<SequenceNumeric>1</SequenceNumeric>{content}"
        "</GovernmentAgencyGoodsItem></GoodsShipment></Declaration>"
    )
