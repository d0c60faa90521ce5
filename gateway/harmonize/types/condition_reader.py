"""Reads conditions over declared and asked values; each is a finite, total tree, not a string."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.types.code_lists import CodeList
from gateway.harmonize.types.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, YamlTable, make_mapping_error
from gateway.harmonize.types.unique_fields import (
    STATED,
    AllOf,
    AnyOf,
    Condition,
    Negation,
    UniqueField,
    ValueTest,
)
from gateway.harmonize.types.unit_table import NO_UNITS, UnitTable
from gateway.harmonize.types.value_shapes import DECIMAL

__all__ = [
    "NUMBER_TESTS",
    "read_condition",
    "read_counted_unit",
]

#: The tests that compare a number.
NUMBER_TESTS: Final = ("at_least", "at_most", "more_than", "less_than")
_NO_LISTS: Final[Mapping[str, CodeList]] = {}


@dataclass(frozen=True, slots=True)
class _Names:
    """What a condition can name."""

    asks: Mapping[str, UniqueField]
    dictionary: DataDictionary
    lists: Mapping[str, CodeList] = field(default_factory=dict)
    units: UnitTable = NO_UNITS

    def get(self, name: str) -> UniqueField | CommonMeaning | None:
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
    return _read_part(node, _Names(asks, dictionary, lists, units))


def _read_part(node: YamlNode, names: _Names) -> Condition:
    entries = list(node.read_table("condition").take_unread_items())
    if len(entries) != 1:
        raise make_mapping_error(
            node.mark, "condition", "one field, or one of all, any, not", f"{len(entries)} keys"
        )
    name, value, mark = entries[0]
    if name in ("all", "any"):
        parts = tuple(_read_part(part, names) for part in value.read_list(name))
        return AllOf(parts) if name == "all" else AnyOf(parts)
    if name == "not":
        return Negation(_read_part(value, names))
    source = names.get(name)
    if source is None:
        raise make_mapping_error(mark, "condition", "an asked field or a common meaning", name)
    return _read_value_test(name, source, value, (mark, names))


def _read_value_test(
    name: str,
    source: UniqueField | CommonMeaning,
    node: YamlNode,
    context: tuple[SourceMark, _Names],
) -> ValueTest:
    mark, names = context
    table = node.read_table(name)
    if any(key in table for key in NUMBER_TESTS):
        return _read_number_test(name, source, table, context)
    tests = list(table.take_unread_items())
    if len(tests) != 1:
        raise make_mapping_error(mark, name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    boolean = source.type == "boolean"
    if operator == "present":
        return ValueTest(name, source, operator, (value.read_choice(operator, ("yes", "no")),), boolean, mark)
    if operator == "in_list":
        listed = _get_code_list(name, source, value, names.lists)
        return ValueTest(name, source, "in", listed.codes, boolean, mark, listed)
    if operator not in ("is", "in"):
        expected = "is, in, in_list, present or " + ", ".join(NUMBER_TESTS)
        raise make_mapping_error(at, name, expected, operator)
    values = (value.read_text(operator),) if operator == "is" else tuple(value.read_distinct_texts(operator))
    codes = ("true", "false") if boolean else source.shape.codes
    for text in values:
        if codes is not None and text not in codes:
            raise make_mapping_error(at, name, "a code of " + (source.shape.list_name or name), text)
    return ValueTest(name, source, operator, values, boolean, mark)


def _read_number_test(
    name: str,
    source: UniqueField | CommonMeaning,
    table: YamlTable,
    context: tuple[SourceMark, _Names],
) -> ValueTest:
    """Return a comparison with a number, and the unit in which it is made."""
    mark, names = context
    unit = table.get("in")
    tests = list(table.take_unread_items())
    if len(tests) != 1:
        raise make_mapping_error(mark, name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    number = value.read_text(operator)
    if not DECIMAL.fullmatch(number):
        raise make_mapping_error(at, operator, "a number", number)
    counted = None if unit is None else _read_compared_unit(unit, source, names.units)
    boolean = source.type == "boolean"
    return ValueTest(name, source, operator, (number,), boolean, mark, None, counted, names.units)


def _read_compared_unit(node: YamlNode, source: UniqueField | CommonMeaning, units: UnitTable) -> str:
    """Return the unit of a comparison: one to which every unit of `source` converts, or `STATED`."""
    counted = read_counted_unit(node, source, units)
    unit = units.get(counted)
    if unit is None:
        return counted
    if isinstance(source, UniqueField):
        unlike = [one for one in source.units if one not in units.list_convertible_units(counted)]
        if unlike:
            expected = f"a unit to which each of {source.name} converts"
            raise make_mapping_error(node.mark, "in", expected, f"{counted}, and {unlike[0]} does not")
    elif source.dimension and source.dimension != unit.dimension:
        found = f"{counted}, a unit of {unit.dimension}"
        raise make_mapping_error(node.mark, "in", f"a unit of {source.dimension}", found)
    return counted


def read_counted_unit(node: YamlNode, source: UniqueField | CommonMeaning, units: UnitTable) -> str:
    """Return the unit in which a number counts: one to which units of `source` convert, or `STATED`.

    Raise GW502 for any other.
    """
    unit = node.read_text("in")
    if unit == STATED:
        return unit
    if not units.list_convertible_units(unit) or source.attribute != "unitCode":
        raise make_mapping_error(node.mark, "in", "a unit of the table, for a quantity", unit)
    if isinstance(source, UniqueField):
        known = {source.fixed_unit} if source.fixed_unit is not None else {*source.units}
        if known.isdisjoint(units.list_convertible_units(unit)):
            raise make_mapping_error(node.mark, "in", f"a unit to which those of {source.name} convert", unit)
    return unit


def _get_code_list(
    name: str, source: UniqueField | CommonMeaning, node: YamlNode, lists: Mapping[str, CodeList]
) -> CodeList:
    """Return the list for a value; raise GW502 for an open list or one without a code of the shape."""
    found = lists.get(node.read_text("in_list"))
    if found is None:
        raise make_mapping_error(
            node.mark, "in_list", "a code list of codelists.yaml", node.read_text("in_list")
        )
    if found.pattern is not None or not found.codes:
        raise make_mapping_error(
            node.mark, "in_list", "a list that we hold whole", f"{found.name}, which is open"
        )
    if source.shape.kind != "text" or source.type in ("group", "attachment"):
        raise make_mapping_error(node.mark, name, "a text or a code, which can stand in a list", source.type)
    own = source.shape.codes
    if own is not None and found.known.isdisjoint(own):
        expected = "a list with codes of " + (source.shape.list_name or name)
        raise make_mapping_error(node.mark, "in_list", expected, f"{found.name}, which has none of them")
    return found
