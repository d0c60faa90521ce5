"""Reads the source expression of a mapping line and the conversions that the line declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList
from gateway.harmonize.language.combined_sources import (
    Concatenation,
    DefaultValue,
    KeyMatch,
    OccurrenceLookup,
)
from gateway.harmonize.language.conversion_steps import (
    DATE_FORMATS,
    FORMATS,
    ConversionStep,
    ConvertedSource,
    FormatStep,
    TranslationStep,
    UnitConversion,
)
from gateway.harmonize.language.data_dictionary import CommonMeaning, DataDictionary
from gateway.harmonize.language.field_reader import read_condition
from gateway.harmonize.language.unique_fields import Condition, Field, UniqueField
from gateway.harmonize.language.unit_table import NO_UNITS, ROUNDING_NAMES, UnitTable
from gateway.harmonize.language.value_shapes import CHARSETS, ValueShape
from gateway.harmonize.language.value_sources import (
    HUB_VALUES,
    MAX_FACTORS,
    ROUNDINGS,
    Constant,
    ConversionError,
    EvaluatedValue,
    FieldValue,
    GroupCount,
    GroupPosition,
    HubValue,
    ItemCount,
    Product,
    SerialNumber,
    SourceExpression,
    Sum,
    UniformItemValue,
)
from gateway.wire import SourceMark, YamlNode, YamlTable

_TIME: Final = re.compile(r"[0-9]{6}")
_MAX_SEPARATOR_LENGTH: Final = 5
_MAX_KEYS: Final = 3
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
    mandatory_meanings: frozenset[str]
    optional_meanings: frozenset[str]
    units: UnitTable = NO_UNITS
    in_item: bool = False
    unique_groups: frozenset[str] = frozenset()
    common_groups: frozenset[str] = frozenset()
    grouping_key: str | None = None
    zone: str = DEFAULT_ZONE

    def read_condition(self, node: YamlNode) -> Condition:
        """Return the condition in `node`; raise GW502 for a wrong one."""
        return read_condition(node, self.asks, self.dictionary, self.lists, self.units)


def check_meaning_scope(per: str, mark: SourceMark, context: BindingContext) -> None:
    """Raise GW502 for a meaning outside the repetition that it belongs to."""
    if per == "item" and not context.in_item:
        raise mark.make_error("puts", "a line inside each item (the meaning is per item)", "a line outside")
    if per in context.dictionary.groups and per not in context.common_groups:
        raise mark.make_error("puts", f"a line inside each {per}", "a line outside")


def check_field_scope(ask: UniqueField, mark: SourceMark, context: BindingContext) -> None:
    """Raise GW502 for an asked field outside the repetitions that it belongs to."""
    outer = context.asks.get(ask.group)
    while outer is not None:
        if outer.name not in context.unique_groups and outer.many:
            raise mark.make_error("puts", f"a line inside each {outer.name}", "a line outside")
        outer = context.asks.get(outer.group)
    if ask.home == "item" and not context.in_item:
        raise mark.make_error("puts", "a line inside each item (the field is per item)", "a line outside")


def read_common_meaning(node: YamlNode, context: BindingContext) -> CommonMeaning:
    """Return the common meaning that `node` names; raise GW502 where a line in this place may not use it."""
    name = node.read_text("common")
    meaning = context.dictionary.meanings.get(name)
    if meaning is None:
        raise node.make_error("common", "a meaning of the dictionary", name)
    if name not in context.mandatory_meanings and name not in context.optional_meanings:
        expected = "a meaning that the document lists under needs"
        raise node.make_error("common", expected, name, proof="least_disclosure")
    if name != context.grouping_key:
        check_meaning_scope(meaning.per, node.mark, context)
    return meaning


def read_unique_field(node: YamlNode, context: BindingContext) -> UniqueField:
    """Return the asked field that `node` names; raise GW502 where a line in this place may not use it."""
    name = node.read_text("ask")
    ask = context.asks.get(name)
    if ask is None or ask.type == "group":
        raise node.make_error("ask", "a field that the document asks", name)
    if name != context.grouping_key:
        check_field_scope(ask, node.mark, context)
    return ask


def read_field_value(node: YamlNode, kind: str, context: BindingContext) -> FieldValue:
    """Return the source of an answered value (`kind` ask) or of a declared value (`kind` common)."""
    if kind == "ask":
        ask = read_unique_field(node, context)
        return FieldValue(ask, is_always_answered(ask, context))
    meaning = read_common_meaning(node, context)
    return FieldValue(meaning, meaning.name in context.mandatory_meanings)


def is_always_answered(ask: UniqueField, context: BindingContext) -> bool:
    """Return whether a line in this place always has an answer to a field, or an occurrence of a group.

    It must be mandatory, and so must each group around it, up to the one in whose occurrence the line is.
    """
    return ask.requirement.mandatory and is_always_entered(ask, context)


def is_always_entered(ask: UniqueField, context: BindingContext) -> bool:
    """Return whether there is always an occurrence of the group around a field for a line in this place."""
    outer = context.asks.get(ask.group)
    return outer is None or outer.name in context.unique_groups or is_always_answered(outer, context)


def read_source_expression(table: YamlTable, mark: SourceMark, context: BindingContext) -> SourceExpression:
    """Return the one source that a line names."""
    kinds = [key for key in SOURCES if key in table]
    if len(kinds) != 1:
        raise mark.make_error(table.name, "one source of " + ", ".join(SOURCES), ", ".join(kinds) or "none")
    kind, node = kinds[0], table.get_required(kinds[0])
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
        if node.read_text("index") not in context.unique_groups | context.common_groups | {
            context.grouping_key
        }:
            raise node.make_error("index", "a group around this line", node.read_text("index"))
        return GroupPosition(node.read_text("index"))
    return (
        _read_serial_number(table, node, context) if kind == "serial" else _read_product(table, node, context)
    )


def _read_serial_number(table: YamlTable, node: YamlNode, context: BindingContext) -> SerialNumber:
    match = _SERIAL.fullmatch(node.read_text("serial"))
    if match is None:
        raise node.make_error("serial", "a prefix and %0Nd, as FR2%03d", node.read_text("serial"))
    return SerialNumber(match[1], int(match[2]), read_common_meaning(table.get_required("from"), context))


def _read_product(table: YamlTable, node: YamlNode, context: BindingContext) -> Product:
    """Return the product that ``multiply`` declares, with its digits and rounding."""
    factors = []
    for part in node.read_list("multiply"):
        kind = "ask" if part.read_text("multiply") in context.asks else "common"
        factors.append(read_field_value(part, kind, context))
    if not 2 <= len(factors) <= MAX_FACTORS:
        raise node.make_error("multiply", f"two to {MAX_FACTORS} factors", str(len(factors)))
    total, decimals = table.get_required("digits").read_digit_counts("digits")
    return Product(
        tuple(factors), decimals, table.get_required("round").read_choice("round", ROUNDINGS), total
    )


def resolve_source_name(node: YamlNode, name: str, context: BindingContext, *, in_scope: bool) -> Field:
    """Return the asked field or common meaning `name`, which has one value.

    With `in_scope`, it must be one that a line in this place may use.
    """
    ask, meaning = context.asks.get(name), context.dictionary.meanings.get(name)
    source = ask or meaning
    if source is None or source.type in ("group", "attachment") or source.many:
        raise node.make_error(name, "an asked field or a common meaning with one value", name)
    if (
        meaning is not None
        and ask is None
        and name not in context.mandatory_meanings | context.optional_meanings
    ):
        raise node.make_error(name, "a meaning that the document lists under needs", name)
    if in_scope and ask is not None:
        check_field_scope(ask, node.mark, context)
    elif in_scope and meaning is not None:
        check_meaning_scope(meaning.per, node.mark, context)
    return source


def read_occurrence_lookup(
    node: YamlNode, kind: str, keys_node: YamlNode, context: BindingContext
) -> OccurrenceLookup:
    """Return the source that takes a value from the occurrence whose keys `keys_node` names."""
    name = node.read_text(kind)
    source = resolve_source_name(node, name, context, in_scope=False)
    if isinstance(source, UniqueField) != (kind == "ask"):
        raise node.make_error(kind, "an asked field" if kind == "ask" else "a common meaning", name)
    repetitions = source.repetitions
    if not repetitions:
        raise node.make_error("where", "a value of something that repeats", name)
    matches = tuple(
        _read_key_match(key, test, mark, context)
        for key, test, mark in keys_node.read_table("where").take_unread_items()
    )
    depths = {match.key.repetitions for match in matches}
    if not 1 <= len(matches) <= _MAX_KEYS or len(depths) != 1:
        raise keys_node.make_error("where", f"one to {_MAX_KEYS} keys side by side", f"{len(matches)} keys")
    (keyed,) = depths
    if not keyed or repetitions[: len(keyed)] != keyed:
        raise keys_node.make_error("where", f"keys beside or around {name}", matches[0].key.name)
    return OccurrenceLookup(FieldValue(source, False), matches, repetitions, len(keyed))


def _read_key_match(name: str, node: YamlNode, mark: SourceMark, context: BindingContext) -> KeyMatch:
    """Return the key match for `name`: ``is`` a constant, or the ``same`` as another field."""
    key = resolve_source_name(node, name, context, in_scope=False)
    tests = list(node.read_table(name).take_unread_items())
    if len(tests) != 1 or tests[0][0] not in ("is", "same"):
        raise mark.make_error(name, "one test, is or same", ", ".join(test for test, _, _ in tests) or "none")
    operator, value, at = tests[0]
    text = value.read_text(operator)
    if operator == "is":
        violation = key.shape.find_violation(text)
        if violation is not None:
            raise at.make_error(name, f"a value of {name}", violation.detail)
        return KeyMatch(key, text, None, key.shape.kind == "integer")
    compared = resolve_source_name(value, text, context, in_scope=True)
    kinds = key.shape.kind, compared.shape.kind
    if kinds[0] != kinds[1] and set(kinds) != {"integer", "text"}:
        raise at.make_error(name, f"a value of the kind of {name} ({kinds[0]})", f"{text} ({kinds[1]})")
    return KeyMatch(key, None, compared, "integer" in kinds)


def _read_field_source(
    table: YamlTable, node: YamlNode, kind: str, context: BindingContext
) -> SourceExpression:
    """Return a field or meaning: unchanged, of one occurrence (``where``), or with a ``default``."""
    keys_node = table.get("where")
    field_source = (
        read_field_value(node, kind, context)
        if keys_node is None
        else read_occurrence_lookup(node, kind, keys_node, context)
    )
    default = table.get("default")
    if default is None:
        return field_source
    source = field_source.source if isinstance(field_source, FieldValue) else field_source.value_source.source
    other_key = next((key for key in ("unit", "currency", "cid", "convert", "bound") if key in table), None)
    if source.type == "attachment" or other_key is not None:
        raise default.make_error("default", "a plain value beside a default", other_key or source.type)
    if field_source.is_always_present():
        raise default.make_error("default", "a value that may be missing", f"{source.name}, always there")
    text = default.read_text("default")
    violation = source.shape.find_violation(text)
    if violation is not None:
        raise default.make_error("default", f"a value of {source.name}", violation.detail)
    return DefaultValue(field_source, text)


def _read_concatenation(table: YamlTable, node: YamlNode, context: BindingContext) -> Concatenation:
    """Return the concatenation that ``concat`` declares, of parts with one value each.

    Raise GW502 if a constant contains the separator: the text could not be split again.
    """
    separator_node = table.get_required("with")
    separator = separator_node.value if isinstance(separator_node.value, str) else ""
    if not 1 <= len(separator) <= _MAX_SEPARATOR_LENGTH:
        raise separator_node.make_error(
            "with", f"a separator of 1 to {_MAX_SEPARATOR_LENGTH} characters", separator_node.describe_value()
        )
    parts = []
    for entry in node.read_list("concat"):
        inner = entry.read_table("concat")
        part = read_converted_source(inner, entry.mark, context)
        inner.reject_unread_keys()
        has_several_values = isinstance(part.source, FieldValue) and part.source.source.many
        if isinstance(part.source, Concatenation) or has_several_values:
            raise entry.make_error("concat", "parts of one value each", "a part of several")
        if isinstance(part.source, Constant) and separator in part.source.text:
            raise entry.make_error("concat", f"a constant without {separator!r}", part.source.text)
        parts.append(part)
    if not 2 <= len(parts) <= MAX_FACTORS or all(isinstance(part.source, Constant) for part in parts):
        raise node.make_error("concat", f"two to {MAX_FACTORS} parts, not all constant", str(len(parts)))
    return Concatenation(tuple(parts), separator)


def read_converted_source(table: YamlTable, mark: SourceMark, context: BindingContext) -> ConvertedSource:
    """Return the source of a line with the conversions that the line declares."""
    source = read_source_expression(table, mark, context)
    steps: list[ConversionStep] = []
    if (convert := table.get("convert")) is not None:
        steps.append(_read_unit_conversion(convert, source, context))
    if (via := table.get("via")) is not None:
        steps.append(_read_translation_step(via, table, context))
    if (format_node := table.get("form")) is not None:
        shape = (steps[-1] if steps else source).infer_shape()
        steps.append(_read_format_step(format_node, table, shape, context.zone))
    elif "unknown_time" in table:
        raise mark.make_error("unknown_time", "the form CCYYMMDDHHMMSS beside it", "no form")
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
            needs_second_key = isinstance(step, TranslationStep) and step.paired_field is not None
            value = None if value is None or needs_second_key else step.convert_value(value)
    except ConversionError as misfit:
        raise mark.make_error("const", "a constant that the line can convert", misfit.detail) from None


def _read_unit_conversion(
    node: YamlNode, source: SourceExpression, context: BindingContext
) -> UnitConversion:
    """Return the unit conversion that ``convert`` declares; raise GW502 if `source` has no such unit."""
    table = node.read_table("convert")
    to_node = table.get_required("to")
    to, decimals = to_node.read_text("to"), table.get_required("decimals").read_integer("decimals", 0, 12)
    rounding = table.get_required("round").read_choice("round", ROUNDING_NAMES)
    table.reject_unread_keys()
    unit, carrier = context.units.get(to), source.find_attribute_carrier()
    if unit is None:
        raise to_node.make_error("convert", "a unit of the table of units", to)
    if carrier is None or carrier.attribute != "unitCode":
        carrier_name = carrier.name if carrier is not None else "none"
        raise node.make_error("convert", "a value that carries @unitCode", carrier_name)
    units = carrier.units if carrier is not None else ()
    convertible = [field_unit for field_unit in map(context.units.get, units) if field_unit is not None]
    if units and not any(field_unit.dimension == unit.dimension for field_unit in convertible):
        raise node.make_error("convert", f"a field with a unit of {unit.dimension}", ", ".join(units))
    return UnitConversion(context.units, to, decimals, rounding, units[0] if len(units) == 1 else None)


def _read_translation_step(node: YamlNode, table: YamlTable, context: BindingContext) -> TranslationStep:
    """Return the translation that ``via`` declares: a code list, or one with the field of a second key."""
    second_key: Field | None = None
    if isinstance(node.value, dict):
        inner = node.read_table("via")
        name, key_node = inner.get_required("list"), inner.get_required("with")
        inner.reject_unread_keys()
        second_key = resolve_source_name(key_node, key_node.read_text("with"), context, in_scope=True)
        codes = _get_translation_list(name, context)
        if codes.pair_translations is None:
            raise name.make_error("via", "a code list with two key columns", codes.name)
    else:
        codes = read_translation_list(node, context)
    return TranslationStep(codes, table.read_choice("unknown_code", ("omit",)) == "omit", second_key)


def _read_format_step(node: YamlNode, table: YamlTable, shape: ValueShape, zone: str) -> FormatStep:
    """Return the format that ``form`` declares for values of `shape`; `zone` is the zone of local times."""
    name = node.read_choice("form", tuple(FORMATS))
    unknown = table.get("unknown_time")
    time = unknown.read_text("unknown_time") if unknown is not None else ""
    if unknown is not None and (name != "CCYYMMDDHHMMSS" or not _TIME.fullmatch(time)):
        raise unknown.make_error("unknown_time", "six digits beside the form CCYYMMDDHHMMSS", time)
    if name in DATE_FORMATS and shape.kind not in ("date", "moment"):
        raise node.make_error("form", f"a date, to be written as {name}", shape.kind)
    if name == "CCYYMMDDHHMMSS" and shape.kind == "date" and not time:
        raise node.make_error("form", "unknown_time, since a date has no time", "none")
    return FormatStep(name, time, zone)


def read_translation_list(node: YamlNode, context: BindingContext) -> CodeList:
    """Return the code list with a translation that `node` names."""
    codes = _get_translation_list(node, context)
    if codes.translations is None:
        raise node.make_error("via", "a code list with a translation by one key column", codes.name)
    return codes


def _get_translation_list(node: YamlNode, context: BindingContext) -> CodeList:
    name = node.read_text("via")
    codes = context.lists.get(name)
    if codes is None or (codes.translations is None and codes.pair_translations is None):
        raise node.make_error("via", "a code list with a translation", name)
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
            shape = replace(shape, max_length=chars, octets=octets)
    if (charset := limit.get("charset")) is not None:
        shape = replace(shape, charset=charset.read_choice("charset", CHARSETS))
    elif "octets" in limit:
        raise node.make_error("limit", "a charset beside octets", "none")
    if (exact := limit.get("exact")) is not None:
        shape = replace(shape, is_fixed_length=exact.read_choice("exact", ("yes", "no")) == "yes")
    if (digits := limit.get("digits")) is not None:
        total, fraction = digits.read_digit_counts("digits")
        shape = replace(shape, total_digits=total, fraction_digits=fraction)
    limit.reject_unread_keys()
    return shape


def read_uniform_value(table: YamlTable, node: YamlNode, context: BindingContext) -> UniformItemValue:
    """Return the source that a line declares: ``{alike: field, over: items}``."""
    name = node.read_text("alike")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    table.get_required("over").read_choice("over", ("items",))
    if source is None or source.per != "item" or source.many or source.attribute is not None:
        raise node.make_error("alike", "a text or code of each item, asked or common", name)
    is_mandatory = (
        source.requirement.mandatory
        if isinstance(source, UniqueField)
        else name in context.mandatory_meanings
    )
    if not is_mandatory:
        raise node.make_error("alike", "a field that each item must have", name)
    if context.in_item:
        raise node.make_error("alike", "a line outside the items", "a line inside an item")
    return UniformItemValue(source)


_ITEMS: Final = "items"


_MAX_DECIMALS: Final = 12


def read_sum(table: YamlTable, node: YamlNode, context: BindingContext) -> Sum:
    """Return the sum that a line declares: ``{sum: field, over: items | group, decimals: n}``."""
    name = node.read_text("sum")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    if source is None or source.shape.kind not in ("decimal", "integer"):
        raise node.make_error("sum", "a number, asked or common", name)
    if (
        isinstance(source, CommonMeaning)
        and name not in context.mandatory_meanings | context.optional_meanings
    ):
        expected = "a meaning that the document lists under needs"
        raise node.make_error("sum", expected, name, proof="least_disclosure")
    over_node = table.get_required("over")
    over = over_node.read_text("over")
    repeats = _list_open_repetitions(source, context)
    if over not in repeats:
        raise over_node.make_error("over", "one of " + (", ".join(repeats) or "none: nothing repeats"), over)
    decimals = table.get_required("decimals").read_integer("decimals", 0, _MAX_DECIMALS)
    present = _is_always_present(source, repeats, context)
    return Sum(source, over, decimals, present, context.units)


def _list_open_repetitions(source: Field, context: BindingContext) -> list[str]:
    """Return the repetitions of `source` that do not contain the line, the outermost first."""
    repeats = [_ITEMS] if source.in_item and not context.in_item else []
    entered = context.unique_groups if isinstance(source, UniqueField) else context.common_groups
    groups = [repetition.partition(":")[2] for repetition in source.repetitions if repetition != "item"]
    return repeats + [name for name in groups if name not in entered]


def _is_always_present(source: Field, repeats: list[str], context: BindingContext) -> bool:
    """Return whether there is always a value to add."""
    if isinstance(source, CommonMeaning):
        return source.name in context.mandatory_meanings and not set(repeats) - {_ITEMS}
    groups = [context.asks[name] for name in repeats if name != _ITEMS]
    return all(field.requirement.mandatory for field in (source, *groups))


def read_group_count(node: YamlNode, context: BindingContext) -> GroupCount:
    """Return the count of a group: ``{count: group}``, asked or of the dictionary."""
    name = node.read_text("count")
    asked_group = context.asks.get(name)
    if asked_group is not None and asked_group.type == "group":
        return GroupCount(asked_group)
    group = context.dictionary.groups.get(name)
    if group is None:
        raise node.make_error("count", "items, an asked group or a group of the dictionary", name)
    return GroupCount(group)
