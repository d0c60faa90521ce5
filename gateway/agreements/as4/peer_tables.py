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
            for leg_number in "12" if "{N}" in path else ("",):
                yield (
                    path.replace("{Side}", side).replace("{N}", leg_number),
                    term.replace("{side}", side.lower()).replace("{N}", leg_number),
                )


#: By product and type: each name (attributes with ``@``) and its type. The empty type is a text.
PEER_NAMES: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = _TABLES["names"]
#: At the end of the type of a name: it may be there several times.
REPEATED_MARK: Final = "*"
#: Our terms by product and path.
TERMS_BY_PATH: Final[Mapping[str, Mapping[str, str]]] = {
    product: dict(_expand_paths(paths)) for product, paths in _TABLES["paths"].items()
}
#: Parts of paths that are a matter of the other product, and why.
UNNEEDED_REASONS: Final[Mapping[str, str]] = _TABLES["unneeded"]
#: What Holodeck B2B takes where a file says nothing, by the end of a path.
DEFAULT_VALUES: Final[Mapping[str, str]] = _TABLES["defaults"]
#: The terms whose values have other names in the other products.
NAMED_TERMS: Final = frozenset(
    ("signature_algorithm", "hash_function", "token_reference", "cipher", "compression")
)
#: Our values by these names.
VALUE_BY_NAME: Final[Mapping[str, str]] = _TABLES["values"]
#: For terms that the gateway holds in any case: the one value that it holds.
FIXED_VALUES: Final[Mapping[str, str]] = _TABLES["held"]

#: The namespace of every element of Holodeck B2B.
_HOLODECK_NAMESPACE: Final = "http://holodeck-b2b.org/schemas/2014/10/pmode"
_HOLODECK: Final = "{http://holodeck-b2b.org/schemas/"
_SCHEMA_INSTANCE: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
_MAX_BYTES: Final = 1 << 20
_PHASE4_KEYS: Final = ("MEP", "MEPBinding", "Leg1")
#: The numbers of legs by the label that says which one it is; without it they are in their order.
_LEG_LABELS: Final = {"REQUEST": 1, "REPLY": 2}
_ROOT_NAME: Final = "PMode"


class PeerLeaf(NamedTuple):
    """A value of a P-Mode file; `path` has the names from the root, without it, joined by ``/``."""

    path: str
    value: str
    location: str


def find_peer_product(file_octets: bytes) -> str | None:
    """Return ``holodeck`` or ``phase4`` for a P-Mode file of that product, None for any other file."""
    head = file_octets.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<") and len(file_octets) <= _MAX_BYTES:
        try:
            root = parse_xml(file_octets)
        except GatewayError:
            return None
        return (
            "holodeck" if str(root.tag).startswith(_HOLODECK) and str(root.tag).endswith("}PMode") else None
        )
    if head.startswith(b"{") and len(file_octets) <= _MAX_BYTES:
        table = _parse_json(file_octets)
        return "phase4" if table is not None and all(name in table for name in _PHASE4_KEYS) else None
    return None


def _parse_json(file_octets: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(file_octets)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def read_peer_leaves(file_octets: bytes, file_name: str) -> tuple[PeerLeaf, ...]:
    """Return the leaves of a file that `find_peer_product` knows.

    Raises GW808 for a name that the product does not have at this place, for one that occurs twice, and for a
    value that no message can carry.
    """
    if _parse_json(file_octets) is None:
        root = parse_xml(file_octets)
        _check_namespace(root, file_name)
        return tuple(_walk_elements(root, _ROOT_NAME, "", file_name))

    def make_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return a JSON object as a dictionary; raise GW808 for a repeated key."""
        table = dict(pairs)
        if len(table) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated_key = next(key for key in keys if keys.count(key) > 1)
            raise GatewayError(MISUSE, f"key {repeated_key[:60]!r} is written twice", file_name)
        return table

    leaves = tuple(
        _walk_json_values(json.loads(file_octets, object_pairs_hook=make_table), _ROOT_NAME, "", file_name)
    )
    for leaf in leaves:
        if not is_xml_text(leaf.value):
            raise GatewayError(MISUSE, "this text has a character that no message can carry", leaf.location)
    return leaves


def _find_type(product: str, parent_type: str, parent_name: str, name: str, location: str) -> str:
    """Return the type of `name` in a `parent_name` of type `parent_type`; raise GW808 if it has none."""
    type_by_name = PEER_NAMES[product].get(parent_type, {})
    if name not in type_by_name:
        expectation = f"it has {', '.join(type_by_name)}" if type_by_name else "it is a text"
        raise GatewayError(
            MISUSE, f"{parent_name} of a P-Mode of {product} has no {name[:60]!r}: {expectation}", location
        )
    return type_by_name[name]


def _check_namespace(element: etree._Element, file_name: str) -> None:
    namespace = etree.QName(element).namespace
    if namespace != _HOLODECK_NAMESPACE:
        wrong_namespace = f"{etree.QName(element).localname[:60]} has the namespace {str(namespace)[:120]}"
        detail = f"{wrong_namespace}; that of a P-Mode of holodeck is {_HOLODECK_NAMESPACE}"
        raise GatewayError(MISUSE, detail, f"{file_name}:{element.sourceline}")


def _walk_elements(
    element: etree._Element, element_type: str, path: str, file_name: str
) -> Iterator[PeerLeaf]:
    """Yield each attribute, and the text of each element without children, of an XML P-Mode (holodeck).

    `element_type` says which names are allowed. Raises GW808 for another name or a wrong repetition.
    """
    tag, location = etree.QName(element).localname, f"{file_name}:{element.sourceline}"
    for attribute_name, attribute_value in list_attributes(element):
        if not str(attribute_name).startswith(_SCHEMA_INSTANCE):
            _find_type("holodeck", element_type, tag, f"@{attribute_name!s}", location)
            yield PeerLeaf(f"{path}/@{attribute_name!s}".lstrip("/"), str(attribute_value), location)
    children = [child for child in element if isinstance(child.tag, str)]
    counts: dict[str, int] = {}
    for child in children:
        _check_namespace(child, file_name)
        step, child_place = etree.QName(child).localname, f"{file_name}:{child.sourceline}"
        child_type = _find_type("holodeck", element_type, tag, step, child_place)
        count = counts[step] = counts.get(step, 0) + 1
        if count > 1 and not child_type.endswith(REPEATED_MARK):
            raise GatewayError(MISUSE, f"{tag} of a P-Mode of holodeck has {step} twice", child_place)
        if step == "Leg":
            step = f"Leg{_get_leg_number(child, children, child_place)}"
        elif count > 1:
            step = f"{step}{count}"
        yield from _walk_elements(
            child, child_type.removesuffix(REPEATED_MARK), f"{path}/{step}".lstrip("/"), file_name
        )
    if not children:
        yield PeerLeaf(path, (element.text or "").strip(), location)


def _get_leg_number(leg: etree._Element, siblings: list[etree._Element], location: str) -> int:
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


def _walk_json_values(value: Any, value_type: str, path: str, file_name: str) -> Iterator[PeerLeaf]:
    """Yield each plain value of a JSON P-Mode (phase4); null is left out.

    `value_type` says which names are allowed. Raises GW808 for another name or a list in a wrong place.
    """
    location = f"{file_name}: /{path}"
    if isinstance(value, dict):
        for key, inner_value in value.items():
            inner_path = f"{path}/{key}".lstrip("/")
            key_place = f"{file_name}: /{inner_path[:200]}"
            inner_type = _find_type(
                "phase4", value_type.removesuffix(REPEATED_MARK), _get_last_step(path), key, key_place
            )
            yield from _walk_json_values(inner_value, inner_type, inner_path, file_name)
    elif isinstance(value, list):
        if not value_type.endswith(REPEATED_MARK):
            raise GatewayError(MISUSE, f"{_get_last_step(path)} of a P-Mode of phase4 is no list", location)
        for number, member in enumerate(value):
            yield from _walk_json_values(
                member, value_type.removesuffix(REPEATED_MARK), f"{path}/{number}", file_name
            )
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield PeerLeaf(path, text, location)


def _get_last_step(path: str) -> str:
    return path.rpartition("/")[2] or _ROOT_NAME
