"""The badges between the two sides of a diagram: a few words on what a line does to a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language import (
    Concatenation,
    Constant,
    ConversionStep,
    ConvertedSource,
    DefaultValue,
    GroupCount,
    GroupPosition,
    HubValue,
    ItemCount,
    OccurrenceLookup,
    Product,
    SerialNumber,
    SourceExpression,
    Sum,
    TargetAttribute,
    TargetElement,
    TranslationStep,
    UniformItemValue,
    UnitConversion,
)
from gateway.harmonize.types import ValueShape

__all__ = ["Badge", "format_size", "list_line_badges", "list_repeat_badges"]

_DATED: Final = {"day": "CCYYMMDD", "date": "date", "moment": "moment", "boolean": "yes or no"}


@dataclass(frozen=True, slots=True)
class Badge:
    """The text of a badge, with its `kind`: source, step, split, each or guard."""

    kind: str
    text: str


def list_line_badges(target: TargetElement, put: TargetAttribute | None) -> tuple[Badge, ...]:
    """Return the badges of the line of an element, or of one of its attributes."""
    if put is not None:
        found = _list_conversion_badges(put.content) if put.content is not None else []
        return (*found, Badge("step", f"via {put.via.name}")) if put.via is not None else tuple(found)
    found = [] if target.content is None else _list_conversion_badges(target.content)
    if target.part is not None:
        found.append(Badge("split", f"split {target.part.number + 1} of {target.part.of}"))
    if target.when is not None:
        found.append(Badge("guard", "when"))
    return tuple(found)


def list_repeat_badges(target: TargetElement) -> tuple[Badge, ...]:
    """Return the badges for the repetition of an element and its bounds."""
    each = target.each
    if each is None:
        return (Badge("each", f"up to {target.bound[1]} values"),) if target.bound[1] > 1 else ()
    over = {"item": "item", "distinct": each.key.name if each.key is not None else ""}.get(each.over)
    words = f"each {over or each.group}, {each.bound[0]} to {each.bound[1]}"
    return (
        (Badge("each", words), Badge("guard", "when")) if each.when is not None else (Badge("each", words),)
    )


def format_size(shape: ValueShape) -> str:
    """Return the size limit of a value of this shape in a few words, empty where it has none."""
    if shape.codes is not None:
        return f"{len(shape.codes)} codes" if len(shape.codes) > 1 else ""
    if shape.kind in _DATED:
        return _DATED[shape.kind]
    if shape.kind == "decimal":
        digits = f"{shape.total} digits" if shape.total is not None else "number"
        return f"{digits}, {shape.fraction} decimals" if shape.fraction else digits
    if shape.octets is not None:
        return f"{'' if shape.exact else '≤ '}{shape.octets} octets {shape.charset}"
    longest = shape.total if shape.longest is None else shape.longest
    return "" if longest is None else f"{'' if shape.exact else '≤ '}{longest}"


def _list_conversion_badges(content: ConvertedSource) -> list[Badge]:
    words = _describe_source(content.source)
    return [*([Badge("source", words)] if words else []), *map(_make_step_badge, content.steps)]


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
        keys = (match.constant if match.other is None else match.other.name for match in source.matches)
        return f"where {', '.join(str(key) for key in keys)}"
    if isinstance(source, Concatenation):
        return f"concat with {source.separator}"
    if isinstance(source, Sum):
        return f"sum over {source.over}"
    if isinstance(source, GroupCount):
        return f"count {source.group.name}"
    words = {
        ItemCount: "count items",
        GroupPosition: "index",
        Product: "multiply",
        UniformItemValue: "alike in all items",
    }
    return words.get(type(source), "")


def _make_step_badge(step: ConversionStep) -> Badge:
    if isinstance(step, TranslationStep):
        return Badge("step", f"via {step.codes.name}")
    if isinstance(step, UnitConversion):
        return Badge("step", f"convert to {step.to}")
    return Badge("step", f"form {step.name}")
