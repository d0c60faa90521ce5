"""Elements of one name that differ by an attribute or a child, seen as the one element a schema can describe.

XML Schema knows one type for all elements of a name in a place.  What stands in any variant
may stand in the merged element, what stands in every variant must; each variant by itself
is held to its own form when the request is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.harmonize.language.target_tree import TargetElement
from gateway.harmonize.types.strict_yaml import make_mapping_error
from gateway.harmonize.types.value_shapes import ValueShape

__all__ = ["MergedAttribute", "MergedElement", "check_variants", "merge_variants"]


@dataclass(frozen=True, slots=True)
class MergedAttribute:
    """An attribute: its name, every form that it may have, whether it must stand."""

    name: str
    shapes: tuple[ValueShape, ...]
    required: bool


@dataclass(frozen=True, slots=True)
class MergedElement:
    """One element as a schema describes it.

    `shapes` are the forms of its value, none where it holds elements or nothing (`empty`);
    `fixed` are the attributes by which variants are told apart, with their values; `once`
    are the places, as XPath, that together tell the variants apart where each stands once.
    """

    name: str
    low: int
    high: int
    shapes: tuple[ValueShape, ...]
    empty: bool
    fixed: tuple[tuple[str, tuple[str, ...]], ...]
    fields: tuple[MergedAttribute, ...]
    children: tuple[MergedElement, ...]
    once: tuple[str, ...]


def merge_variants(root: TargetElement) -> MergedElement:
    """Return the element that describes the request; raises GW502 where variants cannot be described."""
    return _merge_elements([[root]])


def check_variants(root: TargetElement) -> None:
    """Refuse variants that no schema can describe (GW502)."""
    merge_variants(root)


def _merge_elements(variants: list[list[TargetElement]]) -> MergedElement:
    """Merge elements of one name; those of one list stand in one element, the lists in others like it."""
    likes = [target for variant in variants for target in variant]
    first = likes[0]
    for other in likes[1:]:
        if (other.content is None, other.empty) != (first.content is None, first.empty):
            expected = f"elements {first.name} that all hold values or all hold elements"
            raise make_mapping_error(
                other.mark, "target", expected, f"both, the other in line {first.mark.line}"
            )
    counts = [[_get_occurrence_bounds(target) for target in variant] for variant in variants]
    lows = [sum(low for low, _ in variant) for variant in counts]
    highs = [sum(high for _, high in variant) for variant in counts]
    single = all(high <= 1 for variant in counts for _, high in variant)
    told = [f"@{name}" for name, _ in first.fixed] + [name for name, _ in first.siblings]
    return MergedElement(
        first.name,
        min(lows),
        max(highs),
        tuple(dict.fromkeys(t.shape for t in likes)) if first.content is not None and not first.empty else (),
        first.empty,
        tuple(
            (name, tuple(dict.fromkeys(t.fixed[n][1] for t in likes)))
            for n, (name, _) in enumerate(first.fixed)
        ),
        _merge_attributes(likes),
        tuple(_merge_children(likes)),
        tuple(told) if single else (),
    )


def _get_occurrence_bounds(target: TargetElement) -> tuple[int, int]:
    """Return how often an element may stand in the one around it."""
    if target.each is not None:
        low, high = target.each.bound
    elif target.content is not None and target.bound != (0, 1):
        low, high = target.bound
    else:
        low, high = 1, 1
    return (low if target.required else 0), high


def _merge_attributes(likes: list[TargetElement]) -> tuple[MergedAttribute, ...]:
    names = dict.fromkeys(put.name for target in likes for put in target.attributes)
    found = []
    for name in names:
        puts = [put for target in likes for put in target.attributes if put.name == name]
        required = len(puts) == len(likes) and all(put.required for put in puts)
        found.append(MergedAttribute(name, tuple(dict.fromkeys(put.shape for put in puts)), required))
    return tuple(found)


def _merge_children(likes: list[TargetElement]) -> Iterator[MergedElement]:
    for name in _order_child_names(likes):
        inner = [[child for child in target.children if child.name == name] for target in likes]
        merged = _merge_elements([variant for variant in inner if variant])
        yield merged if all(inner) else replace(merged, low=0)


def _order_child_names(likes: list[TargetElement]) -> list[str]:
    """Return the names of all children in an order that is that of every variant."""
    rows = [list(dict.fromkeys(child.name for child in target.children)) for target in likes]
    order: list[str] = []
    while any(rows):
        heads = [row[0] for row in rows if row]
        free = [name for name in heads if not any(name in row[1:] for row in rows)]
        if not free:
            raise make_mapping_error(
                likes[-1].mark, likes[0].name, "its children in one order", ", ".join(heads)
            )
        order.append(free[0])
        rows = [[name for name in row if name != free[0]] for row in rows]
    return order
