"""Completes the tree of a declaration: adds missing elements and numbers, and sorts the elements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

from gateway.harmonize.split.submission_index import DEC
from gateway.wire import load_wco_elements

_NUMBER: Final = "SequenceNumeric"


def descend_declaration(element: etree._Element, names: Iterable[str]) -> etree._Element:
    """Return the element at the path `names` below `element`; missing elements are added."""
    for name in names:
        child = element.find(f"{{{DEC}}}{name}")
        element = etree.SubElement(element, f"{{{DEC}}}{name}") if child is None else child
    return element


def add_sequence_numbers(declaration: etree._Element) -> None:
    """Add the sequence numbers that the declaration's schema requires and that are not there."""
    pending = [(declaration, "Declaration")]
    while pending:
        element, path = pending.pop()
        if f"{path}/{_NUMBER}" in load_wco_elements() and element.find(f"{{{DEC}}}{_NUMBER}") is None:
            position = 1 + sum(1 for _ in element.itersiblings(element.tag, preceding=True))
            etree.SubElement(element, f"{{{DEC}}}{_NUMBER}").text = str(position)
        pending += _list_children(element, path)


def sort_declaration(declaration: etree._Element) -> None:
    """Sort the children of every element by the order of the declaration's schema."""
    order = {wco_path: position for position, wco_path in enumerate(load_wco_elements())}
    pending = [(declaration, "Declaration")]
    while pending:
        element, path = pending.pop()
        children = _list_children(element, path)
        children.sort(key=lambda pair: order.get(pair[1], 0))
        for child, _ in children:
            element.append(child)
        pending.extend(children)


def _list_children(element: etree._Element, path: str) -> list[tuple[etree._Element, str]]:
    """Return the children of the declaration's namespace, each with its path of names."""
    return [
        (child, f"{path}/{etree.QName(child).localname}")
        for child in element
        if str(child.tag).startswith(f"{{{DEC}}}")
    ]
