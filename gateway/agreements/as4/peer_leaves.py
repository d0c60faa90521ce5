"""Reads the P-Mode files of other products as a list of leaves: a path, a value, and the place in the file.

Read are the XML of Holodeck B2B (root ``PMode`` of its schema of 2014/10) and the JSON of phase4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.errors import MISUSE, GatewayError
from gateway.wire import is_xml_text, parse_xml

__all__ = ["PeerLeaf", "find_peer_product", "read_peer_leaves"]

_HOLODECK: Final = "{http://holodeck-b2b.org/schemas/2014/10/"
_SCHEMA_LOCATION: Final = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 12
_PHASE4_KEYS: Final = ("MEP", "MEPBinding", "Leg1")


class PeerLeaf(NamedTuple):
    """A value of a P-Mode file; `path` has the names from the root, without it, joined by ``/``."""

    path: str
    value: str
    place: str


def find_peer_product(data: bytes) -> str | None:
    """Return ``holodeck`` or ``phase4`` for a P-Mode file of that product, None for any other file."""
    head = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<") and len(data) <= _MAX_BYTES:
        try:
            root = parse_xml(data)
        except GatewayError:
            return None
        return (
            "holodeck" if str(root.tag).startswith(_HOLODECK) and str(root.tag).endswith("}PMode") else None
        )
    if head.startswith(b"{") and len(data) <= _MAX_BYTES:
        table = _parse_json(data)
        return "phase4" if table is not None and all(name in table for name in _PHASE4_KEYS) else None
    return None


def _parse_json(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_peer_leaves(data: bytes, name: str) -> tuple[PeerLeaf, ...]:
    """Return the leaves of a file that `find_peer_product` knows.

    Raises GW808 for one nested too deeply, with a key twice, or with a value that no message can carry.
    """
    if _parse_json(data) is None:
        return tuple(_walk_elements(parse_xml(data), "", name, 0))

    def make_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise GatewayError(MISUSE, f"key {twice[:60]!r} is written twice", name)
        return table

    leaves = tuple(_walk_values(json.loads(data, object_pairs_hook=make_table), "", name, 0))
    for one in leaves:
        if not is_xml_text(one.value):
            raise GatewayError(MISUSE, "this text has a character that no message can carry", one.place)
    return leaves


def _walk_elements(element: etree._Element, path: str, name: str, depth: int) -> Iterator[PeerLeaf]:
    place = f"{name}:{element.sourceline}"
    if depth > _MAX_DEPTH:
        raise GatewayError(MISUSE, "nested too deeply", place)
    for key, value in element.attrib.items():
        if key != _SCHEMA_LOCATION:
            yield PeerLeaf(f"{path}/@{key!s}".lstrip("/"), str(value), place)
    counts: dict[str, int] = {}
    children = [one for one in element if isinstance(one.tag, str)]
    for child in children:
        tag = etree.QName(child).localname
        counts[tag] = counts.get(tag, 0) + 1
        # The legs are told apart; of what may stand once the second is another path, and not taken.
        own = f"{tag}{counts[tag]}" if tag == "Leg" or counts[tag] > 1 else tag
        yield from _walk_elements(child, f"{path}/{own}".lstrip("/"), name, depth + 1)
    if not children:
        yield PeerLeaf(path, (element.text or "").strip(), place)


def _walk_values(value: Any, path: str, name: str, depth: int) -> Iterator[PeerLeaf]:
    if depth > _MAX_DEPTH:
        raise GatewayError(MISUSE, "nested too deeply", f"{name}: /{path}")
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _walk_values(one, f"{path}/{key}".lstrip("/"), name, depth + 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _walk_values(one, f"{path}/{number}", name, depth + 1)
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield PeerLeaf(path, text, f"{name}: /{path}")
