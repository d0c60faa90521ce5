"""Reads the unique fields of a document, each with type, bounds, labels and requirement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from gateway.harmonize.types.code_lists import CodeList, read_pattern
from gateway.harmonize.types.condition_reader import read_condition
from gateway.harmonize.types.data_dictionary import DataDictionary
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, YamlTable, make_mapping_error
from gateway.harmonize.types.unique_fields import FieldRequirement, UniqueField, to_element_name, walk_fields
from gateway.harmonize.types.unit_table import NO_UNITS, UnitTable
from gateway.harmonize.types.value_shapes import DECIMAL, ValueShape

__all__ = [
    "read_range",
    "read_unique_fields",
]

_TYPES: Final = (
    "text",
    "code",
    "id",
    "quantity",
    "measure",
    "amount",
    "date",
    "datetime",
    "boolean",
    "attachment",
    "group",
)


_MOST_REPEATS: Final = 9999


_NUMBERS: Final = ("quantity", "measure", "amount")


def read_unique_fields(
    node: YamlNode,
    lists: Mapping[str, CodeList],
    dictionary: DataDictionary,
    units: UnitTable = NO_UNITS,
) -> tuple[UniqueField, ...]:
    """Return the fields that `node` declares; raise GW502 for a meaning that is common or asked twice."""
    asks = [
        _read_field(name, value, mark, (lists, "", ""))
        for name, value, mark in node.read_table("asks").take_unread_items()
    ]
    every = list(walk_fields(tuple(asks)))
    seen: dict[str, UniqueField] = {}
    for ask in every:
        if ask.means in dictionary.meanings:
            place = dictionary.meanings[ask.means].mark
            expected = f"a meaning that is not common ({place})"
            raise make_mapping_error(ask.mark, ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means in seen:
            expected = f"a meaning of its own ({seen[ask.means].name} has it)"
            raise make_mapping_error(ask.mark, ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means:
            seen[ask.means] = ask
    names = {ask.name: ask for ask in every}
    return tuple(_attach_condition(ask, node, names, (dictionary, lists, units)) for ask in asks)


def _read_field(
    name: str, node: YamlNode, mark: SourceMark, context: tuple[Mapping[str, CodeList], str, str]
) -> UniqueField:
    lists, group, home = context
    table = node.read_table(name)
    kind = table.get_required("type").read_choice("type", _TYPES)
    full = f"{group}.{name}" if group else name
    per_node = table.get("per")
    if bool(group) == (per_node is not None):
        raise make_mapping_error(
            mark, full, "per outside groups only, and there always", "none" if per_node is None else "per"
        )
    per = per_node.read_choice("per", ("application", "item")) if per_node else "group"
    home = home or per
    fields = _read_group_members(table, full, (lists, full, home)) if kind == "group" else ()
    shape, labels = _read_shape(table, kind, lists)
    ask = UniqueField(
        name=full,
        tag=to_element_name(name),
        type=kind,
        shape=shape,
        per=per,
        means=table.read_text("means") if kind == "group" else table.get_required("means").read_text("means"),
        requirement=_read_plain_requirement(table),
        units=_read_units(table, kind, lists),
        repeat=_read_repeat_bounds(table),
        fields=fields,
        mime=tuple(mime.read_distinct_texts("mime")) if (mime := table.get("mime")) else (),
        max_mib=size.read_integer("max_mib", 1, 1000) if (size := table.get("max_mib")) else None,
        labels=labels,
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        mark=mark,
        group=group,
        home=home,
        shared=(flag := table.get("shared")) is not None
        and flag.read_choice("shared", ("yes", "no")) == "yes",
    )
    table.read_text("note")
    table.reject_unread_keys()
    _check_shared_field(ask)
    if not name.replace("_", "").isalnum() or not name.isascii() or not ask.tag[:1].isalpha():
        raise make_mapping_error(mark, full, "a name of letters, digits and _", name)
    return ask


def _check_shared_field(ask: UniqueField) -> None:
    """Raise GW502 for a shared field that is without meaning, a member of a group, or an attachment."""
    if not ask.shared:
        return
    if ask.group:
        raise make_mapping_error(ask.mark, ask.name, "a whole group that is shared", "one field of it")
    if not ask.means:
        raise make_mapping_error(ask.mark, ask.name, "a meaning (means), by which it is shared", "none")
    if any(one.type == "attachment" for one in walk_fields((ask,))):
        raise make_mapping_error(
            ask.mark, ask.name, "an attachment of each application of its own", "a shared one"
        )


def _read_group_members(
    table: YamlTable, full: str, context: tuple[Mapping[str, CodeList], str, str]
) -> tuple[UniqueField, ...]:
    node = table.get_required("fields")
    fields = tuple(
        _read_field(key, value, at, context)
        for key, value, at in node.read_table(f"{full}.fields").take_unread_items()
    )
    if not fields:
        raise make_mapping_error(node.mark, f"{full}.fields", "at least one field", "none")
    return fields


def _read_repeat_bounds(table: YamlTable) -> tuple[int, int]:
    node = table.get("repeat")
    if node is None:
        return 0, 1
    low, high = node.read_bounds("repeat", _MOST_REPEATS)
    if not 1 <= high <= _MOST_REPEATS:
        raise make_mapping_error(
            node.mark, "repeat", f"a highest number from 1 to {_MOST_REPEATS}", str(high)
        )
    return low, high


def _read_plain_requirement(table: YamlTable) -> FieldRequirement:
    node = table.get("req")
    if node is None or not isinstance(node.value, str):
        return FieldRequirement()
    return FieldRequirement(mandatory=node.read_choice("req", ("M", "O")) == "M")


def _attach_condition(
    ask: UniqueField,
    node: YamlNode,
    names: Mapping[str, UniqueField],
    context: tuple[DataDictionary, Mapping[str, CodeList], UnitTable],
) -> UniqueField:
    """Return `ask` with its condition, read after all names are known, since conditions name fields."""
    assert isinstance(node.value, dict)
    own = node.value[ask.name.rpartition(".")[2]]
    assert isinstance(own.value, dict)
    requirement = ask.requirement
    req = own.value.get("req")
    if req is not None and isinstance(req.value, dict):
        table = req.read_table(f"{ask.name}.req")
        when = read_condition(table.get_required("when"), names, *context)
        otherwise = table.get("otherwise")
        forbidden = (
            otherwise is not None
            and otherwise.read_choice("otherwise", ("optional", "forbidden")) == "forbidden"
        )
        table.reject_unread_keys()
        requirement = FieldRequirement(when=when, forbidden_otherwise=forbidden)
    fields = tuple(_attach_condition(field, own.value["fields"], names, context) for field in ask.fields)
    return replace(ask, requirement=requirement, fields=fields)


def _read_units(table: YamlTable, kind: str, lists: Mapping[str, CodeList]) -> tuple[str, ...]:
    """Return the units that a number may have, or for an amount its currencies."""
    if kind == "amount":
        currencies = table.get_required("currencies")
        return lists[currencies.read_choice("currencies", tuple(lists))].codes
    units, unit = table.get("units"), table.get("unit")
    if kind not in ("quantity", "measure"):
        return ()
    if (units is None) == (unit is None):
        raise make_mapping_error(table.mark, table.name, "either unit or units", "both or none")
    return tuple(units.read_distinct_texts("units")) if units else (table.read_text("unit"),)


def _read_shape(
    table: YamlTable, kind: str, lists: Mapping[str, CodeList]
) -> tuple[ValueShape, Mapping[str, tuple[str, str]]]:
    if kind == "code":
        return _read_code_shape(table, lists)
    if kind in _NUMBERS:
        decimals = table.get("decimals")
        low, high = read_range(table, "0" if kind != "measure" else None)
        fraction = decimals.read_integer("decimals", 0, 12) if decimals else 6
        return ValueShape("decimal", total=16, fraction=fraction, low=low, high=high), {}
    if kind in ("text", "id"):
        longest = table.get_required("max").read_integer("max", 1)
        return ValueShape("text", longest=longest, pattern=read_pattern(table, longest)), {}
    return ValueShape({"date": "date", "datetime": "moment", "boolean": "boolean"}.get(kind, "text")), {}


def read_range(table: YamlTable, lowest: str | None) -> tuple[str | None, str | None]:
    """Return the minimum and the maximum of a number; without a range, `lowest` is the minimum."""
    node = table.get("range")
    if node is None:
        return lowest, None
    bounds = node.read_list("range")
    if len(bounds) != 2:
        raise make_mapping_error(node.mark, "range", "two numbers [low, high]", f"{len(bounds)} of them")
    low, high = (bound.read_text("range") for bound in bounds)
    for text in (low, high):
        if not DECIMAL.fullmatch(text):
            raise make_mapping_error(node.mark, "range", "two numbers [low, high]", text)
    if Decimal(low) > Decimal(high):
        raise make_mapping_error(node.mark, "range", "the lower number first", f"[{low}, {high}]")
    return low, high


def _read_code_shape(
    table: YamlTable, lists: Mapping[str, CodeList]
) -> tuple[ValueShape, Mapping[str, tuple[str, str]]]:
    named, inline = table.get("list"), table.get("codes")
    if (named is None) == (inline is None):
        raise make_mapping_error(table.mark, table.name, "either list or codes", "both or none")
    if inline is not None:
        labels = {
            code: _read_code_labels(code, node)
            for code, node, _ in inline.read_table("codes").take_unread_items()
        }
        return ValueShape("text", codes=tuple(labels), list_name=table.name), labels
    assert named is not None
    name = named.read_text("list")
    if name not in lists:
        raise make_mapping_error(named.mark, "list", "a code list of codelists.yaml", name)
    known = lists[name]
    codes = None if known.pattern else known.codes
    return ValueShape("text", pattern=known.pattern, codes=codes, list_name=name), {}


def _read_code_labels(code: str, node: YamlNode) -> tuple[str, str]:
    """Return the Korean and the English label of an inline code; a single text is used for both."""
    if not isinstance(node.value, dict):
        return node.read_text(code), node.read_text(code)
    table = node.read_table(code)
    labels = table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en")
    table.reject_unread_keys()
    return labels
