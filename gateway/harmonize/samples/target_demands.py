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
    DECIMAL,
    Concatenation,
    ConversionStep,
    ConvertedSource,
    DefaultValue,
    DocumentCheck,
    DocumentMapping,
    Field,
    FieldValue,
    FormatStep,
    MeaningGroup,
    OccurrenceLookup,
    Product,
    Repetition,
    Sum,
    TargetAttribute,
    TargetElement,
    TranslationStep,
    UniformItemValue,
    UniqueField,
    UnitConversion,
    ValueShape,
    ValueTest,
    format_decimal,
    list_conditions,
    list_guard_tests,
    parse_fraction,
    round_fraction,
)
from gateway.wire import AT_MOST_ONCE, Occurs, SourceMark


@dataclass(slots=True)
class TargetDemands:
    """The demands on each field, meaning and group, by kind and name.

    `shapes` are forms of the value, `forbidden_texts` are texts that it may not contain; `unit_attributes`
    are the attributes that write its unit or currency, `conversions` the unit conversions of its quantity,
    each with the form of the target; `min_counts` and `max_counts` are the number of its values;
    `single_unit_sources` are the sources whose values all have one unit, `uniform_sources` those with the
    same value in all items; `max_distinct_values` is the highest number of different values; `key_constants`
    are the constants by which a key is looked up, `linked_sources` the fields that it is compared with;
    `guard_values` are the values that conditions test, `unit_tests` the conditions that compare in a unit.
    """

    shapes: dict[str, list[ValueShape]] = field(default_factory=dict)
    forbidden_texts: dict[str, set[str]] = field(default_factory=dict)
    unit_attributes: dict[str, list[TargetAttribute]] = field(default_factory=dict)
    conversions: dict[str, list[tuple[UnitConversion, ValueShape]]] = field(default_factory=dict)
    min_counts: dict[str, int] = field(default_factory=dict)
    max_counts: dict[str, int] = field(default_factory=dict)
    single_unit_sources: set[str] = field(default_factory=set)
    uniform_sources: set[str] = field(default_factory=set)
    max_distinct_values: dict[str, int] = field(default_factory=dict)
    key_constants: dict[str, list[str]] = field(default_factory=dict)
    linked_sources: dict[str, list[str]] = field(default_factory=dict)
    guard_values: dict[str, list[str]] = field(default_factory=dict)
    unit_tests: dict[str, list[ValueTest]] = field(default_factory=dict)

    def fits_targets(self, name: str, text: str) -> bool:
        """Return whether every target accepts `text`."""
        accepted = all(shape.find_violation(text) is None for shape in self.shapes.get(name, ()))
        return accepted and not any(word in text for word in self.forbidden_texts.get(name, ()))

    def accepts_unit(self, source: Field, unit: str) -> bool:
        """Return whether every target of `source` can write a value of this unit or currency."""
        name = source.key
        steps = [step for step, _ in self.conversions.get(name, ())]
        if any(step.units.convert_quantity(Fraction(1), unit, step.target_unit) is None for step in steps):
            return False
        tests = ((test.units, test.unit) for test in self.unit_tests.get(name, ()))
        if any(to and units.convert_quantity(Fraction(1), unit, to) is None for units, to in tests):
            return False
        return all(
            attribute.shape.find_violation(unit) is None
            if attribute.via is None
            else attribute.via.translate_code(unit) is not None
            for attribute in self.unit_attributes.get(name, ())
        )

    def fits_after_conversion(self, source: Field, text: str, unit: str | None) -> bool:
        """Return whether a quantity, after its conversion, fits every target that converts it."""
        for step, shape in self.conversions.get(source.key, ()):
            if unit is None or not DECIMAL.fullmatch(text):
                return False
            exact = step.units.convert_quantity(parse_fraction(text), unit, step.target_unit)
            rounded = None if exact is None else round_fraction(exact, step.decimals, step.rounding)
            converted = None if rounded is None else format_decimal(rounded)
            if converted is None or shape.find_violation(converted) is not None:
                return False
        return True

    def limit_count(self, source: Field | MeaningGroup, low: int, high: int) -> tuple[int, int]:
        """Return the bounds, within `low` and `high`, on the number of values that every target accepts."""
        name = source.key
        high = min(high, self.max_counts.get(name, high))
        return min(max(low, self.min_counts.get(name, low)), high), high

    def add_bound(self, source: Field | MeaningGroup, bound: Occurs) -> None:
        """Add the bound on the number of values or occurrences in a target."""
        name = source.key
        self.min_counts[name] = max(bound.low, self.min_counts.get(name, 0))
        self.max_counts[name] = min(bound.high, self.max_counts.get(name, bound.high))


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
        if target.repetition is not None:
            _add_repetition_demands(demands, target.repetition, groups)
        if target.content is not None:
            _add_content_demands(demands, target, target.content)
        for attribute in target.attributes:
            if attribute.content is not None:
                _add_line_demands(demands, attribute.content, attribute.shape)
    for check in document.checks:
        if check.mark not in without:
            _add_check_demands(demands, check, document)
    for condition, _, _ in list_conditions(document):
        for test in list_guard_tests(condition):
            if test.unit is not None:
                demands.unit_tests.setdefault(test.source.key, []).append(test)
            if test.operator != "present":
                demands.guard_values.setdefault(test.source.key, []).extend(test.values)
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
    if factor.attribute is not None and not check.compares_same_unit_only:
        demands.single_unit_sources.add(factor.key)
    counted = _find_repeated_field(factor, document)
    if len(check.factors) > 1 or not isinstance(check.bound, str) or counted is None:
        return
    if check.repetitions != counted.repetitions:
        return
    low, high = (
        None if limit is None else Decimal(limit)
        for limit in (factor.shape.min_value, factor.shape.max_value)
    )
    name, bound = counted.key, Decimal(check.bound)
    if check.operator in ("equals", "at_least", "more_than") and high is not None and high > 0:
        min_count = int(((bound - check.tolerance) / high).to_integral_value(ROUND_CEILING))
        demands.min_counts[name] = max(min_count, demands.min_counts.get(name, 0))
    if check.operator in ("equals", "at_most", "less_than") and low is not None and low > 0:
        max_count = max(int((bound + check.tolerance) / low), 1)
        demands.max_counts[name] = min(max_count, demands.max_counts.get(name, max_count))


def _limit_distinct_codes(demands: TargetDemands, check: DocumentCheck, document: DocumentMapping) -> None:
    """Limit the repetition of a field whose values must be distinct to the number of its codes.

    If the field itself is not repeated, the limit is for the repeated group around it.
    """
    (distinct_field,) = check.factors
    repeated_field = _find_repeated_field(distinct_field, document)
    if (
        repeated_field is None
        or distinct_field.shape.codes is None
        or check.repetitions != repeated_field.repetitions
    ):
        return
    name, max_count = repeated_field.key, len(distinct_field.shape.codes)
    demands.max_counts[name] = min(max_count, demands.max_counts.get(name, max_count))


def _find_repeated_field(asked_field: Field, document: DocumentMapping) -> UniqueField | None:
    """Return `asked_field` if it may be repeated, else its group if that may be; None if neither may be."""
    if not isinstance(asked_field, UniqueField):
        return None
    counted = asked_field if asked_field.many else document.ask_names.get(asked_field.group)
    return counted if counted is not None and counted.many else None


def _add_repetition_demands(
    demands: TargetDemands, repetition: Repetition, groups: Mapping[str, MeaningGroup]
) -> None:
    """Add the limits of a repeated element: for different keys, or for the occurrences of its group."""
    if repetition.over == "distinct" and repetition.key is not None:
        name = repetition.key.key
        demands.max_distinct_values[name] = min(
            repetition.bound.high, demands.max_distinct_values.get(name, repetition.bound.high)
        )
    elif repetition.ask is not None:
        demands.add_bound(repetition.ask, repetition.bound)
    elif repetition.over == "common":
        demands.add_bound(groups[repetition.group], repetition.bound)


def _add_content_demands(demands: TargetDemands, target: TargetElement, content: ConvertedSource) -> None:
    """Add what the form and the number of a target element demand of the sources of its `content`."""
    shape = target.shape
    if target.text_piece is not None:
        part = target.text_piece
        # A cut may leave up to 3 octets of a piece unused, so the bound is a little smaller.
        room = part.octets and part.octets * part.piece_count - 3 * part.piece_count
        shape = replace(shape, octets=room, max_length=part.max_characters)
    _add_line_demands(demands, content, shape)
    carrier = content.source.find_attribute_carrier()
    if carrier is not None and not any(isinstance(step, UnitConversion) for step in content.steps):
        puts = [attribute for attribute in target.attributes if attribute.content is None]
        demands.unit_attributes.setdefault(carrier.key, []).extend(puts)
    if target.bound != AT_MOST_ONCE and isinstance(content.source, FieldValue):
        demands.add_bound(content.source.source, target.bound)


def _add_line_demands(demands: TargetDemands, content: ConvertedSource, shape: ValueShape) -> None:
    """Add the demands of a line on the sources of its value; `shape` is that of its target."""
    source = content.source.source if isinstance(content.source, DefaultValue) else content.source
    for asked_field, demand in _list_source_shapes(ConvertedSource(source, content.steps), shape):
        demands.shapes.setdefault(asked_field.key, []).append(demand)
    for asked_field in source.list_forwarded_sources():
        steps = [(step, shape) for step in content.steps if isinstance(step, UnitConversion)]
        demands.conversions.setdefault(asked_field.key, []).extend(steps)
    if isinstance(source, Sum):
        demands.single_unit_sources.add(source.source.key)
    elif isinstance(source, UniformItemValue):
        demands.uniform_sources.add(source.source.key)
    elif isinstance(source, OccurrenceLookup):
        _add_key_demands(demands, source)
    elif isinstance(source, Concatenation):
        share = _make_share_shape(shape, source)
        for part in source.parts:
            _add_line_demands(demands, part, share)
            # A step writes another text, so the value before the step may contain the separator.
            plain = all(isinstance(step, FormatStep) and step.is_check for step in part.steps)
            for asked_field in part.list_forwarded_sources() if plain else ():
                demands.forbidden_texts.setdefault(asked_field.key, set()).add(source.separator)


def _add_key_demands(demands: TargetDemands, source: OccurrenceLookup) -> None:
    """Add the constants and the fields with which the keys of a lookup are compared."""
    for match in source.matches:
        key = match.key.key
        demands.key_constants.setdefault(key, [])
        if match.constant is not None:
            demands.key_constants[key] += (
                [match.constant] if match.constant not in demands.key_constants[key] else []
            )
        elif match.compared_field is not None:
            demands.linked_sources.setdefault(key, []).append(match.compared_field.key)
            demands.linked_sources.setdefault(match.compared_field.key, []).append(key)


def _make_share_shape(shape: ValueShape, source: Concatenation) -> ValueShape:
    """Return the shape for each part of a concatenation, so that the joined text fits `shape`."""
    room, count = len(source.separator) * (len(source.parts) - 1), len(source.parts)

    def divide_size(size: int | None) -> int | None:
        return None if size is None else max((size - room) // count, 1)

    return ValueShape(
        "text",
        max_length=divide_size(shape.max_length),
        octets=divide_size(shape.octets),
        charset=shape.charset,
    )


def _list_source_shapes(content: ConvertedSource, shape: ValueShape) -> Iterator[tuple[Field, ValueShape]]:
    """Yield the shape that a line demands of each source of its value."""
    source = content.source
    if isinstance(source, Sum):
        yield source.source, ValueShape("decimal", fraction_digits=source.decimals)
    elif isinstance(source, Product):
        yield from ((factor.source, factor.infer_shape()) for factor in source.factors)
    elif isinstance(source, FieldValue | UniformItemValue):
        yield source.source, _get_shape_before(source.source.shape, content.steps, shape)
    elif isinstance(source, OccurrenceLookup):
        yield (
            source.value_source.source,
            _get_shape_before(source.value_source.source.shape, content.steps, shape),
        )


def _get_shape_before(shape: ValueShape, steps: tuple[ConversionStep, ...], target: ValueShape) -> ValueShape:
    """Return the form that a target demands of a value of form `shape` before the conversion by `steps`."""
    for step in steps:
        if isinstance(step, TranslationStep) and not step.omits_unknown_codes and step.paired_field is None:
            return ValueShape(
                "text", codes=tuple(step.code_list.translations or ()), list_name=step.code_list.name
            )
        if isinstance(step, TranslationStep | UnitConversion) or (
            isinstance(step, FormatStep) and not step.format_name.startswith("digits")
        ):
            return shape
    return target
