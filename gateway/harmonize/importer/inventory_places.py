"""Finds the line of an inventory that a fault of an imported mapping comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.types import MappingError, SourceMark

__all__ = ["ImportedPlaces", "locate_in_inventory"]

# How a line of a mapping names a field, its meaning or a check.
_NAMES: Final = (
    re.compile(r"\bask(?:ed)?: ([A-Za-z0-9_.]+)"),
    re.compile(r"\bmeans: ([A-Za-z0-9_.]+)"),
    re.compile(r"\bid: (rule_[0-9]+)\b"),
)
_NEAR: Final = 8


@dataclass(frozen=True, slots=True)
class ImportedPlaces:
    """The places of a document in the inventory: of itself, and of its fields and checks by name.

    `slug` is the first part of the meanings of its fields.
    """

    document: str
    slug: str
    mark: SourceMark
    names: Mapping[str, SourceMark]


def locate_in_inventory(error: MappingError, text: str, places: ImportedPlaces) -> MappingError:
    """Return `error` of a line of the mapping `text` as an error of the line of the inventory."""
    name, mark = _find_place(text.splitlines(), error.mark.line, places)
    where = f"{places.document}.unique.{name}" if name else places.document
    return MappingError(mark, where, f"{error.name}: {error.detail.partition(': ')[2]}", error.proof)


def _find_place(lines: list[str], line: int, places: ImportedPlaces) -> tuple[str, SourceMark]:
    """Return the field or check that a line of a mapping, or one of the next below it, names."""
    start = max(line - 1, 0)
    for number, text in enumerate(lines[start : start + _NEAR]):
        if number and _measure_indent(text) <= _measure_indent(lines[start]):
            break
        for form in _NAMES:
            found = form.search(text)
            name = found[1].removeprefix(f"{places.slug}.") if found else ""
            if name in places.names:
                return name, places.names[name]
    return "", places.mark


def _measure_indent(text: str) -> int:
    return len(text) - len(text.lstrip())
