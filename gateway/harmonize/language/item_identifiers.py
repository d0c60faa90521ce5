"""How the items and the type of a document are named to its agency: read off the document's own lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.source_expressions import Constant, SerialNumber

__all__ = ["ALL_ITEMS", "ItemIdentifiers", "find_item_identifiers", "find_type_code"]

#: The item that stands for all items: no item has the number 0.
ALL_ITEMS: Final = "0"
_PLAIN: Final = re.compile(r"[0-9]{1,5}")
_ANY: Final = re.compile(r"(?:[A-Z][A-Z0-9]{2})?([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ItemIdentifiers:
    """The identifiers of items: a prefix and the item's number, or the number alone.

    `known` is false where the document is not known: then any prefix of three is taken.
    """

    prefix: str = ""
    width: int = 1
    known: bool = True

    def parse_item_number(self, identifier: str) -> str | None:
        """Return the item's sequence number, `ALL_ITEMS` for all items, None when it is no identifier."""
        if not self.known:
            match = _ANY.fullmatch(identifier)
            return str(int(match[1])) if match else None
        digits = identifier.removeprefix(self.prefix)
        if not _PLAIN.fullmatch(digits):
            return None
        number = str(int(digits))
        return number if self.format_item_identifier(number) == identifier else None

    def format_item_identifier(self, number: str) -> str:
        """Return how the item of this sequence number is named."""
        return self.prefix + number.rjust(self.width, "0")


def find_item_identifiers(document: DocumentMapping | None) -> ItemIdentifiers:
    """Return how a document names its items: by its serial numbers, else by their own numbers."""
    if document is None:
        return ItemIdentifiers(known=False)
    for target in document.root.walk_elements():
        source = target.content.source if target.content is not None else None
        if isinstance(source, SerialNumber):
            return ItemIdentifiers(source.prefix, source.width)
    return ItemIdentifiers()


def find_type_code(document: DocumentMapping) -> str | None:
    """Return the code by which a document's requests name their own kind; None when they do not."""
    for child in document.root.children:
        source = child.content.source if child.content is not None else None
        if child.name == "TypeCode" and isinstance(source, Constant):
            return source.text
    return None
