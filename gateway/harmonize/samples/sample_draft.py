"""The draft of a sample: draws the declared values and the answers of the applicant.

Conditions are evaluated on the draft as later on the submission, so that later draws are
consistent with earlier ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, TypeVar

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language import (
    Condition,
    DeclarationRule,
    DocumentCheck,
    DocumentMapping,
    Field,
    MappingBundle,
    MeaningGroup,
    UniqueField,
    ValueReader,
    ValueShape,
    count_octets,
    list_guard_tests,
    parse_simple_pattern,
)
from gateway.harmonize.samples.target_demands import TargetDemands
from gateway.wire import SourceMark

_T = TypeVar("_T")
_SAMPLE_TEXTS: Final = (
    "Hair",
    "repair",
    "cream",
    "500 mg",
    "no. 7",
    "B.V.",
    "Ltd",
    "seoul",
    "R&D",
    "<new>",
    "it's",
    '"A"',
    "100%",
    "한빛",
    "무역",
    "주식회사",
    "서울",
    "인천항",
    "냉장",
    "보관",
    "원료",
    "튤립",
    "구근",
    "가공식품",
    "성분",
)
_CODE: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_FIRST_DAY: Final = date(2024, 1, 1)


class SeededDraws:
    """A stream of pseudorandom numbers, derived from a seed by SHA-256."""

    def __init__(self, seed: str) -> None:
        self._numbers = self._generate_numbers(seed)

    @staticmethod
    def _generate_numbers(seed: str) -> Iterator[int]:
        """Yield 32-bit numbers without end: parts of the SHA-256 digests of `seed` and a counter."""
        count = 0
        while True:
            block = hashlib.sha256(f"{seed}/{count}".encode()).digest()
            yield from (int.from_bytes(block[start : start + 4], "big") for start in range(0, 32, 4))
            count += 1

    def draw_number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`."""
        return low + next(self._numbers) % (high - low + 1)

    def draw_chance(self, percent: int) -> bool:
        """Return True in `percent` of all cases."""
        return self.draw_number(1, 100) <= percent

    def choose_one(self, choices: Sequence[_T]) -> _T:
        """Return one of `choices`."""
        return choices[self.draw_number(0, len(choices) - 1)]

    def draw_code(self, length: int, alphabet: str = _CODE) -> str:
        """Return a code of `length` characters."""
        return "".join(self.choose_one(alphabet) for _ in range(length))

    def draw_day(self) -> date:
        """Return a date from 2024-01-01 to 1000 days later."""
        return _FIRST_DAY + timedelta(days=self.draw_number(0, 1000))

    def draw_words(self, max_length: int, max_octets: int | None, charset: str) -> str:
        """Return words with at most `max_length` characters and `max_octets` octets in `charset`."""
        text = ""
        for _ in range(self.draw_number(1, 6)):
            longer = f"{text} {self.choose_one(_SAMPLE_TEXTS)}".strip()
            size = count_octets(longer, charset)
            if len(longer) > max_length or size is None or (max_octets is not None and size > max_octets):
                break
            text = longer
        return text or self.draw_code(min(max_length, max_octets or max_length, 3))


def draw_text(draws: SeededDraws, shape: ValueShape) -> str:
    """Return a text of `shape`; patterns must be sequences of character classes with counts."""
    if shape.codes is not None:
        return draws.choose_one(shape.codes)
    if shape.kind in ("decimal", "integer"):
        return _draw_number(draws, shape)
    if shape.kind == "boolean":
        return draws.choose_one(("true", "false", "1", "0"))
    if shape.kind in ("date", "day", "moment"):
        return _draw_time(draws, shape.kind)
    if shape.kind == "digits":
        length = shape.max_length or 2
        return draws.draw_code(length if shape.is_fixed_length else draws.draw_number(1, length), "123456789")
    if shape.pattern is not None:
        return draw_pattern(draws, shape.pattern)
    max_length = min(shape.max_length or 60, 60)
    if shape.is_fixed_length:
        return draws.draw_code(shape.octets or shape.max_length or 1)
    return draws.draw_words(max_length, shape.octets, shape.charset)


def _draw_number(draws: SeededDraws, shape: ValueShape) -> str:
    """Draw a number within `shape`; it has at most 3 integer digits unless `shape` has a maximum."""
    integer_digits = min((shape.total_digits or 4) - (shape.fraction_digits or 0), 3)
    high = int(float(shape.max_value)) if shape.max_value is not None else 10**integer_digits - 1
    low = int(float(shape.min_value)) if shape.min_value is not None else 0
    whole = str(draws.draw_number(max(low, 1) if high > 1 else low, max(high - 1, 1)))
    decimals = min(shape.fraction_digits or 0, 4)
    if shape.kind == "integer" or not decimals or draws.draw_chance(50):
        return whole
    return f"{whole}.{draws.draw_code(draws.draw_number(1, decimals), '0123456789')}"


def _draw_time(draws: SeededDraws, kind: str) -> str:
    """Draw a day as CCYYMMDD (`day`), an ISO date (`date`), or a date that may have a time and a zone."""
    day = draws.draw_day()
    if kind == "day":
        return f"{day:%Y%m%d}"
    if kind == "date" or draws.draw_chance(30):
        return day.isoformat()
    time = f"{draws.draw_number(0, 23):02d}:{draws.draw_number(0, 59):02d}:00"
    return f"{day.isoformat()}T{time}{draws.choose_one(('Z', '+09:00'))}"


def draw_pattern(draws: SeededDraws, pattern: str) -> str:
    """Return a text of a pattern of classes, characters and choices, each with an optional count."""
    return "".join(
        draws.choose_one(part.choices)
        for part in parse_simple_pattern(pattern)
        for _ in range(draws.draw_number(part.low, part.high))
    )


def is_text_ruled_out(rules: Sequence[DeclarationRule], text: str) -> bool:
    """Return whether a rule of form, list or number does not accept `text`, be it an error or a warning."""
    return any(rule.find_violation(text) is not None for rule in rules)


def draw_ruled_text(draws: SeededDraws, rules: Sequence[DeclarationRule], shape: ValueShape) -> str:
    """Return a text of a drawn form that begins with a code of the longest list, else one of `shape`.

    A number that breaks a rule becomes the bound of the rule.
    """
    if not any(rule.patterns or rule.code_list is not None for rule in rules):
        text = draw_text(draws, shape)
        wrong = (
            rule.number_bound
            for rule in rules
            if rule.number_bound is not None and is_text_ruled_out([rule], text)
        )
        return next(wrong, text)
    patterns = [pattern for rule in rules for pattern in rule.patterns]
    longest_code_rule = max(
        (rule for rule in rules if rule.code_list is not None),
        key=lambda rule: rule.code_length,
        default=None,
    )
    text = draw_pattern(draws, draws.choose_one(patterns)) if patterns else ""
    if longest_code_rule is None or longest_code_rule.code_list is None:
        return text
    code = draws.choose_one(longest_code_rule.code_list.codes)
    return code + text[len(code) :]


_TRIES: Final = 200
_MAX_DRAWN_COUNT: Final = 3
_MASSES: Final = ("KGM", "TNE", "GRM", "LBR")


@dataclass(slots=True)
class DrawnValue:
    """One drawn value with its unit, its goods item, and the occurrences of groups around it.

    `element` is the element of an asked field, into which the value is written. A value that `is_fixed` was
    given, not drawn, and does not change.
    """

    text: str
    unit: str | None
    item: str | None
    occurrence_numbers: Mapping[str, int]
    element: etree._Element | None = None
    is_fixed: bool = False


@dataclass(slots=True)
class SampleDraft(ValueReader):
    """The values drawn so far; `item` and `occurrence_numbers` are the position of the next one.

    `concerned_items` are the goods items of the application.
    """

    bundle: MappingBundle
    document: DocumentMapping
    draws: SeededDraws
    demands: TargetDemands
    concerned_items: frozenset[str]
    values: dict[str, list[DrawnValue]] = field(default_factory=dict)
    values_by_item: dict[tuple[str, str | None], list[DrawnValue]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    item: str | None = None
    occurrence_numbers: Mapping[str, int] = field(default_factory=dict)
    occurrences: int = 0
    given_decisions: dict[tuple[str, str | None, tuple[tuple[str, int], ...]], list[bool]] = field(
        default_factory=dict
    )

    def read_values(self, source: Field, _rule: SourceMark) -> list[DrawnValue]:
        """Return the drawn values of `source` that a rule would find at the current position."""
        name = source.key
        if self.item is None:
            values = self.values.get(name, [])
        else:
            values = [
                *self.values_by_item.get((name, None), ()),
                *self.values_by_item.get((name, self.item), ()),
            ]
        return [value for value in values if self._is_here(value)]

    def read_unit(self, _source: Field, value: Any, _rule: SourceMark, /) -> str | None:
        """Return the unit of a drawn value."""
        return value.unit if isinstance(value, DrawnValue) else None

    def read_all(self, source: Field) -> list[DrawnValue]:
        """Return all drawn values of `source`, including goods items outside the application."""
        return self.values.get(source.key, [])

    def _is_here(self, value: DrawnValue) -> bool:
        """Return whether a value belongs to the current item and occurrences, or does not contradict them."""
        if self.item is None and value.item is not None and value.item not in self.concerned_items:
            return False
        return all(
            value.occurrence_numbers.get(group, number) == number
            for group, number in self.occurrence_numbers.items()
        )

    def is_satisfied(self, condition: Condition | None) -> bool:
        """Return whether a condition holds at the current position, for the values drawn so far."""
        return condition is not None and condition.is_satisfied(self)

    def decide_given(self, ask: UniqueField, *, preferred: bool) -> bool:
        """Decide and record whether a field is given here: `preferred`, unless a check decides."""
        is_given = preferred
        for check in self.document.checks:
            if check.kind not in ("one_of", "exactly_one", "all_or_none") or ask not in check.factors:
                continue
            key = (check.id, self.item, tuple(sorted(self.occurrence_numbers.items())))
            before = self.given_decisions.setdefault(key, [])
            if before and check.kind == "all_or_none":
                is_given = before[0]
            elif check.kind == "exactly_one" and any(before):
                is_given = False
            elif len(before) == len(check.factors) - 1 and not any(before) and check.kind != "all_or_none":
                is_given = True
            before.append(is_given)
        return is_given

    def enter_group(self, group: str) -> Mapping[str, int]:
        """Enter a new occurrence of a group; return the outer place, which the caller must restore."""
        outer = self.occurrence_numbers
        self.occurrences += 1
        self.occurrence_numbers = {**outer, group: self.occurrences}
        return outer

    def draw_count(self, source: Field | MeaningGroup, low: int, high: int) -> int:
        """Draw the number of values or occurrences."""
        low, high = self.demands.limit_count(source, low, max(high, 1))
        return self.draws.draw_number(low, max(low, min(high, _MAX_DRAWN_COUNT)))

    def draw_value(self, source: Field, shape: ValueShape) -> DrawnValue:
        """Draw a value of `shape` that every target of `source` accepts, with its unit, and add it."""
        return self.add_value(source, self.draw_fitting_text(source, shape))

    def add_value(self, source: Field, text: str) -> DrawnValue:
        """Add a value with the given text at the current position, with a drawn unit."""
        drawn = DrawnValue(text, self._draw_unit(source, text), self.item, dict(self.occurrence_numbers))
        self.values.setdefault(source.key, []).append(drawn)
        self.values_by_item.setdefault((source.key, self.item), []).append(drawn)
        return drawn

    def draw_fitting_text(self, source: Field, shape: ValueShape) -> str:
        """Draw a text of `shape` that every target of `source` accepts; raise GW901 if none is found."""
        name = source.key
        near = self.values_by_item.get((name, self.item), ()) if name in self.demands.key_constants else ()
        used_texts = {value.text for value in near if self._is_side_by_side(value, source)}
        for check in self.document.checks:
            if check.kind == "distinct" and source in check.factors:
                used_texts |= self._list_distinct_texts(source, check)
        rules = [rule for rule in self.bundle.rules if rule.meaning is source and not rule.is_dated]

        def fits(text: str) -> bool:
            accepted = shape.find_violation(text) is None and self.demands.fits_targets(name, text)
            return accepted and not is_text_ruled_out(rules, text)

        for text in self._list_reusable_values(name):
            if text not in used_texts and fits(text):
                return text
        demands = [shape, *self.demands.shapes.get(name, ())]
        for attempt in range(_TRIES):
            demand = demands[attempt % len(demands)]
            text = draw_ruled_text(self.draws, rules, demand)
            if text not in used_texts and fits(text):
                return text
        # Where there are fewer keys than occurrences, a key that no line looks up may occur twice.
        reusable = [used_text for used_text in sorted(used_texts) if fits(used_text)]
        if reusable:
            return self.draws.choose_one(reusable)
        without = ", ".join(
            repr(separator) for separator in sorted(self.demands.forbidden_texts.get(name, ()))
        )
        reason = f": none without {without}, which separates the parts of a concat" if without else ""
        detail = f"no value found for {source.name} in {self.document.id}{reason}"
        raise GatewayError(OUR_MISTAKE, detail, source.name)

    def _list_distinct_texts(self, source: Field, check: DocumentCheck) -> set[str]:
        """Return the texts that `source` may not have here: they would repeat a row of a check."""
        groups = [level.partition(":")[2] for level in check.repetitions if level != "item"]
        near = self.values_by_item.get((source.key, self.item), [])
        candidates = [
            value
            for value in (near if "item" in check.repetitions else self.read_all(source))
            if not groups
            or all(
                value.occurrence_numbers.get(group) == self.occurrence_numbers.get(group) for group in groups
            )
        ]
        if len(check.factors) == 1:
            return {value.text for value in candidates}
        rows: dict[tuple[object, ...], list[str]] = {}
        for factor in check.factors:
            for value in self.read_all(factor) if factor is not source else ():
                rows.setdefault(_get_position(value.item, value.occurrence_numbers), []).append(value.text)
        row = rows.get(_get_position(self.item, self.occurrence_numbers), [])
        if len(row) < len(check.factors) - 1:
            return set()
        return {
            value.text
            for value in candidates
            if rows.get(_get_position(value.item, value.occurrence_numbers)) == row
        }

    def _is_side_by_side(self, value: DrawnValue, source: Field) -> bool:
        """Return whether a value has the same place as the next one, apart from its own group."""
        own_group = source.group if isinstance(source, UniqueField) else source.per
        outside = {group: number for group, number in self.occurrence_numbers.items() if group != own_group}
        return {
            group: number for group, number in value.occurrence_numbers.items() if group != own_group
        } == outside

    def _list_reusable_values(self, name: str) -> list[str]:
        """Return values to reuse: those by which occurrences are looked up, grouped or selected."""
        max_distinct = self.demands.max_distinct_values.get(name)
        reuses = name in self.demands.uniform_sources or max_distinct is not None
        drawn = list(dict.fromkeys(value.text for value in self.values.get(name, ()))) if reuses else []
        if name in self.demands.uniform_sources and drawn:
            return drawn[:1]
        if max_distinct is not None and drawn and (len(drawn) >= max_distinct or self.draws.draw_chance(50)):
            return [self.draws.choose_one(drawn)]
        linked = [
            value.text
            for linked_name in self.demands.linked_sources.get(name, ())
            for value in self.values.get(linked_name, ())
        ]
        choices = [*self.demands.key_constants.get(name, ()), *dict.fromkeys(linked)]
        if not choices and self.draws.draw_chance(30):
            choices = self.demands.guard_values.get(name, [])
        elif not self.draws.draw_chance(80):
            return []
        if choices:
            start = self.draws.draw_number(0, len(choices) - 1)
            return choices[start:] + choices[:start]
        return []

    def _draw_unit(self, source: Field, text: str) -> str | None:
        """Draw a unit or a currency with which every target accepts `text`; one for all values of a sum."""
        if source.attribute not in ("unitCode", "currencyID"):
            return None
        name = source.key
        if name in self.units:
            return self.units[name]
        fit = self.list_units(source)
        fit = [unit for unit in fit if self.demands.fits_after_conversion(source, text, unit)] or fit
        unit = "USD" if source.attribute == "currencyID" and "USD" in fit else self.draws.choose_one(fit)
        exact = [
            step.target_unit for step, _ in self.demands.conversions.get(name, ()) if step.rounding == "exact"
        ]
        # An exact conversion may fail for some values, so the target's own unit is preferred.
        if (
            exact
            and exact[0] in fit
            and (name in self.demands.single_unit_sources or self.draws.draw_chance(80))
        ):
            unit = exact[0]
        if name in self.demands.single_unit_sources:
            self.units[name] = unit
        return unit

    def list_units(self, source: Field) -> list[str]:
        """Return the units or currencies that a value may have and that every target accepts."""
        steps = [step.target_unit for step, _ in self.demands.conversions.get(source.key, ())]
        steps += [demand.unit for demand in self.demands.unit_tests.get(source.key, ()) if demand.unit]
        usual = ("USD",) if source.attribute == "currencyID" else (*_MASSES, *steps)
        choices = source.units or tuple(dict.fromkeys(usual))
        return [unit for unit in choices if self.demands.accepts_unit(source, unit)] or list(choices)


def _get_position(item: str | None, group_numbers: Mapping[str, int]) -> tuple[object, ...]:
    return item, tuple(sorted(group_numbers.items()))


def order_fields(asks: Iterable[UniqueField]) -> list[UniqueField]:
    """Return sibling fields in an order in which each follows the fields that its condition reads."""
    waiting = list(asks)
    ordered: list[UniqueField] = []
    while waiting:
        names = {ask.name for ask in waiting}
        free = [ask for ask in waiting if not _list_dependencies(ask) & (names - {ask.name})] or waiting
        ordered += free
        free_names = {ask.name for ask in free}
        waiting = [ask for ask in waiting if ask.name not in free_names]
    return ordered


def reads_any_of(ask: UniqueField, others: Iterable[UniqueField]) -> bool:
    """Return whether a condition of `ask` reads one of `others`."""
    return bool(_list_dependencies(ask) & {asked_field.name for asked_field in others})


def _list_dependencies(ask: UniqueField) -> set[str]:
    """Return the names of the fields that a field's conditions read, with the groups around them."""
    names: set[str] = set()
    for asked_field in _list_with_members(ask):
        for test in (
            list_guard_tests(asked_field.requirement.when) if asked_field.requirement.when is not None else ()
        ):
            parts = test.source.name.split(".")
            names |= {".".join(parts[: n + 1]) for n in range(len(parts))}
    return names


def _list_with_members(ask: UniqueField) -> Iterator[UniqueField]:
    yield ask
    for member in ask.fields:
        yield from _list_with_members(member)
