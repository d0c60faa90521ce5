"""Conditions over declared and asked values: finite, total, readable; no expression strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.marks import Mark, Node, wrong
from gateway.harmonize.terms.shapes import DECIMAL

if TYPE_CHECKING:
    from gateway.harmonize.terms.asks import Ask
    from gateway.harmonize.terms.dictionary import Dictionary, Meaning

__all__ = ["All", "AnyOf", "Condition", "HasText", "Not", "Readable", "Test", "guards", "read_condition"]

_COMPARISONS: Final = ("at_least", "at_most", "more_than", "less_than")
_NO_LISTS: Final[Mapping[str, CodeList]] = {}
_TRUE: Final = {"1": "true", "0": "false"}


class Readable(Protocol):
    """Whatever can give the values of a source to a condition."""

    def read(self, source: Ask | Meaning, rule: Mark) -> Sequence[HasText]:
        """Return the values of `source`, read by `rule`."""


class HasText(Protocol):
    """A value with its text."""

    @property
    def text(self) -> str:
        """Return the text."""


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part holds."""

    parts: tuple[Condition, ...]

    def holds(self, scope: Readable) -> bool:
        """Return whether the condition holds in `scope`; every part is read, so that the reads are fixed."""
        return all([part.holds(scope) for part in self.parts])


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when at least one part holds."""

    parts: tuple[Condition, ...]

    def holds(self, scope: Readable) -> bool:
        """Return whether the condition holds in `scope`; every part is read, so that the reads are fixed."""
        return any([part.holds(scope) for part in self.parts])


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when its part does not."""

    part: Condition

    def holds(self, scope: Readable) -> bool:
        """Return whether the condition holds in `scope`."""
        return not self.part.holds(scope)


@dataclass(frozen=True, slots=True)
class Test:
    """Compares one value: ``is``, ``in``, ``present`` or a numeric comparison."""

    name: str
    source: Ask | Meaning
    operator: str
    values: tuple[str, ...]
    boolean: bool
    mark: Mark
    listed: CodeList | None = None

    def holds(self, scope: Readable) -> bool:
        """Return whether the value in `scope` passes; where there is none only ``present: no`` holds."""
        texts = [found.text for found in scope.read(self.source, self.mark)]
        if self.operator == "present":
            return bool(texts) == (self.values[0] == "yes")
        return any(self._passes(_TRUE.get(text, text) if self.boolean else text) for text in texts)

    def _passes(self, text: str) -> bool:
        if self.listed is not None:
            return text in self.listed.known
        if self.operator in ("is", "in"):
            return text in self.values
        number = text.strip()
        if not DECIMAL.fullmatch(number):
            return False
        left, right = Decimal(number), Decimal(self.values[0])
        return {
            "at_least": left >= right,
            "at_most": left <= right,
            "more_than": left > right,
            "less_than": left < right,
        }[self.operator]


Condition = All | AnyOf | Not | Test


def guards(condition: Condition) -> Iterator[Test]:
    """Yield every test of a condition: the guard values that decide it."""
    if isinstance(condition, Test):
        yield condition
        return
    for part in (condition.part,) if isinstance(condition, Not) else condition.parts:
        yield from guards(part)


def read_condition(
    node: Node,
    asks: Mapping[str, Ask],
    dictionary: Dictionary,
    lists: Mapping[str, CodeList] = _NO_LISTS,
) -> Condition:
    """Return the condition that `node` writes: one key, a field's name or ``all``, ``any``, ``not``.

    `lists` are the code lists that ``in_list`` may name.
    """
    entries = list(node.table("condition").rest())
    if len(entries) != 1:
        raise wrong(node.mark, "condition", "one field, or one of all, any, not", f"{len(entries)} keys")
    name, value, mark = entries[0]
    if name in ("all", "any"):
        parts = tuple(read_condition(part, asks, dictionary, lists) for part in value.items(name))
        return All(parts) if name == "all" else AnyOf(parts)
    if name == "not":
        return Not(read_condition(value, asks, dictionary, lists))
    source = asks.get(name) or dictionary.meanings.get(name)
    if source is None:
        raise wrong(mark, "condition", "an asked field or a common meaning", name)
    return _read_test(name, source, value, (mark, lists))


def _read_test(
    name: str, source: Ask | Meaning, node: Node, context: tuple[Mark, Mapping[str, CodeList]]
) -> Test:
    mark, lists = context
    tests = list(node.table(name).rest())
    if len(tests) != 1:
        raise wrong(mark, name, "one test", f"{len(tests)} of them")
    operator, value, at = tests[0]
    boolean = source.type == "boolean"
    if operator == "present":
        return Test(name, source, operator, (value.one_of(operator, ("yes", "no")),), boolean, mark)
    if operator in _COMPARISONS:
        number = value.text(operator)
        if not DECIMAL.fullmatch(number):
            raise wrong(at, operator, "a number", number)
        return Test(name, source, operator, (number,), boolean, mark)
    if operator == "in_list":
        listed = _code_list(name, source, value, lists)
        return Test(name, source, "in", listed.codes, boolean, mark, listed)
    if operator not in ("is", "in"):
        raise wrong(at, name, "is, in, in_list, present or " + ", ".join(_COMPARISONS), operator)
    values = (value.text(operator),) if operator == "is" else tuple(value.texts(operator))
    codes = ("true", "false") if boolean else source.shape.codes
    for text in values:
        if codes is not None and text not in codes:
            raise wrong(at, name, "a code of " + (source.shape.list_name or name), text)
    return Test(name, source, operator, values, boolean, mark)


def _code_list(name: str, source: Ask | Meaning, node: Node, lists: Mapping[str, CodeList]) -> CodeList:
    """Return the list that a value is looked up in: one that we hold whole, with codes that it can have."""
    found = lists.get(node.text("in_list"))
    if found is None:
        raise wrong(node.mark, "in_list", "a code list of codelists.yaml", node.text("in_list"))
    if found.pattern is not None or not found.codes:
        raise wrong(node.mark, "in_list", "a list that we hold whole", f"{found.name}, which is open")
    if source.shape.kind != "text" or source.type in ("group", "attachment"):
        raise wrong(node.mark, name, "a text or a code, which can stand in a list", source.type)
    own = source.shape.codes
    if own is not None and found.known.isdisjoint(own):
        expected = "a list with codes of " + (source.shape.list_name or name)
        raise wrong(node.mark, "in_list", expected, f"{found.name}, which has none of them")
    return found
