"""Reads the P-Mode files of other products: their values, and the terms of the hub for their paths.

The names, and their meaning, are in ``peer_tables.toml``; any other name in a file is a mistake.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.errors import MISUSE, GatewayError
from gateway.wire import is_xml_text, list_attributes, parse_xml

_TABLES: Final = tomllib.loads(files(__package__).joinpath("peer_tables.toml").read_text("utf-8"))


def _expand_paths(paths: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each path with its term, those of a side for both sides and those of a leg for both legs."""
    for path, term in paths.items():
        for side in ("Initiator", "Responder") if "{Side}" in path else ("",):
            for number in "12" if "{N}" in path else ("",):
                yield (
                    path.replace("{Side}", side).replace("{N}", number),
                    term.replace("{side}", side.lower()).replace("{N}", number),
                )


#: By product and type: each name (attributes with ``@``) and its type. The empty type is a text.
PEER_NAMES: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = _TABLES["names"]
#: At the end of the type of a name: it may be there several times.
REPEATED: Final = "*"
#: Our terms by product and path.
PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    product: dict(_expand_paths(paths)) for product, paths in _TABLES["paths"].items()
}
#: Parts of paths that are a matter of the other product, and why.
UNNEEDED: Final[Mapping[str, str]] = _TABLES["unneeded"]
#: What Holodeck B2B takes where a file says nothing, by the end of a path.
DEFAULTS: Final[Mapping[str, str]] = _TABLES["defaults"]
#: The terms whose values have other names in the other products.
NAMED_TERMS: Final = frozenset(
    ("signature_algorithm", "hash_function", "token_reference", "cipher", "compression")
)
#: Our values by these names.
VALUES: Final[Mapping[str, str]] = _TABLES["values"]
#: For terms that the gateway holds in any case: the one value that it holds.
HELD_VALUES: Final[Mapping[str, str]] = _TABLES["held"]

#: The namespace of every element of Holodeck B2B.
_HOLODECK_NAMESPACE: Final = "http://holodeck-b2b.org/schemas/2014/10/pmode"
_HOLODECK: Final = "{http://holodeck-b2b.org/schemas/"
_SCHEMA_INSTANCE: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
_MAX_BYTES: Final = 1 << 20
_PHASE4_KEYS: Final = ("MEP", "MEPBinding", "Leg1")
#: The numbers of legs by the label that says which one it is; without it they are in their order.
_LEG_LABELS: Final = {"REQUEST": 1, "REPLY": 2}
_WHOLE: Final = "PMode"


class PeerLeaf(NamedTuple):
    """A value of a P-Mode file; `path` has the names from the root, without it, joined by ``/``."""

    path: str
    value: str
    location: str


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
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def read_peer_leaves(data: bytes, name: str) -> tuple[PeerLeaf, ...]:
    """Return the leaves of a file that `find_peer_product` knows.

    Raises GW808 for a name that the product does not have at this place, for one that occurs twice, and for a
    value that no message can carry.
    """
    if _parse_json(data) is None:
        root = parse_xml(data)
        _check_namespace(root, name)
        return tuple(_walk_elements(root, _WHOLE, "", name))

    def make_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise GatewayError(MISUSE, f"key {twice[:60]!r} is written twice", name)
        return table

    leaves = tuple(_walk_values(json.loads(data, object_pairs_hook=make_table), _WHOLE, "", name))
    for leaf in leaves:
        if not is_xml_text(leaf.value):
            raise GatewayError(MISUSE, "this text has a character that no message can carry", leaf.location)
    return leaves


def _find_type(product: str, kind: str, parent: str, name: str, location: str) -> str:
    """Return the type of `name` in a `parent` of type `kind`; raise GW808 where it has no such name."""
    names = PEER_NAMES[product].get(kind, {})
    if name not in names:
        rest = f"it has {', '.join(names)}" if names else "it is a text"
        raise GatewayError(
            MISUSE, f"{parent} of a P-Mode of {product} has no {name[:60]!r}: {rest}", location
        )
    return names[name]


def _check_namespace(element: etree._Element, name: str) -> None:
    namespace = etree.QName(element).namespace
    if namespace != _HOLODECK_NAMESPACE:
        wrong_namespace = f"{etree.QName(element).localname[:60]} has the namespace {str(namespace)[:120]}"
        detail = f"{wrong_namespace}; that of a P-Mode of holodeck is {_HOLODECK_NAMESPACE}"
        raise GatewayError(MISUSE, detail, f"{name}:{element.sourceline}")


def _walk_elements(element: etree._Element, kind: str, path: str, name: str) -> Iterator[PeerLeaf]:
    tag, location = etree.QName(element).localname, f"{name}:{element.sourceline}"
    for key, text in list_attributes(element):
        if not str(key).startswith(_SCHEMA_INSTANCE):
            _find_type("holodeck", kind, tag, f"@{key!s}", location)
            yield PeerLeaf(f"{path}/@{key!s}".lstrip("/"), str(text), location)
    children = [child for child in element if isinstance(child.tag, str)]
    counts: dict[str, int] = {}
    for child in children:
        _check_namespace(child, name)
        step, inner_place = etree.QName(child).localname, f"{name}:{child.sourceline}"
        inner = _find_type("holodeck", kind, tag, step, inner_place)
        count = counts[step] = counts.get(step, 0) + 1
        if count > 1 and not inner.endswith(REPEATED):
            raise GatewayError(MISUSE, f"{tag} of a P-Mode of holodeck has {step} twice", inner_place)
        if step == "Leg":
            step = f"Leg{_number_leg(child, children, inner_place)}"
        elif count > 1:
            step = f"{step}{count}"
        yield from _walk_elements(child, inner.removesuffix(REPEATED), f"{path}/{step}".lstrip("/"), name)
    if not children:
        yield PeerLeaf(path, (element.text or "").strip(), location)


def _number_leg(leg: etree._Element, siblings: list[etree._Element], location: str) -> int:
    """Return 1 for the leg of the request, 2 for that of the reply; raise GW808 for unclear labels."""
    legs = [sibling for sibling in siblings if sibling.tag == leg.tag]
    labels = [sibling.attrib["label"] for sibling in legs if "label" in sibling.attrib]
    if len(legs) > 2 or not set(labels) <= set(_LEG_LABELS) or len(set(labels)) < len(labels):
        wrong_labels = (
            f"there are {len(legs)} legs with the labels {', '.join(map(str, labels))[:60] or 'none'}"
        )
        raise GatewayError(MISUSE, f"{wrong_labels}: at most one REQUEST and one REPLY", location)
    if len(legs) == 1 or not labels:
        return legs.index(leg) + 1
    label = leg.get("label")
    return 3 - _LEG_LABELS[str(labels[0])] if label is None else _LEG_LABELS[label]


def _walk_values(value: Any, kind: str, path: str, name: str) -> Iterator[PeerLeaf]:
    location = f"{name}: /{path}"
    if isinstance(value, dict):
        for key, inner_value in value.items():
            step = f"{path}/{key}".lstrip("/")
            key_place = f"{name}: /{step[:200]}"
            inner = _find_type("phase4", kind.removesuffix(REPEATED), _name_last(path), key, key_place)
            yield from _walk_values(inner_value, inner, step, name)
    elif isinstance(value, list):
        if not kind.endswith(REPEATED):
            raise GatewayError(MISUSE, f"{_name_last(path)} of a P-Mode of phase4 is no list", location)
        for number, member in enumerate(value):
            yield from _walk_values(member, kind.removesuffix(REPEATED), f"{path}/{number}", name)
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield PeerLeaf(path, text, location)


def _name_last(path: str) -> str:
    return path.rpartition("/")[2] or _WHOLE
