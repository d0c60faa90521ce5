"""The lines of a document, each with the conditions and repetitions around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.harmonize.language import (
    ConvertedSource,
    DocumentMapping,
    Repetition,
    TargetAttribute,
    TargetElement,
)
from gateway.harmonize.types import Condition, SourceMark

__all__ = ["ProofLine", "list_conditions", "list_containers", "list_lines"]


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One place of the request that has a value: an element's text or an attribute.

    `content` is None for an attribute that carries the unit, currency or content id of the
    element's own value.  `own` is the line's own condition, `around` are those of the
    elements that enclose it, `repeats` the repetitions, the outermost first.
    """

    path: str
    target: TargetElement
    put: TargetAttribute | None
    content: ConvertedSource | None
    mark: SourceMark
    own: Condition | None
    around: tuple[Condition, ...]
    repeats: tuple[Repetition, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return every condition that decides whether the line is written: those around it, then its own."""
        return self.around if self.own is None else (*self.around, self.own)

    @property
    def name(self) -> str:
        """Return the last name of the line's place."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _WalkPlace:
    """The current place of the walk over the target tree."""

    path: str
    around: tuple[Condition, ...]
    repeats: tuple[Repetition, ...]


def list_lines(document: DocumentMapping) -> Iterator[ProofLine]:
    """Yield every line of a document in the order of the request; a split text is one line."""
    for child in document.root.children:
        yield from _walk_lines(child, _WalkPlace(document.root.name, (), ()))
    for put in document.root.attributes:
        place = _WalkPlace(document.root.name, (), ())
        yield ProofLine(f"{place.path}/@{put.name}", document.root, put, put.content, put.mark, None, (), ())


def list_containers(document: DocumentMapping) -> Iterator[TargetElement]:
    """Yield every element that has child elements instead of a value."""
    return (target for target in document.root.walk_elements() if target.content is None)


def list_conditions(document: DocumentMapping) -> Iterator[tuple[Condition, SourceMark, str]]:
    """Yield every condition of a document, with its mark and the name that it applies to."""
    for ask in document.ask_names.values():
        if ask.requirement.when is not None:
            yield ask.requirement.when, ask.mark, ask.name
    for need in document.needs:
        if need.when is not None:
            yield need.when, need.mark, need.meaning.name
    for target in document.root.walk_elements():
        if target.when is not None:
            yield target.when, target.mark, target.name
        if target.each is not None and target.each.when is not None:
            yield target.each.when, target.each.mark, target.name
    for check in document.checks:
        if check.when is not None:
            yield check.when, check.mark, check.id


def _enter_target(target: TargetElement, place: _WalkPlace) -> _WalkPlace:
    # The `when` of an ``each`` only selects occurrences; it is no guard of the fields.
    around = (*place.around, target.when) if target.when is not None else place.around
    repeats = (*place.repeats, target.each) if target.each is not None else place.repeats
    return _WalkPlace(f"{place.path}/{target.name}{target.path_predicates}", around, repeats)


def _walk_lines(target: TargetElement, place: _WalkPlace) -> Iterator[ProofLine]:
    path = f"{place.path}/{target.name}{target.path_predicates}"
    if target.content is not None and (target.part is None or target.part.number == 0):
        yield ProofLine(
            path, target, None, target.content, target.mark, target.when, place.around, place.repeats
        )
    inner = _enter_target(target, place)
    for put in target.attributes:
        around = inner.around if target.content is None else place.around
        own = None if target.content is None else target.when
        yield ProofLine(f"{path}/@{put.name}", target, put, put.content, put.mark, own, around, inner.repeats)
    for child in target.children:
        yield from _walk_lines(child, inner)
