"""Reads the unique fields of a document, each with type, bounds, labels and requirement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from gateway.harmonize.language.code_lists import CodeList, read_pattern
from gateway.harmonize.language.data_dictionary import DataDictionary
from gateway.harmonize.language.unique_fields import (
    STATED_UNIT,
    AllOf,
    AnyOf,
    Condition,
    Field,
    FieldRequirement,
    Negation,
    UniqueField,
    ValueTest,
    to_element_name,
    walk_fields,
)
from gateway.harmonize.language.unit_table import NO_UNITS, UnitTable
from gateway.harmonize.language.value_shapes import DECIMAL, ValueShape
from gateway.wire import AT_MOST_ONCE, Occurs, SourceMark, YamlNode, YamlTable

#: The tests that compare a number.
NUMBER_TESTS: Final = ("at_least", "at_most", "more_than", "less_than")
_NO_LISTS: Final[Mapping[str, CodeList]] = {}


@dataclass(frozen=True, slots=True)
class _Names:
    """The names that a condition can use."""

    asks: Mapping[str, UniqueField]
    dictionary: DataDictionary
    lists: Mapping[str, CodeList] = field(default_factory=dict)
    units: UnitTable = NO_UNITS

    def get(self, name: str) -> Field | None:
        """Return the field or meaning of a name, None where there is none."""
        return self.asks.get(name) or self.dictionary.meanings.get(name)


def read_condition(
    node: YamlNode,
    asks: Mapping[str, UniqueField],
    dictionary: DataDictionary,
    lists: Mapping[str, CodeList] = _NO_LISTS,
    units: UnitTable = NO_UNITS,
) -> Condition:
    """Return the condition in `node`, which has one key: a field's name, ``all``, ``any`` or ``not``.

    `lists` are the code lists that ``in_list`` may name, `units` those in which numbers may be compared.
    Raise GW502 for a wrong condition.
    """
    return _read_condition_part(node, _Names(asks, dictionary, lists, units))


def _read_condition_part(node: YamlNode, names: _Names) -> Condition:
    """Return a condition: a test of one field, or ``all``, ``any`` or ``not`` of others."""
    entries = list(node.read_table("condition").take_unread_items())
    if len(entries) != 1:
        raise node.make_error("condition", "one field, or one of all, any, not", f"{len(entries)} keys")
    name, value, mark = entries[0]
    if name in ("all", "any"):
        parts = tuple(_read_condition_part(part, names) for part in value.read_list(name))
        return AllOf(parts) if name == "all" else AnyOf(parts)
    if name == "not":
        return Negation(_read_condition_part(value, names))
    source = names.get(name)
    if source is None:
        raise mark.make_error("condition", "an asked field or a common meaning", name)
    return _read_value_test(name, source, value, mark, names)


def _read_value_test(
    name: str,
    source: Field,
    node: YamlNode,
    mark: SourceMark,
    names: _Names,
) -> ValueTest:
    """Return the one test of the values of `source` that `node` declares; raise GW502 for a wrong test."""
    table = node.read_table(name)
    if any(key in table for key in NUMBER_TESTS):
        return _read_number_test(name, source, table, mark, names)
    tests = list(table.take_unread_items())
    if len(tests) != 1:
        raise mark.make_error(name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    boolean = source.type == "boolean"
    if operator == "present":
        return ValueTest(name, source, operator, (value.read_choice(operator, ("yes", "no")),), boolean, mark)
    if operator == "in_list":
        listed = _get_code_list(name, source, value, names.lists)
        return ValueTest(name, source, "in", listed.codes, boolean, mark, listed)
    if operator not in ("is", "in"):
        expected = "is, in, in_list, present or " + ", ".join(NUMBER_TESTS)
        raise at.make_error(name, expected, operator)
    values = (value.read_text(operator),) if operator == "is" else tuple(value.read_distinct_texts(operator))
    codes = ("true", "false") if boolean else source.shape.codes
    for text in values:
        if codes is not None and text not in codes:
            raise at.make_error(name, "a code of " + (source.shape.list_name or name), text)
    return ValueTest(name, source, operator, values, boolean, mark)


def _read_number_test(
    name: str,
    source: Field,
    table: YamlTable,
    mark: SourceMark,
    names: _Names,
) -> ValueTest:
    """Return a comparison with a number, and the unit in which it is made."""
    unit = table.get("in")
    tests = list(table.take_unread_items())
    if len(tests) != 1:
        raise mark.make_error(name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    number = value.read_text(operator)
    if not DECIMAL.fullmatch(number):
        raise at.make_error(operator, "a number", number)
    counted = None if unit is None else _read_compared_unit(unit, source, names.units)
    boolean = source.type == "boolean"
    return ValueTest(name, source, operator, (number,), boolean, mark, None, counted, names.units)


def _read_compared_unit(node: YamlNode, source: Field, units: UnitTable) -> str:
    """Return the unit of a comparison: one to which every unit of `source` converts, or `STATED_UNIT`."""
    counted = read_counted_unit(node, source, units)
    unit = units.get(counted)
    if unit is None:
        return counted
    if isinstance(source, UniqueField):
        inconvertible = [
            source_unit
            for source_unit in source.units
            if source_unit not in units.list_convertible_units(counted)
        ]
        if inconvertible:
            expected = f"a unit to which each of {source.name} converts"
            raise node.make_error("in", expected, f"{counted}, and {inconvertible[0]} does not")
    elif source.dimension and source.dimension != unit.dimension:
        description = f"{counted}, a unit of {unit.dimension}"
        raise node.make_error("in", f"a unit of {source.dimension}", description)
    return counted


def read_counted_unit(node: YamlNode, source: Field, units: UnitTable) -> str:
    """Return the unit in which a number counts: one to which units of `source` convert, or `STATED_UNIT`.

    Raise GW502 for any other.
    """
    unit = node.read_text("in")
    if unit == STATED_UNIT:
        return unit
    if not units.list_convertible_units(unit) or source.attribute != "unitCode":
        raise node.make_error("in", "a unit of the table, for a quantity", unit)
    if isinstance(source, UniqueField) and {*source.units}.isdisjoint(units.list_convertible_units(unit)):
        raise node.make_error("in", f"a unit to which those of {source.name} convert", unit)
    return unit


def _get_code_list(name: str, source: Field, node: YamlNode, lists: Mapping[str, CodeList]) -> CodeList:
    """Return the list for a value; raise GW502 for an open list or one without a code of the shape."""
    code_list = lists.get(node.read_text("in_list"))
    if code_list is None:
        raise node.make_error("in_list", "a code list of codelists.yaml", node.read_text("in_list"))
    if code_list.pattern is not None or not code_list.codes:
        raise node.make_error("in_list", "a list that we hold whole", f"{code_list.name}, which is open")
    if source.shape.kind != "text" or source.type in ("group", "attachment"):
        raise node.make_error(name, "a text or a code, which can stand in a list", source.type)
    shape_codes = source.shape.codes
    if shape_codes is not None and code_list.code_set.isdisjoint(shape_codes):
        expected = "a list with codes of " + (source.shape.list_name or name)
        raise node.make_error("in_list", expected, f"{code_list.name}, which has none of them")
    return code_list


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


_MAX_REPEATS: Final = 9999


_NUMBERS: Final = ("quantity", "measure", "amount")


def read_unique_fields(
    node: YamlNode,
    lists: Mapping[str, CodeList],
    dictionary: DataDictionary,
    units: UnitTable = NO_UNITS,
) -> tuple[UniqueField, ...]:
    """Return the fields that `node` declares; raise GW502 for a meaning that is common or asked twice."""
    asks = [
        _read_field(name, value, mark, lists, group="", home="")
        for name, value, mark in node.read_table("asks").take_unread_items()
    ]
    every = list(walk_fields(tuple(asks)))
    seen: dict[str, UniqueField] = {}
    for ask in every:
        if ask.means in dictionary.meanings:
            first_mark = dictionary.meanings[ask.means].mark
            expected = f"a meaning that is not common ({first_mark})"
            raise ask.mark.make_error(ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means in seen:
            expected = f"a meaning of its own ({seen[ask.means].name} has it)"
            raise ask.mark.make_error(ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means:
            seen[ask.means] = ask
    names = _Names({ask.name: ask for ask in every}, dictionary, lists, units)
    return tuple(_attach_condition(ask, node, names) for ask in asks)


def _read_field(
    name: str, node: YamlNode, mark: SourceMark, lists: Mapping[str, CodeList], *, group: str, home: str
) -> UniqueField:
    """Return a field with its members.

    `group` is the full name of the group around it, `home` the level of the outermost one
    (``application`` or ``item``); both are empty for a field outside groups.
    """
    table = node.read_table(name)
    kind = table.get_required("type").read_choice("type", _TYPES)
    full = f"{group}.{name}" if group else name
    if bool(group) == ("per" in table):
        raise mark.make_error(
            full, "per outside groups only, and there always", "per" if "per" in table else "none"
        )
    per = table.read_choice("per", ("application", "item"), "group")
    home = home or per
    fields = _read_group_members(table, full, lists, home) if kind == "group" else ()
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
        shared=table.read_choice("shared", ("yes", "no")) == "yes",
    )
    table.read_text("note")
    table.reject_unread_keys()
    _check_shared_field(ask)
    if not name.replace("_", "").isalnum() or not name.isascii() or not ask.tag[:1].isalpha():
        raise mark.make_error(full, "a name of letters, digits and _", name)
    return ask


def _check_shared_field(ask: UniqueField) -> None:
    """Raise GW502 for a shared field that is without meaning, a member of a group, or an attachment."""
    if not ask.shared:
        return
    if ask.group:
        raise ask.mark.make_error(ask.name, "a whole group that is shared", "one field of it")
    if not ask.means:
        raise ask.mark.make_error(ask.name, "a meaning (means), by which it is shared", "none")
    if any(unique_field.type == "attachment" for unique_field in walk_fields((ask,))):
        raise ask.mark.make_error(ask.name, "an attachment of each application of its own", "a shared one")


def _read_group_members(
    table: YamlTable, full: str, lists: Mapping[str, CodeList], home: str
) -> tuple[UniqueField, ...]:
    """Return the fields of the group with the full name `full`, at least one; `home` is its level."""
    node = table.get_required("fields")
    fields = tuple(
        _read_field(key, value, at, lists, group=full, home=home)
        for key, value, at in node.read_table(f"{full}.fields").take_unread_items()
    )
    if not fields:
        raise node.make_error(f"{full}.fields", "at least one field", "none")
    return fields


def _read_repeat_bounds(table: YamlTable) -> Occurs:
    """Return how many times a field may be given; at most once without the key ``repeat``."""
    node = table.get("repeat")
    if node is None:
        return AT_MOST_ONCE
    occurs = node.read_bounds("repeat", _MAX_REPEATS)
    if not 1 <= occurs.high <= _MAX_REPEATS:
        raise node.make_error("repeat", f"a highest number from 1 to {_MAX_REPEATS}", str(occurs.high))
    return occurs


def _read_plain_requirement(table: YamlTable) -> FieldRequirement:
    node = table.get("req")
    if node is None or not isinstance(node.value, str):
        return FieldRequirement()
    return FieldRequirement(mandatory=node.read_choice("req", ("M", "O")) == "M")


def _attach_condition(ask: UniqueField, node: YamlNode, names: _Names) -> UniqueField:
    """Return `ask` with its condition, read after all names are known, since conditions name fields."""
    assert isinstance(node.value, dict)
    field_node = node.value[ask.name.rpartition(".")[2]]
    assert isinstance(field_node.value, dict)
    requirement = ask.requirement
    req = field_node.value.get("req")
    if req is not None and isinstance(req.value, dict):
        table = req.read_table(f"{ask.name}.req")
        when = _read_condition_part(table.get_required("when"), names)
        forbidden = table.read_choice("otherwise", ("optional", "forbidden")) == "forbidden"
        table.reject_unread_keys()
        requirement = FieldRequirement(when=when, forbidden_otherwise=forbidden)
    fields = tuple(_attach_condition(field, field_node.value["fields"], names) for field in ask.fields)
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
        raise table.make_error(table.name, "either unit or units", "both or none")
    return tuple(units.read_distinct_texts("units")) if units else (table.read_text("unit"),)


def _read_shape(
    table: YamlTable, kind: str, lists: Mapping[str, CodeList]
) -> tuple[ValueShape, Mapping[str, tuple[str, str]]]:
    """Return the shape of a field of the type `kind`, and the labels of its own codes by code."""
    if kind == "code":
        return _read_code_shape(table, lists)
    if kind in _NUMBERS:
        decimals = table.get("decimals")
        low, high = read_range(table, "0" if kind != "measure" else None)
        fraction = decimals.read_integer("decimals", 0, 12) if decimals else 6
        return ValueShape(
            "decimal", total_digits=16, fraction_digits=fraction, min_value=low, max_value=high
        ), {}
    if kind in ("text", "id"):
        longest = table.get_required("max").read_integer("max", 1)
        return ValueShape("text", max_length=longest, pattern=read_pattern(table, longest)), {}
    return ValueShape({"date": "date", "datetime": "moment", "boolean": "boolean"}.get(kind, "text")), {}


def read_range(table: YamlTable, lowest: str | None) -> tuple[str | None, str | None]:
    """Return the minimum and the maximum of a number; without a range, `lowest` is the minimum."""
    node = table.get("range")
    if node is None:
        return lowest, None
    bounds = node.read_list("range")
    if len(bounds) != 2:
        raise node.make_error("range", "two numbers [low, high]", f"{len(bounds)} of them")
    low, high = (bound.read_text("range") for bound in bounds)
    for text in (low, high):
        if not DECIMAL.fullmatch(text):
            raise node.make_error("range", "two numbers [low, high]", text)
    if Decimal(low) > Decimal(high):
        raise node.make_error("range", "the lower number first", f"[{low}, {high}]")
    return low, high


def _read_code_shape(
    table: YamlTable, lists: Mapping[str, CodeList]
) -> tuple[ValueShape, Mapping[str, tuple[str, str]]]:
    """Return the shape of a code: of a code list without labels, or of the codes in `table` with labels."""
    list_node, inline = table.get("list"), table.get("codes")
    if (list_node is None) == (inline is None):
        raise table.make_error(table.name, "either list or codes", "both or none")
    if inline is not None:
        labels = {
            code: _read_code_labels(code, node)
            for code, node, _ in inline.read_table("codes").take_unread_items()
        }
        return ValueShape("text", codes=tuple(labels), list_name=table.name), labels
    assert list_node is not None
    name = list_node.read_text("list")
    if name not in lists:
        raise list_node.make_error("list", "a code list of codelists.yaml", name)
    code_list = lists[name]
    codes = None if code_list.pattern else code_list.codes
    return ValueShape("text", pattern=code_list.pattern, codes=codes, list_name=name), {}


def _read_code_labels(code: str, node: YamlNode) -> tuple[str, str]:
    """Return the Korean and the English label of an inline code; a single text is used for both."""
    if not isinstance(node.value, dict):
        return node.read_text(code), node.read_text(code)
    table = node.read_table(code)
    labels = table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en")
    table.reject_unread_keys()
    return labels
