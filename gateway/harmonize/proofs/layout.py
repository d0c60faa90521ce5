"""The lines of a document, each with the conditions and repetitions around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.sources import Converted
from gateway.harmonize.language.targets import AttributePut, Each, Target
from gateway.harmonize.terms.conditions import Condition
from gateway.harmonize.terms.marks import Mark

__all__ = ["Line", "conditions_of", "containers", "lines_of"]


@dataclass(frozen=True, slots=True)
class Line:
    """One place of the request that gets a value: an element's text or an attribute.

    `content` is None for an attribute that carries the unit, currency or content id of the
    element's own value.  `own` is the line's own condition, `around` are those of the
    elements that enclose it, `repeats` the repetitions, the outermost first.
    """

    path: str
    target: Target
    put: AttributePut | None
    content: Converted | None
    mark: Mark
    own: Condition | None
    around: tuple[Condition, ...]
    repeats: tuple[Each, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return every condition that decides whether the line is written."""
        return self.around if self.own is None else (*self.around, self.own)

    @property
    def name(self) -> str:
        """Return the last name of the line's place."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk stands."""

    path: str
    around: tuple[Condition, ...]
    repeats: tuple[Each, ...]


def lines_of(document: Document) -> Iterator[Line]:
    """Yield every line of a document in the order of the request; a split text is one line."""
    for child in document.root.children:
        yield from _walk(child, _Place(document.root.name, (), ()))
    for put in document.root.attributes:
        place = _Place(document.root.name, (), ())
        yield Line(f"{place.path}/@{put.name}", document.root, put, put.content, put.mark, None, (), ())


def containers(document: Document) -> Iterator[Target]:
    """Yield every element that holds others."""
    return (target for target in document.root.leaves() if target.content is None)


def conditions_of(document: Document) -> Iterator[tuple[Condition, Mark, str]]:
    """Yield every condition of a document, with its place and what it decides about."""
    for ask in document.ask_names.values():
        if ask.requirement.when is not None:
            yield ask.requirement.when, ask.mark, ask.name
    for need in document.needs:
        if need.when is not None:
            yield need.when, need.mark, need.meaning.name
    for target in document.root.leaves():
        if target.when is not None:
            yield target.when, target.mark, target.name
        if target.each is not None and target.each.when is not None:
            yield target.each.when, target.each.mark, target.name
    for check in document.checks:
        if check.when is not None:
            yield check.when, check.mark, check.id


def _inside(target: Target, place: _Place) -> _Place:
    # A filter of occurrences (the `when` of an each) chooses among them; it is no guard of the fields.
    around = (*place.around, target.when) if target.when is not None else place.around
    repeats = (*place.repeats, target.each) if target.each is not None else place.repeats
    return _Place(f"{place.path}/{target.name}{target.predicates}", around, repeats)


def _walk(target: Target, place: _Place) -> Iterator[Line]:
    path = f"{place.path}/{target.name}{target.predicates}"
    if target.content is not None and (target.part is None or target.part.number == 0):
        yield Line(path, target, None, target.content, target.mark, target.when, place.around, place.repeats)
    inner = _inside(target, place)
    for put in target.attributes:
        around = inner.around if target.content is None else place.around
        own = None if target.content is None else target.when
        yield Line(f"{path}/@{put.name}", target, put, put.content, put.mark, own, around, inner.repeats)
    for child in target.children:
        yield from _walk(child, inner)
