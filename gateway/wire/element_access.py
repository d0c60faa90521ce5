"""Attributes, texts and paths of elements.

libxml2 copies the value of an attribute. If it has no memory for that, lxml returns None as for a missing
attribute, and ends the process when it lists the values. The functions here distinguish these cases.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, overload

from lxml import etree

from gateway.errors import NO_ROOM, GatewayError
from gateway.wire.namespaces import DOCUMENT, PREFIXES
from gateway.wire.text_characters import normalize_text


def read_leaf_text(element: etree._Element) -> str:
    """Return the whole text of a leaf as a value: in Normalization Form C, as all values are compared.

    A comment splits a text in two. A reader of only the first part would read another value than
    the schema validated and the signature covers.
    """
    text = element.text or ""
    return normalize_text(text + "".join([child.tail or "" for child in element]))


@overload
def read_attribute(element: etree._Element, name: str) -> str | None: ...


@overload
def read_attribute(element: etree._Element, name: str, default: str) -> str: ...


def read_attribute(element: etree._Element, name: str, default: str | None = None) -> str | None:
    """Return the value of an attribute, by its qualified name; raise GW806 where memory lacks for it."""
    text = element.get(name)
    if text is not None:
        return text
    # To ask for the name alone needs no memory.
    if name in element.attrib:
        raise GatewayError(NO_ROOM, "memory is used up")
    return default


def list_attributes(element: etree._Element) -> list[tuple[str, str]]:
    """Return the qualified names and the values of all attributes, in the order of the document."""
    return [(name, read_attribute(element, name, "")) for name in map(str, element.keys())]


_PREFIX_BY_NAMESPACE: Final = {uri: prefix for prefix, uri in PREFIXES.items()}
#: The namespace of an agency document, and its id, which is its prefix in a path.
_AGENCY_DOCUMENT: Final = re.compile(re.escape(DOCUMENT) + r"([a-z][a-z0-9.-]*):1")


def build_xpath(element: etree._Element) -> str:
    """Return a readable absolute path to `element`, with the prefixes of the gateway."""
    steps: list[str] = []
    current: etree._Element | None = element
    while current is not None:
        steps.append(_format_xpath_step(current))
        current = current.getparent()
    return "/" + "/".join(reversed(steps))


class XPathIndex:
    """The paths (see `build_xpath`) of a document that does not change: children are counted only once."""

    def __init__(self) -> None:
        self._paths: dict[etree._Element, str] = {}

    def get_xpath(self, element: etree._Element) -> str:
        """Return the absolute path to `element`."""
        xpath = self._paths.get(element)
        if xpath is not None:
            return xpath
        parent = element.getparent()
        if parent is None:
            xpath = self._paths[element] = build_xpath(element)
            return xpath
        parent_xpath = self.get_xpath(parent)
        tag_counts = Counter(child.tag for child in parent)
        position_counts: Counter[object] = Counter()
        for child in parent:
            position_counts[child.tag] += 1
            position_text = (
                f"[{position_counts[child.tag]}]"
                if tag_counts[child.tag] > 1 and isinstance(child.tag, str)
                else ""
            )
            self._paths[child] = f"{parent_xpath}/{_format_node_name(child)}{position_text}"
        return self._paths[element]


def _format_node_name(element: etree._Element) -> str:
    if not isinstance(element.tag, str):
        return "comment()"
    qualified_name, prefix = etree.QName(element.tag), _get_prefix(element)
    return f"{prefix}:{qualified_name.localname}" if prefix else qualified_name.localname


def _get_prefix(element: etree._Element) -> str | None:
    """Return the prefix of an element in a path: fixed for a known namespace, else the sender's prefix."""
    namespace = etree.QName(element.tag).namespace or ""
    document_match = _AGENCY_DOCUMENT.fullmatch(namespace)
    return (
        document_match[1]
        if document_match is not None
        else _PREFIX_BY_NAMESPACE.get(namespace) or element.prefix
    )


def list_xpath_namespaces(root: etree._Element) -> dict[str, str]:
    """Return the namespace of each prefix in the paths (see `build_xpath`) of the elements of `root`."""
    namespaces = {
        prefix: etree.QName(element.tag).namespace or ""
        for element in root.iter(tag=etree.Element)
        if (prefix := _get_prefix(element))
    }
    return dict(sorted(namespaces.items()))


def _format_xpath_step(element: etree._Element) -> str:
    """Return the XPath step from the parent to `element`, with a position if siblings have its name."""
    tag, node_name = element.tag, _format_node_name(element)
    if not isinstance(tag, str):
        return node_name
    preceding_count = sum(1 for _ in element.itersiblings(tag, preceding=True))
    if preceding_count or next(element.itersiblings(tag), None) is not None:
        return f"{node_name}[{preceding_count + 1}]"
    return node_name
