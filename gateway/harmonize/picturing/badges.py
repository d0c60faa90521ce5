"""What a line does to a value, in a word or two: the badges between the two sides of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language.alike import Alike
from gateway.harmonize.language.sources import (
    Concat,
    Const,
    Convert,
    Converted,
    Count,
    Default,
    Hub,
    Index,
    Product,
    Serial,
    Source,
    Step,
    Via,
    Where,
)
from gateway.harmonize.language.targets import AttributePut, Target
from gateway.harmonize.language.totals import GroupCount, Sum
from gateway.harmonize.terms.shapes import Shape

__all__ = ["Badge", "badges_of", "repeat_badges", "size_of"]

_DATED: Final = {"day": "CCYYMMDD", "date": "date", "moment": "moment", "boolean": "yes or no"}


@dataclass(frozen=True, slots=True)
class Badge:
    """A word of the language (`kind`: source, step, split, each or guard) with what it is about."""

    kind: str
    text: str


def badges_of(target: Target, put: AttributePut | None) -> tuple[Badge, ...]:
    """Return what the line of an element does, or that of one of its attributes; without conversions none."""
    if put is not None:
        found = _converted(put.content) if put.content is not None else []
        return (*found, Badge("step", f"via {put.via.name}")) if put.via is not None else tuple(found)
    found = [] if target.content is None else _converted(target.content)
    if target.part is not None:
        found.append(Badge("split", f"split {target.part.number + 1} of {target.part.of}"))
    if target.when is not None:
        found.append(Badge("guard", "when"))
    return tuple(found)


def repeat_badges(target: Target) -> tuple[Badge, ...]:
    """Return over what an element is repeated, and how often it may stand."""
    each = target.each
    if each is None:
        return (Badge("each", f"up to {target.bound[1]} values"),) if target.bound[1] > 1 else ()
    over = {"item": "item", "distinct": each.key.name if each.key is not None else ""}.get(each.over)
    words = f"each {over or each.group}, {each.bound[0]} to {each.bound[1]}"
    return (
        (Badge("each", words), Badge("guard", "when")) if each.when is not None else (Badge("each", words),)
    )


def size_of(shape: Shape) -> str:
    """Return in a word how large a value of this shape may be, empty where nothing bounds it."""
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


def _converted(content: Converted) -> list[Badge]:
    words = _source(content.source)
    return [*([Badge("source", words)] if words else []), *map(_step, content.steps)]


def _source(source: Source) -> str:
    """Return what a source does beside taking one value as it stands, empty when nothing."""
    if isinstance(source, Const):
        return f"const {source.text}"
    if isinstance(source, Hub):
        return f"hub {source.name}"
    if isinstance(source, Serial):
        return f"serial {source.prefix}%0{source.width}d"
    if isinstance(source, Default):
        return " ".join(part for part in (_source(source.source), f"default {source.text}") if part)
    if isinstance(source, Where):
        keys = (match.constant if match.other is None else match.other.name for match in source.matches)
        return f"where {', '.join(str(key) for key in keys)}"
    if isinstance(source, Concat):
        return f"concat with {source.separator}"
    if isinstance(source, Sum):
        return f"sum over {source.over}"
    if isinstance(source, GroupCount):
        return f"count {source.group.name}"
    words = {Count: "count items", Index: "index", Product: "multiply", Alike: "alike in all items"}
    return words.get(type(source), "")


def _step(step: Step) -> Badge:
    if isinstance(step, Via):
        return Badge("step", f"via {step.codes.name}")
    if isinstance(step, Convert):
        return Badge("step", f"convert to {step.to}")
    return Badge("step", f"form {step.name}")
