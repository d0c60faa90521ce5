"""What the targets of a document demand of the values that they take, told from its mapping.

A sample must fit every target that takes a value: its form before it is converted, its
unit, how many there may be, whether all have one unit, and by which keys values are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

from gateway.harmonize.language.alike import Alike
from gateway.harmonize.language.documents import Check, Document
from gateway.harmonize.language.sources import (
    Concat,
    Convert,
    Converted,
    Default,
    Form,
    Product,
    Step,
    Taken,
    Via,
    Where,
)
from gateway.harmonize.language.targets import AttributePut, Each, Target
from gateway.harmonize.language.totals import Sum
from gateway.harmonize.terms.asks import Ask, flatten
from gateway.harmonize.terms.conditions import Condition, guards
from gateway.harmonize.terms.dictionary import Group, Meaning
from gateway.harmonize.terms.shapes import DECIMAL, Shape
from gateway.harmonize.terms.units import decimal_text, exact_number, round_exactly

__all__ = ["Demands", "demands_of", "name_of"]


@dataclass(slots=True)
class Demands:
    """The demands on each field, meaning and group, by kind and name.

    `shapes` are forms of the value, `without` what it may not contain; `vias` what its unit
    or currency is written by, `converts` what its quantity is converted by, each with the form
    of the target; `least` and
    `most` how often it may stand; `alike` those whose values all have one unit, `same` those
    that are the same in all items; `distinct` how many different values there may be;
    `keys` the constants that a key is looked for by, `links` the fields it is compared with;
    `guards` the values that conditions look for.
    """

    shapes: dict[str, list[Shape]] = field(default_factory=dict)
    without: dict[str, set[str]] = field(default_factory=dict)
    vias: dict[str, list[AttributePut]] = field(default_factory=dict)
    converts: dict[str, list[tuple[Convert, Shape]]] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)
    same: set[str] = field(default_factory=set)
    distinct: dict[str, int] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    guards: dict[str, list[str]] = field(default_factory=dict)

    def fits(self, name: str, text: str) -> bool:
        """Return whether every target takes `text`."""
        wanted = all(shape.refuse(text) is None for shape in self.shapes.get(name, ()))
        return wanted and not any(word in text for word in self.without.get(name, ()))

    def takes(self, source: Ask | Meaning, unit: str) -> bool:
        """Return whether every target of `source` can write a value of this unit or currency."""
        name = name_of(source)
        steps = [step for step, _ in self.converts.get(name, ())]
        if any(step.units.convert(Fraction(1), unit, step.to) is None for step in steps):
            return False
        return all(
            put.shape.refuse(unit) is None if put.via is None else put.via.translate(unit) is not None
            for put in self.vias.get(name, ())
        )

    def converts_well(self, source: Ask | Meaning, text: str, unit: str | None) -> bool:
        """Return whether a quantity, once it is converted, fits every target that converts it."""
        for step, shape in self.converts.get(name_of(source), ()):
            if unit is None or not DECIMAL.fullmatch(text):
                return False
            exact = step.units.convert(exact_number(text), unit, step.to)
            rounded = None if exact is None else round_exactly(exact, step.decimals, step.rounding)
            made = None if rounded is None else decimal_text(rounded)
            if made is None or shape.refuse(made) is not None:
                return False
        return True

    def within(self, source: Ask | Meaning | Group, low: int, high: int) -> tuple[int, int]:
        """Return the numbers of values or occurrences between `low` and `high` that every target takes."""
        name = name_of(source)
        high = min(high, self.most.get(name, high))
        return min(max(low, self.least.get(name, low)), high), high

    def bound(self, source: Ask | Meaning | Group, bound: tuple[int, int]) -> None:
        """Add how often values or occurrences may stand in a target."""
        name = name_of(source)
        self.least[name] = max(bound[0], self.least.get(name, 0))
        self.most[name] = min(bound[1], self.most.get(name, bound[1]))


def name_of(source: Ask | Meaning | Group) -> str:
    """Return kind and name: a field and a meaning may be called alike."""
    kinds = {Ask: "ask", Meaning: "common", Group: "group"}
    return f"{kinds[type(source)]}:{source.name}"


def demands_of(document: Document, groups: Mapping[str, Group]) -> Demands:
    """Return what the targets of `document` demand; `groups` are those of the dictionary."""
    demands = Demands()
    for target in document.root.leaves():
        if target.each is not None:
            _add_each(demands, target.each, groups)
        if target.content is not None:
            _add_content(demands, target, target.content)
        for put in target.attributes:
            if put.content is not None:
                _add_line(demands, put.content, put.shape)
    for check in document.checks:
        _add_check(demands, check, document)
    for condition in _conditions(document):
        for test in guards(condition):
            if test.operator != "present":
                demands.guards.setdefault(name_of(test.source), []).extend(test.values)
    return demands


def _add_check(demands: Demands, check: Check, document: Document) -> None:
    """Add what a total demands: one unit of all that it adds up, and enough values to reach a constant."""
    if check.kind != "sum":
        return
    factor = check.factors[-1]
    if factor.attribute is not None and not check.same_unit:
        demands.alike.add(name_of(factor))
    if len(check.factors) > 1 or not isinstance(check.bound, str) or not isinstance(factor, Ask):
        return
    counted = factor if factor.many else document.ask_names.get(factor.group)
    if counted is None or not counted.many or check.around != _outside(counted):
        return
    low, high = (None if one is None else Decimal(one) for one in (factor.shape.low, factor.shape.high))
    name, bound = name_of(counted), Decimal(check.bound)
    if check.operator in ("equals", "at_least", "more_than") and high is not None and high > 0:
        least = int(((bound - check.within) / high).to_integral_value(ROUND_CEILING))
        demands.least[name] = max(least, demands.least.get(name, 0))
    if check.operator in ("equals", "at_most", "less_than") and low is not None and low > 0:
        most = max(int((bound + check.within) / low), 1)
        demands.most[name] = min(most, demands.most.get(name, most))


def _outside(ask: Ask) -> tuple[str, ...]:
    """Return the repetitions around a field or a group, as checks name them."""
    parts = ask.group.split(".") if ask.group else []
    groups = tuple(f"asked:{'.'.join(parts[: end + 1])}" for end in range(len(parts)))
    return (("item",) if ask.home == "item" else ()) + groups


def _conditions(document: Document) -> Iterator[Condition]:
    """Yield every condition of a document."""
    for target in document.root.leaves():
        each = target.each.when if target.each is not None else None
        yield from (one for one in (target.when, each) if one is not None)
    for when in (
        *(ask.requirement.when for ask in flatten(document.asks)),
        *(need.when for need in document.needs),
        *(check.when for check in document.checks),
    ):
        if when is not None:
            yield when


def _add_each(demands: Demands, each: Each, groups: Mapping[str, Group]) -> None:
    if each.over == "distinct" and each.key is not None:
        name = name_of(each.key)
        demands.distinct[name] = min(each.bound[1], demands.distinct.get(name, each.bound[1]))
    elif each.ask is not None:
        demands.bound(each.ask, each.bound)
    elif each.over == "common":
        demands.bound(groups[each.group], each.bound)


def _add_content(demands: Demands, target: Target, content: Converted) -> None:
    shape = target.shape
    if target.part is not None:
        part = target.part
        # One character may be lost at each cut, so a little less than all pieces together is sure to fit.
        room = part.octets and part.octets * part.of - 3 * part.of
        shape = replace(shape, octets=room, longest=part.chars)
    _add_line(demands, content, shape)
    carrier = content.source.carries()
    if carrier is not None and not any(isinstance(step, Convert) for step in content.steps):
        puts = [put for put in target.attributes if put.content is None]
        demands.vias.setdefault(name_of(carrier), []).extend(puts)
    if target.bound != (0, 1) and isinstance(content.source, Taken):
        demands.bound(content.source.source, target.bound)


def _add_line(demands: Demands, content: Converted, shape: Shape) -> None:
    """Add what a line demands of everything that its value is made of; `shape` is that of its target."""
    source = content.source.source if isinstance(content.source, Default) else content.source
    for one, demand in _shapes(Converted(source, content.steps), shape):
        demands.shapes.setdefault(name_of(one), []).append(demand)
    for one in source.forwards():
        steps = [(step, shape) for step in content.steps if isinstance(step, Convert)]
        demands.converts.setdefault(name_of(one), []).extend(steps)
    if isinstance(source, Sum):
        demands.alike.add(name_of(source.source))
    elif isinstance(source, Alike):
        demands.same.add(name_of(source.source))
    elif isinstance(source, Where):
        _add_keys(demands, source)
    elif isinstance(source, Concat):
        share = _share(shape, source)
        for part in source.parts:
            _add_line(demands, part, share)
            for one in part.forwards():
                demands.without.setdefault(name_of(one), set()).add(source.separator)


def _add_keys(demands: Demands, source: Where) -> None:
    for match in source.matches:
        key = name_of(match.key)
        demands.keys.setdefault(key, [])
        if match.constant is not None:
            demands.keys[key] += [match.constant] if match.constant not in demands.keys[key] else []
        elif match.other is not None:
            demands.links.setdefault(key, []).append(name_of(match.other))
            demands.links.setdefault(name_of(match.other), []).append(key)


def _share(shape: Shape, source: Concat) -> Shape:
    """Return the form of one of several texts that together have `shape`."""
    room, count = len(source.separator) * (len(source.parts) - 1), len(source.parts)

    def part(size: int | None) -> int | None:
        return None if size is None else max((size - room) // count, 1)

    return Shape("text", longest=part(shape.longest), octets=part(shape.octets), charset=shape.charset)


def _shapes(content: Converted, shape: Shape) -> Iterator[tuple[Ask | Meaning, Shape]]:
    """Yield what a line demands of each field that its value is made of."""
    source = content.source
    if isinstance(source, Sum):
        yield source.source, Shape("decimal", fraction=source.decimals)
    elif isinstance(source, Product):
        yield from ((factor.source, factor.shape()) for factor in source.factors)
    elif isinstance(source, Taken | Alike):
        yield source.source, _before(source.source.shape, content.steps, shape)
    elif isinstance(source, Where):
        yield source.taken.source, _before(source.taken.source.shape, content.steps, shape)


def _before(own: Shape, steps: tuple[Step, ...], target: Shape) -> Shape:
    """Return the form that a target demands of a value of form `own` before it is converted by `steps`."""
    for step in steps:
        if isinstance(step, Via) and not step.omit and step.beside is None:
            return Shape("text", codes=tuple(step.codes.to or ()), list_name=step.codes.name)
        if isinstance(step, Via | Convert) or (isinstance(step, Form) and not step.name.startswith("digits")):
            return own
    return target
