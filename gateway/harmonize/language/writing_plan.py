"""Plans how the children of a target element are written: what is read at once, then step by step.

Most leaves copy a value, and most containers only hold others; what these share is decided once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import Any, Final

from gateway.harmonize.language.conversion_steps import ConvertedSource, FormatStep, TranslationStep
from gateway.harmonize.language.evaluated_value import SourceExpression
from gateway.harmonize.language.simple_sources import (
    Constant,
    FieldValue,
    GroupPosition,
    HubValue,
    ItemCount,
    SerialNumber,
)
from gateway.harmonize.language.target_tree import TargetAttribute, TargetElement, TextPiece
from gateway.harmonize.types import CommonMeaning, SourceMark, UniqueField, ValueShape

__all__ = [
    "CopiedLeaf",
    "CopiedRun",
    "GivenLeaf",
    "PlainContainer",
    "WritingPlan",
    "plan_children",
]

#: Sources of one value at most, which belongs to no unit.
_GIVEN: Final = (HubValue, ItemCount, SerialNumber, GroupPosition)
#: Attributes of a value that say in what it is counted.
_MEASURES: Final = ("unitCode", "currencyID")
_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CopiedLeaf:
    """How the leaf `target` is written that is the value of its source, once and without a condition.

    It is the value unchanged, or it has one of these: `measure`, the unit or currency that is written with
    it; `change`, what translates it or writes it in another form, where it can; `part`, the piece that it is.
    `transforms` tell the change.
    `number` is the position of its source in the plan; None where it is read by itself.
    """

    target: TargetElement
    source: UniqueField | CommonMeaning
    origin: str
    measure: TargetAttribute | None = None
    change: Callable[[str], str | None] | None = None
    part: TextPiece | None = None
    transforms: tuple[str, ...] = ()
    number: int | None = None


#: A leaf of a run: the position of its source, its start tag (to which a measure is added) and end tag, its
#: part of the path, its origin and rule, the shape that its text must have (None where it was judged before),
#: its measure, and itself.
_RunLeaf = tuple[
    int | None, str, str, str, str, SourceMark, ValueShape | None, TargetAttribute | None, CopiedLeaf
]


@dataclass(frozen=True, slots=True)
class CopiedRun:
    """Leaves, one after the other, that are whole values, with a measure or without: most leaves are such."""

    leaves: tuple[_RunLeaf, ...]


@dataclass(frozen=True, slots=True)
class GivenLeaf:
    """A leaf whose text is a constant, or else that of `source`, where it has one, without an attribute.

    The source takes the text from the hub, or it numbers or counts. The leaf is written once and without a
    condition.
    """

    target: TargetElement
    text: str
    source: SourceExpression | None = None


@dataclass(frozen=True, slots=True)
class PlainContainer:
    """An element that only holds others, once and without a condition; it is left out where it is empty.

    Its steps are those of a plan, or of a layout.
    """

    target: TargetElement
    start: str
    steps: tuple[Any, ...]


WritingStep = CopiedRun | CopiedLeaf | GivenLeaf | PlainContainer | TargetElement


@dataclass(frozen=True, slots=True)
class WritingPlan:
    """How the children of an element are written.

    First the sources are read, together those that stand in one place, each list with their names.
    Then each step is done; a `TargetElement` is one that is not planned further. `singles` are the leaves
    whose source is read by itself, and `given` those whose value is given. `layouts` are the steps for
    numbers of values that came before.
    """

    places: tuple[tuple[tuple[UniqueField | CommonMeaning, ...], tuple[str, ...]], ...]
    steps: tuple[WritingStep, ...]
    singles: tuple[CopiedLeaf, ...] = ()
    given: tuple[GivenLeaf, ...] = ()
    layouts: dict[tuple[int, ...], Any] = field(default_factory=dict, compare=False, repr=False)


def plan_children(target: TargetElement) -> WritingPlan:
    """Return how the children of a finished element are written; the plan is made once."""
    plan: WritingPlan | None = target.plan
    if plan is None:
        plan = target.plan = _make_plan(target)
    return plan


def _make_plan(target: TargetElement) -> WritingPlan:
    copied = [leaf for one in _list_leaves(target.children) if (leaf := _find_copied_leaf(one)) is not None]
    places: dict[_Place, list[CopiedLeaf]] = {}
    for leaf in copied:
        place = _find_place(leaf.source)
        if place is not None:
            places.setdefault(place, []).append(leaf)
    numbered = [
        replace(leaf, number=number) for number, leaf in enumerate(chain.from_iterable(places.values()))
    ]
    sources = [tuple(leaf.source for leaf in leaves) for leaves in places.values()]
    known = {id(leaf.target): leaf for leaf in (*copied, *numbered)}
    groups = tuple((group, tuple(source.name for source in group)) for group in sources)
    steps = _plan_steps(target.children, known)
    given = tuple(one for one in _list_given_leaves(steps) if one.source is not None)
    singles = tuple(leaf for leaf in copied if _find_place(leaf.source) is None)
    return WritingPlan(groups, steps, singles, given)


def _list_given_leaves(steps: Iterable[WritingStep]) -> Iterator[GivenLeaf]:
    """Yield the leaves whose text is given, those in plain containers too."""
    for step in steps:
        if isinstance(step, GivenLeaf):
            yield step
        elif isinstance(step, PlainContainer):
            yield from _list_given_leaves(step.steps)


def _list_leaves(elements: Iterable[TargetElement]) -> Iterator[TargetElement]:
    """Yield the elements with a value that are written with their container, those of plain ones too."""
    for element in elements:
        if element.content is not None:
            yield element
        elif _is_plain_container(element):
            yield from _list_leaves(element.children)


def _is_plain_container(element: TargetElement) -> bool:
    return (
        element.content is None and element.each is None and element.when is None and not element.attributes
    )


def _plan_steps(
    elements: Iterable[TargetElement], copied: Mapping[int, CopiedLeaf]
) -> tuple[WritingStep, ...]:
    """Return the steps of elements; leaves that follow each other and are whole values are one step."""
    steps: list[WritingStep] = []
    for in_run, alike in groupby((_plan_step(one, copied) for one in elements), _is_run_leaf):
        if in_run:
            steps.append(
                CopiedRun(tuple(_make_run_leaf(one) for one in alike if isinstance(one, CopiedLeaf)))
            )
        else:
            steps += alike
    return tuple(steps)


def _plan_step(element: TargetElement, copied: Mapping[int, CopiedLeaf]) -> WritingStep:
    if element.content is not None:
        return copied.get(id(element)) or _find_given_leaf(element) or element
    if not _is_plain_container(element):
        return element
    return PlainContainer(element, f"{element.start}>", _plan_steps(element.children, copied))


def _is_run_leaf(step: WritingStep) -> bool:
    return isinstance(step, CopiedLeaf) and step.change is None and step.part is None


def _make_run_leaf(copied: CopiedLeaf) -> _RunLeaf:
    target, measure = copied.target, copied.measure
    shape = None if target.judged else target.shape
    start = f"{target.start}>" if measure is None else target.start
    place = target.step, copied.origin, target.mark
    return (copied.number, start, target.end, *place, shape, measure, copied)


def _find_place(source: UniqueField | CommonMeaning) -> _Place | None:
    """Return where a source stands; None where other leaves tell which of several values it is."""
    if isinstance(source, UniqueField):
        return "asked", source.group, source.per
    return ("common", "", source.per) if source.is_plain else None


def _find_copied_leaf(target: TargetElement) -> CopiedLeaf | None:
    """Return how an element is written where it copies a value; None for every other element."""
    content, puts = target.content, target.attributes
    if content is None or not isinstance(content.source, FieldValue) or len(content.steps) > 1:
        return None
    if not _is_written_once(target):
        return None
    change, told = _find_change(content)
    if change is None and not all(isinstance(s, FormatStep) and s.is_check for s in content.steps):
        return None
    measure = puts[0] if puts else None
    if measure is not None and not _is_plain_measure(measure):
        return None
    changes = [*puts, *([change] if change else []), *([target.part] if target.part else [])]
    if len(changes) > 1:
        return None
    source = content.source
    transforms = (told,) if change is not None else ("split",) if target.part is not None else ()
    return CopiedLeaf(target, source.source, source.origin, measure, change, target.part, transforms)


def _find_given_leaf(target: TargetElement) -> GivenLeaf | None:
    """Return how an element is written where it holds a constant or a value of the hub, else None."""
    content = target.content
    if content is None or content.steps or target.attributes or target.part or not _is_written_once(target):
        return None
    source = content.source
    # A source of another type may read more than these do.
    if type(source) in _GIVEN:
        return GivenLeaf(target, "", source)
    if type(source) is Constant and target.shape.find_violation(source.text) is None:
        return GivenLeaf(target, source.text)
    return None


def _is_written_once(target: TargetElement) -> bool:
    """Return whether a leaf is neither repeated nor under a condition, and holds what it is given."""
    return target.each is None and target.when is None and not target.empty and target.bound[0] <= 1


def _find_change(content: ConvertedSource) -> tuple[Callable[[str], str | None] | None, str]:
    """Return what changes the text of a value, and how that is told, where it is all that is done with it."""
    if len(content.steps) == 1:
        (step,) = content.steps
        if isinstance(step, TranslationStep) and step.beside is None and step.codes.to is not None:
            return step.codes.translate_code, step.codes.translation_note
        if isinstance(step, FormatStep) and not step.is_check:
            return step.find_form, step.form_note
    return None, ""


def _is_plain_measure(put: TargetAttribute) -> bool:
    """Return whether an attribute is the unit or currency of the value, as it was given or translated."""
    return put.content is None and put.of_value in _MEASURES
