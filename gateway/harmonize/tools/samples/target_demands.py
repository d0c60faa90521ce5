"""The demands of a document's targets on the values that they forward, derived from its mapping.

A sample must fit every target of a value: its form before the conversion, its unit, the
number of values, whether all have one unit, and the keys by which values are looked up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

from gateway.harmonize.language import (
    Concatenation,
    ConversionStep,
    ConvertedSource,
    DefaultValue,
    DocumentCheck,
    DocumentMapping,
    FieldValue,
    FormatStep,
    OccurrenceLookup,
    Product,
    Repetition,
    Sum,
    TargetAttribute,
    TargetElement,
    TranslationStep,
    UniformItemValue,
    UnitConversion,
)
from gateway.harmonize.types import (
    DECIMAL,
    CommonMeaning,
    Condition,
    MeaningGroup,
    SourceMark,
    UniqueField,
    ValueShape,
    ValueTest,
    format_decimal,
    list_guard_tests,
    parse_fraction,
    round_fraction,
    walk_fields,
)

__all__ = ["TargetDemands", "collect_demands", "get_qualified_name"]


@dataclass(slots=True)
class TargetDemands:
    """The demands on each field, meaning and group, by kind and name.

    `shapes` are forms of the value, `without` are texts that it may not contain; `vias` are the
    attributes that write its unit or currency, `converts` the unit conversions of its quantity,
    each with the form of the target; `least` and `most` are the number of its values; `alike`
    are the sources whose values all have one unit, `same` those with the same value in all
    items; `distinct` is the highest number of different values; `keys` are the constants by
    which a key is looked up, `links` the fields that it is compared with; `guards` are the
    values that conditions test, `measured` the conditions that compare in a unit.
    """

    shapes: dict[str, list[ValueShape]] = field(default_factory=dict)
    without: dict[str, set[str]] = field(default_factory=dict)
    vias: dict[str, list[TargetAttribute]] = field(default_factory=dict)
    converts: dict[str, list[tuple[UnitConversion, ValueShape]]] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)
    same: set[str] = field(default_factory=set)
    distinct: dict[str, int] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    guards: dict[str, list[str]] = field(default_factory=dict)
    measured: dict[str, list[ValueTest]] = field(default_factory=dict)

    def fits_targets(self, name: str, text: str) -> bool:
        """Return whether every target accepts `text`."""
        wanted = all(shape.find_violation(text) is None for shape in self.shapes.get(name, ()))
        return wanted and not any(word in text for word in self.without.get(name, ()))

    def accepts_unit(self, source: UniqueField | CommonMeaning, unit: str) -> bool:
        """Return whether every target of `source` can write a value of this unit or currency."""
        name = get_qualified_name(source)
        steps = [step for step, _ in self.converts.get(name, ())]
        if any(step.units.convert_quantity(Fraction(1), unit, step.to) is None for step in steps):
            return False
        tests = ((test.units, test.unit) for test in self.measured.get(name, ()))
        if any(to and units.convert_quantity(Fraction(1), unit, to) is None for units, to in tests):
            return False
        return all(
            put.shape.find_violation(unit) is None
            if put.via is None
            else put.via.translate_code(unit) is not None
            for put in self.vias.get(name, ())
        )

    def fits_after_conversion(self, source: UniqueField | CommonMeaning, text: str, unit: str | None) -> bool:
        """Return whether a quantity, after its conversion, fits every target that converts it."""
        for step, shape in self.converts.get(get_qualified_name(source), ()):
            if unit is None or not DECIMAL.fullmatch(text):
                return False
            exact = step.units.convert_quantity(parse_fraction(text), unit, step.to)
            rounded = None if exact is None else round_fraction(exact, step.decimals, step.rounding)
            made = None if rounded is None else format_decimal(rounded)
            if made is None or shape.find_violation(made) is not None:
                return False
        return True

    def limit_count(
        self, source: UniqueField | CommonMeaning | MeaningGroup, low: int, high: int
    ) -> tuple[int, int]:
        """Return the bounds, within `low` and `high`, on the number of values that every target accepts."""
        name = get_qualified_name(source)
        high = min(high, self.most.get(name, high))
        return min(max(low, self.least.get(name, low)), high), high

    def add_bound(self, source: UniqueField | CommonMeaning | MeaningGroup, bound: tuple[int, int]) -> None:
        """Add the bound on the number of values or occurrences in a target."""
        name = get_qualified_name(source)
        self.least[name] = max(bound[0], self.least.get(name, 0))
        self.most[name] = min(bound[1], self.most.get(name, bound[1]))


def get_qualified_name(source: UniqueField | CommonMeaning | MeaningGroup) -> str:
    """Return kind and name, since a field and a meaning may have the same name."""
    kinds = {UniqueField: "ask", CommonMeaning: "common", MeaningGroup: "group"}
    return f"{kinds[type(source)]}:{source.name}"


def collect_demands(
    document: DocumentMapping,
    groups: Mapping[str, MeaningGroup],
    without: Collection[SourceMark] = (),
) -> TargetDemands:
    """Return the demands of the targets of `document`; `groups` are those of the dictionary.

    Checks at the places `without` demand nothing, since nothing satisfies them.
    """
    demands = TargetDemands()
    for target in document.root.walk_elements():
        if target.each is not None:
            _add_repetition_demands(demands, target.each, groups)
        if target.content is not None:
            _add_content_demands(demands, target, target.content)
        for put in target.attributes:
            if put.content is not None:
                _add_line_demands(demands, put.content, put.shape)
    for check in document.checks:
        if check.mark not in without:
            _add_check_demands(demands, check, document)
    for condition in _list_conditions(document):
        for test in list_guard_tests(condition):
            if test.unit is not None:
                demands.measured.setdefault(get_qualified_name(test.source), []).append(test)
            if test.operator != "present":
                demands.guards.setdefault(get_qualified_name(test.source), []).extend(test.values)
    return demands


def _add_check_demands(demands: TargetDemands, check: DocumentCheck, document: DocumentMapping) -> None:
    """Add the demands of a check on the number of values and their units.

    The values of a sum have one unit, and there are enough of them to reach a constant; of a code
    that must be distinct there are no more values than codes.
    """
    if check.kind == "distinct" and len(check.factors) == 1:
        _limit_distinct_codes(demands, check, document)
    if check.kind != "sum":
        return
    factor = check.factors[-1]
    if factor.attribute is not None and not check.same_unit:
        demands.alike.add(get_qualified_name(factor))
    counted = _find_counted(factor, document)
    if len(check.factors) > 1 or not isinstance(check.bound, str) or counted is None:
        return
    if check.around != _list_outer_repetitions(counted):
        return
    low, high = (None if one is None else Decimal(one) for one in (factor.shape.low, factor.shape.high))
    name, bound = get_qualified_name(counted), Decimal(check.bound)
    if check.operator in ("equals", "at_least", "more_than") and high is not None and high > 0:
        least = int(((bound - check.within) / high).to_integral_value(ROUND_CEILING))
        demands.least[name] = max(least, demands.least.get(name, 0))
    if check.operator in ("equals", "at_most", "less_than") and low is not None and low > 0:
        most = max(int((bound + check.within) / low), 1)
        demands.most[name] = min(most, demands.most.get(name, most))


def _limit_distinct_codes(demands: TargetDemands, check: DocumentCheck, document: DocumentMapping) -> None:
    """Limit the number of values, or of the groups around them, to that of the codes."""
    (factor,) = check.factors
    counted = _find_counted(factor, document)
    if counted is None or factor.shape.codes is None or check.around != _list_outer_repetitions(counted):
        return
    name, most = get_qualified_name(counted), len(factor.shape.codes)
    demands.most[name] = min(most, demands.most.get(name, most))


def _find_counted(factor: UniqueField | CommonMeaning, document: DocumentMapping) -> UniqueField | None:
    """Return what repeats of an asked field: itself, or the group around it; None where neither does."""
    if not isinstance(factor, UniqueField):
        return None
    counted = factor if factor.many else document.ask_names.get(factor.group)
    return counted if counted is not None and counted.many else None


def _list_outer_repetitions(ask: UniqueField) -> tuple[str, ...]:
    """Return the repetitions around a field or a group, with the names that checks use."""
    parts = ask.group.split(".") if ask.group else []
    groups = tuple(f"asked:{'.'.join(parts[: end + 1])}" for end in range(len(parts)))
    return (("item",) if ask.home == "item" else ()) + groups


def _list_conditions(document: DocumentMapping) -> Iterator[Condition]:
    """Yield every condition of a document."""
    for target in document.root.walk_elements():
        each = target.each.when if target.each is not None else None
        yield from (one for one in (target.when, each) if one is not None)
    for when in (
        *(ask.requirement.when for ask in walk_fields(document.asks)),
        *(need.when for need in document.needs),
        *(check.when for check in document.checks),
    ):
        if when is not None:
            yield when


def _add_repetition_demands(
    demands: TargetDemands, each: Repetition, groups: Mapping[str, MeaningGroup]
) -> None:
    if each.over == "distinct" and each.key is not None:
        name = get_qualified_name(each.key)
        demands.distinct[name] = min(each.bound[1], demands.distinct.get(name, each.bound[1]))
    elif each.ask is not None:
        demands.add_bound(each.ask, each.bound)
    elif each.over == "common":
        demands.add_bound(groups[each.group], each.bound)


def _add_content_demands(demands: TargetDemands, target: TargetElement, content: ConvertedSource) -> None:
    shape = target.shape
    if target.part is not None:
        part = target.part
        # A cut may leave up to 3 octets of a piece unused, so the bound is a little smaller.
        room = part.octets and part.octets * part.of - 3 * part.of
        shape = replace(shape, octets=room, longest=part.chars)
    _add_line_demands(demands, content, shape)
    carrier = content.source.find_attribute_carrier()
    if carrier is not None and not any(isinstance(step, UnitConversion) for step in content.steps):
        puts = [put for put in target.attributes if put.content is None]
        demands.vias.setdefault(get_qualified_name(carrier), []).extend(puts)
    if target.bound != (0, 1) and isinstance(content.source, FieldValue):
        demands.add_bound(content.source.source, target.bound)


def _add_line_demands(demands: TargetDemands, content: ConvertedSource, shape: ValueShape) -> None:
    """Add the demands of a line on the sources of its value; `shape` is that of its target."""
    source = content.source.source if isinstance(content.source, DefaultValue) else content.source
    for one, demand in _list_source_shapes(ConvertedSource(source, content.steps), shape):
        demands.shapes.setdefault(get_qualified_name(one), []).append(demand)
    for one in source.list_forwarded_sources():
        steps = [(step, shape) for step in content.steps if isinstance(step, UnitConversion)]
        demands.converts.setdefault(get_qualified_name(one), []).extend(steps)
    if isinstance(source, Sum):
        demands.alike.add(get_qualified_name(source.source))
    elif isinstance(source, UniformItemValue):
        demands.same.add(get_qualified_name(source.source))
    elif isinstance(source, OccurrenceLookup):
        _add_key_demands(demands, source)
    elif isinstance(source, Concatenation):
        share = _make_share_shape(shape, source)
        for part in source.parts:
            _add_line_demands(demands, part, share)
            # What a step writes is another text, so the value itself may contain the separator.
            plain = all(isinstance(step, FormatStep) and step.is_check for step in part.steps)
            for one in part.list_forwarded_sources() if plain else ():
                demands.without.setdefault(get_qualified_name(one), set()).add(source.separator)


def _add_key_demands(demands: TargetDemands, source: OccurrenceLookup) -> None:
    for match in source.matches:
        key = get_qualified_name(match.key)
        demands.keys.setdefault(key, [])
        if match.constant is not None:
            demands.keys[key] += [match.constant] if match.constant not in demands.keys[key] else []
        elif match.other is not None:
            demands.links.setdefault(key, []).append(get_qualified_name(match.other))
            demands.links.setdefault(get_qualified_name(match.other), []).append(key)


def _make_share_shape(shape: ValueShape, source: Concatenation) -> ValueShape:
    """Return the form of each of several texts that together must have `shape`."""
    room, count = len(source.separator) * (len(source.parts) - 1), len(source.parts)

    def divide_size(size: int | None) -> int | None:
        return None if size is None else max((size - room) // count, 1)

    return ValueShape(
        "text", longest=divide_size(shape.longest), octets=divide_size(shape.octets), charset=shape.charset
    )


def _list_source_shapes(
    content: ConvertedSource, shape: ValueShape
) -> Iterator[tuple[UniqueField | CommonMeaning, ValueShape]]:
    """Yield the shape that a line demands of each source of its value."""
    source = content.source
    if isinstance(source, Sum):
        yield source.source, ValueShape("decimal", fraction=source.decimals)
    elif isinstance(source, Product):
        yield from ((factor.source, factor.infer_shape()) for factor in source.factors)
    elif isinstance(source, FieldValue | UniformItemValue):
        yield source.source, _get_shape_before(source.source.shape, content.steps, shape)
    elif isinstance(source, OccurrenceLookup):
        yield source.taken.source, _get_shape_before(source.taken.source.shape, content.steps, shape)


def _get_shape_before(own: ValueShape, steps: tuple[ConversionStep, ...], target: ValueShape) -> ValueShape:
    """Return the form that a target demands of a value of form `own` before the conversion by `steps`."""
    for step in steps:
        if isinstance(step, TranslationStep) and not step.omit and step.beside is None:
            return ValueShape("text", codes=tuple(step.codes.to or ()), list_name=step.codes.name)
        if isinstance(step, TranslationStep | UnitConversion) or (
            isinstance(step, FormatStep) and not step.name.startswith("digits")
        ):
            return own
    return target
