"""Every place of one document, by pointer and by XPath, found in one pass.

An error names a pointer; whoever puts it right wants the XPath and the line as well, also
of a place where nothing stands yet.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from gateway.wire.pointers import walk
from gateway.wire.xml import xpath_of

__all__ = ["Places"]


class Places:
    """The places of the document of `root`, a submission, declaration or response."""

    def __init__(self, root: etree._Element) -> None:
        self._root = root
        self._elements: dict[str, etree._Element] = {}
        self._pointers: dict[etree._Element, str] = {}
        for element, pointer in walk(root):
            self._elements.setdefault(pointer, element)
            self._pointers[element] = pointer

    def pointer(self, element: etree._Element, attribute: str | None = None) -> str:
        """Return the pointer of an element of the document, or of one of its attributes."""
        pointer = self._pointers.get(element, "")
        return pointer if attribute is None else f"{pointer}/@{etree.QName(attribute).localname}"

    def element(self, pointer: str) -> etree._Element | None:
        """Return the element that `pointer` (or its attribute's owner) names, or None."""
        return self._elements.get(pointer.partition("/@")[0]) if pointer else None

    def nearest(self, pointer: str) -> etree._Element:
        """Return the element that `pointer` names, or the innermost one around it that is there."""
        place = pointer.partition("/@")[0]
        while place and place not in self._elements:
            place = place.rpartition("/")[0]
        return self._elements[place] if place else self._root

    def xpath(self, pointer: str) -> str:
        """Return the XPath of what `pointer` names, or of the innermost element around it."""
        element = self.nearest(pointer)
        owner, mark, name = pointer.partition("/@")
        path = xpath_of(element)
        here = mark and self._elements.get(owner) is element
        found = here and any(etree.QName(key).localname == name for key in map(str, element.attrib))
        return f"{path}/@{name}" if found else path

    def line(self, pointer: str) -> int:
        """Return the line of what `pointer` names, or of the innermost element around it; 0 when unknown."""
        element: Any = self.nearest(pointer)
        return int(element.sourceline or 0)
