"""Index of one document: every element by pointer and by XPath, built in one pass.

An error names a pointer. To correct the document, its author also needs the XPath and the
line, even for an element that does not exist yet.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from gateway.wire.wco_pointers import iterate_pointers
from gateway.wire.xml import build_xpath

__all__ = ["ElementLocations"]


class ElementLocations:
    """The elements of the document of `root`, a submission, declaration or response."""

    def __init__(self, root: etree._Element) -> None:
        self._root = root
        self._elements: dict[str, etree._Element] = {}
        self._pointers: dict[etree._Element, str] = {}
        for element, pointer in iterate_pointers(root):
            self._elements.setdefault(pointer, element)
            self._pointers[element] = pointer

    def get_pointer(self, element: etree._Element, attribute: str | None = None) -> str:
        """Return the pointer of an element of the document, or of one of its attributes."""
        pointer = self._pointers.get(element, "")
        return pointer if attribute is None else f"{pointer}/@{etree.QName(attribute).localname}"

    def find_element(self, pointer: str) -> etree._Element | None:
        """Return the element that `pointer` names (for an attribute: the element that has it), or None."""
        return self._elements.get(pointer.partition("/@")[0]) if pointer else None

    def find_nearest_element(self, pointer: str) -> etree._Element:
        """Return the element that `pointer` names, or the innermost existing element around it."""
        place = pointer.partition("/@")[0]
        while place and place not in self._elements:
            place = place.rpartition("/")[0]
        return self._elements[place] if place else self._root

    def find_xpath(self, pointer: str) -> str:
        """Return the XPath of what `pointer` names, or of the innermost element around it."""
        element = self.find_nearest_element(pointer)
        owner, mark, name = pointer.partition("/@")
        path = build_xpath(element)
        here = mark and self._elements.get(owner) is element
        found = here and any(etree.QName(key).localname == name for key in map(str, element.attrib))
        return f"{path}/@{name}" if found else path

    def find_line_number(self, pointer: str) -> int:
        """Return the line of what `pointer` names, or of the innermost element around it; 0 when unknown."""
        element: Any = self.find_nearest_element(pointer)
        return int(element.sourceline or 0)
