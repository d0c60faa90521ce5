"""Reads the ``puts`` of a mapping: one line, one target; what a line may name depends on where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.asks import Ask
from gateway.harmonize.codelists import CodeList
from gateway.harmonize.conditions import read_condition
from gateway.harmonize.dictionary import Dictionary, Meaning
from gateway.harmonize.marks import Mark, Node, Table, wrong
from gateway.harmonize.shapes import CHARSETS, Shape
from gateway.harmonize.sources import (
    FORMS,
    HUB_VALUES,
    MOST_FACTORS,
    ROUNDINGS,
    Const,
    Converted,
    Count,
    Form,
    Hub,
    Index,
    Product,
    Serial,
    Source,
    Step,
    Taken,
    Via,
)
from gateway.harmonize.targets import AttributePut, Each, Part, Target

__all__ = ["Context", "read_puts"]

_SEGMENT: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\[@([A-Za-z]+)=([A-Za-z0-9]+)\])?")
_SPLIT: Final = re.compile(r"\{([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+)\}")
_SERIAL: Final = re.compile(r"([A-Za-z0-9]{1,20})%0([1-5])d")
_SOURCES: Final = ("const", "hub", "common", "ask", "count", "serial", "index", "multiply")


@dataclass(frozen=True, slots=True)
class Context:
    """What a line of a mapping may name, and the repetitions it stands in."""

    lists: Mapping[str, CodeList]
    dictionary: Dictionary
    asks: Mapping[str, Ask]
    mandatory: frozenset[str]
    optional: frozenset[str]
    in_item: bool = False
    asked: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()


def read_puts(node: Node, parent: Target, context: Context) -> None:
    """Add the lines of a ``puts`` list to `parent`."""
    for entry in node.items("puts"):
        lines = list(entry.table("puts").rest())
        if len(lines) != 1:
            raise wrong(entry.mark, "puts", "one target a line", f"{len(lines)} of them")
        path, spec, mark = lines[0]
        _read_line(path, spec.table(path), mark, (parent, context))


def _read_line(path: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    *steps, last = path.split("/")
    for step in steps:
        parent = _child(parent, step, mark)
        if parent.each is not None or parent.fixed:
            raise wrong(mark, "target", "a path through elements that neither repeat nor differ", path)
    if "puts" in table:
        _read_container(last, table, mark, (parent, context))
    elif last.startswith("@"):
        _read_attribute(last[1:], table, mark, (parent, context))
    else:
        _read_element(last, table, mark, (parent, context))
    table.close()


def _child(parent: Target, step: str, mark: Mark) -> Target:
    """Return the child of `parent` that `step` names, made where it is not there."""
    match = _SEGMENT.fullmatch(step)
    if match is None:
        raise wrong(mark, "target", "a path of names, as A/B, A/B[@x=v], A/@x or A/{B,C}", step)
    if parent.content is not None:
        raise wrong(mark, "target", f"an element without a value around {step}", parent.name)
    name, attribute, value = match.groups()
    for one in parent.children:
        if one.name == name and [key for key, _ in one.fixed] != ([attribute] if attribute else []):
            raise wrong(mark, "target", f"elements {name} that differ in one attribute", step)
    return parent.child(name, ((attribute, value),) if attribute else (), mark)


def _read_container(last: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    target = _child(parent, last, mark)
    if target.fixed:
        raise wrong(mark, "target", "a value in an element that differs by an attribute", last)
    when = table.get("when")
    if when is not None:
        target.when = read_condition(when, context.asks, context.dictionary)
    each = table.get("each")
    if each is not None:
        if target.children or target.each:
            raise wrong(mark, last, "a repeated element in one place", "the element again")
        target.each, context = _read_each(each, context)
    read_puts(table.need("puts"), target, context)


def _read_each(node: Node, context: Context) -> tuple[Each, Context]:
    table = node.table("each")
    bound = table.need("bound").bounds("bound")
    key, ask = None, None
    if "item" in table:
        over, group = "item", table.need("item").one_of("item", ("application.items",))
        context = replace(context, in_item=True)
        key = _meaning(table.need("key"), context)
    elif "asked" in table:
        over, group = "asked", table.need("asked").text("asked")
        ask = context.asks.get(group)
        if ask is None or ask.type != "group":
            raise wrong(node.mark, "each", "an asked group", group)
        _reachable(ask, node.mark, context)
        context = replace(context, asked=context.asked | {group})
    else:
        over, group = "common", table.need("common").one_of("common", tuple(context.dictionary.groups))
        _inside(context.dictionary.groups[group].per, node.mark, context)
        context = replace(context, common=context.common | {group})
    table.close()
    return Each(over, group, ask, key, bound, node.mark), context


def _inside(per: str, mark: Mark, context: Context) -> None:
    """Refuse a meaning outside the repetition that it belongs to."""
    if per == "item" and not context.in_item:
        raise wrong(mark, "puts", "a line inside each item (the meaning is per item)", "a line outside")
    if per in context.dictionary.groups and per not in context.common:
        raise wrong(mark, "puts", f"a line inside each {per}", "a line outside")


def _reachable(ask: Ask, mark: Mark, context: Context) -> None:
    single = ask.group in context.asks and context.asks[ask.group].repeat[1] <= 1
    if ask.group and ask.group not in context.asked and not single:
        raise wrong(mark, "puts", f"a line inside each {ask.group}", "a line outside")
    if ask.per == "item" and not context.in_item:
        raise wrong(mark, "puts", "a line inside each item (the field is per item)", "a line outside")


def _meaning(node: Node, context: Context) -> Meaning:
    name = node.text("common")
    meaning = context.dictionary.meanings.get(name)
    if meaning is None:
        raise wrong(node.mark, "common", "a meaning of the dictionary", name)
    if name not in context.mandatory and name not in context.optional:
        raise wrong(node.mark, "common", "a meaning that the document lists under needs", name)
    _inside(meaning.per, node.mark, context)
    return meaning


def _ask(node: Node, context: Context) -> Ask:
    name = node.text("ask")
    ask = context.asks.get(name)
    if ask is None or ask.type == "group":
        raise wrong(node.mark, "ask", "a field that the document asks", name)
    _reachable(ask, node.mark, context)
    return ask


def _taken(node: Node, kind: str, context: Context) -> Taken:
    if kind == "ask":
        ask = _ask(node, context)
        outer = context.asks.get(ask.group)
        entered = outer is None or outer.name in context.asked or outer.requirement.mandatory
        return Taken(ask, ask.requirement.mandatory and entered)
    meaning = _meaning(node, context)
    return Taken(meaning, meaning.name in context.mandatory)


def _source(table: Table, mark: Mark, context: Context) -> Source:
    named = [key for key in _SOURCES if key in table]
    if len(named) != 1:
        raise wrong(mark, table.name, "one source of " + ", ".join(_SOURCES), ", ".join(named) or "none")
    kind, node = named[0], table.need(named[0])
    if kind in ("ask", "common"):
        return _taken(node, kind, context)
    if kind == "const":
        return Const(node.text("const"))
    if kind == "hub":
        return Hub(node.one_of("hub", tuple(HUB_VALUES)))
    if kind == "count":
        node.one_of("count", ("items",))
        return Count()
    if kind == "index":
        if node.text("index") not in context.asked | context.common:
            raise wrong(node.mark, "index", "a group around this line", node.text("index"))
        return Index(node.text("index"))
    return _serial(table, node, context) if kind == "serial" else _product(table, node, context)


def _serial(table: Table, node: Node, context: Context) -> Serial:
    match = _SERIAL.fullmatch(node.text("serial"))
    if match is None:
        raise wrong(node.mark, "serial", "a prefix and %0Nd, as FR2%03d", node.text("serial"))
    return Serial(match[1], int(match[2]), _meaning(table.need("from"), context))


def _product(table: Table, node: Node, context: Context) -> Product:
    factors = []
    for part in node.items("multiply"):
        kind = "ask" if part.text("multiply") in context.asks else "common"
        factors.append(_taken(part, kind, context))
    if not 2 <= len(factors) <= MOST_FACTORS:
        raise wrong(node.mark, "multiply", f"two to {MOST_FACTORS} factors", str(len(factors)))
    total, decimals = table.need("digits").digits("digits")
    return Product(tuple(factors), decimals, table.need("round").one_of("round", tuple(ROUNDINGS)), total)


def _converted(table: Table, mark: Mark, context: Context) -> Converted:
    steps: list[Step] = []
    form, via = table.get("form"), table.get("via")
    if via is not None:
        codes = _translation(via, context)
        unknown = table.get("unknown_code")
        steps.append(Via(codes, unknown is not None and unknown.one_of("unknown_code", ("omit",)) == "omit"))
    if form is not None:
        steps.append(Form(form.one_of("form", tuple(FORMS)), table.text("unknown_time")))
    return Converted(_source(table, mark, context), tuple(steps))


def _translation(node: Node, context: Context) -> CodeList:
    name = node.text("via")
    codes = context.lists.get(name)
    if codes is None or codes.to is None:
        raise wrong(node.mark, "via", "a code list with a translation", name)
    return codes


def _limited(shape: Shape, table: Table) -> Shape:
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


def _read_attribute(name: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    content = _converted(table, mark, context)
    shape = _limited(content.shape(), table)
    _add_attribute(parent, AttributePut(name, content, None, None, None, shape, content.always(), mark))


def _add_attribute(target: Target, attribute: AttributePut) -> None:
    taken = [name for name, _ in target.fixed] + [one.name for one in target.attributes]
    if attribute.name in taken or not attribute.name.isalnum():
        raise wrong(attribute.mark, "target", "each attribute once", attribute.name)
    target.attributes.append(attribute)


def _read_element(last: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    content = _converted(table, mark, context)
    shape = _limited(content.shape(), table)
    bound, when = table.get("bound"), table.get("when")
    many = _is_many(content)
    if many != (bound is not None):
        raise wrong(mark, last, "a bound where a meaning has many values only", "none" if many else "a bound")
    split = _SPLIT.fullmatch(last)
    names = split[1].split(",") if split else [last]
    part = _read_split(table, len(names)) if split else None
    for number, name in enumerate(names):
        target = _child(parent, name, mark)
        if target.content is not None or target.children:
            raise wrong(mark, last, "each target once", f"{name} again, first in line {target.mark.line}")
        target.mark, target.content, target.shape = mark, content, shape
        target.bound = bound.bounds("bound") if bound else (0, 1)
        target.when = read_condition(when, context.asks, context.dictionary) if when else None
        if part is not None:
            target.part = replace(part, number=number)
            target.shape = Shape("text", longest=part.chars, octets=part.octets, charset=part.charset)
    if part is None:
        _of_value(target, table, context)


def _is_many(content: Converted) -> bool:
    source = content.source
    return isinstance(source, Taken) and isinstance(source.source, Meaning) and source.source.many


def _read_split(table: Table, count: int) -> Part:
    node = table.need("split")
    split = node.table("split")
    octets, chars = split.get("octets"), split.get("chars")
    if (octets is None) == (chars is None):
        raise wrong(node.mark, "split", "either octets or chars", "both or none")
    charset = split.need("charset").one_of("charset", CHARSETS) if octets else "utf-8"
    split.close()
    most_octets = octets.number("octets", 4) if octets else None
    return Part(0, count, most_octets, chars.number("chars", 1) if chars else None, charset)


def _of_value(target: Target, table: Table, context: Context) -> None:
    """Add the attributes that belong to the value itself: its unit, its currency, its content id."""
    for key in ("unit", "currency", "cid"):
        node = table.get(key)
        if node is None:
            continue
        via = None
        if isinstance(node.value, dict):
            inner = node.table(key)
            name, via = inner.need("to").text("to"), _translation(inner.need("via"), context)
            inner.close()
        else:
            name = node.text(key)
        if not name.startswith("@"):
            raise wrong(node.mark, key, "an attribute, as @unitCode", name)
        _add_attribute(target, _attribute_of(target, (key, name[1:], via), node.mark))
    ask = _carrier(target)
    target.empty = isinstance(ask, Ask) and ask.type == "attachment"


def _carrier(target: Target) -> Ask | Meaning | None:
    """Return the field or meaning whose attributes the target's value carries."""
    source = target.content.source if target.content is not None else None
    if isinstance(source, Product):
        return source.factors[-1].source
    return source.source if isinstance(source, Taken) else None


def _attribute_of(target: Target, spec: tuple[str, str, CodeList | None], mark: Mark) -> AttributePut:
    key, name, via = spec
    wanted = {"unit": "unitCode", "currency": "currencyID", "cid": "cid"}[key]
    carrier = _carrier(target)
    if carrier is None or carrier.attribute != wanted:
        raise wrong(mark, key, f"a value that carries @{wanted}", carrier.name if carrier else "none")
    is_ask = isinstance(carrier, Ask)
    shape = carrier.attribute_shape if isinstance(carrier, Ask) else Shape("text", longest=17)
    if via is not None:
        shape = Via(via, omit=False).shape()
    default = carrier.fixed_unit if isinstance(carrier, Ask) else None
    return AttributePut(name, None, wanted, via, default, shape, is_ask, mark)
