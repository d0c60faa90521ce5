"""Draws valid random notices from their mappings, with the facts that a reader must return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language import (
    ConversionError,
    DocumentMapping,
    EvaluatedValue,
    Field,
    ItemIdentifiers,
    NoticeAttribute,
    NoticeCatalog,
    NoticeElement,
    NoticeLine,
    NoticeMapping,
    TranslationStep,
    ValueReader,
    find_item_identifiers,
    list_type_codes,
)
from gateway.harmonize.notices import NoticeFact, derive_facts
from gateway.harmonize.samples.sample_draft import SeededDraws, draw_text
from gateway.harmonize.split import split_text
from gateway.wire import SourceMark

_TRIES: Final = 400
_MAX_REPEATS: Final = 3
_CURRENCIES: Final = ("KRW", "USD", "EUR")
_UNITS: Final = ("KGM", "LTR", "C62")


@dataclass(slots=True)
class _NoticeSample(ValueReader):
    """The state of one draw: `facts` are those that a reader must return, without places in the XML."""

    notice: NoticeMapping
    document: DocumentMapping | None
    zone: str
    draws: SeededDraws
    ids: ItemIdentifiers
    facts: list[NoticeFact] = field(default_factory=list)
    chosen: dict[int, tuple[str, str]] = field(default_factory=dict)

    def read_values(self, source: Field, _rule: SourceMark) -> list[NoticeFact]:
        """Return the facts of the whole notice drawn so far, for conditions."""
        return [fact for fact in self.facts if fact.name == source.name and not fact.occurrence]


def draw_notice(
    notice: NoticeMapping, notices: NoticeCatalog, seed: str, document: DocumentMapping | None = None
) -> tuple[etree._Element, tuple[NoticeFact, ...]]:
    """Return a valid notice drawn from `seed`, and the facts that it states, without their XPaths.

    `document` is the document that the notice is about; it defines the item identifiers.
    """
    ids = find_item_identifiers(document)
    maker = _NoticeSample(notice, document, notices.zone, SeededDraws(f"{notice.id}/{seed}"), ids)
    for kind, value, mark in notice.implied_facts:
        maker.facts.append(NoticeFact(kind.name, value, "", mark, ("const",)))
    fact_count = len(maker.facts)
    _draw_whole_notice(maker)
    del maker.facts[fact_count:]
    root = etree.Element(
        f"{{{notice.namespace}}}{notice.root.name}", nsmap=_make_default_namespace(notice.namespace)
    )
    _fill_element(maker, notice.root, root, ())
    facts = [*maker.facts, *derive_facts(maker.facts, notices)]
    return root, tuple(replace(fact, transforms=()) for fact in facts)


def _make_default_namespace(namespace: str) -> Any:
    """Return the nsmap with `namespace` as default; typed as Any, since the lxml stubs do not allow it."""
    return {None: namespace}


def _draw_whole_notice(maker: _NoticeSample) -> None:
    """Draw the lines outside repetitions: those without a condition first, since conditions read them."""
    slots = [slot for slot in _list_outer_elements(maker.notice.root) if slot.line is not None]
    plain = [slot for slot in slots if slot.line is not None and slot.line.requirement.when is None]
    for slot in [*plain, *(slot for slot in slots if slot not in plain)]:
        assert slot.line is not None
        if slot.text_piece is not None and slot.text_piece.piece_number > 0:
            continue
        # The second of several elements of one name requires the first.
        if slot.position > 1 and not _is_drawn_before(maker, slots, slot):
            continue
        if _is_wanted(maker, slot.line):
            value, text = _draw_line(maker, slot.line)
            maker.chosen[id(slot)] = (value, text)
            if slot.line.fact_type is not None:
                maker.facts.append(NoticeFact(slot.line.fact_type.name, value, "", slot.line.mark))


def _list_outer_elements(slot: NoticeElement) -> Iterator[NoticeElement]:
    """Yield all elements below `slot` that are outside repeated elements."""
    for child in slot.children:
        if child.repetition is None:
            yield child
            yield from _list_outer_elements(child)


def _is_drawn_before(maker: _NoticeSample, slots: list[NoticeElement], slot: NoticeElement) -> bool:
    """Return whether the variant of the same name just before `slot` has been drawn."""
    return any(
        id(candidate) in maker.chosen
        and candidate.name == slot.name
        and candidate.position == slot.position - 1
        for candidate in slots
    )


def _is_wanted(maker: _NoticeSample, line: NoticeLine) -> bool:
    """Return whether a line is to be written: always if it must, at random if it may."""
    requirement = line.requirement
    if requirement.when is None:
        return requirement.mandatory or maker.draws.draw_chance(60)
    if requirement.when.is_satisfied(maker):
        return True
    return not requirement.forbidden_otherwise and maker.draws.draw_chance(30)


def _draw_line(maker: _NoticeSample, line: NoticeLine) -> tuple[str, str]:
    """Return a value of the line, and the text by which the notice writes it."""
    if line.const is not None:
        return line.const, line.const
    if line.fact_type is not None and line.fact_type.type == "item":
        number = str(maker.draws.draw_number(0 if maker.notice.role == "rejection" else 1, 999))
        return number, maker.ids.format_item_identifier(number)
    if line.fact_type is not None and line.fact_type.type == "document" and maker.document is not None:
        for code in (*list_type_codes(maker.document), maker.document.id):
            if line.shape.find_violation(code) is None:
                return code, code
        if line.fact_type.pattern is not None:
            code = draw_text(maker.draws, replace(line.shape, pattern=line.fact_type.pattern))
            return code, code
    for _ in range(_TRIES):
        value = _draw_value(maker, line)
        text = _write_line_value(line, value)
        if text is not None and line.shape.find_violation(text) is None:
            return value, text
    raise GatewayError(OUR_MISTAKE, f"no value found for a line of {maker.notice.id}", str(line.mark))


def _draw_value(maker: _NoticeSample, line: NoticeLine) -> str:
    """Draw the value of a line before its conversion: a code, a text, a date or a time."""
    via = next((step for step in line.steps if isinstance(step, TranslationStep)), None)
    if via is not None:
        return maker.draws.choose_one(tuple(via.code_list.translations or {}))
    kind = line.fact_type
    if kind is None or not line.steps:
        return draw_text(maker.draws, line.shape)
    if kind.type == "date" or (kind.type == "datetime" and _is_date_line(line)):
        return maker.draws.draw_day().isoformat()
    unknown = any(getattr(step, "unknown", "") for step in line.steps)
    if unknown and maker.draws.draw_chance(40):
        return maker.draws.draw_day().isoformat()
    hour, minute = maker.draws.draw_number(0, 23), maker.draws.draw_number(0, 59)
    day, second = maker.draws.draw_day().isoformat(), maker.draws.draw_number(1, 59)
    return f"{day}T{hour:02d}:{minute:02d}:{second:02d}{maker.zone}"


def _is_date_line(line: NoticeLine) -> bool:
    """Return whether a line writes a date without a time of day."""
    return any(
        not isinstance(step, TranslationStep) and step.format_name in ("CCYYMMDD", "date")
        for step in line.steps
    )


def _write_line_value(line: NoticeLine, value: str) -> str | None:
    """Return the text by which the steps of the line write a value, None where they cannot."""
    converted: EvaluatedValue | None = EvaluatedValue(value, (), "sample")
    try:
        for step in line.steps:
            converted = step.convert_value(converted) if converted is not None else None
    except ConversionError:
        return None
    return None if converted is None else converted.text


def _fill_element(
    maker: _NoticeSample, slot: NoticeElement, element: etree._Element, at: tuple[tuple[str, int], ...]
) -> None:
    """Draw the attributes and children of `element` by `slot`; `at` names the occurrences around it."""
    for attribute in slot.attributes:
        _write_attribute(maker, attribute, element, at)
    for child in slot.children:
        if child.repetition is not None:
            _repeat_element(maker, child, element, at)
        elif child.line is not None:
            _write_leaf(maker, slot, child, element, at)
        else:
            inner = etree.SubElement(element, f"{{{maker.notice.namespace}}}{child.name}")
            _fill_element(maker, child, inner, at)
            if len(inner) == 0 and not inner.attrib and not child.is_required and maker.draws.draw_chance(80):
                element.remove(inner)


def _repeat_element(
    maker: _NoticeSample, slot: NoticeElement, parent: etree._Element, at: tuple[tuple[str, int], ...]
) -> None:
    """Draw the occurrences of a repeated element; end at the first item that has been drawn before."""
    assert slot.repetition is not None
    low, high = slot.repetition.bound.low, slot.repetition.bound.high
    items: set[str] = set()
    for number in range(1, maker.draws.draw_number(low, min(high, max(_MAX_REPEATS, low))) + 1):
        element = etree.SubElement(parent, f"{{{maker.notice.namespace}}}{slot.name}")
        start = len(maker.facts)
        _fill_element(maker, slot, element, (*at, (slot.repetition.name, number)))
        if slot.repetition.has_item_key:
            key = next(fact for fact in maker.facts[start:] if fact.name == "item")
            if key.value in items:
                parent.remove(element)
                del maker.facts[start:]
                return
            items.add(key.value)
            maker.facts[start:] = [replace(fact, item=key.value) for fact in maker.facts[start:]]


def _write_leaf(
    maker: _NoticeSample,
    parent: NoticeElement,
    slot: NoticeElement,
    element: etree._Element,
    at: tuple[tuple[str, int], ...],
) -> None:
    """Write the values of a line into `element`: in a repetition new ones, else those drawn before.

    The first piece of a split text writes all its pieces.
    """
    assert slot.line is not None
    if slot.text_piece is not None and slot.text_piece.piece_number > 0:
        return
    if not at:
        drawn = [maker.chosen[id(slot)]] if id(slot) in maker.chosen else []
    else:
        likes = [child.tag for child in element].count(f"{{{maker.notice.namespace}}}{slot.name}")
        is_drawn = likes == slot.position - 1 if slot.position > 1 else True
        is_drawn = is_drawn and _is_wanted(maker, slot.line)
        times = maker.draws.draw_number(1, min(max(slot.line.bound.high, 1), _MAX_REPEATS)) if is_drawn else 0
        drawn = [_draw_line(maker, slot.line) for _ in range(times)]
    for value, text in drawn:
        _write_drawn_value(maker, parent, slot, element, value, text, at)


def _write_drawn_value(
    maker: _NoticeSample,
    parent: NoticeElement,
    slot: NoticeElement,
    element: etree._Element,
    value: str,
    text: str,
    at: tuple[tuple[str, int], ...],
) -> None:
    """Write a drawn value into an element of `slot`: `text` is the value as the line writes it.

    `at` has the repetitions around it, each with its number.
    """
    line = slot.line
    assert line is not None
    slots, texts = [slot], [text]
    if slot.text_piece is not None:
        # Some texts must be long enough for several pieces.
        text = " ".join([text] * maker.draws.draw_number(1, 6))
        slots = [piece_slot for piece_slot in parent.children if piece_slot.line is line]
        texts = split_text(text, slot.text_piece) or [text[:1]]
        value = "".join(texts)
    unit = line.unit
    for piece_slot, piece in zip(slots, texts, strict=False):
        child = etree.SubElement(element, f"{{{maker.notice.namespace}}}{piece_slot.name}")
        child.text = piece
        if piece_slot.fixed_attribute is not None:
            child.set(*piece_slot.fixed_attribute)
        for attribute in piece_slot.attributes:
            unit = _write_attribute(maker, attribute, child, at) or unit
    if line.const is None:
        name = line.fact_type.name if line.fact_type is not None else "echo"
        maker.facts.append(NoticeFact(name, value, "", line.mark, (), unit, None, at, line.request_path))


def _write_attribute(
    maker: _NoticeSample, attribute: NoticeAttribute, element: etree._Element, at: tuple[tuple[str, int], ...]
) -> str:
    """Write an attribute; return its unit or currency, empty where it has none."""
    if not attribute.is_required and maker.draws.draw_chance(40):
        return ""
    if attribute.line is not None:
        value, text = _draw_line(maker, attribute.line)
        element.set(attribute.name, text)
        if attribute.line.const is None:
            name = attribute.line.fact_type.name if attribute.line.fact_type is not None else "echo"
            maker.facts.append(
                NoticeFact(
                    name, value, "", attribute.line.mark, (), "", None, at, attribute.line.request_path
                )
            )
        return ""
    if attribute.via is not None:
        value = maker.draws.choose_one(tuple(attribute.via.code_list.translations or {}))
        element.set(attribute.name, (attribute.via.code_list.translations or {})[value])
        return value
    text = maker.draws.choose_one(_CURRENCIES if "currency" in attribute.name.lower() else _UNITS)
    element.set(attribute.name, text)
    return text
