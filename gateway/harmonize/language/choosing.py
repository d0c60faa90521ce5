"""The source that chooses: the value of that occurrence of a repetition whose keys are the wanted ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import SOURCES_DISAGREE
from gateway.harmonize.given.facts import sequence_number
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.simple import Taken
from gateway.harmonize.language.values import MisfitError, Value
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark
from gateway.harmonize.terms.shapes import Shape

__all__ = ["Match", "Where", "enter", "entered", "levels"]

_SHOWN: Final = 60
_ITEM: Final = "item"


def levels(source: Ask | Meaning, dictionary: Dictionary) -> tuple[str, ...]:
    """Return the repetitions around a field or meaning, the outermost first.

    ``item``, ``asked:GROUP`` or ``common:GROUP``; empty for what is given once.
    """
    if isinstance(source, Ask):
        parts = source.group.split(".") if source.group else []
        groups = tuple(f"asked:{'.'.join(parts[: n + 1])}" for n in range(len(parts)))
        return ((_ITEM,) if source.home == "item" else ()) + groups
    groups = tuple(f"common:{name}" for name in dictionary.chain(source.per))
    return ((_ITEM,) if dictionary.is_item(source.per) else ()) + groups


def enter(scope: Scope, level: str) -> list[Scope]:
    """Return one scope for each occurrence of a repetition, the item or group around `scope` set aside."""
    if level == _ITEM:
        return scope.into_items()
    kind, _, name = level.partition(":")
    return scope.into(name, asked=kind == "asked")


def entered(scope: Scope, level: str) -> bool:
    """Return whether `scope` stands in one occurrence of a repetition."""
    if level == _ITEM:
        return scope.item is not None
    kind, _, name = level.partition(":")
    return name in (scope.asked if kind == "asked" else scope.common)


@dataclass(frozen=True, slots=True)
class Match:
    """What one key of an occurrence must equal: a constant, or the value of another field."""

    key: Ask | Meaning
    constant: str | None
    other: Ask | Meaning | None
    numeric: bool

    def normal(self, text: str) -> str:
        """Return a key in the form in which keys are compared: ``01`` and ``1`` are one number."""
        text = text.strip()
        return (sequence_number(text) or text) if self.numeric else text

    def wanted(self, scope: Scope, rule: Mark) -> str | None:
        """Return what the key must be here, None where nothing says it."""
        if self.other is None:
            return self.normal(self.constant or "")
        found = scope.read(self.other, rule)
        return self.normal(found[0].text) if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class _Hit:
    """An occurrence with the leaves of its keys."""

    scope: Scope
    leaves: tuple[int, ...]


_Index = Mapping[tuple[str, ...], list[_Hit]]


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """The value of that occurrence of a repetition whose keys are the wanted ones.

    `around` are the repetitions around the value; the keys belong to the last of the first
    `depth` of them, which is gone over anew, while those outside it stay as they are where
    the line stands.  No match is no value; several are GW505.
    """

    taken: Taken
    matches: tuple[Match, ...]
    around: tuple[str, ...]
    depth: int

    @property
    def loss(self) -> str:
        """Return what the choice loses: with constant keys nothing, the keys are known."""
        return "exact" if all(match.other is None for match in self.matches) else "residue"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the value of the one matching occurrence; raises `MisfitError` where several match."""
        index = self._index(scope, rule)
        wanted = [match.wanted(scope, rule) for match in self.matches]
        hits = index.get(tuple(text for text in wanted if text is not None), [])
        if None in wanted or not hits:
            return []
        if len(hits) > 1:
            shown = ", ".join(str(text)[:_SHOWN] for text in wanted)
            detail = f"{len(hits)} occurrences have {self._keys()} {shown}"
            raise MisfitError(SOURCES_DISAGREE, detail, (*hits[1].leaves, *hits[0].leaves))
        values = self._inside(hits[0].scope, rule)
        if len(values) > 1:
            leaves = tuple(leaf for value in reversed(values) for leaf in value.leaves)
            raise MisfitError(SOURCES_DISAGREE, f"{self.taken.source.name} has {len(values)} values", leaves)
        return values

    def _keys(self) -> str:
        return ", ".join(match.key.name for match in self.matches)

    def _inside(self, scope: Scope, rule: Mark) -> list[Value]:
        scopes = [scope]
        for level in self.around[self.depth :]:
            scopes = [inner for outer in scopes for inner in enter(outer, level)]
        return [value for inner in scopes for value in self.taken.values(inner, rule)]

    def _index(self, scope: Scope, rule: Mark) -> _Index:
        """Return the occurrences by their keys, looked up once for all lines that stand in one place."""
        outer = [level for level in self.around[: self.depth - 1] if entered(scope, level)]
        marks = [_mark(scope, level) for level in outer]
        # The tuple of item numbers is one and the same object in all scopes of one place.
        key = (id(self), id(scope.numbers), *marks)
        known = scope.answers.indexes.get(key)
        if known is None:
            known = (scope, self._look(scope, rule))
            scope.answers.indexes[key] = known
        index: _Index = known[1]
        return index

    def _look(self, scope: Scope, rule: Mark) -> _Index:
        scopes = [scope]
        for position, level in enumerate(self.around[: self.depth], 1):
            if position == self.depth or not entered(scope, level):
                scopes = [inner for outer in scopes for inner in enter(outer, level)]
        index: dict[tuple[str, ...], list[_Hit]] = {}
        for inner in scopes:
            for value in self._inside(inner, rule):
                # Whichever is chosen becomes forwarded; the others stay here by this rule.
                scope.trace.note(value.leaves, "withheld", rule)
            found = [inner.read(match.key, rule) for match in self.matches]
            if all(len(one) == 1 for one in found):
                key = tuple(m.normal(one[0].text) for m, one in zip(self.matches, found, strict=True))
                leaves = tuple(leaf for one in found for leaf in one[0].leaves)
                index.setdefault(key, []).append(_Hit(inner, leaves))
        return index

    def shape(self) -> Shape:
        """Return the form of the value."""
        return self.taken.shape()

    def always(self) -> bool:
        """Return whether there is always a value: never, an occurrence may be missing."""
        return False

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the field or meaning whose value is taken."""
        yield self.taken.source

    def keys(self) -> Iterator[Ask | Meaning]:
        """Yield the keys and what they are compared with: what chooses the occurrence."""
        for match in self.matches:
            yield match.key
            if match.other is not None:
                yield match.other

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield the value, then what chooses it."""
        yield self.taken.source
        yield from self.keys()

    def carries(self) -> Ask | Meaning | None:
        """Return the field or meaning whose value is taken."""
        return self.taken.source

    def undo(self, text: str) -> str | None:
        """Return the value as it was given."""
        return text


def _mark(scope: Scope, level: str) -> object:
    """Return what tells the occurrence of a repetition that `scope` stands in from all others."""
    if level == _ITEM:
        return scope.item
    kind, _, name = level.partition(":")
    return (scope.asked if kind == "asked" else scope.common)[name]
