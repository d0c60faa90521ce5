"""The content of a diagram of a mapping: rows on both sides, and the links between them.

It is derived from the mapping alone.  A row on the left is a common meaning, a group of them,
or an asked field; a row on the right is an element or an attribute of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize import (
    Concatenation,
    Condition,
    Constant,
    ConversionStep,
    ConvertedSource,
    DefaultValue,
    DocumentMapping,
    Field,
    GroupCount,
    GroupPosition,
    HubValue,
    ItemCount,
    MappingBundle,
    MeaningGroup,
    MeaningNeed,
    OccurrenceLookup,
    Product,
    Repetition,
    SerialNumber,
    SourceExpression,
    Sum,
    TargetAttribute,
    TargetElement,
    TranslationStep,
    UniformItemValue,
    UniqueField,
    UnitConversion,
    ValueShape,
    list_guard_tests,
    walk_fields,
)

_DATED: Final = {"day": "CCYYMMDD", "date": "date", "moment": "moment", "boolean": "yes or no"}


@dataclass(frozen=True, slots=True)
class Badge:
    """The text of a badge, with its `kind`: source, step, split, each or guard."""

    kind: str
    text: str


def list_line_badges(target: TargetElement, attribute: TargetAttribute | None) -> tuple[Badge, ...]:
    """Return the badges of the line of an element, or of one of its attributes."""
    if attribute is not None:
        badges = _list_conversion_badges(attribute.content) if attribute.content is not None else []
        return (
            (*badges, Badge("step", f"via {attribute.via.name}"))
            if attribute.via is not None
            else tuple(badges)
        )
    badges = [] if target.content is None else _list_conversion_badges(target.content)
    if target.text_piece is not None:
        badges.append(
            Badge("split", f"split {target.text_piece.piece_number + 1} of {target.text_piece.piece_count}")
        )
    if target.when is not None:
        badges.append(Badge("guard", "when"))
    return tuple(badges)


def list_repeat_badges(target: TargetElement) -> tuple[Badge, ...]:
    """Return the badges for the repetition of an element and its bounds."""
    each = target.repetition
    if each is None:
        return (Badge("each", f"up to {target.bound.high} values"),) if target.bound.high > 1 else ()
    over = {"item": "item", "distinct": each.key.name if each.key is not None else ""}.get(each.over)
    label = f"each {over or each.group}, {each.bound}"
    return (
        (Badge("each", label), Badge("guard", "when")) if each.when is not None else (Badge("each", label),)
    )


def format_size(shape: ValueShape) -> str:
    """Return the size limit of a value of this shape in a few words, empty where it has none."""
    if shape.codes is not None:
        return f"{len(shape.codes)} codes" if len(shape.codes) > 1 else ""
    if shape.kind in _DATED:
        return _DATED[shape.kind]
    if shape.kind == "decimal":
        digits = f"{shape.total_digits} digits" if shape.total_digits is not None else "number"
        return f"{digits}, {shape.fraction_digits} decimals" if shape.fraction_digits else digits
    if shape.octets is not None:
        return f"{'' if shape.is_fixed_length else '≤ '}{shape.octets} octets {shape.charset}"
    max_length = shape.total_digits if shape.max_length is None else shape.max_length
    return "" if max_length is None else f"{'' if shape.is_fixed_length else '≤ '}{max_length}"


def _list_conversion_badges(content: ConvertedSource) -> list[Badge]:
    label = _describe_source(content.source)
    return [*([Badge("source", label)] if label else []), *map(_make_step_badge, content.steps)]


def _describe_source(source: SourceExpression) -> str:
    """Return the text for a source that does more than take one value unchanged, else an empty text."""
    if isinstance(source, Constant):
        return f"const {source.text}"
    if isinstance(source, HubValue):
        return f"hub {source.name}"
    if isinstance(source, SerialNumber):
        return f"serial {source.prefix}%0{source.width}d"
    if isinstance(source, DefaultValue):
        return " ".join(part for part in (_describe_source(source.source), f"default {source.text}") if part)
    if isinstance(source, OccurrenceLookup):
        keys = (
            match.constant if match.compared_field is None else match.compared_field.name
            for match in source.matches
        )
        return f"where {', '.join(str(key) for key in keys)}"
    if isinstance(source, Concatenation):
        return f"concat with {source.separator}"
    if isinstance(source, Sum):
        return f"sum over {source.over}"
    if isinstance(source, GroupCount):
        return f"count {source.group.name}"
    labels = {
        ItemCount: "count items",
        GroupPosition: "index",
        Product: "multiply",
        UniformItemValue: "alike in all items",
    }
    return labels.get(type(source), "")


def _make_step_badge(step: ConversionStep) -> Badge:
    if isinstance(step, TranslationStep):
        return Badge("step", f"via {step.code_list.name}")
    if isinstance(step, UnitConversion):
        return Badge("step", f"convert to {step.target_unit}")
    return Badge("step", f"form {step.format_name}")


@dataclass(frozen=True, slots=True)
class LeftRow:
    """A common meaning (`kind` common), a group of them (group) or an asked field (ask).

    `tag` is the WCO id of a meaning, `must` is M, O or C (mandatory, optional, conditional),
    `depth` is the number of groups around it; `hint` is the tooltip of the row.
    """

    key: str
    kind: str
    tag: str
    must: str
    ko: str
    en: str
    depth: int
    hint: str


@dataclass(frozen=True, slots=True)
class RightRow:
    """An element or attribute of the request, in the order of the XML.

    `filled` is true where a line of the mapping gives it a value; `badges` describe that line
    and the repetition.
    """

    name: str
    depth: int
    filled: bool
    badges: tuple[Badge, ...]
    size: str
    hint: str


@dataclass(frozen=True, slots=True)
class RowLink:
    """A line from the left row `key` to the right row `to`: value, attribute, guard, key or count."""

    key: str
    right_index: int
    role: str


@dataclass(slots=True)
class Diagram:
    """The diagram of one mapping; `arcs` link a left row to the row whose requirement it decides."""

    document: DocumentMapping
    left: dict[str, LeftRow] = field(default_factory=dict)
    right: list[RightRow] = field(default_factory=list)
    links: list[RowLink] = field(default_factory=list)
    arcs: list[tuple[str, str]] = field(default_factory=list)

    def add_links(self, sources: Iterable[Field | MeaningGroup], right_index: int, role: str) -> None:
        """Add a link from each of `sources`; between two rows only the first, most important one is added."""
        for source in sources:
            linked = {(link.key, link.right_index) for link in self.links}
            if (source.key, right_index) not in linked:
                self.links.append(RowLink(source.key, right_index, role))


def build_diagram(document: DocumentMapping, bundle: MappingBundle) -> Diagram:
    """Return the diagram of a document; the left rows are in the order of the mapping."""
    diagram = Diagram(document)
    rows: list[LeftRow] = [_make_need_row(need) for need in document.needs]
    rows += [_make_field_row(ask) for ask in walk_fields(document.asks)]
    diagram.left = {row.key: row for row in rows}
    _TargetRows(diagram, bundle).add_element(
        document.root, document.root.name + document.root.path_predicates, 0
    )
    for need in document.needs:
        _add_arcs(diagram, need.when, need.meaning.key)
    for ask in walk_fields(document.asks):
        _add_arcs(diagram, ask.requirement.when, ask.key)
    for link in diagram.links:
        if link.key not in diagram.left:
            diagram.left[link.key] = _make_other_row(link.key, bundle)
    return diagram


def _add_arcs(diagram: Diagram, when: Condition | None, dependent: str) -> None:
    for key in dict.fromkeys(test.source.key for test in list_guard_tests(when) if test) if when else ():
        if key in diagram.left and key != dependent:
            diagram.arcs.append((key, dependent))


def _make_need_row(need: MeaningNeed) -> LeftRow:
    meaning = need.meaning
    must = "M" if need.mandatory else "C" if need.when is not None else "O"
    path = f"{'Supplement' if meaning.supplement else 'Declaration'}: {meaning.path}"
    depth = 0 if meaning.per in ("header", "item") else 1
    hint = f"{meaning.name}\n{path}\n{need.mark}"
    return LeftRow(meaning.key, "common", meaning.wco or "own", must, meaning.ko, meaning.en, depth, hint)


def _make_field_row(ask: UniqueField) -> LeftRow:
    rule = ask.requirement
    must = "M" if rule.mandatory else "C" if rule.when is not None else "O"
    repeat = f"\n{ask.repeat} times" if ask.many else ""
    hint = f"{ask.name}: {ask.type}, for each {ask.home}\nmeans {ask.means}{repeat}\n{ask.mark}"
    depth = ask.group.count(".") + 1 if ask.group else 0
    tag = "group" if ask.type == "group" else "asked"
    return LeftRow(ask.key, "ask", tag, must, ask.ko, ask.en, depth, hint)


def _make_other_row(key: str, bundle: MappingBundle) -> LeftRow:
    """Return the row of a group, or of a meaning that a condition reads and the document does not list."""
    kind, _, name = key.partition(":")
    if kind == "group":
        return _make_group_row(bundle.dictionary.groups[name])
    meaning = bundle.dictionary.meanings[name]
    return _make_need_row(MeaningNeed(meaning, False, None, meaning.mark))


def _make_group_row(group: MeaningGroup) -> LeftRow:
    name = group.path.rpartition("/")[2]
    return LeftRow(group.key, "common", "group", "O", group.name, name, 0, f"{group.name}\n{group.path}")


@dataclass(frozen=True, slots=True)
class _TargetRows:
    """Adds the rows of the right side, each with the links that end at it."""

    diagram: Diagram
    bundle: MappingBundle

    def add_element(self, target: TargetElement, name: str, depth: int) -> None:
        """Add an element with all below it; an element that only holds one other shares its row."""
        inner = list(target.own_children)
        if depth and len(inner) == 1 and _is_passage(target):
            self.add_element(inner[0], f"{name}/{_get_target_name(inner[0])}", depth)
            return
        right_index = len(self.diagram.right)
        content = target.content
        badges = (*list_repeat_badges(target), *list_line_badges(target, None))
        size = format_size(target.shape) if content is not None else ""
        hint = f"{name}\n{target.mark}"
        self.diagram.right.append(RightRow(name, depth, content is not None, badges, size, hint))
        self._add_value_links(target, right_index)
        for attribute in target.attributes:
            self._add_attribute(target, attribute, depth + 1)
        for child in inner:
            self.add_element(child, _get_target_name(child), depth + 1)

    def _add_value_links(self, target: TargetElement, right_index: int) -> None:
        if target.content is not None:
            self.diagram.add_links(target.content.list_forwarded_sources(), right_index, "value")
            self.diagram.add_links(target.content.list_read_sources(), right_index, "key")
            self._add_position_links(target, right_index)
        if target.repetition is not None:
            self._add_repetition_links(target.repetition, right_index)
        self._add_condition_links(target.when, right_index)

    def _add_position_links(self, target: TargetElement, right_index: int) -> None:
        source = target.content.source if target.content is not None else None
        if isinstance(source, GroupCount):
            self.diagram.add_links([source.group], right_index, "count")
        if isinstance(source, GroupPosition):
            self.diagram.add_links(self._list_named_sources(source.group), right_index, "count")

    def _list_named_sources(self, name: str) -> Iterator[Field | MeaningGroup]:
        document, dictionary = self.diagram.document, self.bundle.dictionary
        sources = (document.ask_names.get(name), dictionary.groups.get(name), dictionary.meanings.get(name))
        yield from (source for source in sources if source is not None)

    def _add_repetition_links(self, repetition: Repetition, right_index: int) -> None:
        if repetition.ask is not None:
            self.diagram.add_links([repetition.ask], right_index, "count")
        elif repetition.over == "common":
            self.diagram.add_links([self.bundle.dictionary.groups[repetition.group]], right_index, "count")
        elif repetition.key is not None:
            self.diagram.add_links([repetition.key], right_index, "key")
        self._add_condition_links(repetition.when, right_index)

    def _add_condition_links(self, when: Condition | None, right_index: int) -> None:
        if when is not None:
            self.diagram.add_links((test.source for test in list_guard_tests(when)), right_index, "guard")

    def _add_attribute(self, target: TargetElement, attribute: TargetAttribute, depth: int) -> None:
        right_index = len(self.diagram.right)
        hint = f"{target.name}/@{attribute.name}\n{attribute.mark}"
        badges = list_line_badges(target, attribute)
        self.diagram.right.append(
            RightRow(f"@{attribute.name}", depth, True, badges, format_size(attribute.shape), hint)
        )
        if attribute.content is not None:
            self.diagram.add_links(attribute.content.list_forwarded_sources(), right_index, "value")
            self.diagram.add_links(attribute.content.list_read_sources(), right_index, "key")
        elif (
            target.content is not None
            and (carrier := target.content.source.find_attribute_carrier()) is not None
        ):
            self.diagram.add_links([carrier], right_index, "attribute")


def _get_target_name(target: TargetElement) -> str:
    return target.name + target.path_predicates.replace("'", "")


def _is_passage(target: TargetElement) -> bool:
    """Return whether an element has no value, condition, repetition or attribute of its own."""
    nothing = target.content is None and target.repetition is None and target.when is None
    return nothing and not target.attributes and not target.siblings


def arrange_rows(diagram: Diagram) -> dict[str, int]:
    """Return the position of each left row, in rows from the top of the right side.

    A row is at the height of the first target that it gives a value to, or below the row
    before it, so that many lines are horizontal.  A row that is only read as key, count or
    guard is at the height of its first use; unused rows are last, below a heading (see `html_page`).
    """
    first_uses = _find_first_uses(diagram)
    row_positions: dict[str, int] = {}
    row = -1
    for key in sorted(first_uses, key=lambda left_key: first_uses[left_key]):
        row = max(row + 1, first_uses[key][0])
        row_positions[key] = row
    # One row is left free for the heading above the unused rows.
    return row_positions | {key: row + 2 + number for number, key in enumerate(list_unused_rows(diagram))}


def list_unused_rows(diagram: Diagram) -> list[str]:
    """Return the left rows without a link, in the order of the mapping."""
    first_uses = _find_first_uses(diagram)
    return [key for key in diagram.left if key not in first_uses]


def _find_first_uses(diagram: Diagram) -> dict[str, tuple[int, int]]:
    """Return, for each left row, the first right row that it is linked to, and a number for the order."""
    first_uses: dict[str, tuple[int, int]] = {}
    for rank, roles in enumerate((("value", "attribute"), ("key", "count", "guard"))):
        for order, link in enumerate(diagram.links):
            if link.role in roles and (
                link.key not in first_uses or (rank == 0 and link.right_index < first_uses[link.key][0])
            ):
                first_uses[link.key] = (link.right_index, order)
    _add_group_uses(diagram, first_uses)
    return first_uses


def _add_group_uses(diagram: Diagram, first_uses: dict[str, tuple[int, int]]) -> None:
    """Place a group without a link above its members."""
    for key in diagram.left:
        members = [
            first_uses[member]
            for member in diagram.left
            if member.startswith(f"{key}.") and member in first_uses
        ]
        if key not in first_uses and members:
            right_index, order = min(members)
            first_uses[key] = (right_index, order - 1)
