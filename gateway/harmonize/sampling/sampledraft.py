"""Draws the values of a sample: what the declaration says, what the applicant answers, side by side.

A draft is read by conditions as the submission will be, so that what is drawn later fits
what was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.sampling.demands import Demands, name_of
from gateway.harmonize.sampling.draws import Draws, draw_text
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.conditions import Condition, guards
from gateway.harmonize.terms.dictionary import Group, Meaning
from gateway.harmonize.terms.marks import Mark
from gateway.harmonize.terms.shapes import Shape

__all__ = ["Draft", "Drawn", "in_order", "reads_any"]

_TRIES: Final = 200
_MOST_IN_GROUP: Final = 3
_MASSES: Final = ("KGM", "TNE", "GRM", "LBR")


@dataclass(slots=True)
class Drawn:
    """One drawn value with its unit, its goods item, and the occurrences of groups around it.

    `element` is that of an asked field, in which the value is written.
    """

    text: str
    unit: str | None
    item: str | None
    place: Mapping[str, int]
    element: etree._Element | None = None


@dataclass(slots=True)
class Draft:
    """The values drawn so far; `item` and `place` say where the next one stands.

    `concerned` are the goods items of the application.
    """

    bundle: Bundle
    document: Document
    draws: Draws
    demands: Demands
    concerned: frozenset[str]
    values: dict[str, list[Drawn]] = field(default_factory=dict)
    placed: dict[tuple[str, str | None], list[Drawn]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    item: str | None = None
    place: Mapping[str, int] = field(default_factory=dict)
    occurrences: int = 0
    decided: dict[tuple[str, str | None, tuple[tuple[str, int], ...]], list[bool]] = field(
        default_factory=dict
    )

    def read(self, source: Ask | Meaning, _rule: Mark) -> list[Drawn]:
        """Return the drawn values of `source` that a rule would find here."""
        name = name_of(source)
        if self.item is None:
            found = self.values.get(name, [])
        else:
            found = [*self.placed.get((name, None), ()), *self.placed.get((name, self.item), ())]
        return [one for one in found if self._here(one)]

    def read_all(self, source: Ask | Meaning) -> list[Drawn]:
        """Return all drawn values of `source`, also of goods items that the application does not concern."""
        return self.values.get(name_of(source), [])

    def _here(self, one: Drawn) -> bool:
        if self.item is None and one.item is not None and one.item not in self.concerned:
            return False
        return all(one.place.get(group, number) == number for group, number in self.place.items())

    def holds(self, condition: Condition | None) -> bool:
        """Return whether a condition holds here, by what has been drawn."""
        return condition is not None and condition.holds(self)

    def decide(self, ask: Ask, *, wanted: bool) -> bool:
        """Return whether a field is given here: as `wanted`, unless a check about what is given says else."""
        for check in self.document.checks:
            if check.kind not in ("one_of", "all_or_none") or ask not in check.factors:
                continue
            key = (check.id, self.item, tuple(sorted(self.place.items())))
            before = self.decided.setdefault(key, [])
            if before and check.kind == "all_or_none":
                wanted = before[0]
            elif check.kind == "one_of" and len(before) == len(check.factors) - 1 and not any(before):
                wanted = True
            before.append(wanted)
        return wanted

    def enter(self, group: str) -> Mapping[str, int]:
        """Stand in a new occurrence of a group; returns the place outside, to be put back."""
        outer = self.place
        self.occurrences += 1
        self.place = {**outer, group: self.occurrences}
        return outer

    def number_of(self, source: Ask | Meaning | Group, low: int, high: int) -> int:
        """Draw how many values or occurrences there are."""
        low, high = self.demands.within(source, low, max(high, 1))
        return self.draws.number(low, max(low, min(high, _MOST_IN_GROUP)))

    def draw(self, source: Ask | Meaning, shape: Shape) -> Drawn:
        """Draw a value here of `shape`, which every target of `source` takes, with its unit."""
        return self.put(source, self.text(source, shape))

    def put(self, source: Ask | Meaning, text: str) -> Drawn:
        """Add a value that is not drawn but known."""
        drawn = Drawn(text, self._unit(source, text), self.item, dict(self.place))
        self.values.setdefault(name_of(source), []).append(drawn)
        self.placed.setdefault((name_of(source), self.item), []).append(drawn)
        return drawn

    def text(self, source: Ask | Meaning, shape: Shape) -> str:
        """Draw a text of `shape` that every target of `source` takes."""
        name = name_of(source)
        near = self.placed.get((name, self.item), ()) if name in self.demands.keys else ()
        taken = {one.text for one in near if self._side_by_side(one, source)}
        for text in self._known(name):
            if text not in taken and shape.refuse(text) is None and self.demands.fits(name, text):
                return text
        demands = [shape, *self.demands.shapes.get(name, ())]
        for attempt in range(_TRIES):
            text = draw_text(self.draws, demands[attempt % len(demands)])
            if text not in taken and shape.refuse(text) is None and self.demands.fits(name, text):
                return text
        # Where there are fewer keys than occurrences, one that no line looks for may stand twice.
        again = [one for one in sorted(taken) if shape.refuse(one) is None and self.demands.fits(name, one)]
        if again:
            return self.draws.one(again)
        raise GatewayError(
            OUR_MISTAKE, f"no value found for {source.name} in {self.document.id}", source.name
        )

    def _side_by_side(self, one: Drawn, source: Ask | Meaning) -> bool:
        """Return whether a value stands in the same place as the next one, but for its own group."""
        own = source.group if isinstance(source, Ask) else source.per
        outside = {group: number for group, number in self.place.items() if group != own}
        return {group: number for group, number in one.place.items() if group != own} == outside

    def _known(self, name: str) -> list[str]:
        """Return values that are good to be taken again: those that others are found by, or grouped by."""
        most = self.demands.distinct.get(name)
        again = name in self.demands.same or most is not None
        drawn = list(dict.fromkeys(one.text for one in self.values.get(name, ()))) if again else []
        if name in self.demands.same and drawn:
            return drawn[:1]
        if most is not None and drawn and (len(drawn) >= most or self.draws.chance(50)):
            return [self.draws.one(drawn)]
        linked = [
            one.text for other in self.demands.links.get(name, ()) for one in self.values.get(other, ())
        ]
        wanted = [*self.demands.keys.get(name, ()), *dict.fromkeys(linked)]
        if not wanted and self.draws.chance(30):
            wanted = self.demands.guards.get(name, [])
        elif not self.draws.chance(80):
            return []
        if wanted:
            start = self.draws.number(0, len(wanted) - 1)
            return wanted[start:] + wanted[:start]
        return []

    def _unit(self, source: Ask | Meaning, text: str) -> str | None:
        """Draw a unit or a currency in which every target takes `text`; one for all that is added up."""
        if source.attribute not in ("unitCode", "currencyID"):
            return None
        name = name_of(source)
        if name in self.units:
            return self.units[name]
        fit = self.units_of(source)
        fit = [unit for unit in fit if self.demands.converts_well(source, text, unit)] or fit
        unit = "USD" if source.attribute == "currencyID" and "USD" in fit else self.draws.one(fit)
        exact = [step.to for step, _ in self.demands.converts.get(name, ()) if step.rounding == "exact"]
        # Of many values one may be no exact number of another unit.
        if exact and exact[0] in fit and (name in self.demands.alike or self.draws.chance(80)):
            unit = exact[0]
        if name in self.demands.alike:
            self.units[name] = unit
        return unit

    def units_of(self, source: Ask | Meaning) -> list[str]:
        """Return the units or currencies that a value may have and every target takes."""
        steps = [step.to for step, _ in self.demands.converts.get(name_of(source), ())]
        usual = ("USD",) if source.attribute == "currencyID" else (*_MASSES, *steps)
        choices = (source.units if isinstance(source, Ask) else ()) or tuple(dict.fromkeys(usual))
        return [unit for unit in choices if self.demands.takes(source, unit)] or list(choices)


def in_order(asks: Iterable[Ask]) -> list[Ask]:
    """Return fields that stand side by side so that what a condition reads comes before what it decides."""
    waiting = list(asks)
    ordered: list[Ask] = []
    while waiting:
        names = {ask.name for ask in waiting}
        free = [ask for ask in waiting if not _depends(ask) & (names - {ask.name})] or waiting
        ordered += free
        done = {ask.name for ask in free}
        waiting = [ask for ask in waiting if ask.name not in done]
    return ordered


def reads_any(ask: Ask, others: Iterable[Ask]) -> bool:
    """Return whether a condition of `ask` reads one of `others`."""
    return bool(_depends(ask) & {other.name for other in others})


def _depends(ask: Ask) -> set[str]:
    """Return the fields, with the groups around them, that a field's conditions read."""
    found: set[str] = set()
    for one in _with_members(ask):
        for test in guards(one.requirement.when) if one.requirement.when is not None else ():
            parts = test.source.name.split(".")
            found |= {".".join(parts[: n + 1]) for n in range(len(parts))}
    return found


def _with_members(ask: Ask) -> Iterator[Ask]:
    yield ask
    for member in ask.fields:
        yield from _with_members(member)
