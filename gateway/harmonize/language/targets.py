"""The tree of a request: which elements and attributes, in which order, filled from where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.harmonize.language.sources import Const, Converted
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.conditions import Condition
from gateway.harmonize.terms.dictionary import ITEM_PATH, Meaning
from gateway.harmonize.terms.marks import Mark, Table, wrong
from gateway.harmonize.terms.shapes import CHARSETS, Shape

__all__ = ["AttributePut", "Each", "Part", "Target", "Unlike", "claims", "leaf_of", "read_part"]

Unlike = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Each:
    """What a repeated element goes over.

    `over` is ``item`` (goods items, each known by its `key`), ``distinct`` (the values that the
    items have of `key`), ``asked`` (the group `ask`) or ``common`` (a group of the dictionary).
    Only the occurrences in which `when` holds are meant.
    """

    over: str
    group: str
    ask: Ask | None
    key: Ask | Meaning | None
    bound: tuple[int, int]
    mark: Mark
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a long text that is split over several elements."""

    number: int
    of: int
    octets: int | None
    chars: int | None
    charset: str


def read_part(table: Table, count: int) -> Part:
    """Return how a text is split over `count` elements, in a request or in a notice; raises GW502."""
    node = table.need("split")
    split = node.table("split")
    octets, chars = split.get("octets"), split.get("chars")
    if (octets is None) == (chars is None):
        raise wrong(node.mark, "split", "either octets or chars", "both or none")
    charset = split.need("charset").one_of("charset", CHARSETS) if octets else "utf-8"
    split.close()
    most = octets.number("octets", 4) if octets else None
    return Part(0, count, most, chars.number("chars", 1) if chars else None, charset)


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
    """One element of the request.

    `fixed` attributes and `siblings` (constant children, written first) tell elements of one
    name apart; `label` is the name with them, as a path writes it.
    """

    name: str
    mark: Mark
    fixed: tuple[tuple[str, str], ...] = ()
    siblings: tuple[tuple[str, str], ...] = ()
    children: list[Target] = field(default_factory=list)
    content: Converted | None = None
    shape: Shape = field(default_factory=Shape)
    part: Part | None = None
    attributes: list[AttributePut] = field(default_factory=list)
    each: Each | None = None
    when: Condition | None = None
    bound: tuple[int, int] = (0, 1)
    empty: bool = False
    label: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.label = self.name + self.predicates

    @property
    def required(self) -> bool:
        """Return whether a valid request always holds the element."""
        if self.when is not None or (self.part is not None and self.part.number > 0):
            return False
        if self.each is not None:
            return self.each.bound[0] > 0
        if self.content is not None:
            return self.content.always()
        return any(child.required for child in self.own) or any(a.required for a in self.attributes)

    @property
    def own(self) -> list[Target]:
        """Return the children without those that only tell the element apart."""
        return self.children[len(self.siblings) :]

    @property
    def contents(self) -> list[Converted]:
        """Return what gives the element its value and its attributes theirs."""
        found = [self.content, *(put.content for put in self.attributes)]
        return [content for content in found if content is not None]

    @property
    def predicates(self) -> str:
        """Return what tells the element apart, as a path writes it."""
        return "".join(f"[@{name}='{value}']" for name, value in self.fixed) + "".join(
            f"[{name}='{value}']" for name, value in self.siblings
        )

    def child(self, name: str, unlike: Unlike, mark: Mark) -> Target:
        """Return the child of this name and these fixed attributes and siblings, made where it is not there.

        Elements of one name stand together, at the place of the first of them.
        """
        last = None
        for position, one in enumerate(self.children):
            if one.name == name and (one.fixed, one.siblings) == unlike:
                return one
            last = position if one.name == name else last
        made = Target(name, mark, *unlike)
        made.children = [_constant(*sibling, mark) for sibling in made.siblings]
        self.children.insert(len(self.children) if last is None else last + 1, made)
        return made

    def leaves(self) -> Iterator[Target]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.leaves()


def _constant(name: str, value: str, mark: Mark) -> Target:
    source = Const(value)
    return Target(name, mark, content=Converted(source, ()), shape=source.shape())


def claims(root: Target) -> frozenset[tuple[str, bool]]:
    """Return the leaves that the lines below `root` take values from: path, and whether it is per item."""
    found: set[tuple[str, bool]] = set()
    for target in root.leaves():
        for content in target.contents:
            found |= {leaf_of(one) for one in content.source.reads() if isinstance(one, Meaning)}
        for put in target.attributes:
            carrier = target.content.source.carries() if target.content is not None else None
            if put.of_value is not None and isinstance(carrier, Meaning):
                found.add((f"{leaf_of(carrier)[0]}/@{put.of_value}", leaf_of(carrier)[1]))
    return frozenset(found)


def leaf_of(meaning: Meaning) -> tuple[str, bool]:
    """Return the path of the leaf that holds a value of `meaning`, and whether it is per item."""
    path = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    dated = meaning.type == "datetime" and not meaning.supplement
    return f"{path}/DateTimeString" if dated else path, meaning.path.startswith(f"{ITEM_PATH}/")
