"""The draft of a sample: draws the declared values and the answers of the applicant.

Conditions are evaluated on the draft as later on the submission, so that later draws are
consistent with earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language import DocumentCheck, DocumentMapping, MappingBundle
from gateway.harmonize.tools.samples.ruled_draws import draw_ruled_text, is_text_ruled_out
from gateway.harmonize.tools.samples.seeded_draws import SeededDraws
from gateway.harmonize.tools.samples.target_demands import TargetDemands, get_qualified_name
from gateway.harmonize.types import (
    CommonMeaning,
    Condition,
    MeaningGroup,
    SourceMark,
    UniqueField,
    ValueReader,
    ValueShape,
    list_guard_tests,
)

__all__ = ["DrawnValue", "SampleDraft", "order_fields", "reads_any_of"]

_TRIES: Final = 200
_MOST_IN_GROUP: Final = 3
_MASSES: Final = ("KGM", "TNE", "GRM", "LBR")


@dataclass(slots=True)
class DrawnValue:
    """One drawn value with its unit, its goods item, and the occurrences of groups around it.

    `element` is the element of an asked field, into which the value is written. What `is_fixed` was not drawn
    but decided, and stays.
    """

    text: str
    unit: str | None
    item: str | None
    place: Mapping[str, int]
    element: etree._Element | None = None
    is_fixed: bool = False


@dataclass(slots=True)
class SampleDraft(ValueReader):
    """The values drawn so far; `item` and `place` are the position of the next one.

    `concerned` are the goods items of the application.
    """

    bundle: MappingBundle
    document: DocumentMapping
    draws: SeededDraws
    demands: TargetDemands
    concerned: frozenset[str]
    values: dict[str, list[DrawnValue]] = field(default_factory=dict)
    placed: dict[tuple[str, str | None], list[DrawnValue]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    item: str | None = None
    place: Mapping[str, int] = field(default_factory=dict)
    occurrences: int = 0
    decided: dict[tuple[str, str | None, tuple[tuple[str, int], ...]], list[bool]] = field(
        default_factory=dict
    )

    def read_values(self, source: UniqueField | CommonMeaning, _rule: SourceMark) -> list[DrawnValue]:
        """Return the drawn values of `source` that a rule would find at the current position."""
        name = get_qualified_name(source)
        if self.item is None:
            found = self.values.get(name, [])
        else:
            found = [*self.placed.get((name, None), ()), *self.placed.get((name, self.item), ())]
        return [one for one in found if self._is_here(one)]

    def read_unit(self, _source: UniqueField | CommonMeaning, found: Any, _rule: SourceMark, /) -> str | None:
        """Return the unit of a drawn value."""
        return found.unit if isinstance(found, DrawnValue) else None

    def read_all(self, source: UniqueField | CommonMeaning) -> list[DrawnValue]:
        """Return all drawn values of `source`, including goods items outside the application."""
        return self.values.get(get_qualified_name(source), [])

    def _is_here(self, one: DrawnValue) -> bool:
        if self.item is None and one.item is not None and one.item not in self.concerned:
            return False
        return all(one.place.get(group, number) == number for group, number in self.place.items())

    def is_satisfied(self, condition: Condition | None) -> bool:
        """Return whether a condition holds at the current position, for the values drawn so far."""
        return condition is not None and condition.is_satisfied(self)

    def decide_given(self, ask: UniqueField, *, wanted: bool) -> bool:
        """Return whether a field is given here: `wanted`, unless a check on given fields decides."""
        for check in self.document.checks:
            if check.kind not in ("one_of", "exactly_one", "all_or_none") or ask not in check.factors:
                continue
            key = (check.id, self.item, tuple(sorted(self.place.items())))
            before = self.decided.setdefault(key, [])
            if before and check.kind == "all_or_none":
                wanted = before[0]
            elif check.kind == "exactly_one" and any(before):
                wanted = False
            elif len(before) == len(check.factors) - 1 and not any(before) and check.kind != "all_or_none":
                wanted = True
            before.append(wanted)
        return wanted

    def enter_group(self, group: str) -> Mapping[str, int]:
        """Enter a new occurrence of a group; return the outer place, which the caller must restore."""
        outer = self.place
        self.occurrences += 1
        self.place = {**outer, group: self.occurrences}
        return outer

    def draw_count(self, source: UniqueField | CommonMeaning | MeaningGroup, low: int, high: int) -> int:
        """Draw the number of values or occurrences."""
        low, high = self.demands.limit_count(source, low, max(high, 1))
        return self.draws.draw_number(low, max(low, min(high, _MOST_IN_GROUP)))

    def draw_value(self, source: UniqueField | CommonMeaning, shape: ValueShape) -> DrawnValue:
        """Draw a value of `shape` that every target of `source` accepts, with its unit, and add it."""
        return self.add_value(source, self.draw_fitting_text(source, shape))

    def add_value(self, source: UniqueField | CommonMeaning, text: str) -> DrawnValue:
        """Add a value with the given text at the current position, with a drawn unit."""
        drawn = DrawnValue(text, self._draw_unit(source, text), self.item, dict(self.place))
        self.values.setdefault(get_qualified_name(source), []).append(drawn)
        self.placed.setdefault((get_qualified_name(source), self.item), []).append(drawn)
        return drawn

    def draw_fitting_text(self, source: UniqueField | CommonMeaning, shape: ValueShape) -> str:
        """Draw a text of `shape` that every target of `source` accepts; raise GW901 if none is found."""
        name = get_qualified_name(source)
        near = self.placed.get((name, self.item), ()) if name in self.demands.keys else ()
        taken = {one.text for one in near if self._is_side_by_side(one, source)}
        for check in self.document.checks:
            if check.kind == "distinct" and source in check.factors:
                taken |= self._list_distinct_texts(source, check)
        rules = [one for one in self.bundle.rules if one.meaning is source and not one.is_dated]

        def fits(text: str) -> bool:
            accepted = shape.find_violation(text) is None and self.demands.fits_targets(name, text)
            return accepted and not is_text_ruled_out(rules, text)

        for text in self._list_known_values(name):
            if text not in taken and fits(text):
                return text
        demands = [shape, *self.demands.shapes.get(name, ())]
        for attempt in range(_TRIES):
            one = demands[attempt % len(demands)]
            text = draw_ruled_text(self.draws, rules, one)
            if text not in taken and fits(text):
                return text
        # Where there are fewer keys than occurrences, a key that no line looks up may occur twice.
        again = [one for one in sorted(taken) if fits(one)]
        if again:
            return self.draws.choose_one(again)
        without = ", ".join(repr(one) for one in sorted(self.demands.without.get(name, ())))
        reason = f": none without {without}, which separates the parts of a concat" if without else ""
        detail = f"no value found for {source.name} in {self.document.id}{reason}"
        raise GatewayError(OUR_MISTAKE, detail, source.name)

    def _list_distinct_texts(self, source: UniqueField | CommonMeaning, check: DocumentCheck) -> set[str]:
        """Return the texts that `source` may not have here, since the row would stand twice for a check."""
        groups = [level.partition(":")[2] for level in check.around if level != "item"]
        near = self.placed.get((get_qualified_name(source), self.item), [])
        found = [
            one
            for one in (near if "item" in check.around else self.read_all(source))
            if not groups or all(one.place.get(group) == self.place.get(group) for group in groups)
        ]
        if len(check.factors) == 1:
            return {one.text for one in found}
        rows: dict[tuple[object, ...], list[str]] = {}
        for other in check.factors:
            for one in self.read_all(other) if other is not source else ():
                rows.setdefault(_get_position(one.item, one.place), []).append(one.text)
        mine = rows.get(_get_position(self.item, self.place), [])
        if len(mine) < len(check.factors) - 1:
            return set()
        return {one.text for one in found if rows.get(_get_position(one.item, one.place)) == mine}

    def _is_side_by_side(self, one: DrawnValue, source: UniqueField | CommonMeaning) -> bool:
        """Return whether a value has the same place as the next one, apart from its own group."""
        own = source.group if isinstance(source, UniqueField) else source.per
        outside = {group: number for group, number in self.place.items() if group != own}
        return {group: number for group, number in one.place.items() if group != own} == outside

    def _list_known_values(self, name: str) -> list[str]:
        """Return values to reuse: those by which occurrences are looked up, grouped or selected."""
        most = self.demands.distinct.get(name)
        again = name in self.demands.same or most is not None
        drawn = list(dict.fromkeys(one.text for one in self.values.get(name, ()))) if again else []
        if name in self.demands.same and drawn:
            return drawn[:1]
        if most is not None and drawn and (len(drawn) >= most or self.draws.draw_chance(50)):
            return [self.draws.choose_one(drawn)]
        linked = [
            one.text for other in self.demands.links.get(name, ()) for one in self.values.get(other, ())
        ]
        wanted = [*self.demands.keys.get(name, ()), *dict.fromkeys(linked)]
        if not wanted and self.draws.draw_chance(30):
            wanted = self.demands.guards.get(name, [])
        elif not self.draws.draw_chance(80):
            return []
        if wanted:
            start = self.draws.draw_number(0, len(wanted) - 1)
            return wanted[start:] + wanted[:start]
        return []

    def _draw_unit(self, source: UniqueField | CommonMeaning, text: str) -> str | None:
        """Draw a unit or a currency with which every target accepts `text`; one for all values of a sum."""
        if source.attribute not in ("unitCode", "currencyID"):
            return None
        name = get_qualified_name(source)
        if name in self.units:
            return self.units[name]
        fit = self.list_units(source)
        fit = [unit for unit in fit if self.demands.fits_after_conversion(source, text, unit)] or fit
        unit = "USD" if source.attribute == "currencyID" and "USD" in fit else self.draws.choose_one(fit)
        exact = [step.to for step, _ in self.demands.converts.get(name, ()) if step.rounding == "exact"]
        # An exact conversion may fail for some values, so the target's own unit is preferred.
        if exact and exact[0] in fit and (name in self.demands.alike or self.draws.draw_chance(80)):
            unit = exact[0]
        if name in self.demands.alike:
            self.units[name] = unit
        return unit

    def list_units(self, source: UniqueField | CommonMeaning) -> list[str]:
        """Return the units or currencies that a value may have and that every target accepts."""
        steps = [step.to for step, _ in self.demands.converts.get(get_qualified_name(source), ())]
        steps += [one.unit for one in self.demands.measured.get(get_qualified_name(source), ()) if one.unit]
        usual = ("USD",) if source.attribute == "currencyID" else (*_MASSES, *steps)
        choices = (source.units if isinstance(source, UniqueField) else ()) or tuple(dict.fromkeys(usual))
        return [unit for unit in choices if self.demands.accepts_unit(source, unit)] or list(choices)


def _get_position(item: str | None, place: Mapping[str, int]) -> tuple[object, ...]:
    return item, tuple(sorted(place.items()))


def order_fields(asks: Iterable[UniqueField]) -> list[UniqueField]:
    """Return sibling fields in an order in which each follows the fields that its condition reads."""
    waiting = list(asks)
    ordered: list[UniqueField] = []
    while waiting:
        names = {ask.name for ask in waiting}
        free = [ask for ask in waiting if not _list_dependencies(ask) & (names - {ask.name})] or waiting
        ordered += free
        done = {ask.name for ask in free}
        waiting = [ask for ask in waiting if ask.name not in done]
    return ordered


def reads_any_of(ask: UniqueField, others: Iterable[UniqueField]) -> bool:
    """Return whether a condition of `ask` reads one of `others`."""
    return bool(_list_dependencies(ask) & {other.name for other in others})


def _list_dependencies(ask: UniqueField) -> set[str]:
    """Return the names of the fields that a field's conditions read, with the groups around them."""
    found: set[str] = set()
    for one in _list_with_members(ask):
        for test in list_guard_tests(one.requirement.when) if one.requirement.when is not None else ():
            parts = test.source.name.split(".")
            found |= {".".join(parts[: n + 1]) for n in range(len(parts))}
    return found


def _list_with_members(ask: UniqueField) -> Iterator[UniqueField]:
    yield ask
    for member in ask.fields:
        yield from _list_with_members(member)
