"""Finds the common meanings and asked fields of a place in a submission, by path, pointer or name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree

from gateway.harmonize.language import DocumentMapping
from gateway.harmonize.types import CommonMeaning, DataDictionary, UniqueField
from gateway.wire import SUB, load_wco_elements

__all__ = [
    "convert_pointer_to_path",
    "find_common_meanings",
    "find_field_by_element",
    "find_field_by_names",
    "parse_field_pointer",
]

_NUMBER: Final = re.compile(r"\[[^\]]*\]")
_SUPPLEMENT: Final = "SUP/"
_APPLICATION: Final = re.compile(r"APP(?:\[[0-9]+\])?/([^/]+)/(?:ITEM(?:\[[0-9]+\])?/)?(.+)")


def find_common_meanings(dictionary: DataDictionary, path: str) -> Iterator[CommonMeaning]:
    """Yield the meanings whose value, or selecting sibling, is the leaf at `path` (as in the ledger)."""
    place = path.removeprefix(_SUPPLEMENT).partition("/@")[0].removesuffix("/DateTimeString")
    for meaning in dictionary.meanings.values():
        if meaning.supplement == path.startswith(_SUPPLEMENT) and place in (
            meaning.path,
            _get_sibling_path(meaning),
        ):
            yield meaning


def _get_sibling_path(meaning: CommonMeaning) -> str:
    """Return the path of the sibling that selects a meaning among elements of one name, empty if none."""
    if meaning.where is None:
        return ""
    return f"{meaning.path.rpartition('/')[0]}/{meaning.where.element}"


def find_field_by_element(document: DocumentMapping, element: etree._Element) -> UniqueField | None:
    """Return the field that an element inside ``Fields`` answers, None where it answers none."""
    names: list[str] = []
    current: etree._Element | None = element
    while current is not None and current.tag != f"{{{SUB}}}Fields":
        names.insert(0, etree.QName(current).localname)
        current = current.getparent()
    if names[:1] == ["Item"]:
        names = names[1:]
    return find_field_by_names(document, names)


def parse_field_pointer(pointer: str) -> tuple[str, list[str]] | None:
    """Return the document and the element names in the pointer of a unique field, None for other pointers."""
    match = _APPLICATION.fullmatch(_remove_values(pointer))
    return None if match is None else (match[1], match[2].split("/"))


def find_field_by_names(document: DocumentMapping, names: list[str]) -> UniqueField | None:
    """Return the field for the names of nested elements, None where there is none."""
    asks: tuple[UniqueField, ...] = document.asks
    found: UniqueField | None = None
    for name in names:
        found = next((ask for ask in asks if ask.tag == name), None)
        if found is None:
            return None
        asks = found.fields
    return found


def _remove_values(pointer: str) -> str:
    return _NUMBER.sub("", pointer.partition("/@")[0])


def convert_pointer_to_path(pointer: str) -> str:
    """Return the path of names for a pointer (``SUP/…`` in the supplement), empty for an unknown one."""
    place = _remove_values(pointer)
    if place.startswith(_SUPPLEMENT):
        return place
    path = ""
    for segment in place.split("/"):
        known = [
            tag
            for tag in load_wco_elements().values()
            if tag.path.rpartition("/")[0] == path and tag.kind != ""
        ]
        best = next((tag for tag in known if tag.wco_id == segment), None)
        best = best or next((tag for tag in known if tag.path.rpartition("/")[2] == segment), None)
        if best is None:
            return f"{path}/{segment}" if path and segment == "DateTimeString" else ""
        path = best.path
    return path
