"""Guard valuations: enumerates all combinations of the values that conditions distinguish.

A condition compares a value with codes and numbers that the mapping names.  Two values with
the same relation to all of these are equivalent, so the classes are finite.  One value of
each class is tried, and absence where the field may be absent; a combination that no valid
submission can hold (a forbidden field given, a mandatory one missing) is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Final

from gateway.harmonize.language import (
    Condition,
    DocumentMapping,
    Field,
    UniqueField,
    ValueReader,
    ValueShape,
    ValueTest,
    format_decimal,
    list_enclosing_names,
    list_guard_tests,
    parse_fraction,
    round_fraction,
)
from gateway.wire import SourceMark

MOST_COMBINATIONS: Final = 20_000
_ANY_TEXT: Final = "given"
#: Decimals to which a threshold without a finite decimal form in a unit is rounded; neighbours are tried.
_DECIMALS: Final = 12
_NUMBERS: Final = ("decimal", "integer")


class TooManyCombinationsError(Exception):
    """The guards of one obligation have more than `MOST_COMBINATIONS` combinations."""

    def __init__(self, names: Iterable[str], number: int) -> None:
        super().__init__(f"{number} combinations of {', '.join(sorted(names))}")


@dataclass(frozen=True, slots=True)
class _TrialText:
    """A value in a trial, with its unit where conditions compare it in one."""

    text: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Valuation(ValueReader):
    """One combination of guard values; None stands for a field that is not given.

    `units` has the unit of each value that has one.
    """

    values: Mapping[str, str | None]
    units: Mapping[str, str] = field(default_factory=dict)

    def read_values(self, source: Field, _rule: SourceMark) -> list[_TrialText]:
        """Return the value of `source`, for conditions."""
        text = self.values.get(source.name)
        return [] if text is None else [_TrialText(text)]

    def read_unit(self, source: Field, _found: Any, _rule: SourceMark, /) -> str | None:
        """Return the unit of the value of `source`, None where it has none."""
        return self.units.get(source.name)

    def __str__(self) -> str:
        parts = [
            f"{name} absent" if text is None else f"{name} = {text} {self.units.get(name, '')}".rstrip()
            for name, text in self.values.items()
        ]
        return ", ".join(parts) or "any valid submission"


class GuardWorld:
    """The values that applicants can give to the sources that a document's guards read."""

    def __init__(self, document: DocumentMapping, conditions: Iterable[Condition]) -> None:
        self._requirements = {ask.name: ask.requirement for ask in document.ask_names.values()}
        self._needs = {need.meaning.name: need for need in document.needs}
        self._tests: dict[str, list[ValueTest]] = {}
        self._sources: dict[str, Field] = {}
        for condition in conditions:
            for test in list_guard_tests(condition):
                tests = self._tests.setdefault(test.source.name, [])
                if test not in tests:
                    tests.append(test)
                self._sources[test.source.name] = test.source

    def list_combinations(self, conditions: Iterable[Condition]) -> Iterator[Valuation]:
        """Yield every admissible combination of the values that `conditions` read.

        Raise `TooManyCombinationsError` where there are more than `MOST_COMBINATIONS`.
        """
        names = self._list_deciding_names(conditions)
        domains = [self._list_domain(self._sources[name]) for name in names]
        number = 1
        for domain in domains:
            number *= len(domain)
        if number > MOST_COMBINATIONS:
            raise TooManyCombinationsError(names, number)
        for values in itertools.product(*domains):
            valuation = _combine_values(names, values)
            if self._is_admissible(valuation):
                yield valuation

    def is_required(self, ask: UniqueField, valuation: Valuation) -> bool:
        """Return whether `ask` must be given."""
        when = ask.requirement.when
        return ask.requirement.mandatory if when is None else when.is_satisfied(valuation)

    def is_allowed(self, ask: UniqueField, valuation: Valuation) -> bool:
        """Return whether `ask` may be given."""
        when = ask.requirement.when
        return when is None or not ask.requirement.forbidden_otherwise or when.is_satisfied(valuation)

    def _list_deciding_names(self, conditions: Iterable[Condition]) -> list[str]:
        """Return the names that conditions read, and the names that decide whether these are given."""
        pending, names = list(conditions), []
        while pending:
            for test in list_guard_tests(pending.pop()):
                if test.source.name in names:
                    continue
                names.append(test.source.name)
                inner = self._find_condition(test.source)
                if inner is not None:
                    pending.append(inner)
        return names

    def _find_condition(self, source: Field) -> Condition | None:
        """Return the condition under which `source` must be given, else None."""
        if isinstance(source, UniqueField):
            return self._requirements[source.name].when
        need = self._needs.get(source.name)
        return need.when if need is not None else None

    def _list_domain(self, source: Field) -> list[_TrialText | None]:
        values: list[_TrialText | None] = list(_list_trials(source, self._tests[source.name]))
        return values if self._is_always_given(source) else [*values, None]

    def _is_always_given(self, source: Field) -> bool:
        """Return whether every valid submission has a value of `source`: it and its groups are mandatory."""
        if isinstance(source, UniqueField):
            names = (source.name, *list_enclosing_names(source.group))
            return all(self._requirements[name].mandatory for name in names)
        need = self._needs.get(source.name)
        return need is not None and need.mandatory

    def _is_admissible(self, valuation: Valuation) -> bool:
        """Return whether a valid submission can have these values, by the requirements of their fields."""
        for name, text in valuation.values.items():
            source = self._sources[name]
            when = self._find_condition(source)
            if when is None:
                continue
            due = when.is_satisfied(valuation)
            forbids = isinstance(source, UniqueField) and source.requirement.forbidden_otherwise
            in_group = isinstance(source, UniqueField) and bool(source.group)
            if (due and text is None and not in_group) or (forbids and not due and text is not None):
                return False
        return True


def _combine_values(names: Iterable[str], values: Iterable[_TrialText | None]) -> Valuation:
    """Return the valuation that gives each of `names` its text and unit in `values`; None means no value."""
    texts = dict(zip(names, values, strict=True))
    return Valuation(
        {name: None if trial_text is None else trial_text.text for name, trial_text in texts.items()},
        {
            name: trial_text.unit
            for name, trial_text in texts.items()
            if trial_text is not None and trial_text.unit is not None
        },
    )


def _list_trials(source: Field, tests: list[ValueTest]) -> list[_TrialText]:
    """Return one value of each class that `tests` distinguish, with its unit where one names a unit."""
    if all(test.unit is None for test in tests):
        return [_TrialText(text) for text in _list_value_classes(source, tests)]
    named_units = dict.fromkeys(test.unit for test in tests if test.unit is not None)
    units = source.units or tuple(named_units)
    first: dict[tuple[bool, ...], _TrialText] = {}
    for unit in units:
        for text in _list_value_classes(source, [_restate_test(test, unit) for test in tests]):
            valuation = Valuation({source.name: text}, {source.name: unit})
            passed = tuple(test.is_satisfied(valuation) for test in tests)
            first.setdefault(passed, _TrialText(text, unit))
    return list(first.values())


def _restate_test(test: ValueTest, unit: str) -> ValueTest:
    """Return a comparison with its number in another unit, rounded down where it is no finite decimal."""
    if test.unit is None:
        return test
    exact = test.units.convert_quantity(parse_fraction(test.values[0]), test.unit, unit)
    rounded = None if exact is None else round_fraction(exact, _DECIMALS, "down")
    text = None if rounded is None else format_decimal(rounded)
    return test if text is None else replace(test, values=(text,))


def _list_value_classes(source: Field, tests: list[ValueTest]) -> list[str]:
    """Return one value of each class that `tests` distinguish."""
    shape = source.shape
    if source.type == "boolean":
        return ["true", "false"]
    named_values = [value for test in tests if test.operator in ("is", "in") for value in test.values]
    numbers = [t.values[0] for t in tests if t.operator not in ("is", "in", "present")]
    allowed = [value for value in dict.fromkeys(named_values) if shape.find_violation(value) is None]
    classes = (
        _drop_equal_values(allowed, tests) if any(test.code_list is not None for test in tests) else allowed
    )
    if shape.kind in _NUMBERS:
        classes += [text for text in _list_near_numbers(numbers, shape) if text not in classes]
    return classes + _find_other_value(shape, allowed) or [_ANY_TEXT]


def _drop_equal_values(values: list[str], tests: list[ValueTest]) -> list[str]:
    """Return one of all values that the same tests name, since the many codes of a list are equivalent."""
    value_sets = [frozenset(test.values) for test in tests]
    first: dict[tuple[bool, ...], str] = {}
    for value in values:
        first.setdefault(tuple(value in named_set for named_set in value_sets), value)
    return list(first.values())


def _list_near_numbers(numbers: list[str], shape: ValueShape) -> Iterator[str]:
    """Yield the numbers at, just below and just above each threshold that the shape allows."""
    points = sorted({Decimal(number) for number in numbers})
    step = Decimal(1).scaleb(-(shape.fraction_digits or 0))
    for point in points:
        # A threshold with more decimals than the shape lies between two of its numbers.
        below = point.quantize(step, rounding=ROUND_FLOOR)
        for near in dict.fromkeys((below - step, below, point, below + step)):
            text = f"{near:f}"
            if shape.find_violation(text) is None:
                yield text


def _find_other_value(shape: ValueShape, values: list[str]) -> list[str]:
    """Return a further value that no test names, where there is one."""
    if shape.codes is not None:
        return (
            [next(code for code in shape.codes if code not in values)]
            if set(shape.codes) - set(values)
            else []
        )
    if shape.kind in _NUMBERS:
        return [] if values else [shape.min_value or "1"]
    return [_ANY_TEXT]
