"""Reads the source expression of a mapping line and the conversions that the line declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language.aggregate_sources import GroupCount, Sum, UniformItemValue
from gateway.harmonize.language.combined_sources import (
    Concatenation,
    DefaultValue,
    KeyMatch,
    OccurrenceLookup,
    list_enclosing_repetitions,
)
from gateway.harmonize.language.conversion_steps import (
    DATE_FORMS,
    FORMS,
    ConversionStep,
    ConvertedSource,
    FormatStep,
    TranslationStep,
    UnitConversion,
)
from gateway.harmonize.language.evaluated_value import (
    MOST_FACTORS,
    ROUNDINGS,
    ConversionError,
    EvaluatedValue,
    SourceExpression,
)
from gateway.harmonize.language.simple_sources import (
    HUB_VALUES,
    Constant,
    FieldValue,
    GroupPosition,
    HubValue,
    ItemCount,
    Product,
    SerialNumber,
)
from gateway.harmonize.types import (
    CHARSETS,
    NO_UNITS,
    ROUNDING_NAMES,
    CodeList,
    CommonMeaning,
    Condition,
    DataDictionary,
    SourceMark,
    UniqueField,
    UnitTable,
    ValueShape,
    YamlNode,
    YamlTable,
    make_mapping_error,
    read_condition,
)

__all__ = [
    "SOURCES",
    "BindingContext",
    "check_field_scope",
    "check_meaning_scope",
    "read_common_meaning",
    "read_converted_source",
    "read_field_value",
    "read_group_count",
    "read_limited_shape",
    "read_occurrence_lookup",
    "read_source_expression",
    "read_sum",
    "read_translation_list",
    "read_uniform_value",
    "read_unique_field",
    "resolve_source_name",
]

_TIME: Final = re.compile(r"[0-9]{6}")
_LONGEST_SEPARATOR: Final = 5
_MOST_KEYS: Final = 3
_SERIAL: Final = re.compile(r"([A-Za-z0-9]{1,20})%0([1-5])d")
SOURCES: Final = (
    "const",
    "hub",
    "common",
    "ask",
    "count",
    "serial",
    "index",
    "multiply",
    "sum",
    "alike",
    "concat",
)


@dataclass(frozen=True, slots=True)
class BindingContext:
    """The names that a line of a mapping may use, and the repetitions around it."""

    lists: Mapping[str, CodeList]
    dictionary: DataDictionary
    asks: Mapping[str, UniqueField]
    mandatory: frozenset[str]
    optional: frozenset[str]
    units: UnitTable = NO_UNITS
    in_item: bool = False
    asked: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()
    distinct: str | None = None

    def read_condition(self, node: YamlNode) -> Condition:
        """Return the condition in `node`; raise GW502 for a wrong one."""
        return read_condition(node, self.asks, self.dictionary, self.lists, self.units)


def check_meaning_scope(per: str, mark: SourceMark, context: BindingContext) -> None:
    """Raise GW502 for a meaning outside the repetition that it belongs to."""
    if per == "item" and not context.in_item:
        raise make_mapping_error(
            mark, "puts", "a line inside each item (the meaning is per item)", "a line outside"
        )
    if per in context.dictionary.groups and per not in context.common:
        raise make_mapping_error(mark, "puts", f"a line inside each {per}", "a line outside")


def check_field_scope(ask: UniqueField, mark: SourceMark, context: BindingContext) -> None:
    """Raise GW502 for an asked field outside the repetitions that it belongs to."""
    outer = context.asks.get(ask.group)
    while outer is not None:
        if outer.name not in context.asked and outer.many:
            raise make_mapping_error(mark, "puts", f"a line inside each {outer.name}", "a line outside")
        outer = context.asks.get(outer.group)
    if ask.home == "item" and not context.in_item:
        raise make_mapping_error(
            mark, "puts", "a line inside each item (the field is per item)", "a line outside"
        )


def read_common_meaning(node: YamlNode, context: BindingContext) -> CommonMeaning:
    """Return the common meaning that `node` names; raise GW502 where a line in this place may not use it."""
    name = node.read_text("common")
    meaning = context.dictionary.meanings.get(name)
    if meaning is None:
        raise make_mapping_error(node.mark, "common", "a meaning of the dictionary", name)
    if name not in context.mandatory and name not in context.optional:
        expected = "a meaning that the document lists under needs"
        raise make_mapping_error(node.mark, "common", expected, name, proof="least_disclosure")
    if name != context.distinct:
        check_meaning_scope(meaning.per, node.mark, context)
    return meaning


def read_unique_field(node: YamlNode, context: BindingContext) -> UniqueField:
    """Return the asked field that `node` names; raise GW502 where a line in this place may not use it."""
    name = node.read_text("ask")
    ask = context.asks.get(name)
    if ask is None or ask.type == "group":
        raise make_mapping_error(node.mark, "ask", "a field that the document asks", name)
    if name != context.distinct:
        check_field_scope(ask, node.mark, context)
    return ask


def read_field_value(node: YamlNode, kind: str, context: BindingContext) -> FieldValue:
    """Return the source of an answered value (`kind` ask) or of a declared value (`kind` common)."""
    if kind == "ask":
        ask = read_unique_field(node, context)
        outer = context.asks.get(ask.group)
        entered = outer is None or outer.name in context.asked or outer.requirement.mandatory
        return FieldValue(ask, ask.requirement.mandatory and entered)
    meaning = read_common_meaning(node, context)
    return FieldValue(meaning, meaning.name in context.mandatory)


def read_source_expression(table: YamlTable, mark: SourceMark, context: BindingContext) -> SourceExpression:
    """Return the one source that a line names."""
    named = [key for key in SOURCES if key in table]
    if len(named) != 1:
        raise make_mapping_error(
            mark, table.name, "one source of " + ", ".join(SOURCES), ", ".join(named) or "none"
        )
    kind, node = named[0], table.get_required(named[0])
    if kind in ("ask", "common"):
        return _read_field_source(table, node, kind, context)
    if kind == "concat":
        return _read_concatenation(table, node, context)
    if kind == "const":
        return Constant(node.read_text("const"))
    if kind == "hub":
        return HubValue(node.read_choice("hub", tuple(HUB_VALUES)))
    if kind == "count":
        return ItemCount() if node.read_text("count") == "items" else read_group_count(node, context)
    if kind == "sum":
        return read_sum(table, node, context)
    if kind == "alike":
        return read_uniform_value(table, node, context)
    if kind == "index":
        if node.read_text("index") not in context.asked | context.common | {context.distinct}:
            raise make_mapping_error(node.mark, "index", "a group around this line", node.read_text("index"))
        return GroupPosition(node.read_text("index"))
    return (
        _read_serial_number(table, node, context) if kind == "serial" else _read_product(table, node, context)
    )


def _read_serial_number(table: YamlTable, node: YamlNode, context: BindingContext) -> SerialNumber:
    match = _SERIAL.fullmatch(node.read_text("serial"))
    if match is None:
        raise make_mapping_error(
            node.mark, "serial", "a prefix and %0Nd, as FR2%03d", node.read_text("serial")
        )
    return SerialNumber(match[1], int(match[2]), read_common_meaning(table.get_required("from"), context))


def _read_product(table: YamlTable, node: YamlNode, context: BindingContext) -> Product:
    factors = []
    for part in node.read_list("multiply"):
        kind = "ask" if part.read_text("multiply") in context.asks else "common"
        factors.append(read_field_value(part, kind, context))
    if not 2 <= len(factors) <= MOST_FACTORS:
        raise make_mapping_error(node.mark, "multiply", f"two to {MOST_FACTORS} factors", str(len(factors)))
    total, decimals = table.get_required("digits").read_digit_counts("digits")
    return Product(
        tuple(factors), decimals, table.get_required("round").read_choice("round", tuple(ROUNDINGS)), total
    )


def resolve_source_name(
    node: YamlNode, name: str, context: BindingContext, *, here: bool
) -> UniqueField | CommonMeaning:
    """Return the asked field or common meaning `name`, which has one value.

    With `here`, it must be one that a line in this place may use.
    """
    ask, meaning = context.asks.get(name), context.dictionary.meanings.get(name)
    source = ask or meaning
    if source is None or source.type in ("group", "attachment") or source.many:
        raise make_mapping_error(node.mark, name, "an asked field or a common meaning with one value", name)
    if meaning is not None and ask is None and name not in context.mandatory | context.optional:
        raise make_mapping_error(node.mark, name, "a meaning that the document lists under needs", name)
    if here and ask is not None:
        check_field_scope(ask, node.mark, context)
    elif here and meaning is not None:
        check_meaning_scope(meaning.per, node.mark, context)
    return source


def read_occurrence_lookup(
    node: YamlNode, kind: str, where: YamlNode, context: BindingContext
) -> OccurrenceLookup:
    """Return the source that takes a value from the occurrence whose keys `where` names."""
    name = node.read_text(kind)
    source = resolve_source_name(node, name, context, here=False)
    if isinstance(source, UniqueField) != (kind == "ask"):
        raise make_mapping_error(
            node.mark, kind, "an asked field" if kind == "ask" else "a common meaning", name
        )
    around = list_enclosing_repetitions(source, context.dictionary)
    if not around:
        raise make_mapping_error(node.mark, "where", "a value of something that repeats", name)
    matches = tuple(
        _read_key_match(key, test, mark, context)
        for key, test, mark in where.read_table("where").take_unread_items()
    )
    depths = {list_enclosing_repetitions(match.key, context.dictionary) for match in matches}
    if not 1 <= len(matches) <= _MOST_KEYS or len(depths) != 1:
        raise make_mapping_error(
            where.mark, "where", f"one to {_MOST_KEYS} keys side by side", f"{len(matches)} keys"
        )
    (keyed,) = depths
    if not keyed or around[: len(keyed)] != keyed:
        raise make_mapping_error(where.mark, "where", f"keys beside or around {name}", matches[0].key.name)
    return OccurrenceLookup(FieldValue(source, False), matches, around, len(keyed))


def _read_key_match(name: str, node: YamlNode, mark: SourceMark, context: BindingContext) -> KeyMatch:
    key = resolve_source_name(node, name, context, here=False)
    tests = list(node.read_table(name).take_unread_items())
    if len(tests) != 1 or tests[0][0] not in ("is", "same"):
        raise make_mapping_error(
            mark, name, "one test, is or same", ", ".join(test for test, _, _ in tests) or "none"
        )
    operator, value, at = tests[0]
    text = value.read_text(operator)
    if operator == "is":
        refusal = key.shape.find_violation(text)
        if refusal is not None:
            raise make_mapping_error(at, name, f"a value of {name}", refusal[1])
        return KeyMatch(key, text, None, key.shape.kind == "integer")
    other = resolve_source_name(value, text, context, here=True)
    kinds = key.shape.kind, other.shape.kind
    if kinds[0] != kinds[1] and set(kinds) != {"integer", "text"}:
        raise make_mapping_error(
            at, name, f"a value of the kind of {name} ({kinds[0]})", f"{text} ({kinds[1]})"
        )
    return KeyMatch(key, None, other, "integer" in kinds)


def _read_field_source(
    table: YamlTable, node: YamlNode, kind: str, context: BindingContext
) -> SourceExpression:
    """Return a field or meaning: unchanged, of one occurrence (``where``), or with a ``default``."""
    where = table.get("where")
    chosen = (
        read_field_value(node, kind, context)
        if where is None
        else read_occurrence_lookup(node, kind, where, context)
    )
    default = table.get("default")
    if default is None:
        return chosen
    source = chosen.source if isinstance(chosen, FieldValue) else chosen.taken.source
    beside = next((key for key in ("unit", "currency", "cid", "convert", "bound") if key in table), None)
    if source.type == "attachment" or beside is not None:
        raise make_mapping_error(
            default.mark, "default", "a plain value beside a default", beside or source.type
        )
    if chosen.is_always_present():
        raise make_mapping_error(
            default.mark, "default", "a value that may be missing", f"{source.name}, always there"
        )
    text = default.read_text("default")
    refusal = source.shape.find_violation(text)
    if refusal is not None:
        raise make_mapping_error(default.mark, "default", f"a value of {source.name}", refusal[1])
    return DefaultValue(chosen, text)


def _read_concatenation(table: YamlTable, node: YamlNode, context: BindingContext) -> Concatenation:
    joint = table.get_required("with")
    separator = joint.value if isinstance(joint.value, str) else ""
    if not 1 <= len(separator) <= _LONGEST_SEPARATOR:
        raise make_mapping_error(
            joint.mark, "with", f"a separator of 1 to {_LONGEST_SEPARATOR} characters", joint.describe_value()
        )
    parts = []
    for entry in node.read_list("concat"):
        inner = entry.read_table("concat")
        part = read_converted_source(inner, entry.mark, context)
        inner.reject_unread_keys()
        several = isinstance(part.source, FieldValue) and part.source.source.many
        if isinstance(part.source, Concatenation) or several:
            raise make_mapping_error(entry.mark, "concat", "parts of one value each", "a part of several")
        if isinstance(part.source, Constant) and separator in part.source.text:
            raise make_mapping_error(
                entry.mark, "concat", f"a constant without {separator!r}", part.source.text
            )
        parts.append(part)
    if not 2 <= len(parts) <= MOST_FACTORS or all(isinstance(part.source, Constant) for part in parts):
        raise make_mapping_error(
            node.mark, "concat", f"two to {MOST_FACTORS} parts, not all constant", str(len(parts))
        )
    return Concatenation(tuple(parts), separator)


def read_converted_source(table: YamlTable, mark: SourceMark, context: BindingContext) -> ConvertedSource:
    """Return the source of a line with the conversions that the line declares."""
    source = read_source_expression(table, mark, context)
    steps: list[ConversionStep] = []
    if (convert := table.get("convert")) is not None:
        steps.append(_read_unit_conversion(convert, source, context))
    if (via := table.get("via")) is not None:
        steps.append(_read_translation_step(via, table, context))
    if (form := table.get("form")) is not None:
        steps.append(_read_format_step(form, table, (steps[-1] if steps else source).infer_shape()))
    elif "unknown_time" in table:
        raise make_mapping_error(mark, "unknown_time", "the form CCYYMMDDHHMMSS beside it", "no form")
    converted = ConvertedSource(source, tuple(steps))
    _check_constants(converted, mark)
    return converted


def _check_constants(converted: ConvertedSource, mark: SourceMark) -> None:
    """Raise GW502 for a constant or a default that the steps of its line cannot convert."""
    source = converted.source
    if not isinstance(source, Constant | DefaultValue):
        return
    value: EvaluatedValue | None = EvaluatedValue(source.text, (), "const")
    try:
        for step in converted.steps:
            beside = isinstance(step, TranslationStep) and step.beside is not None
            value = None if value is None or beside else step.convert_value(value)
    except ConversionError as misfit:
        raise make_mapping_error(
            mark, "const", "a constant that the line can convert", misfit.detail
        ) from None


def _read_unit_conversion(
    node: YamlNode, source: SourceExpression, context: BindingContext
) -> UnitConversion:
    table = node.read_table("convert")
    to_node = table.get_required("to")
    to, decimals = to_node.read_text("to"), table.get_required("decimals").read_integer("decimals", 0, 12)
    rounding = table.get_required("round").read_choice("round", ROUNDING_NAMES)
    table.reject_unread_keys()
    unit, carrier = context.units.get(to), source.find_attribute_carrier()
    if unit is None:
        raise make_mapping_error(to_node.mark, "convert", "a unit of the table of units", to)
    if carrier is None or carrier.attribute != "unitCode":
        found = carrier.name if carrier is not None else "none"
        raise make_mapping_error(node.mark, "convert", "a value that carries @unitCode", found)
    units = carrier.units if isinstance(carrier, UniqueField) else ()
    known = [own for own in map(context.units.get, units) if own is not None]
    if units and not any(own.dimension == unit.dimension for own in known):
        raise make_mapping_error(
            node.mark, "convert", f"a field with a unit of {unit.dimension}", ", ".join(units)
        )
    return UnitConversion(context.units, to, decimals, rounding, units[0] if len(units) == 1 else None)


def _read_translation_step(node: YamlNode, table: YamlTable, context: BindingContext) -> TranslationStep:
    beside: UniqueField | CommonMeaning | None = None
    if isinstance(node.value, dict):
        inner = node.read_table("via")
        name, other = inner.get_required("list"), inner.get_required("with")
        inner.reject_unread_keys()
        beside = resolve_source_name(other, other.read_text("with"), context, here=True)
        codes = _get_translation_list(name, context)
        if codes.pairs is None:
            raise make_mapping_error(name.mark, "via", "a code list with two key columns", codes.name)
    else:
        codes = read_translation_list(node, context)
    unknown = table.get("unknown_code")
    return TranslationStep(
        codes, unknown is not None and unknown.read_choice("unknown_code", ("omit",)) == "omit", beside
    )


def _read_format_step(node: YamlNode, table: YamlTable, shape: ValueShape) -> FormatStep:
    name = node.read_choice("form", tuple(FORMS))
    unknown = table.get("unknown_time")
    time = unknown.read_text("unknown_time") if unknown is not None else ""
    if unknown is not None and (name != "CCYYMMDDHHMMSS" or not _TIME.fullmatch(time)):
        raise make_mapping_error(
            unknown.mark, "unknown_time", "six digits beside the form CCYYMMDDHHMMSS", time
        )
    if name in DATE_FORMS and shape.kind not in ("date", "moment"):
        raise make_mapping_error(node.mark, "form", f"a date, to be written as {name}", shape.kind)
    if name == "CCYYMMDDHHMMSS" and shape.kind == "date" and not time:
        raise make_mapping_error(node.mark, "form", "unknown_time, since a date has no time", "none")
    return FormatStep(name, time)


def read_translation_list(node: YamlNode, context: BindingContext) -> CodeList:
    """Return the code list with a translation that `node` names."""
    codes = _get_translation_list(node, context)
    if codes.to is None:
        raise make_mapping_error(
            node.mark, "via", "a code list with a translation by one key column", codes.name
        )
    return codes


def _get_translation_list(node: YamlNode, context: BindingContext) -> CodeList:
    name = node.read_text("via")
    codes = context.lists.get(name)
    if codes is None or (codes.to is None and codes.pairs is None):
        raise make_mapping_error(node.mark, "via", "a code list with a translation", name)
    return codes


def read_limited_shape(shape: ValueShape, table: YamlTable) -> ValueShape:
    """Return `shape` within the limit that a line declares."""
    node = table.get("limit")
    if node is None:
        return shape
    limit = node.read_table("limit")
    for key in ("chars", "octets"):
        if (bound := limit.get(key)) is not None:
            size = bound.read_integer(key, 1)
            chars, octets = (size, None) if key == "chars" else (None, size)
            shape = replace(shape, longest=chars, octets=octets)
    if (charset := limit.get("charset")) is not None:
        shape = replace(shape, charset=charset.read_choice("charset", CHARSETS))
    elif "octets" in limit:
        raise make_mapping_error(node.mark, "limit", "a charset beside octets", "none")
    if (exact := limit.get("exact")) is not None:
        shape = replace(shape, exact=exact.read_choice("exact", ("yes", "no")) == "yes")
    if (digits := limit.get("digits")) is not None:
        total, fraction = digits.read_digit_counts("digits")
        shape = replace(shape, total=total, fraction=fraction)
    limit.reject_unread_keys()
    return shape


def read_uniform_value(table: YamlTable, node: YamlNode, context: BindingContext) -> UniformItemValue:
    """Return the source that a line declares: ``{alike: field, over: items}``."""
    name = node.read_text("alike")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    table.get_required("over").read_choice("over", ("items",))
    if source is None or source.per != "item" or source.many or source.attribute is not None:
        raise make_mapping_error(node.mark, "alike", "a text or code of each item, asked or common", name)
    there = source.requirement.mandatory if isinstance(source, UniqueField) else name in context.mandatory
    if not there:
        raise make_mapping_error(node.mark, "alike", "a field that each item must have", name)
    if context.in_item:
        raise make_mapping_error(node.mark, "alike", "a line outside the items", "a line inside an item")
    return UniformItemValue(source)


_ITEMS: Final = "items"


_MOST_DECIMALS: Final = 12


def read_sum(table: YamlTable, node: YamlNode, context: BindingContext) -> Sum:
    """Return the sum that a line declares: ``{sum: field, over: items | group, decimals: n}``."""
    name = node.read_text("sum")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    if source is None or source.shape.kind not in ("decimal", "integer"):
        raise make_mapping_error(node.mark, "sum", "a number, asked or common", name)
    if isinstance(source, CommonMeaning) and name not in context.mandatory | context.optional:
        expected = "a meaning that the document lists under needs"
        raise make_mapping_error(node.mark, "sum", expected, name, proof="least_disclosure")
    over_node = table.get_required("over")
    over = over_node.read_text("over")
    repeats = _list_open_repetitions(source, context)
    if over not in repeats:
        raise make_mapping_error(
            over_node.mark, "over", "one of " + (", ".join(repeats) or "none: nothing repeats"), over
        )
    decimals = table.get_required("decimals").read_integer("decimals", 0, _MOST_DECIMALS)
    present = _is_always_present(source, repeats, context)
    return Sum(source, over, decimals, present, context.units)


def _list_open_repetitions(source: UniqueField | CommonMeaning, context: BindingContext) -> list[str]:
    """Return the repetitions of `source` that do not stand around the line, the outermost first."""
    if isinstance(source, UniqueField):
        in_item, groups, entered = source.home == "item", _list_outer_groups(source, context), context.asked
    else:
        in_item = context.dictionary.is_per_item(source.per)
        groups, entered = context.dictionary.list_enclosing_groups(source.per), context.common
    repeats = [_ITEMS] if in_item and not context.in_item else []
    return repeats + [name for name in groups if name not in entered]


def _list_outer_groups(ask: UniqueField, context: BindingContext) -> tuple[str, ...]:
    outer = context.asks.get(ask.group)
    return (*_list_outer_groups(outer, context), outer.name) if outer is not None else ()


def _is_always_present(
    source: UniqueField | CommonMeaning, repeats: list[str], context: BindingContext
) -> bool:
    """Return whether there is always a value to add."""
    if isinstance(source, CommonMeaning):
        return source.name in context.mandatory and not set(repeats) - {_ITEMS}
    groups = [context.asks[name] for name in repeats if name != _ITEMS]
    return all(one.requirement.mandatory for one in (source, *groups))


def read_group_count(node: YamlNode, context: BindingContext) -> GroupCount:
    """Return the count of a group: ``{count: group}``, asked or of the dictionary."""
    name = node.read_text("count")
    asked = context.asks.get(name)
    if asked is not None and asked.type == "group":
        return GroupCount(asked)
    group = context.dictionary.groups.get(name)
    if group is None:
        raise make_mapping_error(
            node.mark, "count", "items, an asked group or a group of the dictionary", name
        )
    return GroupCount(group)
