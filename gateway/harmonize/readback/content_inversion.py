"""Inverts one written value through the steps of its line to the field or meaning that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language import (
    ITEM_PATH,
    Concatenation,
    Constant,
    ConvertedSource,
    DefaultValue,
    Field,
    FieldValue,
    FormatStep,
    GroupCount,
    GroupPosition,
    HubValue,
    ItemCount,
    SerialNumber,
    SourceExpression,
    TargetAttribute,
    UniqueField,
    split_by_separator,
)

_LOSSES: Final = ("exact", "residue", "lossy")
_MAX_QUOTED_CHARACTERS: Final = 60
Occurrence = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class InvertedValue:
    """The inverse of a written value: its source by kind and name, its text there, or a fault."""

    source: str
    text: str | None
    field: Field | None = None
    attribute: str | None = None
    fault: str = ""


def get_home_occurrence(field: Field, occurrence: Occurrence) -> Occurrence:
    """Return the part of `occurrence` that distinguishes the values of `field`: its item and its groups.

    `occurrence` has the name and position of each repetition around a value. A name may end with `?` and the
    line of a condition (``animal?110``); only the part before `?` is compared.
    """
    if isinstance(field, UniqueField):
        # A group of `a.b.c` is within the groups `a` and `a.b`.
        chain = {field.group[: match.start()] for match in re.finditer(r"\.|$", field.group)}
        per_item = field.home == "item"
    else:
        chain = set() if field.per in ("header", "item") else {name for name, _ in occurrence}
        per_item = field.path.startswith(f"{ITEM_PATH}/")
    chain.add(field.name)  # items may be grouped by this field: then the repetition has its name
    if per_item:
        chain.add("application.items")
    return tuple(step for step in occurrence if step[0].partition("?")[0] in chain)


def compute_line_loss(content: ConvertedSource) -> str:
    """Return the loss of a line: the worst loss of its source and its steps.

    A date written from a date loses nothing; only a value with a time would lose it.
    """
    is_date_source = content.source.infer_shape().kind in ("date", "day")
    losses = [content.source.loss]
    losses += [
        step.loss
        for step in content.steps
        if not (isinstance(step, FormatStep) and is_date_source and step.format_name != "CCYYMM")
    ]
    return max(losses, key=_LOSSES.index)


def invert_content(content: ConvertedSource, text: str, occurrence: Occurrence) -> Iterator[InvertedValue]:
    """Yield the source value of `text`, written by `content` at `occurrence`; of a concatenation, each."""
    read: str | None = text
    for step in reversed(content.steps):
        read = None if read is None else step.invert_value(read)
    unreadable = read is None and compute_line_loss(content) == "exact"
    fault = f"{text[:_MAX_QUOTED_CHARACTERS]!r} cannot be read back" if unreadable else ""
    for inverted in _invert_source(content.source, read, occurrence):
        yield replace(inverted, fault=fault) if fault else inverted


def invert_translation(content: ConvertedSource, attribute: TargetAttribute, text: str) -> InvertedValue:
    """Return the source value of the attribute of a value, its unit or currency."""
    carrier = content.source.find_attribute_carrier()
    source = "const" if carrier is None else carrier.key
    read, fault = text, ""
    if attribute.via is not None:
        back = attribute.via.invert_code(text)
        if back is None:
            is_reversible = attribute.via.direction == "both"
            fault = (
                f"{text[:_MAX_QUOTED_CHARACTERS]!r} is not in the list {attribute.via.name}"
                if is_reversible
                else ""
            )
            return InvertedValue(source, None, None, attribute.of_value, fault)
        read = back
    if content.converted_unit is None or attribute.of_value != "unitCode":
        return InvertedValue(source, read, carrier, attribute.of_value, fault)
    # This is the unit after the conversion; the given unit is not in the request.
    fault = fault if read == content.converted_unit else f"the line always writes {content.converted_unit}"
    return InvertedValue(source, None, None, attribute.of_value, fault)


def _invert_source(
    source: SourceExpression, text: str | None, occurrence: Occurrence
) -> Iterator[InvertedValue]:
    """Yield the values that `source` must have had to write `text`; a `fault` says that it cannot.

    `occurrence` has the positions of the repetitions around the text.
    """
    if isinstance(source, Constant):
        yield InvertedValue(
            "const", text, fault="" if text == source.text else f"the line writes {source.text}"
        )
    elif isinstance(source, HubValue):
        yield InvertedValue(f"hub:{source.name}", text)
    elif isinstance(source, FieldValue):
        yield InvertedValue(source.source.key, text, source.source)
    elif isinstance(source, SerialNumber):
        yield _invert_serial(source, text)
    elif isinstance(source, GroupPosition):
        position = dict(occurrence).get(source.group)
        right = position is None or text == str(position)
        fault = "" if right else f"the position here is {position}"
        yield InvertedValue(f"index:{source.group}", text, fault=fault)
    elif isinstance(source, Concatenation):
        yield from _invert_parts(source, text, occurrence)
    elif isinstance(source, DefaultValue):
        # The constant means "absent, or this value", so other lines need not agree with it.
        for inverted in _invert_source(source.source, text, occurrence):
            yield inverted if text != source.text else replace(inverted, field=None)
    else:
        yield InvertedValue(_get_origin_name(source), None if text is None else source.invert_value(text))


def _get_origin_name(source: SourceExpression) -> str:
    """Return kind and name of the sources that a value is counted, summed, multiplied or selected from."""
    if isinstance(source, ItemCount):
        return "count:items"
    if isinstance(source, GroupCount):
        return f"count:{source.group.name}"
    return " × ".join(field.key for field in source.list_forwarded_sources())


def _invert_parts(source: Concatenation, text: str | None, occurrence: Occurrence) -> Iterator[InvertedValue]:
    """Yield the source values of the pieces of a concatenated text; empty pieces are skipped."""
    pieces = None if text is None else split_by_separator(text, source.separator, len(source.parts))
    if pieces is None:
        fault = f"not {len(source.parts)} pieces around {source.separator!r}"
        yield InvertedValue(
            " + ".join(field.key for field in source.list_forwarded_sources()),
            None,
            fault=fault,
        )
        return
    for part, piece in zip(source.parts, pieces, strict=True):
        if piece:
            yield from invert_content(part, piece, occurrence)


def _invert_serial(source: SerialNumber, text: str | None) -> InvertedValue:
    """Return the item number in a serial number."""
    name = f"serial:{source.source.name}"
    number = None if text is None else source.invert_value(text)
    if number is None:
        return InvertedValue(name, None, source.source, fault=f"no serial number {source.prefix}…")
    serial = source.prefix + number.rjust(source.width, "0")
    return InvertedValue(
        name, number, source.source, fault="" if serial == text else f"item {number} is {serial}"
    )
