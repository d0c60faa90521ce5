"""The tree of a request: which elements and attributes, in which order, filled from where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.harmonize.asks import Ask
from gateway.harmonize.codelists import CodeList
from gateway.harmonize.conditions import Condition
from gateway.harmonize.dictionary import ITEM_PATH, Meaning
from gateway.harmonize.marks import Mark
from gateway.harmonize.shapes import Shape
from gateway.harmonize.sources import Converted, Product, Serial, Taken

__all__ = ["AttributePut", "Each", "Part", "Target", "claims"]


@dataclass(frozen=True, slots=True)
class Each:
    """What a repeated element goes over: goods items, an asked group or a group of the dictionary."""

    over: str
    group: str
    ask: Ask | None
    key: Meaning | None
    bound: tuple[int, int]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a long text that is split over several elements."""

    number: int
    of: int
    octets: int | None
    chars: int | None
    charset: str


@dataclass(frozen=True, slots=True)
class AttributePut:
    """An attribute: of its own source, or the unit, currency or content id of the element's value."""

    name: str
    content: Converted | None
    of_value: str | None
    via: CodeList | None
    default: str | None
    shape: Shape
    required: bool
    mark: Mark


@dataclass(slots=True)
class Target:
    """One element of the request."""

    name: str
    mark: Mark
    fixed: tuple[tuple[str, str], ...] = ()
    children: list[Target] = field(default_factory=list)
    content: Converted | None = None
    shape: Shape = field(default_factory=Shape)
    part: Part | None = None
    attributes: list[AttributePut] = field(default_factory=list)
    each: Each | None = None
    when: Condition | None = None
    bound: tuple[int, int] = (0, 1)
    empty: bool = False

    @property
    def required(self) -> bool:
        """Return whether a valid request always holds the element."""
        if self.when is not None or (self.part is not None and self.part.number > 0):
            return False
        if self.each is not None:
            return self.each.bound[0] > 0
        if self.content is not None:
            return self.content.always()
        return any(child.required for child in self.children) or any(a.required for a in self.attributes)

    def child(self, name: str, fixed: tuple[tuple[str, str], ...], mark: Mark) -> Target:
        """Return the child of this name and fixed attributes, made where it is not there.

        Elements of one name stand together, at the place of the first of them.
        """
        last = None
        for position, one in enumerate(self.children):
            if one.name == name and one.fixed == fixed:
                return one
            last = position if one.name == name else last
        made = Target(name, mark, fixed)
        self.children.insert(len(self.children) if last is None else last + 1, made)
        return made

    def leaves(self) -> Iterator[Target]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.leaves()


def claims(root: Target) -> frozenset[tuple[str, bool]]:
    """Return the leaves that the lines below `root` take values from: path, and whether it is per item."""
    found: set[tuple[str, bool]] = set()
    for target in root.leaves():
        for meaning in _meanings(target):
            path = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
            dated = meaning.type == "datetime" and not meaning.supplement
            per_item = meaning.path.startswith(f"{ITEM_PATH}/")
            found.add((f"{path}/DateTimeString" if dated else path, per_item))
        for put in target.attributes:
            if put.of_value is not None:
                meanings = _meanings(target)
                found |= {(f"{m.path}/@{put.of_value}", m.path.startswith(f"{ITEM_PATH}/")) for m in meanings}
    return frozenset(found)


def _meanings(target: Target) -> Iterator[Meaning]:
    contents = [target.content, *(put.content for put in target.attributes)]
    for content in contents:
        source = content.source if content is not None else None
        taken = source.factors if isinstance(source, Product) else (source,)
        for one in taken:
            if isinstance(one, Taken | Serial) and isinstance(one.source, Meaning):
                yield one.source
