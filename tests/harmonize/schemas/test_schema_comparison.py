"""A bound schema fits when it accepts every request that the schema of the mapping accepts."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import list_unfit_places, load_bundle, write_request_schema
from gateway.share import get_data_folder

HEAD = (
    '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:doc="urn:d" '
    'targetNamespace="urn:d" elementFormDefault="qualified">'
)


def schema(children: str, types: str = "", kind: str = "sequence") -> bytes:
    held = f"<xs:complexType><xs:{kind}>{children}</xs:{kind}></xs:complexType>"
    return f'{HEAD}<xs:element name="A">{held}</xs:element>{types}</xs:schema>'.encode()


def leaf(name: str, more: str = "", kind: str = "xs:string") -> str:
    return f'<xs:element name="{name}" type="{kind}"{more}/>'


def simple(facets: str, base: str = "xs:string", name: str = "T") -> str:
    held = f'<xs:restriction base="{base}">{facets}</xs:restriction>'
    return f'<xs:simpleType name="{name}">{held}</xs:simpleType>'


def bounded(facets: str, base: str = "xs:string") -> bytes:
    return schema(leaf("B", kind="doc:T"), simple(facets, base))


def attributed(attributes: str) -> bytes:
    held = f'<xs:complexType><xs:simpleContent><xs:extension base="xs:string">{attributes}'
    end = "</xs:extension></xs:simpleContent></xs:complexType>"
    return schema(f'<xs:element name="B">{held}{end}</xs:element>')


CODES = '<xs:enumeration value="R"/><xs:enumeration value="G"/>'
UNIT = '<xs:attribute name="unit" type="xs:string"/>'


@pytest.mark.parametrize(
    ("bound", "made", "told"),
    [
        (schema(leaf("B")), schema(leaf("B") + leaf("C")), ["has no A/C"]),
        (schema(leaf("B") + leaf("C")), schema(leaf("B")), ["demands A/C"]),
        (schema(leaf("B") + leaf("C", ' minOccurs="0"')), schema(leaf("B")), []),
        (schema(leaf("B")), schema(leaf("B", ' minOccurs="0"')), ["demands A/B"]),
        (schema(leaf("B", ' minOccurs="0"')), schema(leaf("B")), []),
        (
            schema(leaf("B", ' maxOccurs="9"')),
            schema(leaf("B", ' maxOccurs="99"')),
            ["takes A/B at most 9 times, and a request may have 99"],
        ),
        (schema(leaf("B", ' maxOccurs="unbounded"')), schema(leaf("B", ' maxOccurs="99"')), []),
        (
            schema(leaf("B") + leaf("C")),
            schema(leaf("C") + leaf("B")),
            ["has the elements of A in another order"],
        ),
        (
            bounded('<xs:maxLength value="9"/>'),
            bounded('<xs:maxLength value="12"/>'),
            ["takes in A/B only string maxLength 9, and a request may have string maxLength 12"],
        ),
        (bounded('<xs:maxLength value="12"/>'), bounded('<xs:maxLength value="9"/>'), []),
        (bounded('<xs:minLength value="1"/>'), bounded('<xs:length value="3"/>'), []),
        (bounded('<xs:length value="3"/>'), bounded('<xs:maxLength value="3"/>'), None),
        (bounded(CODES), bounded('<xs:enumeration value="G"/>'), []),
        (
            bounded(CODES),
            bounded('<xs:enumeration value="B"/>'),
            ["takes no B in A/B, which a request may have"],
        ),
        (bounded('<xs:maxLength value="1"/>'), bounded(CODES), []),
        (bounded(CODES), bounded('<xs:maxLength value="1"/>'), None),
        (bounded('<xs:pattern value="[0-9]{8}"/>'), bounded('<xs:length value="8"/>'), None),
        (bounded("", "xs:decimal"), bounded("", "xs:integer"), []),
        (bounded('<xs:fractionDigits value="0"/>', "xs:decimal"), bounded("", "xs:integer"), []),
        (bounded("", "xs:integer"), bounded("", "xs:decimal"), None),
        (
            bounded('<xs:totalDigits value="5"/>', "xs:integer"),
            bounded('<xs:totalDigits value="4"/>', "xs:integer"),
            [],
        ),
        (
            bounded('<xs:minInclusive value="0"/>', "xs:integer"),
            bounded('<xs:minInclusive value="-1"/>', "xs:integer"),
            None,
        ),
        (attributed(""), attributed(UNIT), ["has no A/B/@unit"]),
        (attributed(UNIT), attributed(""), []),
        (attributed(UNIT.replace("/>", ' use="required"/>')), attributed(UNIT), ["demands A/B/@unit"]),
        (
            schema(leaf("B")).replace(b'targetNamespace="urn:d"', b'targetNamespace="urn:e"'),
            schema(leaf("B")),
            ["has no root element {urn:d}A"],
        ),
    ],
)
def test_what_a_bound_schema_does_not_take_is_named(
    bound: bytes, made: bytes, told: list[str] | None
) -> None:
    """None: the values differ, in whatever words."""
    found = list_unfit_places(bound, made)
    assert len(found) == 1 if told is None else found == told


@pytest.mark.parametrize(
    "bound",
    [
        b"<a/>",
        b"no XML",
        schema(leaf("B"), kind="all"),
        schema(leaf("B", kind="doc:Unknown")),
        schema(leaf("B") + leaf("B")),
        schema(leaf("B", ' minOccurs="some"')),
        bounded('<xs:maxLength value="many"/>'),
        schema(leaf("B", kind="doc:T"), simple("", "doc:T")),
    ],
    ids=["no schema", "no XML", "all", "unknown type", "name twice", "no number", "no length", "circle"],
)
def test_a_schema_of_another_kind_is_not_compared(bound: bytes) -> None:
    with pytest.raises(GatewayError, match="GW519 its schema cannot be compared"):
        list_unfit_places(bound, bounded('<xs:maxLength value="9"/>'))


def test_schemas_of_the_gateway_can_be_compared() -> None:
    bundle = load_bundle(get_data_folder("mappings"))
    for name in ("KFDA-FOOD-IMP", "NPQS-PLA-IMP"):
        made = write_request_schema(bundle.documents[name]).encode()
        assert list_unfit_places(made + b"\n", made) == []
        assert list_unfit_places(made.replace(b"ItemNumber", b"Item-Number"), made) == [
            "has no Application/Item/ItemNumber",
            "demands Application/Item/Item-Number",
        ]
