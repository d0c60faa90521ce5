"""Leads one written value back through the steps of its line to the field or meaning it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language.combined import split_back
from gateway.harmonize.language.sources import (
    Concat,
    Const,
    Converted,
    Count,
    Default,
    Form,
    Hub,
    Index,
    Serial,
    Source,
    Taken,
)
from gateway.harmonize.language.targets import AttributePut
from gateway.harmonize.language.totals import GroupCount
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import ITEM_PATH, Meaning

__all__ = ["Place", "Undone", "home_of", "line_loss", "name_of", "undo_content", "undo_translation"]

_LOSSES: Final = ("exact", "residue", "lossy")
_SHOWN: Final = 60
Place = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Undone:
    """What a written value was: its source by kind and name, its text there, or why it can be none."""

    source: str
    text: str | None
    field: Ask | Meaning | None = None
    attribute: str | None = None
    fault: str = ""


def name_of(field: Ask | Meaning) -> str:
    """Return kind and name of a field or meaning, as ``ask:drug_class``."""
    return f"{'ask' if isinstance(field, Ask) else 'common'}:{field.name}"


def home_of(field: Ask | Meaning, place: Place) -> Place:
    """Return the part of `place` that tells the values of `field` apart: its item, its groups."""
    if isinstance(field, Ask):
        chain = {field.group[: match.start()] for match in re.finditer(r"\.|$", field.group)}
        per_item = field.home == "item"
    else:
        chain = set() if field.per in ("header", "item") else {name for name, _ in place}
        per_item = field.path.startswith(f"{ITEM_PATH}/")
    chain.add(field.name)  # where items are grouped by it
    if per_item:
        chain.add("application.items")
    return tuple(step for step in place if step[0].partition("?")[0] in chain)


def line_loss(content: Converted) -> str:
    """Return what a line loses: the worst of its source and its steps.

    A day written of a day loses nothing; only a moment's time would be lost.
    """
    whole = content.source.shape().kind in ("date", "day")
    losses = [content.source.loss]
    losses += [
        step.loss
        for step in content.steps
        if not (isinstance(step, Form) and whole and step.name != "CCYYMM")
    ]
    return max(losses, key=_LOSSES.index)


def undo_content(content: Converted, text: str, place: Place) -> Iterator[Undone]:
    """Yield what `text`, written by `content` at `place`, was at its source; each part of a concatenation."""
    read: str | None = text
    for step in reversed(content.steps):
        read = None if read is None else step.undo(read)
    unreadable = read is None and line_loss(content) == "exact"
    fault = f"{text[:_SHOWN]!r} cannot be read back" if unreadable else ""
    for undone in _undo_source(content.source, read, place):
        yield replace(undone, fault=fault) if fault else undone


def undo_translation(content: Converted, put: AttributePut, text: str) -> Undone:
    """Return what the attribute of a value, its unit or currency, was at its source."""
    carrier = content.source.carries()
    source = "const" if carrier is None else name_of(carrier)
    read, fault = text, ""
    if put.via is not None:
        back = put.via.back(text)
        if back is None:
            known = put.via.direction == "both"
            fault = f"{text[:_SHOWN]!r} is not in the list {put.via.name}" if known else ""
            return Undone(source, None, None, put.of_value, fault)
        read = back
    if content.unit is None or put.of_value != "unitCode":
        return Undone(source, read, carrier, put.of_value, fault)
    # The unit that was converted to; the one that was given is not told here.
    fault = fault if read == content.unit else f"the line always writes {content.unit}"
    return Undone(source, None, None, put.of_value, fault)


def _undo_source(source: Source, text: str | None, place: Place) -> Iterator[Undone]:
    if isinstance(source, Const):
        yield Undone("const", text, fault="" if text == source.text else f"the line writes {source.text}")
    elif isinstance(source, Hub):
        yield Undone(f"hub:{source.name}", text)
    elif isinstance(source, Taken):
        yield Undone(name_of(source.source), text, source.source)
    elif isinstance(source, Serial):
        yield _undo_serial(source, text)
    elif isinstance(source, Index):
        position = dict(place).get(source.group)
        right = position is None or text == str(position)
        fault = "" if right else f"the position here is {position}"
        yield Undone(f"index:{source.group}", text, fault=fault)
    elif isinstance(source, Concat):
        yield from _undo_parts(source, text, place)
    elif isinstance(source, Default):
        # The constant says "absent, or that": it is no value that others must agree with.
        for undone in _undo_source(source.source, text, place):
            yield undone if text != source.text else replace(undone, field=None)
    else:
        yield Undone(_origin(source), None if text is None else source.undo(text))


def _origin(source: Source) -> str:
    """Return kind and name of what a value is counted, totalled, multiplied or chosen from."""
    if isinstance(source, Count):
        return "count:items"
    if isinstance(source, GroupCount):
        return f"count:{source.group.name}"
    return " × ".join(name_of(one) for one in source.forwards())


def _undo_parts(source: Concat, text: str | None, place: Place) -> Iterator[Undone]:
    """Yield what the pieces of a text were that was put together; a piece may be empty."""
    pieces = None if text is None else split_back(text, source.separator, len(source.parts))
    if pieces is None:
        fault = f"not {len(source.parts)} pieces around {source.separator!r}"
        yield Undone(" + ".join(name_of(one) for one in source.forwards()), None, fault=fault)
        return
    for part, piece in zip(source.parts, pieces, strict=True):
        if piece:
            yield from undo_content(part, piece, place)


def _undo_serial(source: Serial, text: str | None) -> Undone:
    """Return the item's number that an identifier was made of."""
    name = f"serial:{source.source.name}"
    number = None if text is None else source.undo(text)
    if number is None:
        return Undone(name, None, source.source, fault=f"no serial number {source.prefix}…")
    made = source.prefix + number.rjust(source.width, "0")
    return Undone(name, number, source.source, fault="" if made == text else f"item {number} is {made}")
