"""Draws a request as a form, reading it back by the lines of the mapping that wrote it.

The input is the document that the agency was sent, and nothing else: a value that the mapping does
not give to this agency is not in it, so it cannot be in the form. Fields without a value are drawn
too, so that an officer can ask for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from lxml import etree

from gateway.harmonize.inverse import Place, RequestReading, get_home_place, read_request
from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.submission import make_missing_pointer, read_element_text
from gateway.harmonize.tools.requests.request_form import (
    FormField,
    FormGroup,
    FormRow,
    FormSection,
    FormValue,
    RequestForm,
    Words,
)
from gateway.harmonize.types import CommonMeaning, UniqueField

__all__ = ["draw_request"]

_Asked = UniqueField | CommonMeaning
#: Which value: the field's name, its place, its number among several.
_Key = tuple[str, Place, int]
_SEQUENCE = "item.sequence"


@dataclass(slots=True)
class _Found:
    text: str
    unit: str = ""


@dataclass(slots=True)
class _Contents:
    """The values of one request by their keys, and what no field explains."""

    values: dict[_Key, _Found] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)
    items: dict[Place, str] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)


def draw_request(
    document: DocumentMapping,
    bundle: MappingBundle,
    xml: etree._Element,
    *,
    position: int = 1,
    earlier: etree._Element | None = None,
) -> RequestForm:
    """Return the request `xml` as a form; `earlier` is the request before the supplement.

    `position` is that of the application in the submission, for the pointers.
    """
    now = _read_contents(document, bundle, xml)
    before = None if earlier is None else _read_contents(document, bundle, earlier)
    keys = _list_keys(now, before)
    drawing = _Drawing(
        document, bundle, now, before, position, _list_written_sources(document), keys, _list_numbers(keys)
    )
    places = sorted({_get_item_step(place) for _, place, _ in keys} - {()})
    sections = tuple(drawing.draw_section(place) for place in ((), *places))
    labels = {ask.name: _make_words(ask) for ask in document.ask_names.values()}
    return RequestForm(
        document.id,
        {"ko": document.ko, "en": document.en},
        sections,
        tuple(dict.fromkeys(now.others)),
        {cid: labels[name] for cid, name in now.attachments.items()},
    )


def _read_contents(document: DocumentMapping, bundle: MappingBundle, xml: etree._Element) -> _Contents:
    reading = read_request(document, xml)
    found = _Contents()
    for value in reading.values:
        kind, _, name = value.source.partition(":")
        asked = _find_field(document, bundle, kind, name)
        text = value.written if value.text is None else value.text
        if asked is None:
            if kind not in ("const", "hub", "index", "count"):
                found.others.append((value.source, value.written))
            continue
        source = ("ask" if isinstance(asked, UniqueField) else "common") + f":{asked.name}"
        home = tuple((step.partition("?")[0], number) for step, number in get_home_place(asked, value.place))
        key = (source, home, value.number)
        if asked.name == _SEQUENCE:
            found.items.setdefault(home, text)
        if value.attribute is None:
            found.values.setdefault(key, _Found(text))
            continue
        found.values.setdefault(key, _Found("")).unit = text
        if value.attribute == "cid":
            found.attachments[text] = asked.name
    found.others += _list_unread_texts(reading, xml)
    return found


def _find_field(document: DocumentMapping, bundle: MappingBundle, kind: str, name: str) -> _Asked | None:
    if kind == "ask":
        return document.ask_names.get(name)
    return bundle.dictionary.meanings.get(name) if kind in ("common", "serial") else None


def _list_unread_texts(reading: RequestReading, xml: etree._Element) -> Iterator[tuple[str, str]]:
    """Yield the texts of elements that no line of the mapping wrote: it has changed since."""
    for element in xml.iter(tag=etree.Element):
        text = read_element_text(element)
        if element not in reading.paths and text and not len(element):
            yield etree.QName(element).localname, text


def _list_written_sources(document: DocumentMapping) -> frozenset[str]:
    """Return the fields that some line writes into the request: the others never reach the agency."""
    return frozenset(
        _get_source(source)
        for target in document.root.walk_elements()
        for content in target.converted_sources
        for source in content.source.list_forwarded_sources()
    )


def _get_item_step(place: Place) -> Place:
    return place[:1] if place and place[0][0] == "application.items" else ()


def _list_keys(now: _Contents, before: _Contents | None) -> tuple[_Key, ...]:
    """Return where values are, now or before."""
    return (*now.values, *(() if before is None else before.values.keys() - now.values.keys()))


def _list_numbers(keys: tuple[_Key, ...]) -> dict[tuple[str, Place], list[int]]:
    """Return the numbers of the values of each field at each place, in their order."""
    found: dict[tuple[str, Place], list[int]] = {}
    for source, place, number in sorted(keys):
        found.setdefault((source, place), []).append(number)
    return found


def _make_words(asked: _Asked) -> Words:
    return {"ko": asked.ko, "en": asked.en}


@dataclass(slots=True)
class _Drawing:
    document: DocumentMapping
    bundle: MappingBundle
    now: _Contents
    before: _Contents | None
    position: int
    written: frozenset[str]
    keys: tuple[_Key, ...]
    numbers: Mapping[tuple[str, Place], list[int]]

    def draw_section(self, place: Place) -> FormSection:
        """Draw the fields at a place: of the application, or of one item."""
        in_item = bool(place)
        needs = [
            need.meaning
            for need in self.document.needs
            if need.meaning.in_item == in_item and _get_source(need.meaning) in self.written
        ]
        plain = [one for one in needs if one.per in ("header", "item")]
        asks = [one for one in self.document.asks if (one.per == "item") == in_item]
        common = tuple(self._draw_field(one, place) for one in plain)
        own = tuple(
            self._draw_field(one, place)
            for one in asks
            if one.type != "group" and _get_source(one) in self.written
        )
        groups = [*self._draw_common_groups(needs, place), *self._draw_asked_groups(asks, place)]
        return FormSection(self._find_item(place), common, own, tuple(one for one in groups if one.rows))

    def _find_item(self, place: Place) -> str | None:
        if not place:
            return None
        known = self.now.items.get(place) or (self.before.items.get(place) if self.before else None)
        return known or str(place[0][1])

    def _draw_common_groups(self, needs: list[CommonMeaning], place: Place) -> Iterator[FormGroup]:
        names = dict.fromkeys(one.per for one in needs if one.per not in ("header", "item"))
        for name in names:
            members = [one for one in needs if one.per == name]
            yield self._draw_group(name, _make_words(members[0]), members, place)

    def _draw_asked_groups(self, asks: list[UniqueField], place: Place) -> Iterator[FormGroup]:
        for ask in asks:
            if ask.type == "group":
                members = [one for one in ask.fields if _get_source(one) in self.written]
                if members:
                    yield self._draw_group(ask.name, _make_words(ask), members, place)
                yield from self._draw_asked_groups([one for one in ask.fields if one.type == "group"], place)

    def _draw_group(
        self, name: str, label: Words, members: list[UniqueField] | list[CommonMeaning], place: Place
    ) -> FormGroup:
        sources = {_get_source(one) for one in members}
        found = {
            at
            for source, at, _ in self.keys
            if source in sources and at[: len(place)] == place and len(at) > len(place)
        }
        rows = tuple(
            FormRow(
                "/".join(str(number) for _, number in at[len(place) :]),
                tuple(self._draw_field(one, at) for one in members),
            )
            for at in sorted(found)
        )
        own = isinstance(members[0], UniqueField)
        return FormGroup(name, label, own, tuple(_make_words(one) for one in members), rows)

    def _draw_field(self, asked: _Asked, place: Place) -> FormField:
        source = _get_source(asked)
        numbers = self.numbers.get((source, place), ())
        own = isinstance(asked, UniqueField)
        required = asked.requirement.mandatory if isinstance(asked, UniqueField) else self._is_needed(asked)
        values = tuple(self._draw_value(asked, (source, place, number)) for number in numbers)
        return FormField(source, _make_words(asked), own, self._make_pointer(asked, place), required, values)

    def _is_needed(self, meaning: CommonMeaning) -> bool:
        return any(need.meaning is meaning and need.mandatory for need in self.document.needs)

    def _draw_value(self, asked: _Asked, key: _Key) -> FormValue:
        found = self.now.values.get(key)
        old = None if self.before is None else self.before.values.get(key)
        changed = self.before is not None and found != old
        value = FormValue(
            text="" if found is None else found.text,
            unit="" if found is None or asked.attribute == "cid" else found.unit,
            changed=changed,
            previous=f"{old.text} {old.unit}".strip() if changed and old is not None else None,
        )
        if asked.attribute == "cid" and found is not None:
            value = replace(value, text=found.unit)
        return replace(value, words=self._find_words(asked, value.text))

    def _find_words(self, asked: _Asked, code: str) -> Words | None:
        own: Mapping[str, tuple[str, str]] = asked.labels if isinstance(asked, UniqueField) else {}
        listed = self.bundle.lists.get(asked.shape.list_name or "")
        words = own.get(code) or (listed.labels.get(code) if listed is not None else None)
        return None if words is None else {"ko": words[0], "en": words[1]}

    def _make_pointer(self, asked: _Asked, place: Place) -> str:
        item = self._find_item(_get_item_step(place))
        if isinstance(asked, CommonMeaning):
            return make_missing_pointer(asked, item if asked.in_item else None, self._list_positions(place))
        return "/".join(
            [
                f"APP[{self.position}]",
                self.document.id,
                *([f"ITEM[{item}]"] if item is not None else []),
                *self._make_group_steps(asked, place),
                f"{asked.tag}[1]" if item is not None and not asked.group else asked.tag,
            ]
        )

    def _list_positions(self, place: Place) -> dict[str, int]:
        """Return the position of each group of the dictionary at a place, by the path of its element."""
        dictionary = self.bundle.dictionary
        groups = ((dictionary.groups.get(name), number) for name, number in place)
        return {dictionary.make_group_path(one): number for one, number in groups if one is not None}

    def _make_group_steps(self, asked: UniqueField, place: Place) -> Iterator[str]:
        numbers = dict(place)
        name = ""
        for part in asked.group.split(".") if asked.group else ():
            name = f"{name}.{part}" if name else part
            yield f"{self.document.ask_names[name].tag}[{numbers.get(name, 1)}]"


def _get_source(asked: _Asked) -> str:
    return f"{'ask' if isinstance(asked, UniqueField) else 'common'}:{asked.name}"
