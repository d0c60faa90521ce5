"""Where a rule stands while it is applied: the application, the item, the repetitions around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.errors import Problem
from gateway.harmonize.given.facts import Facts, Found, text_of
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Dictionary, Group, Meaning
from gateway.harmonize.terms.marks import Mark

__all__ = ["MOST_TROUBLES", "Answers", "Branch", "Fate", "Scope", "Trace", "Trouble"]

MOST_TROUBLES: Final = 500
_STRENGTH: Final = {"withheld": 0, "consumed": 1, "forwarded": 2}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing wrong with a submission: the problem, in words, and where."""

    problem: Problem
    detail: str
    pointer: str
    document: str
    application: str
    rule: Mark | None = None


class Fate(NamedTuple):
    """What became of a leaf for one document, by which rule, and where it went."""

    fate: str
    rule: Mark
    targets: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """The fates of all leaves for one document, and what was wrong on the way.

    `borrowed` are the leaves of other applications that stand for answers of its own, `further`
    where a leaf went after its first target: it can be very many places.
    """

    document: str
    fates: dict[int, Fate] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    borrowed: set[int] = field(default_factory=set)
    further: dict[int, list[str]] = field(default_factory=dict)
    _noted: dict[tuple[int, str, Mark], Iterable[int]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Return whether no more troubles are listed: what would be said of a further one is not needed."""
        return len(self.troubles) >= MOST_TROUBLES

    def forward(self, leaves: tuple[int, ...], target: str, rule: Mark) -> None:
        """Note that leaves reached `target`."""
        for leaf in leaves:
            old = self.fates.get(leaf)
            if old is not None and old.fate == "forwarded":
                self.further.setdefault(leaf, []).append(target)
            else:
                self.fates[leaf] = Fate("forwarded", rule, (target,))

    def note_once(self, leaves: Sequence[int], fate: str, rule: Mark) -> None:
        """Note leaves that stay together for the whole submission; to do so again costs nothing."""
        key = (id(leaves), fate, rule)
        if key not in self._noted:
            self._noted[key] = leaves  # kept, so that nothing else gets its id
            self.note(leaves, fate, rule)

    def note(self, leaves: Iterable[int], fate: str, rule: Mark) -> None:
        """Note that leaves were ``consumed`` or ``withheld`` by `rule`; the stronger fate stays."""
        noted = Fate(fate, rule)
        for leaf in leaves:
            old = self.fates.get(leaf)
            if old is None or _STRENGTH[old.fate] < _STRENGTH[fate]:
                self.fates[leaf] = noted

    def trouble(self, problem: Problem, detail: str, pointer: str, place: tuple[str, Mark | None]) -> None:
        """Note that something is wrong; the application then yields no request."""
        application, rule = place
        self.failed.add(application)
        if not self.full:
            self.troubles.append(Trouble(problem, detail, pointer, self.document, application, rule))


@dataclass(slots=True)
class Branch:
    """The unique fields that stand side by side: their elements by name, their values once looked at."""

    elements: dict[str, list[etree._Element]] = field(default_factory=dict)
    values: dict[str, tuple[Found, ...]] = field(default_factory=dict)

    def drop(self, name: str) -> None:
        """Leave a field out."""
        del self.elements[name]
        self.values.pop(name, None)


@dataclass(slots=True)
class Answers:
    """The unique fields of one application: at the top, in each item, in each group element.

    `indexes` are look-ups by key, made when a line first needs them; `borrowed` the elements of
    other applications, whose answers are shared.  `listed` are the common meanings that the
    document lists, by the group that they stand in; a group has its entry also where only one
    inside it has some; `currencies` those that a common amount may have, none: any.
    """

    top: Branch = field(default_factory=Branch)
    items: dict[str, Branch] = field(default_factory=dict)
    groups: dict[etree._Element, Branch] = field(default_factory=dict)
    indexes: dict[object, Any] = field(default_factory=dict)
    borrowed: set[etree._Element] = field(default_factory=set)
    listed: Mapping[str, Sequence[Meaning]] = field(default_factory=dict)
    currencies: frozenset[str] = frozenset()


_NO_ANSWERS: Final = Branch()


@dataclass(slots=True, eq=False)
class Scope:
    """One place in the evaluation of one application's rules.

    `numbers` are the goods items concerned here: all of the application, or those that have
    one value of `grouped`, which is then read as if it were declared once.  The scopes of the
    occurrences below are made when they are first gone into, and kept for the next line.
    """

    facts: Facts
    dictionary: Dictionary
    answers: Answers
    trace: Trace
    application: str
    numbers: tuple[str, ...]
    hub: Mapping[str, str]
    item: str | None = None
    asked: Mapping[str, etree._Element] = field(default_factory=dict)
    common: Mapping[str, etree._Element] = field(default_factory=dict)
    index: Mapping[str, int] = field(default_factory=dict)
    grouped: Ask | Meaning | None = None
    _items: list[Scope] | None = None
    _inside: dict[tuple[str, bool], list[Scope]] | None = None

    def read(self, source: Ask | Meaning, rule: Mark) -> tuple[Found, ...]:
        """Return the values of `source` here and in every repetition below that it belongs to.

        Its leaves are noted as read (``consumed``) by `rule`.
        """
        scopes = self.every(source)
        if len(scopes) == 1:
            found = scopes[0].look(source, rule)
        else:
            found = tuple(one for inner in scopes for one in inner.look(source, rule))
        for one in found:
            self.trace.note(one.leaves, "consumed", rule)
        return found

    def written(self, ask: Ask) -> Sequence[etree._Element]:
        """Return the elements of an asked field or group here, with or without content."""
        return self._branch(ask).elements.get(ask.name, ())

    def look(self, source: Ask | Meaning, rule: Mark) -> tuple[Found, ...]:
        """Return the values of `source` here; only what was read to choose them is noted."""
        if source is self.grouped and self.item is None:
            return self._in_common(source, rule)
        if isinstance(source, Ask):
            return self._answered(source)
        base = self._base(source.per)
        if base is None:
            return ()
        hits = self.facts.find(source, base, self.item)
        if hits.consumed:
            self.trace.note_once(hits.consumed, "consumed", rule)
        if hits.skipped:
            self.trace.note_once(hits.skipped, "withheld", source.mark)
        return hits.found

    def into_items(self) -> list[Scope]:
        """Return one scope for each goods item of the application, in its order; not to be changed."""
        if self._items is None:
            there = self.facts.items
            self._items = [
                self._at(number, self.asked, self.common, self.index)
                for number in self.numbers
                if number in there
            ]
        return self._items

    def into_groups(self, key: Ask | Meaning, rule: Mark) -> list[Scope]:
        """Return one scope for each value that the items have of `key`, in order of first appearance."""
        numbers: dict[str, list[str]] = {}
        for inner in self.into_items():
            for one in inner.look(key, rule)[:1]:
                numbers.setdefault(one.text, []).append(inner.item or "")
        return [
            self._grouped(tuple(own), key, {**self.index, key.name: position})
            for position, own in enumerate(numbers.values(), 1)
        ]

    def into_asked(self, group: Ask) -> list[Scope]:
        """Return one scope for each occurrence of an asked group here; not to be changed."""
        scopes = self._kept(group.name, asked=True)
        return self._entered(group.name, self.written(group)) if scopes is None else scopes

    def into_common(self, name: str) -> list[Scope]:
        """Return one scope for each occurrence of a group of the dictionary here; not to be changed.

        One in which nothing stands that the document lists is none of the document's business:
        it is not even counted.
        """
        scopes = self._kept(name, asked=False)
        if scopes is not None:
            return scopes
        group = self.dictionary.groups[name]
        base = self._base(group.per)
        elements = self.facts.occurrences(group, base) if base is not None else []
        if name in self.answers.listed:
            elements = [element for element in elements if self._concerns(name, element)]
        return self._keep(
            (name, False),
            [
                self._at(
                    self.item, self.asked, {**self.common, name: element}, {**self.index, name: position}
                )
                for position, element in enumerate(elements, 1)
            ],
        )

    def _concerns(self, name: str, element: etree._Element) -> bool:
        """Return whether a listed value stands in an occurrence of a group, or in a group inside it."""
        facts, listed = self.facts, self.answers.listed
        if any(facts.find(meaning, element, self.item).found for meaning in listed[name]):
            return True
        return any(
            self._concerns(inner.name, one)
            for inner in self.dictionary.groups.values()
            if inner.per == name and inner.name in listed
            for one in facts.occurrences(inner, element)
        )

    def holds(self, source: Meaning) -> bool:
        """Return whether a common meaning has a value here or in a repetition below; nothing is noted."""
        for inner in self.every(source):
            base = inner._base(source.per)
            if base is not None and inner.facts.find(source, base, inner.item).found:
                return True
        return False

    def every(self, source: Ask | Meaning) -> list[Scope]:
        """Return every scope from here down in which `source` has its values."""
        if source is self.grouped:
            return [self]
        if isinstance(source, Ask):
            return self._down(_enclosing(source.group), source.home == "item", asked=True)
        in_item = self.dictionary.is_item(source.per)
        return self._down(self.dictionary.chain(source.per), in_item, asked=False)

    def occurrences(self, group: Ask | Group) -> list[Scope]:
        """Return one scope for each occurrence of a group here and in the repetitions below."""
        if isinstance(group, Ask):
            return self._down(_enclosing(group.name), group.home == "item", asked=True)
        return self._down(self.dictionary.chain(group.name), self.dictionary.is_item(group.per), asked=False)

    def _down(self, groups: Iterable[str], in_item: bool, *, asked: bool) -> list[Scope]:
        scopes = self.into_items() if in_item and self.item is None else [self]
        entered = self.asked if asked else self.common
        for name in groups:
            if name not in entered:
                scopes = [inner for scope in scopes for inner in scope.into(name, asked=asked)]
        return scopes

    def into(self, name: str, *, asked: bool) -> list[Scope]:
        """Return one scope for each occurrence here of a group, an asked one or one of the dictionary."""
        if not asked:
            return self.into_common(name)
        scopes = self._kept(name, asked=True)
        return self._entered(name, self._elements(name)) if scopes is None else scopes

    def _entered(self, name: str, elements: Iterable[etree._Element]) -> list[Scope]:
        return self._keep(
            (name, True),
            [
                self._at(
                    self.item, {**self.asked, name: element}, self.common, {**self.index, name: position}
                )
                for position, element in enumerate(elements, 1)
            ],
        )

    def _kept(self, name: str, *, asked: bool) -> list[Scope] | None:
        """Return the scopes of the occurrences of a group where they are known."""
        return None if self._inside is None else self._inside.get((name, asked))

    def _keep(self, key: tuple[str, bool], scopes: list[Scope]) -> list[Scope]:
        if self._inside is None:
            self._inside = {}
        self._inside[key] = scopes
        return scopes

    def _at(
        self,
        item: str | None,
        asked: Mapping[str, etree._Element],
        common: Mapping[str, etree._Element],
        index: Mapping[str, int],
    ) -> Scope:
        """Return a scope inside this one; made plainly, as there are many of them."""
        return Scope(
            self.facts,
            self.dictionary,
            self.answers,
            self.trace,
            self.application,
            self.numbers,
            self.hub,
            item,
            asked,
            common,
            index,
            self.grouped,
        )

    def _grouped(self, numbers: tuple[str, ...], key: Ask | Meaning, index: Mapping[str, int]) -> Scope:
        """Return a scope over some of the goods items."""
        scope = self._at(self.item, self.asked, self.common, index)
        scope.numbers, scope.grouped = numbers, key
        return scope

    def _in_common(self, source: Ask | Meaning, rule: Mark) -> tuple[Found, ...]:
        """Return the one value that all goods items here have, as coming from all of them."""
        found = [one for inner in self.into_items() for one in inner.look(source, rule)[:1]]
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        return (Found(found[0].text, leaves, found[0].element),) if found else ()

    def _elements(self, group: str) -> list[etree._Element]:
        """Return the elements of an asked group inside the occurrence of the group around it."""
        outer = group.rpartition(".")[0]
        if outer:
            return self.answers.groups.get(self.asked[outer], _NO_ANSWERS).elements.get(group, [])
        if self.item is not None:
            own = self.answers.items.get(self.item, _NO_ANSWERS).elements.get(group)
            if own is not None:
                return own
        return self.answers.top.elements.get(group, [])

    def _branch(self, ask: Ask) -> Branch:
        if not ask.group:
            top = ask.per == "application"
            return self.answers.top if top else self.answers.items.get(self.item or "", _NO_ANSWERS)
        # A group that occurs once at most need not be gone over: its one occurrence is meant.
        scope = self
        for name in _enclosing(ask.group) if ask.group not in self.asked else ():
            if name not in scope.asked:
                scopes = scope.into(name, asked=True)
                if not scopes:
                    return _NO_ANSWERS
                scope = scopes[0]
        return self.answers.groups.get(scope.asked[ask.group], _NO_ANSWERS)

    def _answered(self, ask: Ask) -> tuple[Found, ...]:
        branch = self._branch(ask)
        found = branch.values.get(ask.name)
        if found is None:
            elements = branch.elements.get(ask.name)
            if elements is None:
                return ()
            found = branch.values[ask.name] = tuple(self._values(ask, elements))
        return found

    def _values(self, ask: Ask, elements: Iterable[etree._Element]) -> list[Found]:
        found = []
        for element in elements:
            number = self.facts.texts.get(element)
            text = text_of(element)
            if number is not None and (text.strip() or ask.type == "attachment"):
                found.append(Found(text, (number,), element))
        return found

    def _base(self, per: str) -> etree._Element | None:
        if per == "header":
            return self.facts.declaration
        if per == "item":
            return self.facts.items.get(self.item or "")
        return self.common.get(per)


@cache
def _enclosing(group: str) -> tuple[str, ...]:
    """Return a dotted group and those around it, the outermost first."""
    parts = group.split(".") if group else []
    return tuple(".".join(parts[: position + 1]) for position in range(len(parts)))
