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
_ATTRIBUTE: Final = re.compile(r"""[ \t\r\n]([^ \t\r\n=/>"']+)[ \t\r\n]*=[ \t\r\n]*(?:"([^"]*)"|'([^']*)')""")


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

    position: int
    name: str
    start: int
    inner: int
    attributes: dict[str, ByteRange]


@dataclass(slots=True)
class _RangeScanner:
    """One pass of expat; `units` are the octets of the input, one character for each."""

    units: str
    parser: Any
    stack: list[_OpenElement] = field(default_factory=list)
    ranges: list[ElementRanges | None] = field(default_factory=list)

    def start_element(self, name: str, attributes: list[str]) -> None:
        first = self.parser.CurrentByteIndex
        match = _TAG_END.match(self.units, first)
        end = match.end() if match is not None else first
        values = self._iterate_value_ranges(first, end)
        # expat gives the attributes in the order of the tag: their names need no second resolution.
        spans = dict(zip(map(_to_clark_name, attributes[::2]), values, strict=True))
        self.stack.append(_OpenElement(len(self.ranges), _to_clark_name(name), first, end, spans))
        self.ranges.append(None)

    def end_element(self, _name: str) -> None:
        opened = self.stack.pop()
        end_tag_start = self.parser.CurrentByteIndex
        if self.units[opened.inner - 2] == "/":  # <a/> has no end tag; its expat position is undefined
            content = last = opened.inner
        else:
            content, last = end_tag_start, self.units.index(">", end_tag_start) + 1
        self.ranges[opened.position] = ElementRanges(
            opened.name,
            ByteRange(opened.start, last),
            ByteRange(opened.inner, content),
            opened.attributes,
        )

    def reject_doctype(self, *_: object) -> None:
        raise GatewayError(XML_MALFORMED, "a document type declaration is not allowed")

    def _iterate_value_ranges(self, first: int, end: int) -> Iterator[ByteRange]:
        for match in _ATTRIBUTE.finditer(self.units, first, end):
            if match[1] != "xmlns" and not match[1].startswith("xmlns:"):
                group = 2 if match[2] is not None else 3
                yield ByteRange(match.start(group), match.end(group))


def scan_element_ranges(data: bytes) -> tuple[ElementRanges, ...]:
    """Return the ranges of every element of the document `data`, in document order.

    `data` is in UTF-8, with or without a byte order mark. Raises GW104 when it is not well-formed or has a
    document type.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    # Only ASCII characters are searched for, whose octets are in no other character of UTF-8.
    scan = _RangeScanner(data.decode("latin-1"), parser)
    parser.ordered_attributes = True
    parser.specified_attributes = True
    parser.StartElementHandler = scan.start_element
    parser.EndElementHandler = scan.end_element
    parser.StartDoctypeDeclHandler = scan.reject_doctype
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
        del scan.parser
    return tuple(ranges for ranges in scan.ranges if ranges is not None)


class TreeByteRanges:
    """The byte ranges of a tree that was parsed from `data`.

    Raises GW104 when the tree was not parsed from these octets.
    """

    def __init__(self, data: bytes, root: etree._Element) -> None:
        spans = scan_element_ranges(data)
        elements = list(root.iter(tag=etree.Element))
        if [str(element.tag) for element in elements] != [span.name for span in spans]:
            raise GatewayError(XML_MALFORMED, "the tree was not read from these octets")
        self._spans = dict(zip(elements, spans, strict=True))

    def find_content_range(self, element: etree._Element, attribute: str | None = None) -> ByteRange | None:
        """Return the range of the content of `element`, or of the value of its `attribute`, or None."""
        span = self._spans.get(element)
        if span is None or attribute is None:
            return None if span is None else span.content
        return span.attributes.get(attribute)

    def find_element_range(self, element: etree._Element) -> ByteRange | None:
        """Return the range of `element`, tags included, or None when it is not in the tree."""
        span = self._spans.get(element)
        return None if span is None else span.whole


def _to_clark_name(name: str) -> str:
    return f"{{{name}" if "}" in name else name
