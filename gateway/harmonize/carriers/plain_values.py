"""Converts a document between its elements and plain values: texts, tables by name, and lists.

A leaf is its text, or a table with ``#`` and ``@name`` where it may have attributes. An element that may
occur several times is a list. The order of names has no meaning: the mapping has the order of elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lxml import etree

from gateway.errors import CARRIED_WRONG, GatewayError
from gateway.harmonize.language import ValueShape

if TYPE_CHECKING:
    from gateway.harmonize.language import NoticeElement, TargetElement


PlainValue: TypeAlias = Any
TEXT: Final = "#"
_SPACE: Final = " \t\r\n"
_NUMBERS: Final = ("decimal", "integer")


@dataclass(slots=True)
class DocumentNode:
    """All elements of one name at one place.

    A `is_leaf` holds a text of one of `shapes`, another element holds `children`. `attributes` has the
    shapes of each attribute by name. `is_repeated` elements may occur there more than once, `may_be_empty`
    ones without a text, or without anything below them.
    """

    name: str
    is_leaf: bool
    is_repeated: bool = False
    may_be_empty: bool = False
    shapes: list[ValueShape] = field(default_factory=list)
    attributes: dict[str, list[ValueShape]] = field(default_factory=dict)
    children: dict[str, DocumentNode] = field(default_factory=dict)

    @property
    def has_number_text(self) -> bool:
        """Return whether the text is always a number."""
        return is_numeric(self.shapes)


def is_numeric(shapes: list[ValueShape]) -> bool:
    """Return whether every one of these shapes is that of a number."""
    return bool(shapes) and all(shape.kind in _NUMBERS and shape.codes is None for shape in shapes)


def make_request_node(targets: Iterable[TargetElement]) -> DocumentNode:
    """Return the node of the targets of one name: their contents together."""
    same = list(targets)
    node = DocumentNode(same[0].name, all(target.content is not None for target in same))
    node.is_repeated = len(same) > 1 or same[0].repetition is not None or same[0].bound.high > 1
    node.may_be_empty = any(target.has_no_text for target in same)
    node.shapes = [target.shape for target in same if target.content is not None]
    groups: dict[str, list[TargetElement]] = {}
    for target in same:
        for name, value in target.fixed:
            node.attributes.setdefault(name, []).append(ValueShape(codes=(value,)))
        for attribute in target.attributes:
            node.attributes.setdefault(attribute.name, []).append(attribute.shape)
        for child in target.children:
            groups.setdefault(child.name, []).append(child)
    node.children = {name: make_request_node(group) for name, group in groups.items()}
    return node


def make_notice_node(slots: Iterable[NoticeElement]) -> DocumentNode:
    """Return the node of the slots of one name: their contents together."""
    same = list(slots)
    first = same[0]
    node = DocumentNode(first.name, first.line is not None)
    max_occurrences = first.line.bound.high if first.line is not None else 1
    node.is_repeated = len(same) > 1 or first.repetition is not None or max_occurrences > 1
    node.may_be_empty = not node.is_leaf and not any(slot.is_required for slot in same)
    node.shapes = [slot.line.shape for slot in same if slot.line is not None]
    groups: dict[str, list[NoticeElement]] = {}
    for slot in same:
        if slot.fixed_attribute is not None:
            node.attributes.setdefault(slot.fixed_attribute[0], []).append(
                ValueShape(codes=(slot.fixed_attribute[1],))
            )
        for attribute in slot.attributes:
            node.attributes.setdefault(attribute.name, []).append(attribute.shape)
        for child in slot.children:
            groups.setdefault(child.name, []).append(child)
    node.children = {name: make_notice_node(group) for name, group in groups.items()}
    return node


def make_carried_error(detail: str, pointer: str) -> GatewayError:
    """Return GW718 for a place in a JSON document or in records; `pointer` locates it.

    Both texts may contain names that an outsider has chosen: unprintable characters are escaped.
    """
    return GatewayError(CARRIED_WRONG, _escape(detail)[:400], _escape(pointer)[:300])


def _escape(text: str) -> str:
    return "".join(
        f"\\u{ord(character):04x}" if _is_unprintable(character) else character for character in text
    )


def _is_unprintable(character: str) -> bool:
    """Return whether XML cannot have a character, or a reader does not see it."""
    code = ord(character)
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF)


def make_plain_value(node: DocumentNode, element: etree._Element, pointer: str) -> PlainValue:
    """Return the content of one element; raise GW718 for content that the mapping does not have there."""
    for name in map(str, element.attrib):
        if name not in node.attributes:
            raise make_carried_error(f"the mapping has no attribute {name[:60]}", pointer)
    attributes = {f"@{name}": element.get(name, "") for name in map(str, element.attrib)}
    text = (element.text or "") + "".join(child.tail or "" for child in element)
    children = list(element.iterchildren(tag=etree.Element))
    if node.is_leaf and not children:
        return {TEXT: text, **attributes} if node.attributes else text
    if node.is_leaf or text.strip(_SPACE):
        raise make_carried_error("text and elements are mixed", pointer)
    plain: dict[str, PlainValue] = dict(attributes)
    for child in children:
        _add_plain_child(node, child, plain, pointer)
    return plain


def _add_plain_child(
    node: DocumentNode, child: etree._Element, plain: dict[str, PlainValue], pointer: str
) -> None:
    """Add the value of `child` to `plain`, to a list where it is repeated.

    Raise GW718 for an element that the mapping does not have, or that it has only once.
    """
    tag = etree.QName(child)
    inner, at = node.children.get(tag.localname), f"{pointer}/{tag.localname}"
    parent = child.getparent()
    if inner is None or parent is None or tag.namespace != etree.QName(parent).namespace:
        raise make_carried_error("the mapping has no such element", at)
    value = make_plain_value(inner, child, at)
    if inner.is_repeated:
        plain.setdefault(inner.name, []).append(value)
    elif plain.setdefault(inner.name, value) is not value:
        raise make_carried_error("the mapping has this element once", at)


def build_element(node: DocumentNode, value: PlainValue, namespace: str, pointer: str) -> etree._Element:
    """Return the element of a plain value; raise GW718 with the JSON pointer of a value that does not fit."""
    nsmap: Any = {None: namespace}
    element = etree.Element(f"{{{namespace}}}{node.name}", nsmap=nsmap)
    _fill_element(node, element, value, pointer)
    return element


def _fill_element(node: DocumentNode, element: etree._Element, value: PlainValue, pointer: str) -> None:
    """Write `value` into `element`: its text, attributes and children, in the order of the mapping.

    Raise GW718 for a value that does not fit `node`.
    """
    if node.is_leaf and not node.attributes:
        element.text = _read_text(value, pointer)
        return
    if not isinstance(value, dict):
        raise make_carried_error("an object is expected here", pointer)
    allowed_names = {*(f"@{name}" for name in node.attributes), *((TEXT,) if node.is_leaf else node.children)}
    for name in value:
        if name not in allowed_names:
            raise make_carried_error(f"the mapping has no {name[:60]!r} here", f"{pointer}/{name[:60]}")
    for name in node.attributes:
        if f"@{name}" in value:
            text = _read_text(value[f"@{name}"], f"{pointer}/@{name}")
            _set_attribute(element, name, text, f"{pointer}/@{name}")
    if node.is_leaf:
        if TEXT not in value:
            raise make_carried_error(f"the text {TEXT!r} is missing", pointer)
        element.text = _read_text(value[TEXT], f"{pointer}/{TEXT}")
        return
    for name, inner in node.children.items():
        if name in value:
            _add_children(inner, element, value[name], f"{pointer}/{name}")


def _add_children(inner: DocumentNode, parent: etree._Element, value: PlainValue, pointer: str) -> None:
    """Add an element `inner` to `parent` for the value, or for each entry of an array if it is repeated."""
    if inner.is_repeated and not isinstance(value, list):
        raise make_carried_error("an array is expected here", pointer)
    for position, entry in enumerate(value if inner.is_repeated else [value]):
        at = f"{pointer}/{position}" if inner.is_repeated else pointer
        child = etree.SubElement(parent, f"{{{etree.QName(parent).namespace}}}{inner.name}")
        _fill_element(inner, child, entry, at)


def _set_attribute(element: etree._Element, name: str, text: str, pointer: str) -> None:
    element.set(name, _check_characters(text, pointer))


def _read_text(value: PlainValue, pointer: str) -> str:
    if not isinstance(value, str):
        raise make_carried_error("a text is expected here", pointer)
    return _check_characters(value, pointer)


def _check_characters(text: str, pointer: str) -> str:
    for character in text:
        code = ord(character)
        if (code < 32 and character not in "\t\n\r") or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF):
            raise make_carried_error(f"a document cannot have the character U+{code:04X}", pointer)
    return text
