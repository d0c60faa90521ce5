"""Where a rule stands while it is applied: the application, the item, the repetitions around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lxml import etree

from gateway.errors import Problem
from gateway.harmonize.asks import Ask
from gateway.harmonize.dictionary import Dictionary, Meaning
from gateway.harmonize.facts import Facts, Found, text_of
from gateway.harmonize.marks import Mark

__all__ = ["Answers", "Fate", "Scope", "Trace", "Trouble"]

_MOST_TROUBLES: Final = 500
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


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a leaf for one document, by which rule, and where it went."""

    fate: str
    rule: Mark
    targets: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """The fates of all leaves for one document, and what was wrong on the way."""

    document: str
    fates: dict[int, Fate] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    def forward(self, leaves: tuple[int, ...], target: str, rule: Mark) -> None:
        """Note that leaves reached `target`."""
        for leaf in leaves:
            old = self.fates.get(leaf)
            if old is not None and old.fate == "forwarded":
                self.fates[leaf] = replace(old, targets=(*old.targets, target))
            else:
                self.fates[leaf] = Fate("forwarded", rule, (target,))

    def note(self, leaves: tuple[int, ...], fate: str, rule: Mark) -> None:
        """Note that leaves were ``consumed`` or ``withheld`` by `rule`; the stronger fate stays."""
        for leaf in leaves:
            old = self.fates.get(leaf)
            if old is None or _STRENGTH[old.fate] < _STRENGTH[fate]:
                self.fates[leaf] = Fate(fate, rule)

    def trouble(self, problem: Problem, detail: str, pointer: str, place: tuple[str, Mark | None]) -> None:
        """Note that something is wrong; the application then yields no request."""
        application, rule = place
        self.failed.add(application)
        if len(self.troubles) < _MOST_TROUBLES:
            self.troubles.append(Trouble(problem, detail, pointer, self.document, application, rule))


Branch = Mapping[str, "list[etree._Element]"]


@dataclass(slots=True)
class Answers:
    """The unique fields of one application: by name, at the top, in each item, in each group element."""

    top: dict[str, list[etree._Element]] = field(default_factory=dict)
    items: dict[str, dict[str, list[etree._Element]]] = field(default_factory=dict)
    groups: dict[etree._Element, dict[str, list[etree._Element]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """One place in the evaluation of one application's rules."""

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

    def read(self, source: Ask | Meaning, rule: Mark) -> tuple[Found, ...]:
        """Return the values of `source` here, noting its leaves as read (``consumed``) by `rule`."""
        found = self.look(source, rule)
        for one in found:
            self.trace.note(one.leaves, "consumed", rule)
        return found

    def written(self, ask: Ask) -> list[etree._Element]:
        """Return the elements of an asked field or group here, with or without content."""
        return list(self._branch(ask).get(ask.name, ()))

    def look(self, source: Ask | Meaning, rule: Mark) -> tuple[Found, ...]:
        """Return the values of `source` here; only what was read to choose them is noted."""
        if isinstance(source, Ask):
            return self._answered(source)
        base = self._base(source.per)
        if base is None:
            return ()
        hits = self.facts.find(source, base, self.item if self.dictionary.is_item(source.per) else None)
        self.trace.note(hits.consumed, "consumed", rule)
        self.trace.note(hits.skipped, "withheld", source.mark)
        return hits.found

    def into_items(self) -> list[Scope]:
        """Return one scope for each goods item of the application, in its order."""
        return [replace(self, item=n) for n in self.numbers if n in self.facts.items]

    def into_asked(self, group: Ask) -> list[Scope]:
        """Return one scope for each occurrence of an asked group here."""
        scopes = []
        for position, element in enumerate(self._branch(group).get(group.name, ()), 1):
            asked, index = {**self.asked, group.name: element}, {**self.index, group.name: position}
            scopes.append(replace(self, asked=asked, index=index))
        return scopes

    def into_common(self, name: str) -> list[Scope]:
        """Return one scope for each occurrence of a group of the dictionary here."""
        group = self.dictionary.groups[name]
        base = self._base(group.per)
        if base is None:
            return []
        path = "/".join(f"{{*}}{part}" for part in group.path.split("/"))
        scopes = []
        for position, element in enumerate(base.findall(path), 1):
            common, index = {**self.common, name: element}, {**self.index, name: position}
            scopes.append(replace(self, common=common, index=index))
        return scopes

    def every(self, ask: Ask) -> list[Scope]:
        """Return every scope below this one in which `ask` has its values."""
        scopes = self.into_items() if ask.per == "item" and self.item is None else [self]
        return [inner for scope in scopes for inner in scope._enclosed(ask.group)]

    def _enclosed(self, group: str) -> list[Scope]:
        """Return the scopes of every occurrence of `group` below this one, through its outer groups."""
        if not group or group in self.asked:
            return [self]
        outer = self._enclosed(group.rpartition(".")[0])
        return [inner for scope in outer for inner in scope._occurrences(group)]

    def _occurrences(self, group: str) -> list[Scope]:
        branch = self._named_branch(group.rpartition(".")[0], group)
        return [replace(self, asked={**self.asked, group: element}) for element in branch]

    def _named_branch(self, outer: str, group: str) -> list[etree._Element]:
        if outer:
            return self.answers.groups.get(self.asked[outer], {}).get(group, [])
        if self.item is not None and group in self.answers.items.get(self.item, {}):
            return self.answers.items[self.item][group]
        return self.answers.top.get(group, [])

    def _branch(self, ask: Ask) -> Branch:
        if ask.group:
            # A group that occurs once at most need not be gone over: its one occurrence is meant.
            element = self.asked.get(ask.group)
            if element is None:
                element = next(iter(self._named_branch("", ask.group)), None)
            return {} if element is None else self.answers.groups.get(element, {})
        return self.answers.top if ask.per == "application" else self.answers.items.get(self.item or "", {})

    def _answered(self, ask: Ask) -> tuple[Found, ...]:
        found = []
        for element in self._branch(ask).get(ask.name, ()):
            number = self.facts.texts.get(element)
            text = text_of(element)
            if number is not None and (text.strip() or ask.type == "attachment"):
                found.append(Found(text, (number,), element))
        return tuple(found)

    def _base(self, per: str) -> etree._Element | None:
        if per == "header":
            return self.facts.declaration
        if per == "item":
            return self.facts.items.get(self.item or "")
        return self.common.get(per)
