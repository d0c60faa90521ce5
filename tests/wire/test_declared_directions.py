"""The type code of a declaration says whether goods come or go; another one says neither."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.wire import WCO_DEC, are_opposite, find_type_direction, read_declared_direction


@pytest.mark.parametrize(
    ("type_code", "direction"),
    [
        *[(code, "import") for code in ("IM", "IMA", "IMZ", "imd", "929")],
        *[(code, "export") for code in ("EX", "EXA", "exd", "830")],
        *[(code, None) for code in ("", "I", "COA", "TR", "9290", "83", "XEX", "-")],
    ],
)
def test_the_direction_is_that_of_the_type(type_code: str, direction: str | None) -> None:
    assert find_type_direction(type_code) == direction
    declaration = etree.Element(f"{{{WCO_DEC}}}Declaration")
    etree.SubElement(declaration, f"{{{WCO_DEC}}}TypeCode").text = f" {type_code}\n"
    assert read_declared_direction(declaration) == direction


def test_the_type_of_a_part_is_not_that_of_the_declaration() -> None:
    declaration = etree.Element(f"{{{WCO_DEC}}}Declaration")
    document = etree.SubElement(declaration, f"{{{WCO_DEC}}}AdditionalDocument")
    etree.SubElement(document, f"{{{WCO_DEC}}}TypeCode").text = "EXA"
    assert read_declared_direction(declaration) is None


@pytest.mark.parametrize("direction", ["import", "export", None])
@pytest.mark.parametrize("other_direction", ["import", "export", None])
def test_only_known_directions_are_opposite(direction: str | None, other_direction: str | None) -> None:
    expected = {direction, other_direction} == {"import", "export"}
    assert are_opposite(direction, other_direction) == expected
