"""Reads which places an amended declaration says it changes, and compares them with what it changes.

WCO Data Model: each Amendment (06A) has one chain of Pointer (97A). A step of the chain has the class
(DocumentSectionCode), which one of them (SequenceNumeric), and the last one the element (TagID). The
chain names a place as the hub's own pointers do: ``42A/67A[1]/68A[2]/23A[1]/137``. A chain that ends
with a class stands for all that is in it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.errors import CHANGE_NOT_NAMED, NAMED_NOT_CHANGED, Problem
from gateway.wire import WCO_DEC, build_pointer, iterate_pointers, read_leaf_text

__all__ = ["PointerFinding", "compare_amendment_pointers", "list_changed_places"]

_DEC: Final = f"{{{WCO_DEC}}}"
_TOP: Final = "42A"
_AMENDMENT: Final = "Amendment"
_ITEM: Final = f"{_DEC}GovernmentAgencyGoodsItem"
#: Why and how it is amended belongs to the amendment itself, and is no change of the declaration.
_OWN: Final = frozenset({"FunctionCode", "AdditionalInformation", _AMENDMENT})


@dataclass(frozen=True, slots=True)
class PointerFinding:
    """A warning about the pointers of an amendment, at its place."""

    problem: Problem
    text: str
    pointer: str


def compare_amendment_pointers(former: etree._Element, amended: etree._Element) -> tuple[PointerFinding, ...]:
    """Return what the pointers of an amended declaration name and it does not change, and the reverse.

    A declaration whose amendments carry no pointer gets no finding: pointers are optional. An item that is
    added or removed is one change, at the place of the item.
    """
    named = _read_chains(amended)
    if not named:
        return ()
    changed = list_changed_places(former, amended)
    whole = _list_moved_items(former, amended)
    told = {next((item for item in whole if _covers(item, place)), place) for place in changed}
    unnamed = [
        PointerFinding(CHANGE_NOT_NAMED, "no pointer of the amendment names this change", place)
        for place in sorted(told)
        if not any(_covers(chain, place) for chain in named)
    ]
    unchanged = [
        PointerFinding(
            NAMED_NOT_CHANGED, f"the pointer names {chain or 'no place'}, which is the same", where
        )
        for chain, where in named.items()
        if not any(_covers(chain, place) for place in changed)
    ]
    return (*unnamed, *unchanged)


def _list_moved_items(former: etree._Element, amended: etree._Element) -> set[str]:
    """Return the places of the goods items that only one of the declarations has: each is one change."""
    before, after = ({place for _, place in _list_items(one)} for one in (former, amended))
    return before ^ after


def _list_items(declaration: etree._Element) -> list[tuple[etree._Element, str]]:
    return [one for one in iterate_pointers(declaration) if one[0].tag == _ITEM]


def _covers(chain: str, place: str) -> bool:
    return bool(chain) and (place == chain or place.startswith((f"{chain}/", f"{chain}[")))


def _read_chains(declaration: etree._Element) -> dict[str, str]:
    """Return the place that each amendment names, with the pointer of the amendment's own chain."""
    found = {}
    for one in declaration.findall(f"{_DEC}{_AMENDMENT}"):
        steps = one.findall(f"{_DEC}Pointer")
        if steps:
            found[_join_chain(steps)] = build_pointer(steps[0], declaration)
    return found


def _join_chain(steps: Collection[etree._Element]) -> str:
    """Return the place of one chain; the declaration itself may be its first step or left out."""
    place = [_TOP]
    for step in steps:
        section = _read(step, "DocumentSectionCode")
        number = _read(step, "SequenceNumeric").strip() or "1"
        if section and section != _TOP:
            place.append(f"{section}[{int(Decimal(number))}]")
        tag = _read(step, "TagID")
        if tag:
            place.append(tag)
    return "/".join(place)


def _read(step: etree._Element, name: str) -> str:
    found = step.find(f"{_DEC}{name}")
    return "" if found is None else read_leaf_text(found).strip()


def list_changed_places(former: etree._Element, amended: etree._Element) -> set[str]:
    """Return the places of the elements whose text or attributes differ, are new, or are gone.

    The function of a declaration, and why it is amended, are no change of what it declares.
    """
    before, after = _list_values(former), _list_values(amended)
    return {place for place in before.keys() | after.keys() if before.get(place) != after.get(place)}


def _list_values(declaration: etree._Element) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    """Return text and attributes of every leaf by its place."""
    own = {child for child in declaration if _is_own(child)}
    return {
        place: (read_leaf_text(element).strip(), tuple(sorted(map(_decode, element.attrib.items()))))
        for element, place in iterate_pointers(declaration)
        if next(element.iterchildren(tag=etree.Element), None) is None and not _is_below(element, own)
    }


def _decode(pair: tuple[object, object]) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _is_own(child: etree._Element) -> bool:
    return isinstance(child.tag, str) and etree.QName(child).localname in _OWN


def _is_below(element: etree._Element, tops: Collection[etree._Element]) -> bool:
    return element in tops or any(one in tops for one in element.iterancestors())
