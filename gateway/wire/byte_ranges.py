"""Byte ranges of element contents and attribute values in the octets that were signed.

A parsed tree does not record the position of a value in the message; a dispute about a value
needs that position. The ranges are those of the octets as received: entities not expanded,
CDATA sections and comments inside a text included, line breaks as sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from lxml import etree

from gateway.errors import XML_MALFORMED, GatewayError, describe_exception

# A ">" ends a tag unless it is inside an attribute value.
_TAG_END: Final = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE_PATTERN: Final = re.compile(
    r"""[ \t\r\n]([^ \t\r\n=/>"']+)[ \t\r\n]*=[ \t\r\n]*(?:"([^"]*)"|'([^']*)')"""
)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of octets: the first octet, and the one after the last; both count from 0."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ElementRanges:
    """The ranges of one element: the whole, its content, and its attribute values without quotes.

    Names are in Clark notation, as lxml writes them; namespace declarations are not
    attributes.
    """

    name: str
    whole: ByteRange
    content: ByteRange
    attributes: Mapping[str, ByteRange]


@dataclass(slots=True)
class _OpenElement:
    """An element whose end tag has not been read yet."""

    index: int
    name: str
    start: int
    content_start: int
    attributes: dict[str, ByteRange]


@dataclass(slots=True)
class _RangeScanner:
    """One pass of expat; `latin1_text` are the octets of the input, one character for each."""

    latin1_text: str
    parser: Any
    open_elements: list[_OpenElement] = field(default_factory=list)
    ranges: list[ElementRanges | None] = field(default_factory=list)

    def start_element(self, name: str, attributes: list[str]) -> None:
        tag_start = self.parser.CurrentByteIndex
        match = _TAG_END.match(self.latin1_text, tag_start)
        tag_end = match.end() if match is not None else tag_start
        value_ranges = self._iterate_value_ranges(tag_start, tag_end)
        # expat gives the attributes in the order of the tag: their names need no second resolution.
        attribute_ranges = dict(zip(map(_to_clark_name, attributes[::2]), value_ranges, strict=True))
        self.open_elements.append(
            _OpenElement(len(self.ranges), _to_clark_name(name), tag_start, tag_end, attribute_ranges)
        )
        self.ranges.append(None)

    def end_element(self, _name: str) -> None:
        open_element = self.open_elements.pop()
        end_tag_start = self.parser.CurrentByteIndex
        if (
            self.latin1_text[open_element.content_start - 2] == "/"
        ):  # <a/> has no end tag; its expat position is undefined
            content = element_end = open_element.content_start
        else:
            content, element_end = end_tag_start, self.latin1_text.index(">", end_tag_start) + 1
        self.ranges[open_element.index] = ElementRanges(
            open_element.name,
            ByteRange(open_element.start, element_end),
            ByteRange(open_element.content_start, content),
            open_element.attributes,
        )

    def reject_doctype(self, *_: object) -> None:
        raise GatewayError(XML_MALFORMED, "a document type declaration is not allowed")

    def _iterate_value_ranges(self, tag_start: int, tag_end: int) -> Iterator[ByteRange]:
        for match in _ATTRIBUTE_PATTERN.finditer(self.latin1_text, tag_start, tag_end):
            if match[1] != "xmlns" and not match[1].startswith("xmlns:"):
                group_number = 2 if match[2] is not None else 3
                yield ByteRange(match.start(group_number), match.end(group_number))


def scan_element_ranges(data: bytes) -> tuple[ElementRanges, ...]:
    """Return the ranges of every element of the document `data`, in document order.

    `data` is in UTF-8, with or without a byte order mark. Raises GW104 when it is not well-formed or has a
    document type.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    # Only ASCII characters are searched for, whose octets are in no other character of UTF-8.
    scanner = _RangeScanner(data.decode("latin-1"), parser)
    parser.ordered_attributes = True
    parser.specified_attributes = True
    parser.StartElementHandler = scanner.start_element
    parser.EndElementHandler = scanner.end_element
    parser.StartDoctypeDeclHandler = scanner.reject_doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:
        detail = (
            expat.ErrorString(error.code)
            if isinstance(error, expat.ExpatError)
            else describe_exception(error)
        )
        raise GatewayError(XML_MALFORMED, detail or "not well-formed") from None
    finally:
        # The parser and its handlers refer to each other; without this they stay until a garbage collection.
        del scanner.parser
    return tuple(ranges for ranges in scanner.ranges if ranges is not None)


class TreeByteRanges:
    """The byte ranges of a tree that was parsed from `data`.

    Raises GW104 when the tree was not parsed from these octets.
    """

    def __init__(self, data: bytes, root: etree._Element) -> None:
        element_ranges = scan_element_ranges(data)
        elements = list(root.iter(tag=etree.Element))
        if [str(element.tag) for element in elements] != [
            element_range.name for element_range in element_ranges
        ]:
            raise GatewayError(XML_MALFORMED, "the tree was not read from these octets")
        self._ranges_by_element = dict(zip(elements, element_ranges, strict=True))

    def find_content_range(self, element: etree._Element, attribute: str | None = None) -> ByteRange | None:
        """Return the range of the content of `element`, or of the value of its `attribute`, or None."""
        element_ranges = self._ranges_by_element.get(element)
        if element_ranges is None or attribute is None:
            return None if element_ranges is None else element_ranges.content
        return element_ranges.attributes.get(attribute)

    def find_element_range(self, element: etree._Element) -> ByteRange | None:
        """Return the range of `element`, tags included, or None when it is not in the tree."""
        element_ranges = self._ranges_by_element.get(element)
        return None if element_ranges is None else element_ranges.whole


def _to_clark_name(name: str) -> str:
    return f"{{{name}" if "}" in name else name
