"""Makes valid random notices from their maps, and says what reading them must give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.applying.render import pieces
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.itemids import ItemIds, item_ids, type_code
from gateway.harmonize.language.slots import AttributeSlot, Line, Notice, Notices, Slot
from gateway.harmonize.language.steps import Via
from gateway.harmonize.language.values import MisfitError, Value
from gateway.harmonize.replies.answering import NoticeFact, looked_up
from gateway.harmonize.sampling.draws import Draws, draw_text
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark

__all__ = ["draw_notice"]

_TRIES: Final = 400
_MOST: Final = 3


@dataclass(slots=True)
class _Maker:
    """One notice in the making: `facts` is what reading it must give, without places in the XML."""

    notice: Notice
    document: Document | None
    zone: str
    draws: Draws
    ids: ItemIds
    facts: list[NoticeFact] = field(default_factory=list)
    chosen: dict[int, tuple[str, str]] = field(default_factory=dict)

    def read(self, source: Ask | Meaning, _rule: Mark) -> list[NoticeFact]:
        """Return the facts of the whole notice drawn so far, for conditions."""
        return [fact for fact in self.facts if fact.name == source.name and not fact.at]


def draw_notice(
    notice: Notice, notices: Notices, seed: str, document: Document | None = None
) -> tuple[etree._Element, tuple[NoticeFact, ...]]:
    """Return a valid notice drawn from `seed`, and the facts that it states, without their XPaths.

    `document` is the one that the notice is about; it says how items are named.
    """
    ids = item_ids(document)
    maker = _Maker(notice, document, notices.zone, Draws(f"{notice.id}/{seed}"), ids)
    for kind, value, mark in notice.means:
        maker.facts.append(NoticeFact(kind.name, value, "", mark, ("const",)))
    stated = len(maker.facts)
    _draw_whole(maker)
    del maker.facts[stated:]
    root = etree.Element(f"{{{notice.namespace}}}{notice.root.name}", nsmap=_default(notice.namespace))
    _fill(maker, notice.root, root, ())
    facts = [*maker.facts, *looked_up(maker.facts, notices)]
    return root, tuple(replace(fact, transforms=()) for fact in facts)


def _default(namespace: str) -> Any:
    """Return the map that makes `namespace` the default one; the stubs of lxml know no such map."""
    return {None: namespace}


def _draw_whole(maker: _Maker) -> None:
    """Draw the lines of the whole notice: those without a condition first, since conditions read them."""
    slots = [slot for slot in _outside(maker.notice.root) if slot.line is not None]
    plain = [slot for slot in slots if slot.line is not None and slot.line.requirement.when is None]
    for slot in [*plain, *(slot for slot in slots if slot not in plain)]:
        assert slot.line is not None
        if slot.part is not None and slot.part.number > 0:
            continue
        # The second of like elements cannot stand without the first.
        if slot.position > 1 and not _before(maker, slots, slot):
            continue
        if _wanted(maker, slot.line):
            value, text = _draw(maker, slot.line)
            maker.chosen[id(slot)] = (value, text)
            if slot.line.kind is not None:
                maker.facts.append(NoticeFact(slot.line.kind.name, value, "", slot.line.mark))


def _outside(slot: Slot) -> Iterator[Slot]:
    for child in slot.children:
        if child.each is None:
            yield child
            yield from _outside(child)


def _before(maker: _Maker, slots: list[Slot], slot: Slot) -> bool:
    return any(
        id(one) in maker.chosen and one.name == slot.name and one.position == slot.position - 1
        for one in slots
    )


def _wanted(maker: _Maker, line: Line) -> bool:
    requirement = line.requirement
    if requirement.when is None:
        return requirement.mandatory or maker.draws.chance(60)
    if requirement.when.holds(maker):
        return True
    return not requirement.forbidden_otherwise and maker.draws.chance(30)


def _draw(maker: _Maker, line: Line) -> tuple[str, str]:
    """Return a value that the line gives, and how it is written in the notice."""
    if line.const is not None:
        return line.const, line.const
    if line.kind is not None and line.kind.type == "item":
        number = str(maker.draws.number(0 if maker.notice.role == "rejection" else 1, 999))
        return number, maker.ids.identifier(number)
    if line.kind is not None and line.kind.type == "document" and maker.document is not None:
        code = type_code(maker.document)
        if code is not None:
            return code, code
    for _ in range(_TRIES):
        value = _value(maker, line)
        text = _written(line, value)
        if text is not None and line.shape.refuse(text) is None:
            return value, text
    raise GatewayError(OUR_MISTAKE, f"no value found for a line of {maker.notice.id}", str(line.mark))


def _value(maker: _Maker, line: Line) -> str:
    via = next((step for step in line.steps if isinstance(step, Via)), None)
    if via is not None:
        return maker.draws.one(tuple(via.codes.to or {}))
    kind = line.kind
    if kind is None or not line.steps:
        return draw_text(maker.draws, line.shape)
    if kind.type == "date" or (kind.type == "datetime" and _is_day(line)):
        return maker.draws.day().isoformat()
    unknown = any(getattr(step, "unknown", "") for step in line.steps)
    if unknown and maker.draws.chance(40):
        return maker.draws.day().isoformat()
    hour, minute = maker.draws.number(0, 23), maker.draws.number(0, 59)
    return (
        f"{maker.draws.day().isoformat()}T{hour:02d}:{minute:02d}:{maker.draws.number(1, 59):02d}{maker.zone}"
    )


def _is_day(line: Line) -> bool:
    return any(not isinstance(step, Via) and step.name in ("CCYYMMDD", "date") for step in line.steps)


def _written(line: Line, value: str) -> str | None:
    """Return how the steps of the line write a value."""
    made: Value | None = Value(value, (), "sample")
    try:
        for step in line.steps:
            made = step.apply(made) if made is not None else None
    except MisfitError:
        return None
    return None if made is None else made.text


def _fill(maker: _Maker, slot: Slot, element: etree._Element, at: tuple[tuple[str, int], ...]) -> None:
    for one in slot.attributes:
        _attribute(maker, one, element, at)
    for child in slot.children:
        if child.each is not None:
            _repeat(maker, child, element, at)
        elif child.line is not None:
            _leaf(maker, slot, child, element, at)
        else:
            inner = etree.SubElement(element, f"{{{maker.notice.namespace}}}{child.name}")
            _fill(maker, child, inner, at)
            if len(inner) == 0 and not inner.attrib and not child.required and maker.draws.chance(80):
                element.remove(inner)


def _repeat(maker: _Maker, slot: Slot, parent: etree._Element, at: tuple[tuple[str, int], ...]) -> None:
    assert slot.each is not None
    low, high = slot.each.bound
    items: set[str] = set()
    for number in range(1, maker.draws.number(low, min(high, max(_MOST, low))) + 1):
        element = etree.SubElement(parent, f"{{{maker.notice.namespace}}}{slot.name}")
        start = len(maker.facts)
        _fill(maker, slot, element, (*at, (slot.each.name, number)))
        if slot.each.keyed:
            key = next(fact for fact in maker.facts[start:] if fact.name == "item")
            if key.value in items:
                parent.remove(element)
                del maker.facts[start:]
                return
            items.add(key.value)
            maker.facts[start:] = [replace(fact, item=key.value) for fact in maker.facts[start:]]


def _leaf(
    maker: _Maker, parent: Slot, slot: Slot, element: etree._Element, at: tuple[tuple[str, int], ...]
) -> None:
    assert slot.line is not None
    if slot.part is not None and slot.part.number > 0:
        return
    if not at:
        drawn = [maker.chosen[id(slot)]] if id(slot) in maker.chosen else []
    else:
        likes = [one.tag for one in element].count(f"{{{maker.notice.namespace}}}{slot.name}")
        wanted = likes == slot.position - 1 if slot.position > 1 else True
        wanted = wanted and _wanted(maker, slot.line)
        times = maker.draws.number(1, min(max(slot.line.bound[1], 1), _MOST)) if wanted else 0
        drawn = [_draw(maker, slot.line) for _ in range(times)]
    for value, text in drawn:
        _write(maker, parent, slot, element, (value, text, at))


def _write(
    maker: _Maker,
    parent: Slot,
    slot: Slot,
    element: etree._Element,
    drawn: tuple[str, str, tuple[tuple[str, int], ...]],
) -> None:
    value, text, at = drawn
    line = slot.line
    assert line is not None
    slots, texts = [slot], [text]
    if slot.part is not None:
        # Long enough to need several pieces, sometimes.
        text = " ".join([text] * maker.draws.number(1, 6))
        slots = [one for one in parent.children if one.line is line]
        texts = pieces(text, slot.part) or [text[:1]]
        value = "".join(texts)
    unit = line.unit
    for one, piece in zip(slots, texts, strict=False):
        made = etree.SubElement(element, f"{{{maker.notice.namespace}}}{one.name}")
        made.text = piece
        if one.fixed is not None:
            made.set(*one.fixed)
        for attribute in one.attributes:
            unit = _attribute(maker, attribute, made, at) or unit
    if line.const is None:
        name = line.kind.name if line.kind is not None else "echo"
        maker.facts.append(NoticeFact(name, value, "", line.mark, (), unit, None, at, line.echoes))


def _attribute(
    maker: _Maker, one: AttributeSlot, element: etree._Element, at: tuple[tuple[str, int], ...]
) -> str:
    """Write an attribute; return the unit or currency that it says."""
    if not one.required and maker.draws.chance(40):
        return ""
    if one.line is not None:
        value, text = _draw(maker, one.line)
        element.set(one.name, text)
        if one.line.const is None:
            name = one.line.kind.name if one.line.kind is not None else "echo"
            maker.facts.append(NoticeFact(name, value, "", one.line.mark, (), "", None, at, one.line.echoes))
        return ""
    if one.via is not None:
        value = maker.draws.one(tuple(one.via.codes.to or {}))
        element.set(one.name, (one.via.codes.to or {})[value])
        return value
    text = maker.draws.one(("KRW", "USD", "KGM"))
    element.set(one.name, text)
    return text
