"""Reads elements of an ebMS header exactly as its schema defines them.

Elements that these functions accept are valid by the schema of the header. Extension
elements, which the schema would allow, are refused because the gateway does not understand
them. The functions raise GW107 for content that the schema forbids; their callers interpret
the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Final

from lxml import etree

from gateway.errors import HEADER_INVALID, NOT_SUPPORTED
from gateway.wire import (
    EB,
    SOAP11,
    SOAP12,
    XML_SPACE,
    ElementReader,
    has_more_octets,
    parse_datetime,
    read_attribute,
)

_LINE_BREAKS: Final = str.maketrans("\t\r\n", "   ")
_NOT_IN_ID: Final = re.compile(r"[\s<>]")
#: Ids among these values are columns of indexes, for which the database counts octets.
_MAX_VALUE_OCTETS: Final = 1024
_MAX_FREE_TEXT_CHARACTERS: Final = 2048
_MAX_CHILDREN: Final = 256
_SOAP_ATTRIBUTES: Final = (f"{{{SOAP11}}}", f"{{{SOAP12}}}")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


_HEADER_READER: Final = ElementReader(HEADER_INVALID, allows_comments=True, rejects_empty=True)
raise_header_error = _HEADER_READER.raise_error
check_attributes = _HEADER_READER.check_attributes
list_elements = _HEADER_READER.list_children


@cache
def make_eb_name(name: str) -> str:
    """Return the qualified name of an element or attribute of the header of ebMS 2.0."""
    return f"{{{EB}}}{name}"


@cache
def make_soap_name(name: str) -> str:
    """Return the qualified name of an element or attribute of SOAP 1.1."""
    return f"{{{SOAP11}}}{name}"


def read_text(element: etree._Element) -> str:
    """Return the value of an element that contains text only, of at most 1,024 octets.

    White space around a value is refused: no sender intends it, and every comparison would have to ignore
    it.
    """
    value = _check_padding(element, _HEADER_READER.read_text(element))
    check_value_length(element, value)
    return value


def read_long_text(element: etree._Element, max_characters: int) -> str:
    """Return the value of an element that contains text only, without white space around it.

    It may have `max_characters` characters: more octets than `read_text` allows.
    """
    value = _check_padding(element, _HEADER_READER.read_text(element).strip(XML_SPACE))
    if len(value) > max_characters:
        raise_header_error(element, f"the value has more than {max_characters:,} characters")
    return value


def _check_padding(element: etree._Element, value: str) -> str:
    if not value or value != value.strip():
        raise_header_error(element, "the value is empty or has white space around it")
    return value


#: Whether the header that is read was stored before octets were counted.
_is_header_stored: Final[ContextVar[bool]] = ContextVar("is_header_stored", default=False)


@contextmanager
def allow_stored_values() -> Iterator[None]:
    """Let values have 1,024 characters in the block: its header was stored, when octets were not counted."""
    token = _is_header_stored.set(True)
    try:
        yield
    finally:
        _is_header_stored.reset(token)


def check_value_length(element: etree._Element, value: str, at: str = "") -> None:
    """Raise for a value of more than 1,024 octets; `at` names its attribute, if it is that of one."""
    if _is_header_stored.get() and len(value) <= _MAX_VALUE_OCTETS:
        return
    if has_more_octets(value, _MAX_VALUE_OCTETS):
        raise_header_error(element, f"the value has more than {_MAX_VALUE_OCTETS:,} octets", at=at)


def read_plain_text(element: etree._Element) -> str:
    """Return the value of an element that has neither attributes nor child nodes, as `read_text` does."""
    check_attributes(element)
    return read_text(element)


def read_message_id(element: etree._Element) -> str:
    """Return a message id, which is one token without angle brackets (RFC 2822 msg-id)."""
    value = read_plain_text(element)
    if _NOT_IN_ID.search(value):
        raise_header_error(element, "a message id must have neither white space nor angle brackets")
    return value


def read_free_text(
    elements: Iterable[etree._Element], *, max_characters: int = _MAX_FREE_TEXT_CHARACTERS
) -> str:
    """Return text for people in some elements, on one line and cut after `max_characters` characters.

    Such a text never causes the refusal of its message: it may be empty, long or without language.
    Elements inside it are left out. An element with a SOAP attribute is left out, too: soap:actor takes it
    and its content out of the signature (ebMS 2.0 §4.1.3).
    """
    pieces = []
    for element in elements:
        if not any(name.startswith(_SOAP_ATTRIBUTES) for name in map(str, element.keys())):
            pieces += [element.text or "", *(child.tail or "" for child in element)]
    return " ".join(pieces).translate(_LINE_BREAKS).strip()[:max_characters].rstrip()


def read_instant(element: etree._Element) -> datetime:
    """Return the time in UTC of an xs:dateTime; without a zone it is taken as UTC."""
    time_text = _HEADER_READER.read_text(element)
    try:
        return parse_datetime(time_text, default_zone=UTC)
    except ValueError as wrong:
        raise_header_error(element, str(wrong))


def read_boolean_attribute(element: etree._Element, attribute_name: str) -> bool:
    """Return the value of a boolean attribute, given by its qualified name."""
    value = read_attribute(element, attribute_name, "").strip(XML_SPACE)
    if value not in _BOOLEANS:
        raise_header_error(
            element, "a boolean must be true, false, 1 or 0", at=etree.QName(attribute_name).localname
        )
    return _BOOLEANS[value]


class ElementSequence:
    """Reads the children of an element one after the other, in the order of the schema."""

    __slots__ = ("_children", "_position", "element")

    def __init__(self, element: etree._Element) -> None:
        self.element = element
        self._children = list_elements(element)
        self._position = 0
        if len(self._children) > _MAX_CHILDREN:
            raise_header_error(element, f"more than {_MAX_CHILDREN} elements")

    def take_optional(self, tag: str) -> etree._Element | None:
        """Return the next child when it has this qualified name, else None."""
        if self._position < len(self._children) and self._children[self._position].tag == tag:
            self._position += 1
            return self._children[self._position - 1]
        return None

    def take_required(self, tag: str) -> etree._Element:
        """Return the next child, which must have this qualified name."""
        child = self.take_optional(tag)
        if child is None:
            raise_header_error(self.element, f"{etree.QName(tag).localname} is missing, or not in its place")
        return child

    def take_all(self, tag: str, min_count: int = 0) -> list[etree._Element]:
        """Return all next children with this qualified name; there must be at least `min_count`."""
        elements = []
        while (child := self.take_optional(tag)) is not None:
            elements.append(child)
        if len(elements) < min_count:
            raise_header_error(self.element, f"{etree.QName(tag).localname} is missing, or not in its place")
        return elements

    def skip_extensions(self) -> None:
        """Leave out the next children of other namespaces, where their content has no effect."""
        while self._position < len(self._children) and self._is_extension(self._children[self._position]):
            self._position += 1

    def _is_extension(self, child: etree._Element) -> bool:
        return etree.QName(child).namespace not in (None, etree.QName(self.element).namespace)

    def check_end(self, *, extensible: bool = False) -> None:
        """Raise for remaining children: extensions are not supported, others are not valid."""
        if self._position == len(self._children):
            return
        child = self._children[self._position]
        if extensible and self._is_extension(child):
            raise_header_error(child, "extension elements are not supported", NOT_SUPPORTED)
        raise_header_error(
            child, f"{etree.QName(child).localname[:80]} is not allowed here, or is not in its place"
        )
