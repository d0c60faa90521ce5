"""Reads the unique fields of an inventory: type, bounds, code list, condition, invariants and group."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from gateway.harmonize import CHARSETS, DECIMAL
from gateway.wire import SourceMark, YamlNode, YamlTable

_ABSENT: Final = {"", "null", "~", "none", "None"}
_TYPES: Final = {
    "text": "text",
    "code": "code",
    "identifier": "id",
    "id": "id",
    "quantity": "quantity",
    "measure": "measure",
    "amount": "amount",
    "date": "date",
    "datetime": "datetime",
    "boolean": "boolean",
    "attachment": "attachment",
    "group": "group",
}
_NUMBERS: Final = ("quantity", "measure", "amount")
_TEXT_TYPES: Final = ("text", "id", "code")
# The types that a key may have.
_KEY_TYPES: Final = {
    "max_length": _TEXT_TYPES,
    "max_octets": _TEXT_TYPES,
    "max_bytes": _TEXT_TYPES,
    "charset": _TEXT_TYPES,
    "pattern": _TEXT_TYPES,
    "code_list": ("code",),
    "unit": ("quantity", "measure"),
    "units": ("quantity", "measure"),
    "decimals": _NUMBERS,
    "range": _NUMBERS,
    "currency": ("amount",),
    "currencies": ("amount",),
    "mime": ("attachment",),
    "mimes": ("attachment",),
    "max_mib": ("attachment",),
}
# Keys that say the same; a field has one of each.
_PAIRS: Final = (
    ("unit", "units"),
    ("currency", "currencies"),
    ("mime", "mimes"),
    ("max_octets", "max_bytes"),
)
_LOCATED: Final = (*_KEY_TYPES, "level", "condition", "repeat", "wco_id", "name_ko")
_CARD: Final = re.compile(r"([0-9]{1,6})(?:\.\.([0-9]{1,6}|n|\*|unbounded))?")
# A media type of RFC 6838, section 4.2; the first part is one that IANA has.
_MEDIA_TYPE: Final = re.compile(
    r"(?:application|audio|font|image|message|model|multipart|text|video)/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)
_MAX_REPEATS: Final = 9999
_MAX_GROUP_DEPTH: Final = 6
_HANGUL: Final = re.compile(r"[가-힣ㄱ-ㆎ]")

#: The Korean and the English label of each code, each empty where it is missing.
CodeLabels = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class InventoryInvariant:
    """The text of an invariant in the inventory, with its mark."""

    text: str
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class InventoryField:
    """One unique field of the inventory; a missing value is None or empty.

    `listing` is the name or description of a code list, or its codes with labels; `marks` are the
    places of the keys that are given.
    """

    name: str
    ko: str
    en: str
    type: str
    need: str
    level: str
    max_length: int | None
    max_octets: int | None
    charset: str
    pattern: str
    listing: str | CodeLabels | None
    units: tuple[str, ...]
    currencies: tuple[str, ...]
    decimals: int | None
    bounds: tuple[str, str] | None
    repeat: tuple[int, int] | None
    condition: str
    invariants: tuple[InventoryInvariant, ...]
    mime: tuple[str, ...]
    max_mebibytes: int | None
    note: str
    path: str
    wco: str
    fields: tuple[InventoryField, ...]
    mark: SourceMark
    marks: Mapping[str, SourceMark] = field(default_factory=dict)

    def locate_key(self, *keys: str) -> SourceMark:
        """Return the place of the first of `keys` that is given, else that of the field."""
        return next((self.marks[key] for key in keys if key in self.marks), self.mark)


def find_given_node(table: YamlTable, key: str) -> YamlNode | None:
    """Return the node of `key`, None where it is missing or empty."""
    node = table.get(key)
    return None if node is None or (isinstance(node.value, str) and node.value.strip() in _ABSENT) else node


def read_key_text(table: YamlTable, key: str) -> str:
    """Return the text of `key` on one line, empty where it is missing."""
    node = find_given_node(table, key)
    return " ".join(node.read_text(f"{table.name}.{key}").split()) if node else ""


def list_all_fields(fields: tuple[InventoryField, ...]) -> list[InventoryField]:
    """Return all fields, groups before their members."""
    return [member for field in fields for member in (field, *list_all_fields(field.fields))]


def read_invariants(table: YamlTable) -> tuple[InventoryInvariant, ...]:
    """Return the invariants of a field or document: one text, or a list of them."""
    invariants: list[InventoryInvariant] = []
    for key in ("invariant", "invariants"):
        node = find_given_node(table, key)
        if node is not None:
            name = f"{table.name}.{key}"
            nodes = [node] if isinstance(node.value, str) else node.read_list(name)
            invariants += [InventoryInvariant(entry.read_text(name), entry.mark) for entry in nodes]
    return tuple(invariants)


def read_fields(node: YamlNode, location: str, depth: int = 1) -> tuple[InventoryField, ...]:
    """Return the fields of a list; raise GW502 for a repeated name."""
    if depth > _MAX_GROUP_DEPTH:
        raise node.make_error(location, f"groups at most {_MAX_GROUP_DEPTH} deep", "deeper groups")
    seen: dict[str, InventoryField] = {}
    for entry in node.read_list(location):
        field = _read_field(entry.read_table(location), location, depth)
        key = f"{field.level}/{field.name}"
        if key in seen:
            raise field.mark.make_error(location, f"each name once (first {seen[key].mark})", field.name)
        seen[key] = field
    return tuple(seen.values())


def _read_field(table: YamlTable, location: str, depth: int) -> InventoryField:
    name = table.get_required("name").read_text(f"{location}.name").strip()
    table.name = full = f"{location}.{name}"
    field_type = _TYPES[table.get_required("type").read_choice(f"{full}.type", tuple(_TYPES))]
    need, level = find_given_node(table, "req"), find_given_node(table, "level")
    inner = find_given_node(table, "fields")
    for key in ("verified", "sources", "confidence"):
        table.get(key)
    if (field_type == "group") != (inner is not None):
        raise table.make_error(full, "fields in a group and nowhere else", field_type)
    marks = {key: node.mark for key in _LOCATED if (node := find_given_node(table, key)) is not None}
    _check_keys(field_type, marks, full)
    inventory_field = InventoryField(
        name=name,
        ko=read_key_text(table, "name_ko"),
        en=read_key_text(table, "name_en"),
        type=field_type,
        need=need.read_choice(f"{full}.req", ("M", "C", "O")) if need else "O",
        level=level.read_choice(f"{full}.level", ("header", "item")) if level else "",
        max_length=_read_whole_number(table, "max_length", 1, 100_000),
        max_octets=_read_whole_number(table, "max_octets", 1, 100_000)
        or _read_whole_number(table, "max_bytes", 1, 100_000),
        charset=_read_charset(table),
        pattern=read_key_text(table, "pattern"),
        listing=_read_code_list(table),
        units=_read_several_texts(table, "unit", "units"),
        currencies=_read_several_texts(table, "currency", "currencies"),
        decimals=_read_whole_number(table, "decimals", 0, 12),
        bounds=_read_range(table),
        repeat=_read_repeat(table),
        condition=read_key_text(table, "condition"),
        invariants=read_invariants(table),
        mime=_read_media_types(table),
        max_mebibytes=_read_mebibytes(table),
        note=read_key_text(table, "note"),
        path=read_key_text(table, "path"),
        wco=read_key_text(table, "wco_id"),
        fields=read_fields(inner, full, depth + 1) if inner else (),
        mark=table.mark,
        marks=marks,
    )
    table.reject_unread_keys()
    if inner is not None and not inventory_field.fields:
        raise inner.make_error(f"{full}.fields", "at least one field", "none")
    return inventory_field


def _check_keys(field_type: str, marks: Mapping[str, SourceMark], full: str) -> None:
    """Raise GW502 for a key that a field of type `field_type` cannot have, or that is said twice."""
    for key, kinds in _KEY_TYPES.items():
        if key in marks and field_type not in kinds:
            raise marks[key].make_error(
                f"{full}.{key}", "this key at " + ", ".join(kinds), f"type {field_type}"
            )
    for pair in _PAIRS:
        if all(key in marks for key in pair):
            raise marks[pair[1]].make_error(f"{full}.{pair[1]}", " or ".join(pair), "both")


def _read_whole_number(table: YamlTable, key: str, low: int, high: int) -> int | None:
    node = find_given_node(table, key)
    return None if node is None else node.read_integer(f"{table.name}.{key}", low, high)


def _read_several_texts(table: YamlTable, single: str, many: str) -> tuple[str, ...]:
    """Return the texts of a list that may also be written as a single text."""
    for key in (single, many):
        node = find_given_node(table, key)
        if node is not None:
            name = f"{table.name}.{key}"
            return (
                (node.read_text(name),)
                if isinstance(node.value, str)
                else tuple(node.read_distinct_texts(name))
            )
    return ()


def _read_media_types(table: YamlTable) -> tuple[str, ...]:
    types = _read_several_texts(table, "mime", "mimes")
    for text in types:
        if not _MEDIA_TYPE.fullmatch(text):
            node = find_given_node(table, "mime") or table.get_required("mimes")
            raise node.make_error(f"{table.name}.mime", "a media type as application/pdf or image/jpeg", text)
    return types


def _read_charset(table: YamlTable) -> str:
    node = find_given_node(table, "charset")
    if node is None:
        return "euc-kr"
    name = f"{table.name}.charset"
    return YamlNode(node.read_text(name).strip().lower(), node.mark).read_choice(name, CHARSETS)


def _read_code_list(table: YamlTable) -> str | CodeLabels | None:
    node = find_given_node(table, "code_list")
    name = f"{table.name}.code_list"
    if node is None:
        return None
    if isinstance(node.value, str):
        return " ".join(node.read_text(name).split())
    return read_codes(node, name)


def read_codes(node: YamlNode, name: str) -> dict[str, tuple[str, str]]:
    """Return the codes of a list with their labels, or of a list of codes alone."""
    if isinstance(node.value, list):
        codes = {code: ("", "") for code in node.read_distinct_texts(name)}
        marks = dict(zip(codes, (code_node.mark for code_node in node.value), strict=True))
    else:
        entries = list(node.read_table(name).take_unread_items())
        codes = {code: _read_labels(entry, name) for code, entry, _ in entries}
        marks = {code: mark for code, _, mark in entries}
    for code, mark in marks.items():
        if not code or code != " ".join(code.split()):
            raise mark.make_error(name, "codes without white space at their ends", repr(code))
    return codes


def _read_labels(node: YamlNode, name: str) -> tuple[str, str]:
    """Return the Korean and the English label of a code; of a single text, its letters tell the language."""
    if isinstance(node.value, str):
        text = " ".join(node.value.split())
        return (text, "") if _HANGUL.search(text) else ("", text)
    if isinstance(node.value, list):
        raise node.make_error(name, "a code and its label", node.describe_value())
    table = node.read_table(name)
    labels = read_key_text(table, "ko"), read_key_text(table, "en")
    table.reject_unread_keys()
    return labels


def _read_range(table: YamlTable) -> tuple[str, str] | None:
    node = find_given_node(table, "range")
    if node is None:
        return None
    name = f"{table.name}.range"
    bounds = [entry.read_text(name).strip() for entry in node.read_list(name)]
    if len(bounds) != 2 or not all(DECIMAL.fullmatch(text) for text in bounds):
        raise node.make_error(name, "two numbers [low, high]", ", ".join(bounds))
    if Decimal(bounds[0]) > Decimal(bounds[1]):
        raise node.make_error(name, "the lower number first", ", ".join(bounds))
    return bounds[0], bounds[1]


def _read_repeat(table: YamlTable) -> tuple[int, int] | None:
    node = find_given_node(table, "repeat")
    if node is None:
        return None
    low, high = read_cardinality(node, f"{table.name}.repeat")
    return low, min(high if high is not None else 999, _MAX_REPEATS)


def read_cardinality(node: YamlNode, name: str) -> tuple[int, int | None]:
    """Return the bounds of a cardinality such as ``1``, ``0..1`` or ``1..n``; None is no upper bound."""
    text = node.read_text(name)
    match = _CARD.fullmatch(text.replace(" ", ""))
    low = int(match[1]) if match else 0
    high = None if match and match[2] in ("n", "*", "unbounded") else int((match and match[2]) or low)
    if match is None or high == 0 or (high is not None and low > high):
        raise node.make_error(name, "a cardinality as 1, 0..1, 1..999 or 0..n", text)
    return low, high


def _read_mebibytes(table: YamlTable) -> int | None:
    """Return a size in MiB, a fraction rounded up."""
    node = find_given_node(table, "max_mib")
    if node is None:
        return None
    text = node.read_text(f"{table.name}.max_mib").strip()
    if not DECIMAL.fullmatch(text) or not 0 < Decimal(text) <= 1000:
        raise node.make_error(f"{table.name}.max_mib", "a number of MiB up to 1000", text)
    return -int((-Decimal(text)).to_integral_value(rounding="ROUND_FLOOR"))
