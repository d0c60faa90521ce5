"""The target tree: the elements and attributes of a request, in order, each with its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from xml.sax.saxutils import quoteattr

from gateway.harmonize.language.code_lists import CodeList
from gateway.harmonize.language.conversion_steps import ConvertedSource
from gateway.harmonize.language.data_dictionary import ITEM_PATH, CommonMeaning
from gateway.harmonize.language.unique_fields import Condition, Field, UniqueField
from gateway.harmonize.language.value_shapes import CHARSETS, ValueShape
from gateway.harmonize.language.value_sources import Constant
from gateway.wire import AT_MOST_ONCE, Occurs, SourceMark, YamlTable


@dataclass(frozen=True, slots=True)
class PathPredicates:
    """The predicates in a path: fixed attributes and siblings, by name and value.

    They distinguish elements of one name.
    """

    fixed: tuple[tuple[str, str], ...]
    siblings: tuple[tuple[str, str], ...]

    def list_names(self) -> list[list[str]]:
        """Return the names of the attributes, and those of the siblings."""
        return [[name for name, _ in pairs] for pairs in (self.fixed, self.siblings)]


@dataclass(frozen=True, slots=True)
class Repetition:
    """The repetition from which a repeated element is written.

    `over` is ``item`` (goods items, each identified by its `key`), ``distinct`` (the distinct
    values of `key` in the items), ``asked`` (the group `ask`) or ``common`` (a group of the
    dictionary).  Only the occurrences in which `when` holds are included.
    """

    over: str
    group: str
    ask: UniqueField | None
    key: Field | None
    bound: Occurs
    mark: SourceMark
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One piece of a long text that is split over several elements."""

    piece_number: int
    piece_count: int
    octets: int | None
    max_characters: int | None
    charset: str

    @property
    def shape(self) -> ValueShape:
        """Return the form of the text of one piece: its length and its character set alone."""
        return ValueShape("text", max_length=self.max_characters, octets=self.octets, charset=self.charset)


def read_text_piece(table: YamlTable, count: int) -> TextPiece:
    """Return how a text is split over `count` elements, in a request or in a notice; raise GW502."""
    node = table.get_required("split")
    split = node.read_table("split")
    octets, chars = split.get("octets"), split.get("chars")
    if (octets is None) == (chars is None):
        raise node.make_error("split", "either octets or chars", "both or none")
    charset = split.get_required("charset").read_choice("charset", CHARSETS) if octets else "utf-8"
    split.reject_unread_keys()
    max_octets = octets.read_integer("octets", 4) if octets else None
    return TextPiece(0, count, max_octets, chars.read_integer("chars", 1) if chars else None, charset)


@dataclass(frozen=True, slots=True)
class TargetAttribute:
    """An attribute: it has a source of its own, or is the unit, currency or content id of the value."""

    name: str
    content: ConvertedSource | None
    of_value: str | None
    via: CodeList | None
    default: str | None
    shape: ValueShape
    is_required: bool
    mark: SourceMark


@dataclass(slots=True)
class TargetElement:
    """One element of the request.

    Elements of one name are distinguished by `fixed` attributes and by `siblings`: constant children, which
    are written first; `constant_child_count` is their number. `label` is the name with these predicates, and
    `step` is the label with a slash before it, as a part of a path. `start` is the start tag without its
    closing ``>``, `end` the end tag. `is_checked_answer` is set where the value is an answer to a field of
    the same shape: it was checked when the field was read.
    """

    name: str
    mark: SourceMark
    fixed: tuple[tuple[str, str], ...] = ()
    siblings: tuple[tuple[str, str], ...] = ()
    children: list[TargetElement] = field(default_factory=list)
    content: ConvertedSource | None = None
    shape: ValueShape = field(default_factory=ValueShape)
    text_piece: TextPiece | None = None
    attributes: list[TargetAttribute] = field(default_factory=list)
    repetition: Repetition | None = None
    when: Condition | None = None
    bound: Occurs = AT_MOST_ONCE
    has_no_text: bool = False
    is_checked_answer: bool = False
    constant_child_count: int = field(init=False, repr=False)
    label: str = field(init=False, repr=False)
    step: str = field(init=False, repr=False)
    start: str = field(init=False, repr=False)
    end: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.constant_child_count = len(self.siblings)
        self.label = self.name + self.path_predicates
        self.step = f"/{self.label}"
        self.start = f"<{self.name}" + "".join(f" {name}={quoteattr(value)}" for name, value in self.fixed)
        self.end = f"</{self.name}>"

    @property
    def is_required(self) -> bool:
        """Return whether a valid request always holds the element."""
        if self.when is not None or (self.text_piece is not None and self.text_piece.piece_number > 0):
            return False
        if self.repetition is not None:
            return self.repetition.bound.low > 0
        if self.content is not None:
            return self.content.is_always_present()
        return any(child.is_required for child in self.own_children) or any(
            a.is_required for a in self.attributes
        )

    @property
    def own_children(self) -> list[TargetElement]:
        """Return the children without the constant ones that distinguish the element."""
        return self.children[len(self.siblings) :]

    @property
    def converted_sources(self) -> list[ConvertedSource]:
        """Return the sources of the element's value and of its attributes."""
        contents = [self.content, *(attribute.content for attribute in self.attributes)]
        return [content for content in contents if content is not None]

    @property
    def path_predicates(self) -> str:
        """Return the predicates that distinguish the element, as in a path."""
        return "".join(f"[@{name}='{value}']" for name, value in self.fixed) + "".join(
            f"[{name}='{value}']" for name, value in self.siblings
        )

    def find_or_add_child(self, name: str, predicates: PathPredicates, mark: SourceMark) -> TargetElement:
        """Return the child of this name with these predicates, added where it is missing.

        Elements of one name are kept together, at the place of the first of them.
        """
        last = None
        for position, child in enumerate(self.children):
            if child.name == name and PathPredicates(child.fixed, child.siblings) == predicates:
                return child
            last = position if child.name == name else last
        added = TargetElement(name, mark, predicates.fixed, predicates.siblings)
        added.children = [_make_constant_element(*sibling, mark) for sibling in added.siblings]
        self.children.insert(len(self.children) if last is None else last + 1, added)
        return added

    def walk_elements(self) -> Iterator[TargetElement]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.walk_elements()


def _make_constant_element(name: str, value: str, mark: SourceMark) -> TargetElement:
    source = Constant(value)
    return TargetElement(name, mark, content=ConvertedSource(source, ()), shape=source.infer_shape())


def collect_source_leaves(root: TargetElement) -> frozenset[tuple[str, bool]]:
    """Return the leaves that the lines below `root` take values from: path, and whether it is per item."""
    leaves: set[tuple[str, bool]] = set()
    for target in root.walk_elements():
        for content in target.converted_sources:
            leaves |= {
                get_leaf_path(source)
                for source in content.source.list_read_sources()
                if isinstance(source, CommonMeaning)
            }
        for attribute in target.attributes:
            carrier = target.content.source.find_attribute_carrier() if target.content is not None else None
            if attribute.of_value is not None and isinstance(carrier, CommonMeaning):
                leaves.add((f"{get_leaf_path(carrier)[0]}/@{attribute.of_value}", get_leaf_path(carrier)[1]))
    return frozenset(leaves)


def get_leaf_path(meaning: CommonMeaning) -> tuple[str, bool]:
    """Return the path of the leaf that holds a value of `meaning`, and whether it is per item."""
    path = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    dated = meaning.type == "datetime" and not meaning.supplement
    return f"{path}/DateTimeString" if dated else path, meaning.path.startswith(f"{ITEM_PATH}/")


@dataclass(frozen=True, slots=True)
class MergedAttribute:
    """An attribute: its name, every form that it may have, whether it is required."""

    name: str
    shapes: tuple[ValueShape, ...]
    is_required: bool


@dataclass(frozen=True, slots=True)
class MergedElement:
    """One element as a schema describes it.

    `shapes` are the forms of its value, none where it holds elements or nothing (`has_no_text`);
    `fixed` are the attributes that distinguish the variants, with their values; `unique_xpaths` are the
    XPath expressions that together identify a variant, where each variant occurs at most once.
    """

    name: str
    low: int
    high: int
    shapes: tuple[ValueShape, ...]
    has_no_text: bool
    fixed: tuple[tuple[str, tuple[str, ...]], ...]
    fields: tuple[MergedAttribute, ...]
    children: tuple[MergedElement, ...]
    unique_xpaths: tuple[str, ...]


def merge_variants(root: TargetElement) -> MergedElement:
    """Return the element that describes the request; raise GW502 for variants that no schema can describe."""
    return _merge_elements([[root]])


def check_variants(root: TargetElement) -> None:
    """Raise GW502 for variants that no schema can describe."""
    merge_variants(root)


def _merge_elements(variants: list[list[TargetElement]]) -> MergedElement:
    """Merge elements of one name; each list holds those of one parent, the parents are variants."""
    same_name_elements = [target for variant in variants for target in variant]
    first = same_name_elements[0]
    for element in same_name_elements[1:]:
        if (element.content is None, element.has_no_text) != (first.content is None, first.has_no_text):
            expected = f"elements {first.name} that all hold values or all hold elements"
            raise element.mark.make_error("target", expected, f"both, the other in line {first.mark.line}")
    counts = [[_get_occurrence_bounds(target) for target in variant] for variant in variants]
    lows = [sum(occurs.low for occurs in variant) for variant in counts]
    highs = [sum(occurs.high for occurs in variant) for variant in counts]
    single = all(occurs.high <= 1 for variant in counts for occurs in variant)
    predicates = [f"@{name}" for name, _ in first.fixed] + [name for name, _ in first.siblings]
    return MergedElement(
        first.name,
        min(lows),
        max(highs),
        tuple(dict.fromkeys(t.shape for t in same_name_elements))
        if first.content is not None and not first.has_no_text
        else (),
        first.has_no_text,
        tuple(
            (name, tuple(dict.fromkeys(t.fixed[n][1] for t in same_name_elements)))
            for n, (name, _) in enumerate(first.fixed)
        ),
        _merge_attributes(same_name_elements),
        tuple(_merge_children(same_name_elements)),
        tuple(predicates) if single else (),
    )


def _get_occurrence_bounds(target: TargetElement) -> Occurs:
    """Return how often an element may occur in its parent."""
    if target.repetition is not None:
        occurs = target.repetition.bound
    elif target.content is not None and target.bound != AT_MOST_ONCE:
        occurs = target.bound
    else:
        occurs = Occurs(1, 1)
    return occurs if target.is_required else Occurs(0, occurs.high)


def _merge_attributes(same_name_elements: list[TargetElement]) -> tuple[MergedAttribute, ...]:
    """Return the attributes of all elements of one name; one is required if every element requires it."""
    names = dict.fromkeys(attribute.name for target in same_name_elements for attribute in target.attributes)
    merged = []
    for name in names:
        puts = [
            attribute
            for target in same_name_elements
            for attribute in target.attributes
            if attribute.name == name
        ]
        required = len(puts) == len(same_name_elements) and all(attribute.is_required for attribute in puts)
        merged.append(
            MergedAttribute(name, tuple(dict.fromkeys(attribute.shape for attribute in puts)), required)
        )
    return tuple(merged)


def _merge_children(same_name_elements: list[TargetElement]) -> Iterator[MergedElement]:
    for name in _order_child_names(same_name_elements):
        inner = [[child for child in target.children if child.name == name] for target in same_name_elements]
        merged = _merge_elements([variant for variant in inner if variant])
        yield merged if all(inner) else replace(merged, low=0)


def _order_child_names(same_name_elements: list[TargetElement]) -> list[str]:
    """Return the names of all children in one order that fits every variant; raise GW502 if there is none."""
    rows = [list(dict.fromkeys(child.name for child in target.children)) for target in same_name_elements]
    order: list[str] = []
    while any(rows):
        heads = [row[0] for row in rows if row]
        free = [name for name in heads if not any(name in row[1:] for row in rows)]
        if not free:
            raise same_name_elements[-1].mark.make_error(
                same_name_elements[0].name, "its children in one order", ", ".join(heads)
            )
        order.append(free[0])
        rows = [[name for name in row if name != free[0]] for row in rows]
    return order
