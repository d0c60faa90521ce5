"""Fields of a submission that the split keeps aside, or reads as elements."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from lxml import etree

from gateway.wire import SUB, release_memory

_APPLICATION: Final = f"{{{SUB}}}Application"
_FIELDS: Final = f"{{{SUB}}}Fields"
#: Elements directly in the fields, one for each goods item, from which on they are long.
_LONG: Final = 100
#: The level of zlib that takes the least time.
_QUICK: Final = 1
_AS_IT_IS: Final = nullcontext()
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, collect_ids=False)
_TERSE_PARSER: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, huge_tree=True, collect_ids=False, remove_blank_text=True
)


@dataclass(frozen=True, slots=True)
class _Stowed:
    """The fields of one application: compressed octets, position in the application, and following text."""

    packed: bytes
    position: int
    tail: str | None


class StowedFields:
    """The fields of applications that were taken out of their tree; they are put back while they are read."""

    def __init__(self, applications: Sequence[etree._Element]) -> None:
        """Take long fields out."""
        self._applications = applications
        self._stowed: dict[int, _Stowed] = {}
        self._present: set[int] = set()
        for position, application in enumerate(applications):
            field_elements = list(application.iterchildren(_FIELDS))
            if len(field_elements) == 1 and len(field_elements[0]) >= _LONG:
                self._stow(position, field_elements[0])
            del field_elements
        if self._stowed:
            release_memory()

    @property
    def are_long(self) -> bool:
        """Return whether any fields were long."""
        return bool(self._stowed)

    def put_back(self, positions: Iterable[int]) -> AbstractContextManager[None]:
        """Return a context manager whose block has the fields of the applications at `positions` in the tree.

        They have no blanks between elements. After the block they are removed and their memory is released.
        """
        absent = [
            position for position in positions if position in self._stowed and position not in self._present
        ]
        return self._put_back(absent) if absent else _AS_IT_IS

    @contextmanager
    def _put_back(self, absent: Sequence[int]) -> Iterator[None]:
        """Insert the fields of the applications at positions `absent`; remove them after the block."""
        for position in absent:
            self._insert(position, _parse_without_blanks(zlib.decompress(self._stowed[position].packed)))
        self._present.update(absent)
        try:
            yield
        finally:
            self._present.difference_update(absent)
            for position in absent:
                application = self._applications[position]
                application.remove(application[self._stowed[position].position])
            release_memory()

    def put_all_back(self) -> None:
        """Put all fields back, so that the tree is as it was before."""
        for position, stowed in self._stowed.items():
            self._insert(position, etree.fromstring(zlib.decompress(stowed.packed), _PARSER))
        self._stowed.clear()

    def _stow(self, position: int, fields: etree._Element) -> None:
        """Take `fields` out of the application at `position` and keep them as compressed octets."""
        application = self._applications[position]
        octets = etree.tostring(fields, encoding="UTF-8", xml_declaration=False, with_tail=False)
        self._stowed[position] = _Stowed(
            zlib.compress(octets, _QUICK), application.index(fields), fields.tail
        )
        application.remove(fields)

    def _insert(self, position: int, fields: etree._Element) -> None:
        stowed = self._stowed[position]
        fields.tail = stowed.tail
        self._applications[position].insert(stowed.position, fields)


def stow_fields(root: etree._Element) -> StowedFields:
    """Take the long fields out of the tree of a submission, before it is read further and indexed."""
    return StowedFields(list(root.iterchildren(_APPLICATION)))


def _parse_without_blanks(octets: bytes) -> etree._Element:
    """Return fields without the blanks between their elements; values keep theirs.

    Blanks before a comment or an instruction may belong to a value.
    """
    is_plain = b"<!" not in octets and b"<?" not in octets
    return etree.fromstring(octets, _TERSE_PARSER if is_plain else _PARSER)


_get_tag: Final = attrgetter("tag")


def list_children(
    parent: etree._Element, *, saves_memory: bool = False
) -> tuple[list[object], list[etree._Element]]:
    """Return the tags of the children of an element, and the children.

    An element object keeps its tag in memory, 100 octets, once the tag was read. With `saves_memory` the tags
    are read from other objects than those that are returned: this saves that memory and takes longer.
    """
    if saves_memory:
        return list(map(_get_tag, parent)), list(parent)
    children = list(parent)
    return list(map(_get_tag, children)), children


def has_child_elements(element: etree._Element) -> bool:
    """Return whether an element holds others, not comments alone."""
    return next(element.iterchildren(tag=etree.Element), None) is not None


def read_element_text(element: etree._Element) -> str:
    """Return the whole text of a text element as it was sent, including the text after a comment."""
    text = element.text or ""
    if len(element) == 0:
        return text
    return text + "".join([child.tail or "" for child in element])


def find_descendants(base: etree._Element, tags: Sequence[str]) -> list[etree._Element]:
    """Return the elements to which these tags lead, each below the one before, in document order."""
    reached = [base]
    for tag in tags:
        reached = [child for element in reached for child in element.iterchildren(tag)]
    return reached


def find_first_child(element: etree._Element, tag: str) -> etree._Element | None:
    """Return the first child of this name."""
    return next(element.iterchildren(tag), None)
