"""Reads what a line of a mapping takes its value from, and what is done to it on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language.alike import read_alike
from gateway.harmonize.language.combined import levels
from gateway.harmonize.language.sources import (
    DATE_FORMS,
    FORMS,
    HUB_VALUES,
    MOST_FACTORS,
    ROUNDINGS,
    Concat,
    Const,
    Convert,
    Converted,
    Count,
    Default,
    Form,
    Hub,
    Index,
    Match,
    MisfitError,
    Product,
    Serial,
    Source,
    Step,
    Taken,
    Value,
    Via,
    Where,
)
from gateway.harmonize.language.totals import read_group_count, read_sum
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import CHARSETS, Shape
from gateway.harmonize.terms.units import NO_UNITS, ROUNDING_NAMES, Units

__all__ = [
    "SOURCES",
    "Context",
    "check_inside",
    "check_reachable",
    "read_ask",
    "read_converted",
    "read_limit",
    "read_meaning",
    "read_named",
    "read_source",
    "read_taken",
    "read_translation",
    "read_where",
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
class Context:
    """What a line of a mapping may name, and the repetitions it stands in."""

    lists: Mapping[str, CodeList]
    dictionary: Dictionary
    asks: Mapping[str, Ask]
    mandatory: frozenset[str]
    optional: frozenset[str]
    units: Units = NO_UNITS
    in_item: bool = False
    asked: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()
    distinct: str | None = None


def check_inside(per: str, mark: Mark, context: Context) -> None:
    """Refuse a meaning outside the repetition that it belongs to."""
    if per == "item" and not context.in_item:
        raise wrong(mark, "puts", "a line inside each item (the meaning is per item)", "a line outside")
    if per in context.dictionary.groups and per not in context.common:
        raise wrong(mark, "puts", f"a line inside each {per}", "a line outside")


def check_reachable(ask: Ask, mark: Mark, context: Context) -> None:
    """Refuse an asked field outside the repetitions that it belongs to."""
    outer = context.asks.get(ask.group)
    while outer is not None:
        if outer.name not in context.asked and outer.many:
            raise wrong(mark, "puts", f"a line inside each {outer.name}", "a line outside")
        outer = context.asks.get(outer.group)
    if ask.home == "item" and not context.in_item:
        raise wrong(mark, "puts", "a line inside each item (the field is per item)", "a line outside")


def read_meaning(node: Node, context: Context) -> Meaning:
    """Return the common meaning that `node` names, which may stand here."""
    name = node.text("common")
    meaning = context.dictionary.meanings.get(name)
    if meaning is None:
        raise wrong(node.mark, "common", "a meaning of the dictionary", name)
    if name not in context.mandatory and name not in context.optional:
        expected = "a meaning that the document lists under needs"
        raise wrong(node.mark, "common", expected, name, proof="least_disclosure")
    if name != context.distinct:
        check_inside(meaning.per, node.mark, context)
    return meaning


def read_ask(node: Node, context: Context) -> Ask:
    """Return the asked field that `node` names, which may stand here."""
    name = node.text("ask")
    ask = context.asks.get(name)
    if ask is None or ask.type == "group":
        raise wrong(node.mark, "ask", "a field that the document asks", name)
    if name != context.distinct:
        check_reachable(ask, node.mark, context)
    return ask


def read_taken(node: Node, kind: str, context: Context) -> Taken:
    """Return the source that takes a value as it was asked (`kind` ask) or declared (common)."""
    if kind == "ask":
        ask = read_ask(node, context)
        outer = context.asks.get(ask.group)
        entered = outer is None or outer.name in context.asked or outer.requirement.mandatory
        return Taken(ask, ask.requirement.mandatory and entered)
    meaning = read_meaning(node, context)
    return Taken(meaning, meaning.name in context.mandatory)


def read_source(table: Table, mark: Mark, context: Context) -> Source:
    """Return the one source that a line names."""
    named = [key for key in SOURCES if key in table]
    if len(named) != 1:
        raise wrong(mark, table.name, "one source of " + ", ".join(SOURCES), ", ".join(named) or "none")
    kind, node = named[0], table.need(named[0])
    if kind in ("ask", "common"):
        return _read_chosen(table, node, kind, context)
    if kind == "concat":
        return _concat(table, node, context)
    if kind == "const":
        return Const(node.text("const"))
    if kind == "hub":
        return Hub(node.one_of("hub", tuple(HUB_VALUES)))
    if kind == "count":
        return Count() if node.text("count") == "items" else read_group_count(node, context)
    if kind == "sum":
        return read_sum(table, node, context)
    if kind == "alike":
        return read_alike(table, node, context)
    if kind == "index":
        if node.text("index") not in context.asked | context.common | {context.distinct}:
            raise wrong(node.mark, "index", "a group around this line", node.text("index"))
        return Index(node.text("index"))
    return _serial(table, node, context) if kind == "serial" else _product(table, node, context)


def _serial(table: Table, node: Node, context: Context) -> Serial:
    match = _SERIAL.fullmatch(node.text("serial"))
    if match is None:
        raise wrong(node.mark, "serial", "a prefix and %0Nd, as FR2%03d", node.text("serial"))
    return Serial(match[1], int(match[2]), read_meaning(table.need("from"), context))


def _product(table: Table, node: Node, context: Context) -> Product:
    factors = []
    for part in node.items("multiply"):
        kind = "ask" if part.text("multiply") in context.asks else "common"
        factors.append(read_taken(part, kind, context))
    if not 2 <= len(factors) <= MOST_FACTORS:
        raise wrong(node.mark, "multiply", f"two to {MOST_FACTORS} factors", str(len(factors)))
    total, decimals = table.need("digits").digits("digits")
    return Product(tuple(factors), decimals, table.need("round").one_of("round", tuple(ROUNDINGS)), total)


def read_named(node: Node, name: str, context: Context, *, here: bool) -> Ask | Meaning:
    """Return the asked field or common meaning `name`, which has one value.

    With `here`, it must be one that a line in this place may take.
    """
    ask, meaning = context.asks.get(name), context.dictionary.meanings.get(name)
    source = ask or meaning
    if source is None or source.type in ("group", "attachment") or source.many:
        raise wrong(node.mark, name, "an asked field or a common meaning with one value", name)
    if meaning is not None and ask is None and name not in context.mandatory | context.optional:
        raise wrong(node.mark, name, "a meaning that the document lists under needs", name)
    if here and ask is not None:
        check_reachable(ask, node.mark, context)
    elif here and meaning is not None:
        check_inside(meaning.per, node.mark, context)
    return source


def read_where(node: Node, kind: str, where: Node, context: Context) -> Where:
    """Return the source that takes a value from the occurrence whose keys `where` names."""
    name = node.text(kind)
    source = read_named(node, name, context, here=False)
    if isinstance(source, Ask) != (kind == "ask"):
        raise wrong(node.mark, kind, "an asked field" if kind == "ask" else "a common meaning", name)
    around = levels(source, context.dictionary)
    if not around:
        raise wrong(node.mark, "where", "a value of something that repeats", name)
    matches = tuple(_match(key, test, mark, context) for key, test, mark in where.table("where").rest())
    depths = {levels(match.key, context.dictionary) for match in matches}
    if not 1 <= len(matches) <= _MOST_KEYS or len(depths) != 1:
        raise wrong(where.mark, "where", f"one to {_MOST_KEYS} keys side by side", f"{len(matches)} keys")
    (keyed,) = depths
    if not keyed or around[: len(keyed)] != keyed:
        raise wrong(where.mark, "where", f"keys beside or around {name}", matches[0].key.name)
    return Where(Taken(source, False), matches, around, len(keyed))


def _match(name: str, node: Node, mark: Mark, context: Context) -> Match:
    key = read_named(node, name, context, here=False)
    tests = list(node.table(name).rest())
    if len(tests) != 1 or tests[0][0] not in ("is", "same"):
        raise wrong(mark, name, "one test, is or same", ", ".join(test for test, _, _ in tests) or "none")
    operator, value, at = tests[0]
    text = value.text(operator)
    if operator == "is":
        refusal = key.shape.refuse(text)
        if refusal is not None:
            raise wrong(at, name, f"a value of {name}", refusal[1])
        return Match(key, text, None, key.shape.kind == "integer")
    other = read_named(value, text, context, here=True)
    kinds = key.shape.kind, other.shape.kind
    if kinds[0] != kinds[1] and set(kinds) != {"integer", "text"}:
        raise wrong(at, name, f"a value of the kind of {name} ({kinds[0]})", f"{text} ({kinds[1]})")
    return Match(key, None, other, "integer" in kinds)


def _read_chosen(table: Table, node: Node, kind: str, context: Context) -> Source:
    """Return a field or meaning: as it stands, of one occurrence (where), or with a default."""
    where = table.get("where")
    chosen = read_taken(node, kind, context) if where is None else read_where(node, kind, where, context)
    default = table.get("default")
    if default is None:
        return chosen
    source = chosen.source if isinstance(chosen, Taken) else chosen.taken.source
    beside = next((key for key in ("unit", "currency", "cid", "convert", "bound") if key in table), None)
    if source.type == "attachment" or beside is not None:
        raise wrong(default.mark, "default", "a plain value beside a default", beside or source.type)
    if chosen.always():
        raise wrong(default.mark, "default", "a value that may be missing", f"{source.name}, always there")
    text = default.text("default")
    refusal = source.shape.refuse(text)
    if refusal is not None:
        raise wrong(default.mark, "default", f"a value of {source.name}", refusal[1])
    return Default(chosen, text)


def _concat(table: Table, node: Node, context: Context) -> Concat:
    joint = table.need("with")
    separator = joint.value if isinstance(joint.value, str) else ""
    if not 1 <= len(separator) <= _LONGEST_SEPARATOR:
        raise wrong(joint.mark, "with", f"a separator of 1 to {_LONGEST_SEPARATOR} characters", joint.show())
    parts = []
    for entry in node.items("concat"):
        inner = entry.table("concat")
        part = read_converted(inner, entry.mark, context)
        inner.close()
        several = isinstance(part.source, Taken) and part.source.source.many
        if isinstance(part.source, Concat) or several:
            raise wrong(entry.mark, "concat", "parts of one value each", "a part of several")
        if isinstance(part.source, Const) and separator in part.source.text:
            raise wrong(entry.mark, "concat", f"a constant without {separator!r}", part.source.text)
        parts.append(part)
    if not 2 <= len(parts) <= MOST_FACTORS or all(isinstance(part.source, Const) for part in parts):
        raise wrong(node.mark, "concat", f"two to {MOST_FACTORS} parts, not all constant", str(len(parts)))
    return Concat(tuple(parts), separator)


def read_converted(table: Table, mark: Mark, context: Context) -> Converted:
    """Return the source of a line with the conversions that the line declares."""
    source = read_source(table, mark, context)
    steps: list[Step] = []
    if (convert := table.get("convert")) is not None:
        steps.append(_convert(convert, source, context))
    if (via := table.get("via")) is not None:
        steps.append(_via(via, table, context))
    if (form := table.get("form")) is not None:
        steps.append(_form(form, table, (steps[-1] if steps else source).shape()))
    elif "unknown_time" in table:
        raise wrong(mark, "unknown_time", "the form CCYYMMDDHHMMSS beside it", "no form")
    converted = Converted(source, tuple(steps))
    _check_constants(converted, mark)
    return converted


def _check_constants(converted: Converted, mark: Mark) -> None:
    """Refuse a constant or a default that the conversions of its line cannot take."""
    source = converted.source
    if not isinstance(source, Const | Default):
        return
    value: Value | None = Value(source.text, (), "const")
    try:
        for step in converted.steps:
            beside = isinstance(step, Via) and step.beside is not None
            value = None if value is None or beside else step.apply(value)
    except MisfitError as misfit:
        raise wrong(mark, "const", "a constant that the line can convert", misfit.detail) from None


def _convert(node: Node, source: Source, context: Context) -> Convert:
    table = node.table("convert")
    to_node = table.need("to")
    to, decimals = to_node.text("to"), table.need("decimals").number("decimals", 0, 12)
    rounding = table.need("round").one_of("round", ROUNDING_NAMES)
    table.close()
    unit, carrier = context.units.get(to), source.carries()
    if unit is None:
        raise wrong(to_node.mark, "convert", "a unit of the table of units", to)
    if carrier is None or carrier.attribute != "unitCode":
        found = carrier.name if carrier is not None else "none"
        raise wrong(node.mark, "convert", "a value that carries @unitCode", found)
    units = carrier.units if isinstance(carrier, Ask) else ()
    known = [own for own in map(context.units.get, units) if own is not None]
    if units and not any(own.dimension == unit.dimension for own in known):
        raise wrong(node.mark, "convert", f"a field with a unit of {unit.dimension}", ", ".join(units))
    return Convert(context.units, to, decimals, rounding, units[0] if len(units) == 1 else None)


def _via(node: Node, table: Table, context: Context) -> Via:
    beside: Ask | Meaning | None = None
    if isinstance(node.value, dict):
        inner = node.table("via")
        name, other = inner.need("list"), inner.need("with")
        inner.close()
        beside = read_named(other, other.text("with"), context, here=True)
        codes = _listed(name, context)
        if codes.pairs is None:
            raise wrong(name.mark, "via", "a code list with two key columns", codes.name)
    else:
        codes = read_translation(node, context)
    unknown = table.get("unknown_code")
    return Via(codes, unknown is not None and unknown.one_of("unknown_code", ("omit",)) == "omit", beside)


def _form(node: Node, table: Table, shape: Shape) -> Form:
    name = node.one_of("form", tuple(FORMS))
    unknown = table.get("unknown_time")
    time = unknown.text("unknown_time") if unknown is not None else ""
    if unknown is not None and (name != "CCYYMMDDHHMMSS" or not _TIME.fullmatch(time)):
        raise wrong(unknown.mark, "unknown_time", "six digits beside the form CCYYMMDDHHMMSS", time)
    if name in DATE_FORMS and shape.kind not in ("date", "moment"):
        raise wrong(node.mark, "form", f"a date, to be written as {name}", shape.kind)
    if name == "CCYYMMDDHHMMSS" and shape.kind == "date" and not time:
        raise wrong(node.mark, "form", "unknown_time, since a date has no time", "none")
    return Form(name, time)


def read_translation(node: Node, context: Context) -> CodeList:
    """Return the code list with a translation that `node` names."""
    codes = _listed(node, context)
    if codes.to is None:
        raise wrong(node.mark, "via", "a code list with a translation by one key column", codes.name)
    return codes


def _listed(node: Node, context: Context) -> CodeList:
    name = node.text("via")
    codes = context.lists.get(name)
    if codes is None or (codes.to is None and codes.pairs is None):
        raise wrong(node.mark, "via", "a code list with a translation", name)
    return codes


def read_limit(shape: Shape, table: Table) -> Shape:
    """Return `shape` within the limit that a line declares."""
    node = table.get("limit")
    if node is None:
        return shape
    limit = node.table("limit")
    for key in ("chars", "octets"):
        if (bound := limit.get(key)) is not None:
            size = bound.number(key, 1)
            chars, octets = (size, None) if key == "chars" else (None, size)
            shape = replace(shape, longest=chars, octets=octets)
    if (charset := limit.get("charset")) is not None:
        shape = replace(shape, charset=charset.one_of("charset", CHARSETS))
    elif "octets" in limit:
        raise wrong(node.mark, "limit", "a charset beside octets", "none")
    if (exact := limit.get("exact")) is not None:
        shape = replace(shape, exact=exact.one_of("exact", ("yes", "no")) == "yes")
    if (digits := limit.get("digits")) is not None:
        total, fraction = digits.digits("digits")
        shape = replace(shape, total=total, fraction=fraction)
    limit.close()
    return shape
