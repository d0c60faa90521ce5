"""Finds where the requests of a document state the numbers of their goods items, from its mapping alone.

The simulated agency decides each item by its number. Of most shipped documents it knows the place; of any
other the mapping says it: the repetition over the items, and in it the line that carries the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

__all__ = ["ItemPlace", "find_item_place"]

_SEQUENCE: Final = "item.sequence"


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """The path of the element of an item, the path in it of its number, and what stands before the number."""

    item: str
    number: str
    prefix: str = ""

    def read_numbers(self, root: etree._Element) -> Iterator[tuple[int, str]]:
        """Yield the number of each item of a request, and the text that states it."""
        for element in root.iterfind(self.item):
            path, _, attribute = self.number.partition("@")
            holder = element.find(path.rstrip("/")) if path else element
            if holder is not None:
                text = ((holder.get(attribute) if attribute else holder.text) or "").strip()
                digits = text.removeprefix(self.prefix)
                if digits.isdecimal():
                    yield int(digits), text


def find_item_place(mapping: Any) -> ItemPlace | None:
    """Return the place of the items in a mapping as read from YAML; None where no line has their number."""
    for path, spec in _list_lines(mapping.get("puts"), ""):
        each = spec.get("each")
        if isinstance(each, dict) and each.get("item") == "application.items":
            for inner, line in _list_lines(spec.get("puts"), ""):
                serial = str(line.get("serial", ""))
                if serial and line.get("from") == _SEQUENCE:
                    return ItemPlace(path, inner, serial.partition("%")[0])
                if line.get("common") == _SEQUENCE:
                    return ItemPlace(path, inner)
    return None


def _list_lines(puts: Any, above: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines of a mapping with their paths, in any namespace, and those below them."""
    for line in puts or ():
        for target, spec in line.items():
            if not isinstance(spec, dict) or "[" in target or "{" in target:
                continue
            path = above + "/".join(_qualify_step(step) for step in target.split("/"))
            yield path, spec
            yield from _list_lines(spec.get("puts"), f"{path}/")


def _qualify_step(step: str) -> str:
    return step if step.startswith("@") else f"{{*}}{step}"
