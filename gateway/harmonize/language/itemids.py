"""How the items and the type of a document are named to its agency: read off the document's own lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.sources import Const, Serial

__all__ = ["WHOLE", "ItemIds", "item_ids", "type_code"]

#: The item that stands for all items: no item has the number 0.
WHOLE: Final = "0"
_PLAIN: Final = re.compile(r"[0-9]{1,5}")
_ANY: Final = re.compile(r"(?:[A-Z][A-Z0-9]{2})?([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ItemIds:
    """The identifiers of items: a prefix and the item's number, or the number alone.

    `known` is false where the document is not known: then any prefix of three is taken.
    """

    prefix: str = ""
    width: int = 1
    known: bool = True

    def number(self, identifier: str) -> str | None:
        """Return the item's sequence number, `WHOLE` for all items, None when it is no identifier."""
        if not self.known:
            match = _ANY.fullmatch(identifier)
            return str(int(match[1])) if match else None
        digits = identifier.removeprefix(self.prefix)
        if not _PLAIN.fullmatch(digits):
            return None
        number = str(int(digits))
        return number if self.identifier(number) == identifier else None

    def identifier(self, number: str) -> str:
        """Return how the item of this sequence number is named."""
        return self.prefix + number.rjust(self.width, "0")


def item_ids(document: Document | None) -> ItemIds:
    """Return how a document names its items: by its serial numbers, else by their own numbers."""
    if document is None:
        return ItemIds(known=False)
    for target in document.root.leaves():
        source = target.content.source if target.content is not None else None
        if isinstance(source, Serial):
            return ItemIds(source.prefix, source.width)
    return ItemIds()


def type_code(document: Document) -> str | None:
    """Return the code by which a document's requests name their own kind; None when they do not."""
    for child in document.root.children:
        source = child.content.source if child.content is not None else None
        if child.name == "TypeCode" and isinstance(source, Const):
            return source.text
    return None
