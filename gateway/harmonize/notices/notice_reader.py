"""Matches the elements of a notice with the slots of its mapping, and inverts each value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from lxml import etree

from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    CODE_UNKNOWN,
    DOCUMENT_INVALID,
    RULE_BROKEN,
    GatewayError,
    Problem,
)
from gateway.harmonize.language import (
    DocumentMapping,
    FactType,
    Field,
    FormatStep,
    NoticeAttribute,
    NoticeElement,
    NoticeLine,
    NoticeMapping,
    TranslationStep,
    ValueReader,
    Violation,
    find_item_identifiers,
    find_type_code,
    list_type_codes,
)
from gateway.wire import AT_MOST_ONCE, XSI, SourceMark, normalize_text

_LOCATION: Final = f"{{{XSI}}}schemaLocation"
_SPACE: Final = " \t\r\n"
_ZONED: Final = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})\Z")

#: The elements of each slot (by its identity) with their XPaths.
Assigned: TypeAlias = dict[int, list[tuple[etree._Element, str]]]


@dataclass(frozen=True, slots=True)
class NoticePlace:
    """The place of an element or attribute: its XPath, and the repetitions around it, outermost first."""

    xpath: str
    occurrence: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NoticeFact:
    """One fact of a notice, with its place and the steps that were inverted.

    `name` is the name of the fact, or ``echo`` where the notice repeats a value of the
    request; then `request_path` is the path in the request.  `item` is the sequence number of the
    goods item that it belongs to, `occurrence` are the repetitions around it, outermost first, each
    with its position.
    """

    name: str
    value: str
    xpath: str
    rule: SourceMark
    transforms: tuple[str, ...] = ()
    unit: str = ""
    item: str | None = None
    occurrence: tuple[tuple[str, int], ...] = ()
    request_path: str = ""

    @property
    def text(self) -> str:
        """Return the value, for conditions."""
        return self.value


def make_notice_error(xpath: str, detail: str, problem: Problem = DOCUMENT_INVALID) -> GatewayError:
    """Return the error for a notice that cannot be read at `xpath`."""
    return GatewayError(problem, detail, xpath)


class NoticeReader:
    """Reads one notice of the kind `notice`; times without a zone get `zone`."""

    def __init__(self, zone: str, notice: NoticeMapping, document: DocumentMapping | None) -> None:
        self._zone = zone
        self._notice = notice
        self._document = document
        self._ids = find_item_identifiers(document)
        self._conditional: list[tuple[NoticeElement, str, bool]] = []
        self._elements_by_slot: dict[int, dict[str, tuple[int, list[NoticeElement]]]] = {}
        self._required: set[int] = set()

    def read_element(
        self, slot: NoticeElement, element: etree._Element, location: NoticePlace
    ) -> list[NoticeFact]:
        """Return the facts of an element that has child elements, and of all below it."""
        texts = (element.text, *(child.tail for child in element))
        if any(text and text.strip(_SPACE) for text in texts):
            raise make_notice_error(location.xpath, "text between the elements")
        facts = list(self._read_attributes(slot, element, location))
        assigned = self._assign_elements(slot, element, location.xpath)
        for child in slot.children:
            facts += self._read_slot(child, assigned.get(id(child), []), location)
            if child.text_piece is not None and child.text_piece.piece_number == 0:
                facts += self._join_pieces(slot, child, assigned, location)
        return facts

    def _assign_elements(self, slot: NoticeElement, element: etree._Element, path: str) -> Assigned:
        """Return the elements by slot; raise GW402 for an unknown element, or one out of order."""
        families = self._group_children(slot)
        children = [child for child in element if isinstance(child.tag, str)]
        totals: dict[str, int] = {}
        for child in children:
            totals[str(child.tag)] = totals.get(str(child.tag), 0) + 1
        assigned: Assigned = {}
        last, seen = (0, ""), dict.fromkeys(totals, 0)
        for child in children:
            name = etree.QName(child)
            seen[str(child.tag)] += 1
            number = seen[str(child.tag)]
            at = f"{path}/{name.localname}" + (f"[{number}]" if totals[str(child.tag)] > 1 else "")
            if name.namespace != self._notice.namespace or name.localname not in families:
                raise make_notice_error(at, f"an element that {self._notice.id} does not have here")
            rank, family = families[name.localname]
            if rank < last[0]:
                raise make_notice_error(at, f"an element out of order: it belongs before {last[1]}")
            last = (rank, name.localname)
            _assign_element(assigned, family, child, at, number)
        return assigned

    def _group_children(self, slot: NoticeElement) -> dict[str, tuple[int, list[NoticeElement]]]:
        """Return the children of a slot by name, with their rank in the order; cached for the notice."""
        if id(slot) not in self._elements_by_slot:
            families = {family[0].name: (rank, family) for rank, family in enumerate(slot.group_children())}
            self._elements_by_slot[id(slot)] = families
            self._required |= {id(child) for child in slot.children if child.is_required}
        return self._elements_by_slot[id(slot)]

    def _read_slot(
        self, slot: NoticeElement, elements: Sequence[tuple[etree._Element, str]], location: NoticePlace
    ) -> Iterator[NoticeFact]:
        """Yield the facts in `elements`, which are those of `slot` with their XPaths; raise GW402 if too few.

        `location` is the place of the element around them.
        """
        missing = f"{location.xpath}/{slot.path_label}"
        if slot.line is not None and slot.line.requirement.when is not None:
            self._conditional.append((slot, elements[0][1] if elements else missing, bool(elements)))
        bound = slot.repetition.bound if slot.repetition else slot.line.bound if slot.line else AT_MOST_ONCE
        if len(elements) < (max(bound.low, 1) if id(slot) in self._required else 0):
            raise make_notice_error(missing, "nothing where an element must be")
        keys: set[str] = set()
        for number, (element, at) in enumerate(elements, 1):
            if slot.repetition is not None:
                inner = NoticePlace(at, (*location.occurrence, (slot.repetition.name, number)))
                facts = self.read_element(slot, element, inner)
                yield from _add_item_numbers(facts, keys) if slot.repetition.has_item_key else facts
            elif slot.line is None:
                yield from self.read_element(slot, element, NoticePlace(at, location.occurrence))
            elif slot.text_piece is None:
                yield from self._read_leaf(slot, slot.line, element, NoticePlace(at, location.occurrence))

    def _join_pieces(
        self, parent: NoticeElement, first: NoticeElement, assigned: Assigned, location: NoticePlace
    ) -> Iterator[NoticeFact]:
        """Yield the joined text of several elements; raise GW402 for a piece after a missing one."""
        assert first.line is not None
        text, written_text, start, ended = "", "", "", ""
        for slot in (child for child in parent.children if child.line is first.line):
            elements = assigned.get(id(slot), [])
            if not elements:
                ended = ended or slot.name
                continue
            element, at = elements[0]
            if ended:
                raise make_notice_error(at, f"a piece of a text, and {ended} before it is not there")
            list(self._read_attributes(slot, element, NoticePlace(at, location.occurrence)))
            written = _read_element_text(element, at)
            piece, written_text = normalize_text(written), written_text + written
            _check_shape(_find_piece_problem(slot, piece), at)
            text, start = text + piece, start or at
        if start:
            text = normalize_text(text)
            _check_shape(first.line.shape.find_violation(text), start)
            notes = ("split",) if text == written_text else ("NFC", "split")
            yield self._make_fact(first.line, text, NoticePlace(start, location.occurrence), notes)

    def _read_leaf(
        self, slot: NoticeElement, line: NoticeLine, element: etree._Element, location: NoticePlace
    ) -> Iterator[NoticeFact]:
        """Yield the fact that the text of `element` states, with its unit, and those of its attributes.

        A line with a constant (`line.const`) states no fact.
        """
        text = _read_element_text(element, location.xpath)
        value, transforms = self._invert_text(line, text, location.xpath)
        extra = list(self._read_attributes(slot, element, location))
        unit = next((fact.value for fact in extra if not fact.name), line.unit)
        if line.const is None:
            yield replace(self._make_fact(line, value, location, transforms), unit=unit)
        yield from (fact for fact in extra if fact.name)

    def _make_fact(
        self, line: NoticeLine, value: str, location: NoticePlace, transforms: tuple[str, ...]
    ) -> NoticeFact:
        """Return a fact at `location`; it is named `echo` if it only repeats a value of the request."""
        name = line.fact_type.name if line.fact_type is not None else "echo"
        return NoticeFact(
            name,
            value,
            location.xpath,
            line.mark,
            transforms,
            line.unit,
            None,
            location.occurrence,
            line.request_path,
        )

    def _invert_text(self, line: NoticeLine, text: str, path: str) -> tuple[str, tuple[str, ...]]:
        """Return the value that would be written as `text`, and the names of the inverted steps."""
        composed = normalize_text(text)
        transforms: list[str] = [] if composed == text else ["NFC"]
        text = composed
        _check_shape(line.shape.find_violation(text), path)
        value: str = text.strip(_SPACE) if line.shape.kind in ("decimal", "integer") else text
        for step in reversed(line.steps):
            inverted = step.invert_value(value)
            if inverted is None:
                problem = CODE_UNKNOWN if isinstance(step, TranslationStep) else DOCUMENT_INVALID
                raise make_notice_error(
                    path, f"{value[:60]!r} cannot be read back ({_get_step_name(step)})", problem
                )
            value = inverted
            transforms.append(_get_step_name(step))
        if line.fact_type is not None:
            value = self._write_canonical_value(line.fact_type, value, path, transforms)
        return value, tuple(transforms)

    def _write_canonical_value(
        self, fact_type: FactType, value: str, path: str, transforms: list[str]
    ) -> str:
        """Return `value` in the form that the gateway uses, and append each conversion to `transforms`.

        An item identifier becomes the item number, and a time without a zone gets one. Raise GW402 for an
        unknown item, GW603 for a notice about another document.
        """
        if fact_type.type == "item":
            number = self._ids.parse_item_number(value)
            if number is None:
                raise make_notice_error(path, f"{value[:40]!r} names no item of the application")
            transforms.append("serial")
            return number
        if fact_type.type == "document" and self._document is not None:
            type_codes = list_type_codes(self._document)
            is_own_id = value == self._document.id and find_type_code(self._document) is None
            if type_codes and value not in type_codes and not is_own_id:
                expected = " or ".join(type_codes)
                detail = f"{self._document.id} is {expected}, and the notice is about {value[:40]!r}"
                raise make_notice_error(path, detail, ANSWER_NOT_UNDERSTOOD)
        if fact_type.type == "datetime" and "T" in value and not _ZONED.search(value):
            transforms.append(f"zone {self._zone}")
            return value + self._zone
        return value

    def _read_attributes(
        self, slot: NoticeElement, element: etree._Element, location: NoticePlace
    ) -> Iterator[NoticeFact]:
        """Yield the facts of the attributes; a unit or currency has no name and belongs to its value."""
        path = location.xpath
        attributes = {attribute.name: attribute for attribute in slot.attributes}
        for name in map(str, element.attrib):
            fixed = slot.fixed_attribute is not None and slot.fixed_attribute[0] == name
            if name not in attributes and not fixed and name != _LOCATION:
                raise make_notice_error(
                    f"{path}/@{name}", f"an attribute that {self._notice.id} does not have here"
                )
        for attribute in slot.attributes:
            text = element.get(attribute.name)
            at = f"{path}/@{attribute.name}"
            if text is None and attribute.is_required:
                raise make_notice_error(at, "nothing where an attribute must be")
            if text is not None:
                yield from self._read_attribute(attribute, str(text), NoticePlace(at, location.occurrence))

    def _read_attribute(
        self, attribute: NoticeAttribute, text: str, location: NoticePlace
    ) -> Iterator[NoticeFact]:
        """Yield the fact of an attribute; without a line it is a unit, and the fact has an empty name."""
        if attribute.line is not None:
            value, transforms = self._invert_text(attribute.line, text, location.xpath)
            if attribute.line.const is None:
                yield self._make_fact(attribute.line, value, location, transforms)
            return
        _check_shape(attribute.shape.find_violation(text), location.xpath)
        unit = attribute.via.invert_value(text) if attribute.via is not None else text
        if unit is None:
            raise make_notice_error(location.xpath, f"{text[:60]!r} is not in the list", CODE_UNKNOWN)
        yield NoticeFact("", unit, location.xpath, attribute.mark)

    def check_conditions(self, facts: Sequence[NoticeFact]) -> None:
        """Raise GW402 for an element that its condition requires and that is missing, or that it forbids."""
        scope = _NoticeScope(facts)
        for slot, path, is_present in self._conditional:
            assert slot.line is not None
            assert slot.line.requirement.when is not None
            holds = slot.line.requirement.when.is_satisfied(scope)
            if holds and not is_present:
                raise make_notice_error(
                    path, "nothing where an element must be, as the notice says elsewhere"
                )
            if is_present and not holds and slot.line.requirement.forbidden_otherwise:
                raise make_notice_error(path, "an element that may not be here, as the notice says elsewhere")


@dataclass(frozen=True, slots=True)
class _NoticeScope(ValueReader):
    """The facts of a notice, for the evaluation of conditions."""

    facts: Sequence[NoticeFact]

    def read_values(self, source: Field, _rule: SourceMark) -> list[NoticeFact]:
        """Return the facts of the whole notice that a condition names."""
        return [fact for fact in self.facts if fact.name == source.name and not fact.occurrence]


def _assign_element(
    assigned: Assigned, family: list[NoticeElement], element: etree._Element, path: str, number: int
) -> None:
    """Add an element, the one with this number of its name, to the first slot of `family` that it fits.

    Raise GW402, with its `path`, where it fits none or where the slot has room for no more.
    """
    for slot in family:
        fits = (
            element.get(slot.fixed_attribute[0]) == slot.fixed_attribute[1]
            if slot.fixed_attribute
            else slot.position in (0, number)
        )
        if not fits:
            continue
        slot_elements = assigned.setdefault(id(slot), [])
        slot_elements.append((element, path))
        high = (
            slot.repetition.bound.high
            if slot.repetition
            else max(slot.line.bound.high if slot.line else 1, 1)
        )
        if len(slot_elements) > high:
            raise make_notice_error(path, f"an element more than {high} {'time' if high == 1 else 'times'}")
        return
    raise make_notice_error(path, "an element that is none of those declared here")


def _add_item_numbers(facts: list[NoticeFact], keys: set[str]) -> Iterator[NoticeFact]:
    """Yield the facts of one item, each with the item's number; raise GW404 for a repeated item."""
    key = next(fact for fact in facts if fact.name == "item")
    if key.value in keys:
        raise make_notice_error(key.xpath, f"item {key.value} again", RULE_BROKEN)
    keys.add(key.value)
    yield from (replace(fact, item=key.value) for fact in facts)


def _read_element_text(element: etree._Element, path: str) -> str:
    """Return the text of an element without children, comments left out; raise GW402 if it is empty."""
    if any(isinstance(child.tag, str) for child in element):
        raise make_notice_error(path, "an element within a value")
    # Comments are no part of the value.
    text = (element.text or "") + "".join(child.tail or "" for child in element)
    if not text:
        raise make_notice_error(path, "an element without a value")
    return text


def _find_piece_problem(slot: NoticeElement, piece: str) -> Violation | None:
    """Return how one piece of a split text breaks the length or the character set of its slot, else None."""
    assert slot.text_piece is not None
    return slot.text_piece.shape.find_violation(piece)


def _check_shape(violation: Violation | None, path: str) -> None:
    """Raise the error for `violation`, if there is one: GW403 for an unknown code, GW402 for any other."""
    if violation is not None:
        problem = CODE_UNKNOWN if violation.problem is CODE_UNKNOWN else DOCUMENT_INVALID
        raise make_notice_error(path, violation.detail, problem)


def _get_step_name(step: FormatStep | TranslationStep) -> str:
    """Return the name of a conversion step for the `transforms` of a fact."""
    if isinstance(step, TranslationStep):
        return f"via {step.code_list.name}@{step.code_list.version}"
    return f"form {step.format_name}"
