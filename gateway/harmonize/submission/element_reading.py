"""Reads elements in few steps: the children of one, by their tags, and the text of one."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from lxml import etree

__all__ = [
    "find_descendants",
    "find_first_child",
    "has_child_elements",
    "list_children",
    "read_element_text",
]

_get_tag: Final = attrgetter("tag")


def list_children(
    parent: etree._Element, *, spares: bool = False
) -> tuple[list[object], list[etree._Element]]:
    """Return the tags of the children of an element, and the children.

    An object that has told its tag keeps it, in 100 octets. Where memory is to be spared, others tell the
    tags than those that are kept, which takes longer.
    """
    if spares:
        return list(map(_get_tag, parent)), list(parent)
    children = list(parent)
    return list(map(_get_tag, children)), children


def has_child_elements(element: etree._Element) -> bool:
    """Return whether an element holds others, not comments alone."""
    return next(element.iterchildren(tag=etree.Element), None) is not None


def read_element_text(element: etree._Element) -> str:
    """Return the whole text of a text element, including the text after a comment."""
    text = element.text or ""
    if len(element) == 0:
        return text
    return text + "".join([child.tail or "" for child in element])


def find_descendants(base: etree._Element, tags: Sequence[str]) -> list[etree._Element]:
    """Return the elements to which these tags lead, each below the one before, in document order."""
    found = [base]
    for tag in tags:
        found = [child for one in found for child in one.iterchildren(tag)]
    return found


def find_first_child(element: etree._Element, tag: str) -> etree._Element | None:
    """Return the first child of this name."""
    return next(element.iterchildren(tag), None)
