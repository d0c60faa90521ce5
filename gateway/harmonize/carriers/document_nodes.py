"""The elements of a request or a notice as one tree: by name, with what each may hold and how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.harmonize.types import ValueShape

if TYPE_CHECKING:
    from gateway.harmonize.language import NoticeElement, TargetElement

__all__ = ["DocumentNode", "make_notice_node", "make_request_node"]

_NUMBERS = ("decimal", "integer")


@dataclass(slots=True)
class DocumentNode:
    """All elements of one name at one place.

    A `leaf` holds a text of one of `shapes`, another element holds `children`. `attributes` has the
    shapes of each attribute by name. `many` elements may stand there more than once, `empty` ones without
    a text, or without anything below them.
    """

    name: str
    leaf: bool
    many: bool = False
    empty: bool = False
    shapes: list[ValueShape] = field(default_factory=list)
    attributes: dict[str, list[ValueShape]] = field(default_factory=dict)
    children: dict[str, DocumentNode] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        """Return whether the text is always a number."""
        return is_numeric(self.shapes)


def is_numeric(shapes: list[ValueShape]) -> bool:
    """Return whether every one of these shapes is that of a number."""
    return bool(shapes) and all(one.kind in _NUMBERS and one.codes is None for one in shapes)


def make_request_node(targets: Iterable[TargetElement]) -> DocumentNode:
    """Return the node of the targets of one name: their contents together."""
    same = list(targets)
    made = DocumentNode(same[0].name, all(one.content is not None for one in same))
    made.many = len(same) > 1 or same[0].each is not None or same[0].bound[1] > 1
    made.empty = any(one.empty for one in same)
    made.shapes = [one.shape for one in same if one.content is not None]
    groups: dict[str, list[TargetElement]] = {}
    for one in same:
        for name, value in one.fixed:
            made.attributes.setdefault(name, []).append(ValueShape(codes=(value,)))
        for put in one.attributes:
            made.attributes.setdefault(put.name, []).append(put.shape)
        for child in one.children:
            groups.setdefault(child.name, []).append(child)
    made.children = {name: make_request_node(group) for name, group in groups.items()}
    return made


def make_notice_node(slots: Iterable[NoticeElement]) -> DocumentNode:
    """Return the node of the slots of one name: their contents together."""
    same = list(slots)
    first = same[0]
    made = DocumentNode(first.name, first.line is not None)
    most = first.line.bound[1] if first.line is not None else 1
    made.many = len(same) > 1 or first.each is not None or most > 1
    made.empty = not made.leaf and not any(one.required for one in same)
    made.shapes = [one.line.shape for one in same if one.line is not None]
    groups: dict[str, list[NoticeElement]] = {}
    for one in same:
        if one.fixed is not None:
            made.attributes.setdefault(one.fixed[0], []).append(ValueShape(codes=(one.fixed[1],)))
        for put in one.attributes:
            made.attributes.setdefault(put.name, []).append(put.shape)
        for child in one.children:
            groups.setdefault(child.name, []).append(child)
    made.children = {name: make_notice_node(group) for name, group in groups.items()}
    return made
