"""An attribute that is there and has no value is no attribute that is missing."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import list_attributes, read_attribute

NAME = "{urn:x}b"


class Lacking:
    """An element as lxml shows it while libxml2 has no memory for the value of its attribute."""

    attrib = {"a": "1"}  # noqa: RUF012

    def get(self, _name: str) -> None:
        return None

    def keys(self) -> list[str]:
        return ["a"]


def test_attributes_are_read_as_they_are() -> None:
    element = etree.fromstring('<e xmlns:x="urn:x" a="1" x:b=""/>')
    assert (read_attribute(element, "a"), read_attribute(element, NAME, "c")) == ("1", "")
    assert (read_attribute(element, "c"), read_attribute(element, "c", "d")) == (None, "d")
    assert list_attributes(element) == [("a", "1"), (NAME, "")]


def test_a_value_for_which_memory_lacks_is_not_taken_as_missing() -> None:
    lacking: Any = Lacking()
    for read in (read_attribute, lambda element, _: list_attributes(element)):
        with pytest.raises(GatewayError, match="GW806"):
            read(lacking, "a")
    assert read_attribute(lacking, "b", "c") == "c"
