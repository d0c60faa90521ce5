"""Lays out the children of a target element for values of which it is known how many there are.

Which leaves are written, and which containers are empty, depends on that alone where no value is wrong. So
the elements that follow each other are one text with holes for the values. Goods are declared alike again and
again: a layout is made for what comes a second time, and kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from gateway.harmonize.engine.request_writer import escape_text
from gateway.harmonize.language import (
    CopiedLeaf,
    CopiedRun,
    GivenLeaf,
    PlainContainer,
    TargetAttribute,
    TextPiece,
    WritingPlan,
    WritingStep,
)
from gateway.harmonize.types import ValueShape

__all__ = ["LaidStep", "TextLayout", "find_layout"]

#: So many numbers of values are known of an element before all are forgotten.
_MOST_KNOWN: Final = 64
_NO_BOUND: Final = sys.maxsize


@dataclass(slots=True)
class TextLayout:
    """The text of elements with holes for values, and what must be true of these: else `steps` are done.

    `taken` are the positions of the values in the holes, and `bounds` the most characters of each. Some are
    `changed`, then those that are `judged` must have their shape, and a hole that is `measured` gets the unit
    or currency of the value at a position: each of these begins with the number of its hole. A value that is
    `cut`, named by its position, must be one piece. `written` counts the outermost elements.
    """

    steps: list[WritingStep]
    text: str = ""
    taken: list[int] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)
    changed: list[tuple[int, Callable[[str], str | None]]] = field(default_factory=list)
    judged: list[tuple[int, ValueShape]] = field(default_factory=list)
    measured: list[tuple[int, int, TargetAttribute]] = field(default_factory=list)
    cut: list[tuple[int, TextPiece]] = field(default_factory=list)
    written: int = 0

    def add_text(self, text: str) -> None:
        """Write a text that stands in every request."""
        self.text += text.replace("%", "%%")

    def add_hole(self, position: int) -> int:
        """Write a value; return the number of its hole."""
        self.text += "%s"
        self.taken.append(position)
        self.bounds.append(_NO_BOUND)
        return len(self.taken) - 1

    def add_shape(self, hole: int, shape: ValueShape) -> None:
        """Have the text in a hole judged; of most shapes nothing but the length decides."""
        if shape.is_bound_alone:
            self.bounds[hole] = _NO_BOUND if shape.longest is None else shape.longest
        else:
            self.judged.append((hole, shape))

    def add_layout(self, other: TextLayout) -> None:
        """Write behind this layout what another one writes."""
        first = len(self.taken)
        self.steps += other.steps
        self.text += other.text
        self.taken += other.taken
        self.bounds += other.bounds
        self.changed += [(first + hole, change) for hole, change in other.changed]
        self.judged += [(first + hole, shape) for hole, shape in other.judged]
        self.measured += [(first + hole, position, put) for hole, position, put in other.measured]
        known = [(position, _find_room(piece)) for position, piece in self.cut]
        self.cut += [one for one in other.cut if (one[0], _find_room(one[1])) not in known]
        self.written += other.written


def _find_room(piece: TextPiece) -> tuple[int | None, int | None, str]:
    """Return what decides whether a text is one piece: all pieces of one value have the same room."""
    return piece.octets, piece.chars, piece.charset


LaidStep = TextLayout | WritingStep


def find_layout(plan: WritingPlan, counts: tuple[int, ...]) -> Sequence[LaidStep]:
    """Return the steps that write children, where there are so many values of each source of their plan.

    What comes for the first time has the steps of the plan. It is asked for what is not known yet.
    """
    known: dict[tuple[int, ...], Sequence[LaidStep] | None] = plan.layouts
    # Two values of a source are laid out as any more are.
    alike = tuple([min(one, 2) for one in counts])
    found = known.get(alike)
    if found is None and alike in known:
        found = _LayoutMaker(plan, alike).lay_steps(plan.steps)
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[alike] = found
    if found is None:
        return plan.steps
    known[counts] = found
    return found


def _divide_run(step: WritingStep) -> Iterable[WritingStep]:
    """Return a run for each leaf of a run: one of them may have several values."""
    return [CopiedRun((leaf,)) for leaf in step.leaves] if isinstance(step, CopiedRun) else (step,)


class _LayoutMaker:
    """Lays out the steps of one plan for the numbers of its values."""

    def __init__(self, plan: WritingPlan, counts: tuple[int, ...]) -> None:
        self._counts = counts
        first = len(counts) - len(plan.singles) - len(plan.given)
        others = chain(plan.singles, plan.given)
        self._positions = {id(one): position for position, one in enumerate(others, first)}

    def lay_steps(self, steps: Iterable[WritingStep]) -> list[LaidStep]:
        """Return the steps with those that follow each other and can be laid out as one."""
        laid: list[LaidStep] = []
        for step in chain.from_iterable(map(_divide_run, steps)):
            one = self._lay_step(step)
            last = laid[-1] if laid else None
            if isinstance(one, TextLayout) and isinstance(last, TextLayout):
                last.add_layout(one)
            else:
                laid.append(one)
        return [one for one in laid if not isinstance(one, TextLayout) or one.text or one.cut]

    def _lay_step(self, step: WritingStep) -> LaidStep:
        if isinstance(step, PlainContainer):
            return self._lay_container(step)
        layout = TextLayout([step])
        if isinstance(step, CopiedRun | CopiedLeaf):
            leaf = step.leaves[0][-1] if isinstance(step, CopiedRun) else step
            if not self._lay_leaf(layout, leaf):
                return step
        elif isinstance(step, GivenLeaf):
            self._lay_given_leaf(layout, step)
        else:
            return step
        return layout

    def _lay_container(self, container: PlainContainer) -> LaidStep:
        target, inner = container.target, self.lay_steps(container.steps)
        if not inner:
            inner = [TextLayout([])]
        only = inner[0]
        if len(inner) > 1 or not isinstance(only, TextLayout):
            return replace(container, steps=tuple(inner))
        layout = TextLayout([container], cut=only.cut)
        if only.written != target.constants:
            layout.add_text(container.start)
            only.cut = []
            layout.add_layout(only)
            layout.add_text(target.end)
            layout.steps, layout.written = [container], 1
        elif only.taken:
            return container  # what it holds is judged, though it is left out
        return layout

    def _lay_leaf(self, layout: TextLayout, leaf: CopiedLeaf) -> bool:
        """Write a leaf with its value, where there is one; return False for several values."""
        target = leaf.target
        position = self._positions[id(leaf)] if leaf.number is None else leaf.number
        if self._counts[position] > 1:
            return False
        if self._counts[position] == 0:
            return True
        if leaf.part is not None:
            layout.cut.append((position, leaf.part))
            if leaf.part.number > 0:
                return True  # the first piece takes it whole
        layout.add_text(target.start)
        if leaf.measure is None:
            layout.add_text(">")
        else:
            layout.measured.append((layout.add_hole(position), position, leaf.measure))
        hole = layout.add_hole(position)
        layout.add_text(target.end)
        layout.written += 1
        if leaf.change is not None:
            layout.changed.append((hole, leaf.change))
        if leaf.change is not None or (leaf.part is None and not target.judged):
            layout.add_shape(hole, target.shape)
        return True

    def _lay_given_leaf(self, layout: TextLayout, given: GivenLeaf) -> None:
        target = given.target
        if given.text:
            layout.add_text(f"{target.start}>{escape_text(given.text)}{target.end}")
        elif given.source is not None and self._counts[self._positions[id(given)]]:
            layout.add_text(f"{target.start}>")
            layout.add_shape(layout.add_hole(self._positions[id(given)]), target.shape)
            layout.add_text(target.end)
        else:
            return
        layout.written += 1
