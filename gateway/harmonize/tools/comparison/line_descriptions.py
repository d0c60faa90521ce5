"""Describes the lines of a request as words: where each value comes from and what is done to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final

from gateway.harmonize.generator import write_sentence
from gateway.harmonize.language import DocumentMapping, Repetition, TargetAttribute, TargetElement
from gateway.harmonize.tools.comparison.part_descriptions import Described, PartDescription, describe_shape
from gateway.harmonize.types import (
    AllOf,
    AnyOf,
    CodeList,
    CommonMeaning,
    MeaningGroup,
    Negation,
    SourceMark,
    UniqueField,
    UnitTable,
    ValueShape,
    ValueTest,
)

__all__ = ["describe_targets", "find_new_order"]

_NAMED: Final = (UniqueField, CommonMeaning, CodeList, MeaningGroup)
_CONDITIONS: Final = (ValueTest, Negation, AllOf, AnyOf)
_TRUE: Final = "yes"
#: Sources and values that need no word of their own before what they hold.
_PLAIN: Final = ("FieldValue", "ConvertedSource", "OccurrenceMatch")


def describe_targets(document: DocumentMapping) -> Described:
    """Return every element and attribute of the request with a rule of its own, by its path, in order."""
    found = Described()
    for path, part in _walk_lines(document.root, ""):
        found[_make_new_name(path, found)] = part
    return found


def find_new_order(before: Described, after: Described) -> tuple[str, str, str] | None:
    """Return the first line that has another line above it: its path, the old and the new one above it.

    Only lines that are in both are looked at; None where their order is the same.
    """
    old = [one for one in before if one in after]
    new = [one for one in after if one in before]
    at = next((at for at, (one, other) in enumerate(zip(old, new, strict=True)) if one != other), None)
    if at is None:
        return None
    was = old.index(new[at])
    return new[at], old[was - 1] if was else "nothing", new[at - 1] if at else "nothing"


def _walk_lines(target: TargetElement, above: str) -> Iterator[tuple[str, PartDescription]]:
    path = f"{above}/{target.label}" if above else target.label
    aspects = _describe_element(target)
    if any(aspects.values()):
        yield path, PartDescription("", "", aspects, str(target.mark))
    for put in target.attributes:
        yield f"{path}/@{put.name}", PartDescription("", "", _describe_attribute(put), str(put.mark))
    for child in target.own_children:
        yield from _walk_lines(child, path)


def _make_new_name(name: str, found: Described) -> str:
    """Return the name of another line to the same path: lines that differ in their conditions."""
    number, new = 1, name
    while new in found:
        number += 1
        new = f"{name} ({number})"
    return new


def _describe_element(target: TargetElement) -> dict[str, str]:
    part = target.part
    return {
        "source": "" if target.content is None else _spell(target.content),
        "form": "" if target.content is None else _spell(target.shape),
        "when": "" if target.when is None else write_sentence(target.when, "en"),
        "for each": "" if target.each is None else _spell_repetition(target.each),
        "times": f"{target.bound[0]} to {target.bound[1]}" if target.bound != (0, 1) else "",
        "piece": "" if part is None else f"{part.number + 1} of {part.of}, {_spell(part)}",
    }


def _describe_attribute(put: TargetAttribute) -> dict[str, str]:
    return {
        "source": put.of_value or "" if put.content is None else _spell(put.content),
        "form": _spell(put.shape),
        "translation": "" if put.via is None else put.via.name,
        "default": put.default or "",
        "required": "yes" if put.required else "no",
    }


def _spell_repetition(each: Repetition) -> str:
    words = [each.over, each.group, _spell(each.ask), _spell(each.key), f"{each.bound[0]} to {each.bound[1]}"]
    if each.when is not None:
        words.append(f"where {write_sentence(each.when, 'en')}")
    return ", ".join(dict.fromkeys(filter(None, words)))


def _spell(value: Any) -> str:
    """Return a value of a mapping as words: names, conditions as sentences, the rest by its parts."""
    if isinstance(value, _NAMED):
        return value.name
    if isinstance(value, _CONDITIONS):
        return write_sentence(value, "en")
    if isinstance(value, ValueShape):
        return ", ".join(f"{name} {words}" for name, words in describe_shape(value).items() if words)
    if isinstance(value, tuple | list):
        return ", ".join(filter(None, map(_spell, value)))
    if is_dataclass(value):
        return _spell_parts(value)
    return "" if value in (None, False, "") else _TRUE if value is True else str(value)


def _spell_parts(value: Any) -> str:
    name = type(value).__name__
    held = [(one.name, getattr(value, one.name)) for one in fields(value) if one.compare]
    # A change of the table of units is told once, not at each line that converts by it.
    parts = [(key, _spell(part)) for key, part in held if not isinstance(part, SourceMark | UnitTable)]
    if name in _PLAIN:
        return ", ".join(words for _, words in parts if words and words != _TRUE)
    told = ", ".join(f"{key.replace('_', ' ')} {words}" for key, words in parts if words)
    return f"{re.sub(r'(?<!^)(?=[A-Z])', ' ', name).lower()} ({told})"
