"""What the rules of need read of the goods: one tariff code, however its classifications are written."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.needs import read_declared_goods
from gateway.wire import WCO_DEC


def declare(*classifications: tuple[str, str]) -> etree._Element:
    """Return a declaration of an item with these classifications, each a type and a code."""
    written = "".join(
        f"<Classification><ID>{code}</ID>"
        + (f"<IdentificationTypeCode>{kind}</IdentificationTypeCode>" if kind else "")
        + "</Classification>"
        for kind, code in classifications
    )
    return etree.fromstring(
        f'<Declaration xmlns="{WCO_DEC}"><GoodsShipment><GovernmentAgencyGoodsItem>'
        f"<SequenceNumeric>1</SequenceNumeric><Commodity>{written}</Commodity>"
        "</GovernmentAgencyGoodsItem></GoodsShipment></Declaration>"
    )


@pytest.mark.parametrize(
    ("classifications", "code"),
    [
        ([("TSP", "3002904000")], "3002904000"),
        ([("TSP", "3002"), ("TSP", "904000")], "3002904000"),
        ([("", "3002"), ("", "904000")], "3002904000"),
        ([("TRC", "40"), ("TRC", "00"), ("TSP", "300290")], "3002904000"),
        ([("TSP", " 3002 90"), ("TRC", "4000 ")], "3002904000"),
        ([("TSP", ""), ("TSP", "3002904000")], "3002904000"),
        ([("GN", "11"), ("TSP", "3002904000")], "3002904000"),
        ([("GN", "3002904000")], ""),
    ],
)
def test_no_part_of_a_tariff_code_is_left_out(classifications: list[tuple[str, str]], code: str) -> None:
    (item,) = read_declared_goods(declare(*classifications)).items
    assert item.hs == code
