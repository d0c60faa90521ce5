"""The WSDL that we serve and the one that Spyne would make say the same of operations, elements and types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from lxml import etree

from gateway.share import get_data_folder
from gateway.web.agency_service import WSDL, build_agency_application
from gateway.web.spyne_service import Wsdl11
from gateway.wire import SERVICE_AGENCY

NAMES: Final = {"w": "http://schemas.xmlsoap.org/wsdl/", "x": "http://www.w3.org/2001/XMLSchema"}
XSD: Final = f"{{{NAMES['x']}}}"
OURS = etree.fromstring(get_data_folder("wsdl").joinpath(WSDL).read_bytes())


def spyne_wsdl() -> etree._Element:
    document = Wsdl11(build_agency_application().interface)
    document.build_interface_document("http://localhost/soap/agency")
    return etree.fromstring(document.get_interface_document())


THEIRS = spyne_wsdl()


def schema(root: etree._Element, namespace: str = SERVICE_AGENCY) -> etree._Element:
    [found] = root.xpath("//x:schema[@targetNamespace=$ns]", namespaces=NAMES, ns=namespace)
    return found


@dataclass(frozen=True)
class Simple:
    """A simple type by what it accepts."""

    base: str
    facets: frozenset[tuple[str, str]]


def built_in(element: etree._Element, name: str) -> bool:
    prefix = name.partition(":")[0]
    return element.nsmap.get(prefix) == NAMES["x"]


def local(name: str) -> str:
    return name.rpartition(":")[2]


def named(root: etree._Element, holder: etree._Element, name: str) -> etree._Element:
    """Return the type `name`; Spyne puts simple ones into namespaces of its own."""
    types = schema(root, holder.nsmap[name.partition(":")[0]])
    [found] = [one for one in types if one.get("name") == local(name) and one.tag != f"{XSD}element"]
    return found


def resolved(root: etree._Element, holder: etree._Element, name: str) -> object:
    """Return what a type accepts, down to the types of XML Schema itself."""
    if built_in(holder, name):
        # Spyne writes its Token as a string; the service collapses white space itself.
        return Simple(local(name).replace("token", "string"), frozenset())
    element = named(root, holder, name)
    if element.tag == f"{XSD}complexType":
        return content(root, element)
    return simple(root, element)


def simple(root: etree._Element, element: etree._Element) -> Simple:
    restriction = element.find("x:restriction", NAMES)
    below = resolved(root, restriction, restriction.get("base"))
    assert isinstance(below, Simple)
    facets = {(etree.QName(one).localname, one.get("value")) for one in restriction}
    return Simple(below.base, below.facets | frozenset(facets))


def content(root: etree._Element, element: etree._Element) -> dict[str, object]:
    """Return the children that a complex type allows: occurrence, whether one of a choice, and type."""
    members: dict[str, object] = {}
    for one in element.iter(f"{XSD}element"):
        kind = one.get("type")
        inline = one.find("x:simpleType", NAMES)
        type_ = resolved(root, one, kind) if kind else simple(root, inline)
        choice = one.getparent().tag == f"{XSD}choice"
        times = (one.get("minOccurs", "1"), one.get("maxOccurs", "1"))
        members[one.get("name")] = ("choice" if choice else times, type_)
    return members


def wrapper(root: etree._Element, name: str) -> dict[str, object]:
    [element] = schema(root).xpath("x:element[@name=$name]", namespaces=NAMES, name=name)
    inline = element.find("x:complexType", NAMES)
    if inline is not None:
        return content(root, inline)
    found = resolved(root, element, element.get("type"))
    assert isinstance(found, dict)
    return found


def operations(root: etree._Element) -> list[str]:
    return sorted(one.get("name") for one in root.iterfind("w:portType/w:operation", NAMES))


def test_the_operations_are_the_same() -> None:
    assert operations(OURS) == operations(THEIRS) == [
        "Acknowledge", "DeliverNotice", "RequestInformation", "SubmitDecision",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [op + end for op in operations(OURS) for end in ("", "Response")])
def test_elements_and_types_are_the_same(name: str) -> None:
    assert wrapper(OURS, name) == wrapper(THEIRS, name)


def test_the_comparison_looks_at_something() -> None:
    decision = wrapper(OURS, "SubmitDecision")
    assert list(decision) == [
        "ApplicationNumber", "RequirementNumber", "NoticeNumber", "IssuedAt", "StatusCode", "Decision",
        "ReceiptNumber", "Text", "Pointer", "Deadline", "Fee", "ValidUntil",
    ]  # fmt: skip
    times, members = decision["Decision"]
    assert times == ("0", "unbounded")
    assert members["quantity"] == (
        ("0", "1"),
        Simple("decimal", frozenset({("minInclusive", "0"), ("totalDigits", "18"), ("fractionDigits", "6")})),
    )


def test_the_actions_are_full_uris() -> None:
    actions = [one.get("soapAction") for one in OURS.iter("{http://schemas.xmlsoap.org/wsdl/soap/}operation")]
    assert sorted(actions) == [f"{SERVICE_AGENCY}:{name}" for name in operations(OURS)]
    assert set(actions) < set(OURS.xpath("//@*[local-name()='Action']"))
