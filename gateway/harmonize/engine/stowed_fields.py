"""Holds the long unique fields of a submission as octets, but for those of the application that is read.

A tree takes eight times as much as its octets. The fields of an application whose answers another one may
share stay where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.wire import SUB, release_memory

__all__ = ["StowedFields"]

_FIELDS: Final = f"{{{SUB}}}Fields"
#: Elements directly in the fields, one for each goods item, from which on they are long.
_LONG: Final = 100
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, collect_ids=False)


@dataclass(frozen=True, slots=True)
class _Stowed:
    """Fields as octets, their place in their application, and the text behind them."""

    octets: bytes
    place: int
    tail: str | None


class StowedFields:
    """The fields of applications that were taken out of their tree; each is put back while it is read."""

    def __init__(self, applications: Sequence[etree._Element], staying: Collection[int]) -> None:
        """Take long fields out, but for those of the applications at the positions `staying`."""
        self._applications = applications
        self._stowed: dict[int, _Stowed] = {}
        for position in set(range(len(applications))).difference(staying):
            found = applications[position].findall(_FIELDS)
            if len(found) == 1 and len(found[0]) >= _LONG:
                self._stow(position, found[0])
            del found
        if self._stowed:
            release_memory()

    @contextmanager
    def put_back(self, position: int) -> Iterator[None]:
        """Have the fields of an application in the tree during the block."""
        stowed = self._stowed.get(position)
        if stowed is None:
            yield
            return
        application = self._applications[position]
        self._insert(application, stowed)
        try:
            yield
        finally:
            application.remove(application[stowed.place])

    def put_all_back(self) -> None:
        """Have the tree as it was."""
        while self._stowed:
            position, stowed = self._stowed.popitem()
            self._insert(self._applications[position], stowed)

    def _stow(self, position: int, fields: etree._Element) -> None:
        application = self._applications[position]
        octets = etree.tostring(fields, encoding="UTF-8", xml_declaration=False, with_tail=False)
        self._stowed[position] = _Stowed(octets, application.index(fields), fields.tail)
        application.remove(fields)

    def _insert(self, application: etree._Element, stowed: _Stowed) -> None:
        fields = etree.fromstring(stowed.octets, _PARSER)
        fields.tail = stowed.tail
        application.insert(stowed.place, fields)
