"""Reads elements of an ebMS header exactly as its schema defines them.

Elements that these functions accept are valid by the schema of the header. Extension
elements, which the schema would allow, are refused because the gateway does not understand
them. The functions raise GW107 for what the schema forbids; their callers interpret the
values.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Final, NoReturn

from lxml import etree

from gateway.errors import HEADER_INVALID, NOT_SUPPORTED, GatewayError, Problem
from gateway.wire import EB, EB3, SOAP11, SOAP12, XML, build_xpath

__all__ = [
    "ElementSequence",
    "check_attributes",
    "convert_instant",
    "list_elements",
    "make_eb_name",
    "make_soap_name",
    "raise_header_error",
    "read_boolean_attribute",
    "read_instant",
    "read_text",
]

_SPACE: Final = " \t\r\n"
_MAX_VALUE: Final = 1024
_MAX_CHILDREN: Final = 256
# Twenty-five characters, some digits of a fraction, and white space around them.
_MAX_MOMENT: Final = 128
_XML_ATTRIBUTE: Final = f"{{{XML}}}"
_NEVER_FOREIGN: Final = tuple(f"{{{one}}}" for one in (EB, EB3, SOAP11, SOAP12))
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?"
    # XML Schema allows zones up to fourteen hours.
    r"(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d|[+-]14:00)?",
    re.ASCII,
)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@cache
def make_eb_name(name: str) -> str:
    """Return the qualified name of an element or attribute of the header of ebMS 2.0."""
    return f"{{{EB}}}{name}"


@cache
def make_soap_name(name: str) -> str:
    """Return the qualified name of an element or attribute of SOAP 1.1."""
    return f"{{{SOAP11}}}{name}"


def raise_header_error(
    element: etree._Element, detail: str, problem: Problem = HEADER_INVALID, at: str = ""
) -> NoReturn:
    """Raise `problem` with the XPath of `element`; `at` names an attribute of it."""
    raise GatewayError(problem, detail, build_xpath(element) + (f"/@{at}" if at else ""))


def read_text(element: etree._Element, *, limit: int = _MAX_VALUE) -> str:
    """Return the value of an element that contains text only.

    A comment or processing instruction would split the value, so that two readers see two
    values; it is refused inside every value. White space around a value is refused too: no
    sender intends it, and every comparison would have to ignore it.
    """
    if len(element):
        raise_header_error(element, "a value is text alone, without elements or comments")
    value = element.text or ""
    if not value or value != value.strip():
        raise_header_error(element, "the value is empty or has white space around it")
    if len(value) > limit:
        raise_header_error(element, f"the value has more than {limit} characters")
    return value


def read_instant(element: etree._Element) -> datetime:
    """Return the time in UTC of an xs:dateTime; without a zone it is taken as UTC."""
    if len(element):
        raise_header_error(element, "a value is text alone, without elements or comments")
    try:
        return convert_instant(element.text or "")
    except ValueError as wrong:
        raise_header_error(element, str(wrong))


def convert_instant(value: str) -> datetime:
    """Return the time in UTC of an xs:dateTime; raise ValueError that says what is wrong with it."""
    if len(value) > _MAX_MOMENT:
        raise ValueError(f"a date and time has at most {_MAX_MOMENT} characters")
    text = value.strip(_SPACE)
    if _MOMENT.fullmatch(text) is None:
        raise ValueError("not a date and time of XML Schema")
    try:
        # It leaves out what is less than a microsecond.
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("no such date and time") from None


def read_boolean_attribute(element: etree._Element, name: str) -> bool:
    """Return the value of a boolean attribute, given by its qualified name."""
    value = element.get(name, "").strip(_SPACE)
    if value not in _BOOLEANS:
        raise_header_error(element, "a boolean is true, false, 1 or 0", at=etree.QName(name).localname)
    return _BOOLEANS[value]


def check_attributes(
    element: etree._Element,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    *,
    foreign: bool = False,
) -> None:
    """Raise for attributes that the schema does not name; `foreign` permits those of other namespaces.

    An attribute of SOAP or of the header's own namespace is never foreign: soap:actor in an
    unexpected place would remove its element from the signature.
    """
    found = element.keys()
    if not found and not required:
        return
    for name in required:
        value = element.get(name)
        if value is None or not value.strip(_SPACE):
            raise_header_error(element, f"attribute {etree.QName(name).localname} is missing or empty")
    for name in map(str, found):
        if name in required or name in optional:
            continue
        if foreign and name[0] == "{" and not name.startswith(_NEVER_FOREIGN):
            continue
        raise_header_error(element, f"attribute {name[:120]} does not belong here")


def list_elements(element: etree._Element) -> list[etree._Element]:
    """Return the child elements; raise for text between them, and skip comments."""
    found = []
    beside = element.text
    for child in element:
        if beside and beside.strip(_SPACE):
            break
        beside = child.tail
        if isinstance(child.tag, str):
            found.append(child)
    if beside and beside.strip(_SPACE):
        raise_header_error(element, "text where only elements belong")
    return found


class ElementSequence:
    """Reads the children of an element one after the other, in the order of the schema."""

    __slots__ = ("_at", "_children", "element")

    def __init__(self, element: etree._Element) -> None:
        self.element = element
        self._children = list_elements(element)
        self._at = 0
        if len(self._children) > _MAX_CHILDREN:
            raise_header_error(element, f"more than {_MAX_CHILDREN} elements")

    def take_optional(self, name: str) -> etree._Element | None:
        """Return the next child when it has this qualified name, else None."""
        if self._at < len(self._children) and self._children[self._at].tag == name:
            self._at += 1
            return self._children[self._at - 1]
        return None

    def take_required(self, name: str) -> etree._Element:
        """Return the next child, which must have this qualified name."""
        child = self.take_optional(name)
        if child is None:
            raise_header_error(self.element, f"{etree.QName(name).localname} is missing, or not in its place")
        return child

    def take_all(self, name: str, least: int = 0) -> list[etree._Element]:
        """Return all next children with this qualified name; there must be at least `least`."""
        found = []
        while (child := self.take_optional(name)) is not None:
            found.append(child)
        if len(found) < least:
            raise_header_error(self.element, f"{etree.QName(name).localname} is missing, or not in its place")
        return found

    def check_end(self, *, extensible: bool = False) -> None:
        """Raise for remaining children: extensions are not supported, others are not valid."""
        if self._at == len(self._children):
            return
        child = self._children[self._at]
        if extensible and etree.QName(child).namespace not in (None, etree.QName(self.element).namespace):
            raise_header_error(child, "extension elements are not supported", NOT_SUPPORTED)
        raise_header_error(
            child, f"{etree.QName(child).localname[:80]} does not belong here, or is not in its place"
        )
