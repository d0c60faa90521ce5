"""Converts a document between its elements and plain values: texts, tables by name, and lists.

A leaf is its text, or a table with ``#`` and ``@name`` where it may have attributes. An element that may
stand several times is a list. The order of names has no meaning: the mapping has the order of elements.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from lxml import etree

from gateway.errors import CARRIED_WRONG, GatewayError
from gateway.harmonize.carriers.document_nodes import DocumentNode

__all__ = ["PlainValue", "build_element", "make_carried_error", "make_plain_value"]

PlainValue: TypeAlias = Any
TEXT: Final = "#"
_SPACE: Final = " \t\r\n"


def make_carried_error(detail: str, place: str) -> GatewayError:
    """Return GW718 for a place of a document, of JSON or of records.

    A place may have names that an outsider has chosen: what no document of ours can have is escaped.
    """
    return GatewayError(CARRIED_WRONG, _escape(detail)[:400], _escape(place)[:300])


def _escape(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" if _is_unprintable(one) else one for one in text)


def _is_unprintable(character: str) -> bool:
    """Return whether XML cannot have a character, or a reader does not see it."""
    code = ord(character)
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF)


def make_plain_value(node: DocumentNode, element: etree._Element, place: str) -> PlainValue:
    """Return the content of one element; raise GW718 for what the mapping does not have there."""
    for name in map(str, element.attrib):
        if name not in node.attributes:
            raise make_carried_error(f"the mapping has no attribute {name[:60]}", place)
    attributes = {f"@{name}": element.get(name, "") for name in map(str, element.attrib)}
    text = (element.text or "") + "".join(child.tail or "" for child in element)
    children = list(element.iterchildren(tag=etree.Element))
    if node.leaf and not children:
        return {TEXT: text, **attributes} if node.attributes else text
    if node.leaf or text.strip(_SPACE):
        raise make_carried_error("text and elements are mixed", place)
    found: dict[str, PlainValue] = dict(attributes)
    for child in children:
        _add_plain_child(node, child, found, place)
    return found


def _add_plain_child(
    node: DocumentNode, child: etree._Element, found: dict[str, PlainValue], place: str
) -> None:
    tag = etree.QName(child)
    inner, at = node.children.get(tag.localname), f"{place}/{tag.localname}"
    parent = child.getparent()
    if inner is None or parent is None or tag.namespace != etree.QName(parent).namespace:
        raise make_carried_error("the mapping has no such element", at)
    value = make_plain_value(inner, child, at)
    if inner.many:
        found.setdefault(inner.name, []).append(value)
    elif found.setdefault(inner.name, value) is not value:
        raise make_carried_error("the mapping has this element once", at)


def build_element(node: DocumentNode, value: PlainValue, namespace: str, place: str) -> etree._Element:
    """Return the element of a plain value; raise GW718 with the JSON pointer of what does not fit."""
    nsmap: Any = {None: namespace}
    element = etree.Element(f"{{{namespace}}}{node.name}", nsmap=nsmap)
    _fill_element(node, element, value, place)
    return element


def _fill_element(node: DocumentNode, element: etree._Element, value: PlainValue, place: str) -> None:
    if node.leaf and not node.attributes:
        element.text = _read_text(value, place)
        return
    if not isinstance(value, dict):
        raise make_carried_error("an object is expected here", place)
    known = {*(f"@{name}" for name in node.attributes), *((TEXT,) if node.leaf else node.children)}
    for name in value:
        if name not in known:
            raise make_carried_error(f"the mapping has no {name[:60]!r} here", f"{place}/{name[:60]}")
    for name in node.attributes:
        if f"@{name}" in value:
            text = _read_text(value[f"@{name}"], f"{place}/@{name}")
            _set_attribute(element, name, text, f"{place}/@{name}")
    if node.leaf:
        if TEXT not in value:
            raise make_carried_error(f"the text {TEXT!r} is missing", place)
        element.text = _read_text(value[TEXT], f"{place}/{TEXT}")
        return
    for name, inner in node.children.items():
        if name in value:
            _add_children(inner, element, value[name], f"{place}/{name}")


def _add_children(inner: DocumentNode, parent: etree._Element, value: PlainValue, place: str) -> None:
    if inner.many and not isinstance(value, list):
        raise make_carried_error("an array is expected here", place)
    for position, one in enumerate(value if inner.many else [value]):
        at = f"{place}/{position}" if inner.many else place
        child = etree.SubElement(parent, f"{{{etree.QName(parent).namespace}}}{inner.name}")
        _fill_element(inner, child, one, at)


def _set_attribute(element: etree._Element, name: str, text: str, place: str) -> None:
    element.set(name, _check_characters(text, place))


def _read_text(value: PlainValue, place: str) -> str:
    if not isinstance(value, str):
        raise make_carried_error("a text is expected here", place)
    return _check_characters(value, place)


def _check_characters(text: str, place: str) -> str:
    for character in text:
        code = ord(character)
        if (code < 32 and character not in "\t\n\r") or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF):
            raise make_carried_error(f"a document cannot have the character U+{code:04X}", place)
    return text
