"""Reads the ``puts`` of a mapping: one line, one target; what a line may name depends on where it stands."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gateway.harmonize.language.lines import Context, read_converted, read_limit, read_translation
from gateway.harmonize.language.repeats import check_room, names_inside, read_each
from gateway.harmonize.language.sources import Converted, Taken, Via
from gateway.harmonize.language.targets import AttributePut, Target, Unlike, read_part
from gateway.harmonize.language.variants import check_variants
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.conditions import read_condition
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import Shape

__all__ = ["Context", "read_puts"]

_PREDICATE: Final = r"\[(@?[A-Za-z][A-Za-z0-9]*)=([A-Za-z0-9][A-Za-z0-9._-]{0,59})\]"
_SEGMENT: Final = re.compile(rf"([A-Za-z][A-Za-z0-9]*)((?:{_PREDICATE})*)")
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_SPLIT: Final = re.compile(r"\{([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+)\}")


def read_puts(node: Node, root: Target, context: Context) -> None:
    """Add the lines of a ``puts`` list to the `root` of a request; raises GW502."""
    _read_lines(node, root, context)
    check_variants(root)


def _read_lines(node: Node, parent: Target, context: Context) -> None:
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
        if parent.each is not None:
            raise wrong(mark, "target", "a path through elements that do not repeat", path)
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
        raise wrong(mark, "target", "a path of names, as A/B, A/B[@x=v], A[B=v]/C, A/@x or A/{B,C}", step)
    if parent.content is not None:
        raise wrong(mark, "target", f"an element without a value around {step}", parent.name)
    name, unlike = _name(match[1], mark), _unlike(match[2], step, mark)
    for one in parent.children:
        if one.name == name and _keys((one.fixed, one.siblings)) != _keys(unlike):
            raise wrong(mark, "target", f"elements {name} that differ in one attribute or child", step)
    return parent.child(name, unlike, mark)


def _name(name: str, mark: Mark) -> str:
    """Return the name of an element or attribute; what XML keeps for itself is refused."""
    if name[:3].lower() == "xml":
        raise wrong(mark, "target", "a name that XML does not keep for itself (xml…)", name)
    return name


def _unlike(predicates: str, step: str, mark: Mark) -> Unlike:
    """Return the attributes and the children that a step of a path demands."""
    found = re.findall(_PREDICATE, predicates)
    names = [name for name, _ in found]
    if len(set(names)) != len(names):
        raise wrong(mark, "target", "each predicate once", step)
    fixed = tuple((_name(name[1:], mark), value) for name, value in found if name.startswith("@"))
    return fixed, tuple((_name(name, mark), value) for name, value in found if not name.startswith("@"))


def _keys(unlike: Unlike) -> list[list[str]]:
    return [[name for name, _ in part] for part in unlike]


def _read_container(last: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    target = _child(parent, last, mark)
    when, each = table.get("when"), table.get("each")
    if (when is not None or each is not None) and (target.own or target.each or target.when):
        raise wrong(mark, last, "a repeated or conditional element in one place", "the element again")
    condition = (
        None if when is None else read_condition(when, context.asks, context.dictionary, context.lists)
    )
    if each is not None:
        outer = context
        target.each, context = read_each(each, outer)
        if condition is not None and names_inside(condition, target.each, outer):
            if target.each.when is not None:
                raise wrong(mark, last, "one condition on each occurrence", "two of them")
            target.each, condition = replace(target.each, when=condition), None
    target.when = condition
    _read_lines(table.need("puts"), target, context)


def _read_attribute(name: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    content = read_converted(table, mark, context)
    shape = read_limit(content.shape(), table)
    _add_attribute(parent, AttributePut(name, content, None, None, None, shape, content.always(), mark))


def _add_attribute(target: Target, attribute: AttributePut) -> None:
    taken = [name for name, _ in target.fixed] + [one.name for one in target.attributes]
    if not _ATTRIBUTE.fullmatch(_name(attribute.name, attribute.mark)):
        raise wrong(attribute.mark, "target", "an attribute of letters and digits", f"@{attribute.name}")
    if attribute.name in taken:
        raise wrong(attribute.mark, "target", "each attribute once", attribute.name)
    target.attributes.append(attribute)


def _read_element(last: str, table: Table, mark: Mark, where: tuple[Target, Context]) -> None:
    parent, context = where
    content = read_converted(table, mark, context)
    shape = read_limit(content.shape(), table)
    bound, when = table.get("bound"), table.get("when")
    occurs = _read_bound(bound, content, mark, last)
    split = _SPLIT.fullmatch(last)
    names = split[1].split(",") if split else [last]
    part = read_part(table, len(names)) if split else None
    for number, name in enumerate(names):
        target = _child(parent, name, mark)
        if target.siblings:
            raise wrong(mark, last, "elements below one that a child tells apart", "a value in it")
        if target.content is not None or target.children:
            raise wrong(mark, last, "each target once", f"{name} again, first in line {target.mark.line}")
        target.mark, target.content, target.shape = mark, content, shape
        target.bound = occurs
        target.when = read_condition(when, context.asks, context.dictionary, context.lists) if when else None
        if part is not None:
            target.part = replace(part, number=number)
            target.shape = Shape("text", longest=part.chars, octets=part.octets, charset=part.charset)
    if part is None:
        _of_value(target, table, context)


def _read_bound(node: Node | None, content: Converted, mark: Mark, name: str) -> tuple[int, int]:
    """Return how often a leaf may stand: a bound is due exactly where its source has many values."""
    source = content.source.source if isinstance(content.source, Taken) else None
    if (source is not None and source.many) != (node is not None):
        found = "none" if node is None else "a bound"
        raise wrong(mark, name, "a bound where a meaning has many values only", found)
    bound = (0, 1) if node is None else node.bounds("bound")
    if node is not None and isinstance(source, Ask):
        check_room(bound, source, node.mark)
    return bound


def _of_value(target: Target, table: Table, context: Context) -> None:
    """Add the attributes that belong to the value itself: its unit, its currency, its content id."""
    for key in ("unit", "currency", "cid"):
        node = table.get(key)
        if node is None:
            continue
        via = None
        if isinstance(node.value, dict):
            inner = node.table(key)
            name, via = inner.need("to").text("to"), read_translation(inner.need("via"), context)
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
    return target.content.carries() if target.content is not None else None


def _attribute_of(target: Target, spec: tuple[str, str, CodeList | None], mark: Mark) -> AttributePut:
    key, name, via = spec
    wanted = {"unit": "unitCode", "currency": "currencyID", "cid": "cid"}[key]
    carrier = _carrier(target)
    if carrier is None or carrier.attribute != wanted:
        raise wrong(mark, key, f"a value that carries @{wanted}", carrier.name if carrier else "none")
    is_ask = isinstance(carrier, Ask)
    shape = carrier.attribute_shape if isinstance(carrier, Ask) else Shape("text", longest=17)
    unit = target.content.unit if key == "unit" and target.content is not None else None
    if unit is not None:
        shape = Shape("text", codes=(unit if via is None else via.translate(unit) or "",))
        if not shape.codes or not shape.codes[0]:
            raise wrong(mark, key, "a list that knows the unit of the line", unit)
    elif via is not None:
        shape = Via(via, omit=False).shape()
    default = carrier.fixed_unit if isinstance(carrier, Ask) else None
    return AttributePut(name, None, wanted, via, default, shape, is_ask, mark)
