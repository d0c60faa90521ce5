"""The tree of a notice: which elements and attributes it may hold, and which fact each of them gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.harmonize.language.steps import Form, Via
from gateway.harmonize.language.targets import Part
from gateway.harmonize.terms.asks import Requirement
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.marks import Mark
from gateway.harmonize.terms.shapes import Shape

__all__ = ["AttributeSlot", "FactKind", "Line", "Notice", "Notices", "Repeat", "Slot"]


@dataclass(frozen=True, slots=True)
class FactKind:
    """One thing that agencies tell, named once for all of them.

    `per` is the repetition it stands in, empty for the notice itself; `of` names the fact
    from which the list `via` derives it, so that no notice says it.
    """

    name: str
    type: str
    shape: Shape
    per: str
    of: str
    via: CodeList | None
    ko: str
    en: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Line:
    """What one element or attribute gives: a fact, the repetition of a value of the request, or nothing.

    `steps` are those by which the value would be written; they are undone from the last to
    the first.  `shape` is the form of what stands in the notice;
    `unit` is the unit or currency of a number that never says it.
    """

    kind: FactKind | None
    echoes: str
    const: str | None
    steps: tuple[Form | Via, ...]
    shape: Shape
    requirement: Requirement
    bound: tuple[int, int]
    mark: Mark
    unit: str = ""


@dataclass(frozen=True, slots=True)
class AttributeSlot:
    """An attribute: the unit or currency of the element's value, or a line of its own."""

    name: str
    line: Line | None
    via: Via | None
    shape: Shape
    required: bool
    mark: Mark


@dataclass(frozen=True, slots=True)
class Repeat:
    """A repeated element: the name of the repetition, whether an item keys it, how often it may stand."""

    name: str
    keyed: bool
    bound: tuple[int, int]
    mark: Mark


@dataclass(slots=True)
class Slot:
    """One element of a notice; `position` tells apart like elements that differ in their order only."""

    name: str
    mark: Mark
    fixed: tuple[str, str] | None = None
    position: int = 0
    children: list[Slot] = field(default_factory=list)
    line: Line | None = None
    part: Part | None = None
    attributes: list[AttributeSlot] = field(default_factory=list)
    each: Repeat | None = None

    @property
    def required(self) -> bool:
        """Return whether a valid notice always holds the element, its parent given."""
        if self.each is not None:
            return self.each.bound[0] > 0
        if self.part is not None and self.part.number > 0:
            return False
        if self.line is not None:
            return self.line.requirement.mandatory
        return any(child.required for child in self.children) or any(a.required for a in self.attributes)

    @property
    def label(self) -> str:
        """Return the element's name with what tells it from its likes, as in a path."""
        if self.fixed is not None:
            return f"{self.name}[@{self.fixed[0]}={self.fixed[1]}]"
        return f"{self.name}[{self.position}]" if self.position else self.name

    def families(self) -> list[list[Slot]]:
        """Return the children in their order, those of one name together."""
        found: dict[str, list[Slot]] = {}
        for child in self.children:
            found.setdefault(child.name, []).append(child)
        return list(found.values())

    def leaves(self) -> Iterator[Slot]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.leaves()

    def lines(self) -> Iterator[Line]:
        """Yield every line below, one that is split over several elements once."""
        for slot in self.leaves():
            if slot.line is not None and (slot.part is None or slot.part.number == 0):
                yield slot.line
            yield from (one.line for one in slot.attributes if one.line is not None)


@dataclass(frozen=True, slots=True)
class Notice:
    """One kind of notice: what it looks like, and what it means without saying so (`means`)."""

    id: str
    namespace: str
    ko: str
    en: str
    role: str
    status: str
    shared: bool
    sender: str
    root: Slot
    means: tuple[tuple[FactKind, str, Mark], ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Notices:
    """Every notice that the mappings know; `zone` is that of moments that do not name one."""

    zone: str = ""
    kinds: Mapping[str, FactKind] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)

    def derived(self) -> Iterator[FactKind]:
        """Yield the facts that are looked up from others, each after the one it comes from."""
        return (kind for kind in self.kinds.values() if kind.via is not None)
