"""A broker of the demo takes items out of its submission, and adds others."""

from __future__ import annotations

import pytest

from gateway.cases import read_submission
from gateway.errors import GatewayError
from gateway.wire import parse_xml, serialize_element
from gateway_conformance.partners import change_items
from tests.kit.story import unsigned

SAMPLE = serialize_element(unsigned())
WAFERS = {"item": 4, "like": 2, "description": "Honey wafers 280 g"}


def test_an_item_comes_with_all_that_belongs_to_it_and_goes_with_it() -> None:
    changed = read_submission(parse_xml(change_items(SAMPLE, (3,), (WAFERS,))))
    assert changed.items == (1, 2, 4)
    assert [(one.id, one.items) for one in changed.applications] == [("A1", (1,)), ("A2", (2, 4))]
    root = changed.declaration.getroottree().getroot()
    values = root.findall("{*}Supplement/{*}Value")
    assert {one.get("item") for one in values} == {None, "1", "2", "4"}
    assert [one.get("sequence") for one in root.findall("{*}Application[@id='A2']/{*}Fields/{*}Item")] == [
        "2",
        "4",
    ]
    assert change_items(SAMPLE, (), ()) == SAMPLE


def test_an_item_that_is_not_there_is_named() -> None:
    with pytest.raises(GatewayError, match="no item 9"):
        change_items(SAMPLE, (9,), ())
