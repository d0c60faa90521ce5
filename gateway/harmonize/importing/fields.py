"""Reads the unique fields of an inventory: types, bounds, code lists, conditions, invariants, groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import CHARSETS, DECIMAL

__all__ = [
    "Field",
    "Invariant",
    "every_field",
    "given",
    "read_card",
    "read_fields",
    "read_invariants",
    "text_of_key",
]

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
_CARD: Final = re.compile(r"([0-9]{1,6})(?:\.\.([0-9]{1,6}|n|\*|unbounded))?")
_MOST: Final = 9999
_DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class Invariant:
    """An invariant as the inventory writes it, and where."""

    text: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Field:
    """One unique field as the inventory has it; everything that it does not say is None or empty.

    `listing` is the name or description of a code list, or its codes with labels.
    `repeat` is what the inventory says, None where it says nothing.
    """

    name: str
    ko: str
    en: str
    type: str
    need: str
    level: str
    longest: int | None
    octets: int | None
    charset: str
    pattern: str
    listing: str | Mapping[str, str] | None
    units: tuple[str, ...]
    currencies: tuple[str, ...]
    decimals: int | None
    bounds: tuple[str, str] | None
    repeat: tuple[int, int] | None
    condition: str
    invariants: tuple[Invariant, ...]
    mime: tuple[str, ...]
    largest: int | None
    note: str
    path: str
    wco: str
    fields: tuple[Field, ...]
    mark: Mark


def given(table: Table, key: str) -> Node | None:
    """Return the node of `key`, None where it is left out or says nothing."""
    node = table.get(key)
    return None if node is None or (isinstance(node.value, str) and node.value.strip() in _ABSENT) else node


def text_of_key(table: Table, key: str) -> str:
    """Return the text of `key` on one line, empty where it is left out."""
    node = given(table, key)
    return " ".join(node.text(f"{table.name}.{key}").split()) if node else ""


def every_field(fields: tuple[Field, ...]) -> list[Field]:
    """Return all fields, groups before their members."""
    return [one for field in fields for one in (field, *every_field(field.fields))]


def read_invariants(table: Table) -> tuple[Invariant, ...]:
    """Return the invariants of a field or document: one text, or a list of them."""
    found: list[Invariant] = []
    for key in ("invariant", "invariants"):
        node = given(table, key)
        if node is not None:
            name = f"{table.name}.{key}"
            nodes = [node] if isinstance(node.value, str) else node.items(name)
            found += [Invariant(one.text(name), one.mark) for one in nodes]
    return tuple(found)


def read_fields(node: Node, where: str, depth: int = 1) -> tuple[Field, ...]:
    """Return the fields of a list, each name once."""
    if depth > _DEEPEST:
        raise wrong(node.mark, where, f"groups at most {_DEEPEST} deep", "deeper groups")
    seen: dict[str, Field] = {}
    for entry in node.items(where):
        field = _read_field(entry.table(where), where, depth)
        key = f"{field.level}/{field.name}"
        if key in seen:
            raise wrong(field.mark, where, f"each name once (first {seen[key].mark})", field.name)
        seen[key] = field
    return tuple(seen.values())


def _read_field(table: Table, where: str, depth: int) -> Field:
    name = table.need("name").text(f"{where}.name").strip()
    table.name = full = f"{where}.{name}"
    kind = _TYPES[table.need("type").one_of(f"{full}.type", tuple(_TYPES))]
    need, level = given(table, "req"), given(table, "level")
    inner = given(table, "fields")
    if (kind == "group") != (inner is not None):
        raise wrong(table.mark, full, "fields in a group and nowhere else", kind)
    field = Field(
        name=name,
        ko=text_of_key(table, "name_ko"),
        en=text_of_key(table, "name_en"),
        type=kind,
        need=need.one_of(f"{full}.req", ("M", "C", "O")) if need else "O",
        level=level.one_of(f"{full}.level", ("header", "item")) if level else "",
        longest=_whole(table, "max_length", 1, 100_000),
        octets=_whole(table, "max_octets", 1, 100_000) or _whole(table, "max_bytes", 1, 100_000),
        charset=_charset(table),
        pattern=text_of_key(table, "pattern"),
        listing=_listing(table),
        units=_several(table, "unit", "units"),
        currencies=_several(table, "currency", "currencies"),
        decimals=_whole(table, "decimals", 0, 12),
        bounds=_range(table),
        repeat=_repeat(table),
        condition=text_of_key(table, "condition"),
        invariants=read_invariants(table),
        mime=_several(table, "mime", "mimes"),
        largest=_mebibytes(table),
        note=text_of_key(table, "note"),
        path=text_of_key(table, "path"),
        wco=text_of_key(table, "wco_id"),
        fields=read_fields(inner, full, depth + 1) if inner else (),
        mark=table.mark,
    )
    for key in ("verified", "sources", "confidence"):
        table.get(key)
    table.close()
    _fit(field, full)
    return field


def _fit(field: Field, full: str) -> None:
    """Refuse what a field of its type cannot have."""
    said = {
        "code_list": (field.listing is not None, ("code",)),
        "unit": (bool(field.units), ("quantity", "measure")),
        "currency": (bool(field.currencies), ("amount",)),
        "decimals": (field.decimals is not None, _NUMBERS),
        "range": (field.bounds is not None, _NUMBERS),
        "pattern": (bool(field.pattern), ("text", "id", "code")),
        "max_octets": (field.octets is not None, ("text", "id", "code")),
        "mime": (bool(field.mime), ("attachment",)),
        "max_mib": (field.largest is not None, ("attachment",)),
    }
    for key, (there, kinds) in said.items():
        if there and field.type not in kinds:
            raise wrong(field.mark, f"{full}.{key}", "this key at " + ", ".join(kinds), f"type {field.type}")
    if field.type == "group" and not field.fields:
        raise wrong(field.mark, f"{full}.fields", "at least one field", "none")


def _whole(table: Table, key: str, low: int, high: int) -> int | None:
    node = given(table, key)
    return None if node is None else node.number(f"{table.name}.{key}", low, high)


def _several(table: Table, one: str, many: str) -> tuple[str, ...]:
    """Return the texts of a list that may also be written as a single text."""
    for key in (one, many):
        node = given(table, key)
        if node is not None:
            name = f"{table.name}.{key}"
            return (node.text(name),) if isinstance(node.value, str) else tuple(node.texts(name))
    return ()


def _charset(table: Table) -> str:
    node = given(table, "charset")
    if node is None:
        return "euc-kr"
    name = f"{table.name}.charset"
    return Node(node.text(name).strip().lower(), node.mark).one_of(name, CHARSETS)


def _listing(table: Table) -> str | Mapping[str, str] | None:
    node = given(table, "code_list")
    name = f"{table.name}.code_list"
    if node is None:
        return None
    if isinstance(node.value, str):
        return " ".join(node.text(name).split())
    if isinstance(node.value, list):
        return {code: code for code in node.texts(name)}
    codes = {}
    for code, entry, mark in node.table(name).rest():
        if code != " ".join(code.split()) or not code or not isinstance(entry.value, str):
            raise wrong(mark, name, "a code and its label", entry.show())
        codes[code] = " ".join(entry.value.split()) or code
    return codes


def _range(table: Table) -> tuple[str, str] | None:
    node = given(table, "range")
    if node is None:
        return None
    name = f"{table.name}.range"
    bounds = [entry.text(name).strip() for entry in node.items(name)]
    if len(bounds) != 2 or not all(DECIMAL.fullmatch(text) for text in bounds):
        raise wrong(node.mark, name, "two numbers [low, high]", ", ".join(bounds))
    if Decimal(bounds[0]) > Decimal(bounds[1]):
        raise wrong(node.mark, name, "the lower number first", ", ".join(bounds))
    return bounds[0], bounds[1]


def _repeat(table: Table) -> tuple[int, int] | None:
    node = given(table, "repeat")
    if node is None:
        return None
    low, high = read_card(node, f"{table.name}.repeat")
    return low, min(high if high is not None else 999, _MOST)


def read_card(node: Node, name: str) -> tuple[int, int | None]:
    """Return the bounds that ``1``, ``0..1``, ``1..n`` and the like write; None is no upper bound."""
    text = node.text(name)
    match = _CARD.fullmatch(text.replace(" ", ""))
    low = int(match[1]) if match else 0
    high = None if match and match[2] in ("n", "*", "unbounded") else int((match and match[2]) or low)
    if match is None or high == 0 or (high is not None and low > high):
        raise wrong(node.mark, name, "a cardinality as 1, 0..1, 1..999 or 0..n", text)
    return low, high


def _mebibytes(table: Table) -> int | None:
    """Return a size in MiB, a fraction rounded up."""
    node = given(table, "max_mib")
    if node is None:
        return None
    text = node.text(f"{table.name}.max_mib").strip()
    if not DECIMAL.fullmatch(text) or not 0 < Decimal(text) <= 1000:
        raise wrong(node.mark, f"{table.name}.max_mib", "a number of MiB up to 1000", text)
    return -int((-Decimal(text)).to_integral_value(rounding="ROUND_FLOOR"))
