"""What a change of a message is, and how the changes of text and tree are told to the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from lxml import etree

from gateway.wire import DS, PREFIXES
from tests.xmlsec.opinions.messages import Message

Change = Callable[[Random, Message], Message | None]
"""Returns the changed message, or None where there is nothing of the kind to change."""

CHANGES: Final[dict[str, Change]] = {}
NAMES: Final = {prefix: uri for prefix, uri in PREFIXES.items() if prefix} | {"ds": DS}
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, collect_ids=False)


def text(name: str) -> Callable[[Callable[[Random, str], str | None]], None]:
    """Name a change of the characters of the document."""

    def add(change: Callable[[Random, str], str | None]) -> None:
        def changed(random: Random, message: Message) -> Message | None:
            made = change(random, message.xml.decode())
            return None if made is None else replace(message, xml=made.encode())

        _add(name, changed)

    return add


def tree(name: str) -> Callable[[Callable[[Random, etree._Element], bool]], None]:
    """Name a change of the tree of the document; it says whether it found what to change."""

    def add(change: Callable[[Random, etree._Element], bool]) -> None:
        def changed(random: Random, message: Message) -> Message | None:
            root = etree.fromstring(message.xml, _PARSER)
            if not change(random, root):
                return None
            return replace(message, xml=etree.tostring(root.getroottree(), encoding="utf-8"))

        _add(name, changed)

    return add


def whole(name: str) -> Callable[[Change], None]:
    """Name a change of a message: its document and its parts."""
    return lambda change: _add(name, change)


def _add(name: str, change: Change) -> None:
    if name in CHANGES:
        raise ValueError(f"two changes are called {name}")
    CHANGES[name] = change


def found(root: etree._Element, path: str) -> list[etree._Element]:
    """Return the elements at a path in the usual prefixes."""
    selected: list[etree._Element] = root.xpath(path, namespaces=NAMES)  # type: ignore[assignment]
    return selected


def outside(root: etree._Element) -> list[etree._Element]:
    """Return the elements outside the signature, the root among them, and those in its Objects."""
    return found(root, "//*[not(ancestor-or-self::ds:Signature) or ancestor-or-self::ds:Object]")
