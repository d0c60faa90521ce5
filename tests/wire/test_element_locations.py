"""Pointer to XPath and line, also of what is not there."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.wire import ElementLocations

ROOT = etree.fromstring(
    b"""<Submission xmlns="urn:single-window:submission:1">
<Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2">
<InvoiceAmount currencyID="EUR">1</InvoiceAmount>
<Declarant><ID>1</ID></Declarant>
</Declaration>
<Application><Fields/></Application>
</Submission>"""
)


@pytest.mark.parametrize(
    ("pointer", "xpath", "line"),
    [
        ("42A/109", "/sub:Submission/wco:Declaration/wco:InvoiceAmount", 3),
        ("42A/109/@currencyID", "/sub:Submission/wco:Declaration/wco:InvoiceAmount/@currencyID", 3),
        ("42A/109/@other", "/sub:Submission/wco:Declaration/wco:InvoiceAmount", 3),
        ("42A/57B[1]/R124", "/sub:Submission/wco:Declaration/wco:Declarant", 4),
        ("42A/57B[1]/R124/@x", "/sub:Submission/wco:Declaration/wco:Declarant", 4),
        ("42A/67A[1]/74A[1]/R037", "/sub:Submission/wco:Declaration", 2),
        ("SUP/Declaration/X[1]", "/sub:Submission", 1),
        ("APP[1]/Items", "/sub:Submission/sub:Application", 6),
        ("", "/sub:Submission", 1),
    ],
)
def test_the_place_or_the_nearest_around_it(pointer: str, xpath: str, line: int) -> None:
    places = ElementLocations(ROOT)
    assert (places.find_xpath(pointer), places.find_line_number(pointer)) == (xpath, line)


def test_pointers_and_elements_name_each_other() -> None:
    places = ElementLocations(ROOT)
    for element in ROOT.iter(tag=etree.Element):
        pointer = places.get_pointer(element)
        assert not pointer or places.find_element(pointer) is not None
    assert places.find_element("42A/999") is None
    assert places.find_element("") is None
    amount = places.find_element("42A/109/@currencyID")
    assert amount is not None
    assert places.get_pointer(amount, "currencyID") == "42A/109/@currencyID"
