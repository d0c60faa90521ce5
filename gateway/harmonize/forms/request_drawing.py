"""Draws a request as a form, reading it back by the lines of the mapping that wrote it.

The only input is the document that was sent to the agency. A value that the mapping does not give to
this agency is not in that document and therefore cannot be in the form. Fields without a value are
drawn too, so that an officer can ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lxml import etree

from gateway.harmonize.forms.request_form import (
    RequestField,
    RequestForm,
    RequestGroup,
    RequestRow,
    RequestSection,
    RequestValue,
    Translations,
)
from gateway.harmonize.language import CommonMeaning, DocumentMapping, Field, MappingBundle, UniqueField
from gateway.harmonize.notices import RequestPlace
from gateway.harmonize.readback import Occurrence, RequestReading, get_home_occurrence, read_request
from gateway.harmonize.split import make_missing_pointer, read_element_text

#: Which value: the field's name, its place, its number among several.
_Key = tuple[str, Occurrence, int]
_SEQUENCE = "item.sequence"


@dataclass(slots=True)
class _ReadText:
    text: str
    unit: str = ""


@dataclass(slots=True)
class _Contents:
    """The values of one request by their keys, and the texts that belong to no field (`others`)."""

    values: dict[_Key, _ReadText] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)
    items: dict[Occurrence, str] = field(default_factory=dict)
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
    item_steps = sorted({_get_item_step(occurrence) for _, occurrence, _ in keys} - {()})
    sections = tuple(drawing.draw_section(occurrence) for occurrence in ((), *item_steps))
    labels = {ask.name: _make_label(ask) for ask in document.ask_names.values()}
    return RequestForm(
        document.id,
        {"ko": document.ko, "en": document.en},
        sections,
        tuple(dict.fromkeys(now.others)),
        {cid: labels[name] for cid, name in now.attachments.items()},
    )


def _read_contents(document: DocumentMapping, bundle: MappingBundle, xml: etree._Element) -> _Contents:
    """Return the values of the request `xml` by field, occurrence and number.

    Constants, values of the hub, positions and counts are left out; texts without a field are in `others`.
    """
    reading = read_request(document, xml)
    contents = _Contents()
    for value in reading.values:
        kind, _, name = value.source.partition(":")
        source_field = _find_field(document, bundle, kind, name)
        text = value.written if value.text is None else value.text
        if source_field is None:
            if kind not in ("const", "hub", "index", "count"):
                contents.others.append((value.source, value.written))
            continue
        source = source_field.key
        home = tuple(
            (step.partition("?")[0], number)
            for step, number in get_home_occurrence(source_field, value.occurrence)
        )
        key = (source, home, value.number)
        if source_field.name == _SEQUENCE:
            contents.items.setdefault(home, text)
        if value.attribute is None:
            contents.values.setdefault(key, _ReadText(text))
            continue
        contents.values.setdefault(key, _ReadText("")).unit = text
        if value.attribute == "cid":
            contents.attachments[text] = source_field.name
    contents.others += _list_unread_texts(reading, xml)
    return contents


def _find_field(document: DocumentMapping, bundle: MappingBundle, kind: str, name: str) -> Field | None:
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
        source.key
        for target in document.root.walk_elements()
        for content in target.converted_sources
        for source in content.source.list_forwarded_sources()
    )


def _get_item_step(occurrence: Occurrence) -> Occurrence:
    return occurrence[:1] if occurrence and occurrence[0][0] == "application.items" else ()


def _list_keys(now: _Contents, before: _Contents | None) -> tuple[_Key, ...]:
    """Return where values are, now or before."""
    return (*now.values, *(() if before is None else before.values.keys() - now.values.keys()))


def _list_numbers(keys: tuple[_Key, ...]) -> dict[tuple[str, Occurrence], list[int]]:
    """Return the numbers of the values of each field at each place, in their order."""
    numbers: dict[tuple[str, Occurrence], list[int]] = {}
    for source, occurrence, number in sorted(keys):
        numbers.setdefault((source, occurrence), []).append(number)
    return numbers


def _make_label(source_field: Field) -> Translations:
    return {"ko": source_field.ko, "en": source_field.en}


@dataclass(slots=True)
class _Drawing:
    document: DocumentMapping
    bundle: MappingBundle
    now: _Contents
    before: _Contents | None
    position: int
    written_sources: frozenset[str]
    keys: tuple[_Key, ...]
    numbers: Mapping[tuple[str, Occurrence], list[int]]

    def draw_section(self, occurrence: Occurrence) -> RequestSection:
        """Draw the fields at a place: of the application, or of one item."""
        in_item = bool(occurrence)
        needs = [
            need.meaning
            for need in self.document.needs
            if need.meaning.in_item == in_item and need.meaning.key in self.written_sources
        ]
        plain = [meaning for meaning in needs if meaning.per in ("header", "item")]
        asks = [ask for ask in self.document.asks if (ask.per == "item") == in_item]
        common = tuple(self._draw_field(meaning, occurrence) for meaning in plain)
        own_fields = tuple(
            self._draw_field(ask, occurrence)
            for ask in asks
            if ask.type != "group" and ask.key in self.written_sources
        )
        groups = [*self._draw_common_groups(needs, occurrence), *self._draw_unique_groups(asks, occurrence)]
        return RequestSection(
            self._find_item(occurrence), common, own_fields, tuple(group for group in groups if group.rows)
        )

    def _find_item(self, occurrence: Occurrence) -> str | None:
        if not occurrence:
            return None
        item = self.now.items.get(occurrence) or (self.before.items.get(occurrence) if self.before else None)
        return item or str(occurrence[0][1])

    def _draw_common_groups(
        self, needs: list[CommonMeaning], occurrence: Occurrence
    ) -> Iterator[RequestGroup]:
        """Yield the drawn group of each meaning group that meanings of `needs` belong to."""
        names = dict.fromkeys(meaning.per for meaning in needs if meaning.per not in ("header", "item"))
        for name in names:
            members = [meaning for meaning in needs if meaning.per == name]
            yield self._draw_group(name, _make_label(members[0]), members, occurrence)

    def _draw_unique_groups(
        self, unique_fields: list[UniqueField], occurrence: Occurrence
    ) -> Iterator[RequestGroup]:
        """Yield the group of each unique field that is a group with values here, and the groups within it."""
        for ask in unique_fields:
            if ask.type == "group":
                members = [member for member in ask.fields if member.key in self.written_sources]
                if members:
                    yield self._draw_group(ask.name, _make_label(ask), members, occurrence)
                yield from self._draw_unique_groups(
                    [inner for inner in ask.fields if inner.type == "group"], occurrence
                )

    def _draw_group(
        self,
        name: str,
        label: Translations,
        members: list[UniqueField] | list[CommonMeaning],
        occurrence: Occurrence,
    ) -> RequestGroup:
        """Return a group as a table: a row for each occurrence below `occurrence`, a column per member."""
        sources = {member.key for member in members}
        occurrences = {
            at
            for source, at, _ in self.keys
            if source in sources and at[: len(occurrence)] == occurrence and len(at) > len(occurrence)
        }
        rows = tuple(
            RequestRow(
                "/".join(str(number) for _, number in at[len(occurrence) :]),
                tuple(self._draw_field(member, at) for member in members),
            )
            for at in sorted(occurrences)
        )
        is_own = isinstance(members[0], UniqueField)
        return RequestGroup(name, label, is_own, tuple(_make_label(member) for member in members), rows)

    def _draw_field(self, source_field: Field, occurrence: Occurrence) -> RequestField:
        """Return a field at `occurrence` with its label, its pointer in the submission, and its values."""
        source = source_field.key
        numbers = self.numbers.get((source, occurrence), ())
        is_own = isinstance(source_field, UniqueField)
        required = (
            source_field.requirement.mandatory
            if isinstance(source_field, UniqueField)
            else self._is_needed(source_field)
        )
        values = tuple(self._draw_value(source_field, occurrence, number) for number in numbers)
        return RequestField(
            source,
            _make_label(source_field),
            is_own,
            self._make_pointer(source_field, occurrence),
            required,
            values,
        )

    def _is_needed(self, meaning: CommonMeaning) -> bool:
        return any(need.meaning is meaning and need.mandatory for need in self.document.needs)

    def _draw_value(self, source_field: Field, occurrence: Occurrence, number: int) -> RequestValue:
        """Return the `number`-th value of a field in `occurrence`, with the previous one if it changed."""
        key = source_field.key, occurrence, number
        current = self.now.values.get(key)
        old = None if self.before is None else self.before.values.get(key)
        changed = self.before is not None and current != old
        value = RequestValue(
            text="" if current is None else current.text,
            unit="" if current is None or source_field.attribute == "cid" else current.unit,
            changed=changed,
            previous=f"{old.text} {old.unit}".strip() if changed and old is not None else None,
        )
        if source_field.attribute == "cid" and current is not None:
            value = replace(value, text=current.unit)
        return replace(value, code_label=self._find_code_label(source_field, value.text))

    def _find_code_label(self, source_field: Field, code: str) -> Translations | None:
        """Return the labels of `code` from the codes of the field or from its code list, None without any."""
        own_labels: Mapping[str, tuple[str, str]] = (
            source_field.labels if isinstance(source_field, UniqueField) else {}
        )
        listed = self.bundle.lists.get(source_field.shape.list_name or "")
        label = own_labels.get(code) or (listed.labels.get(code) if listed is not None else None)
        return None if label is None else {"ko": label[0], "en": label[1]}

    def _make_pointer(self, source_field: Field, occurrence: Occurrence) -> str:
        """Return the pointer of a field in the submission, where `occurrence` is its place in the request."""
        item = self._find_item(_get_item_step(occurrence))
        if isinstance(source_field, CommonMeaning):
            return make_missing_pointer(
                source_field, item if source_field.in_item else None, self._list_positions(occurrence)
            )
        return "/".join(
            [
                f"APP[{self.position}]",
                self.document.id,
                *([f"ITEM[{item}]"] if item is not None else []),
                *self._make_group_steps(source_field, occurrence),
                f"{source_field.tag}[1]" if item is not None and not source_field.group else source_field.tag,
            ]
        )

    def _list_positions(self, occurrence: Occurrence) -> dict[str, int]:
        """Return the position of each group of the dictionary at a place, by the path of its element."""
        dictionary = self.bundle.dictionary
        groups = ((dictionary.groups.get(name), number) for name, number in occurrence)
        return {dictionary.make_group_path(group): number for group, number in groups if group is not None}

    def _make_group_steps(self, source_field: UniqueField, occurrence: Occurrence) -> Iterator[str]:
        numbers = dict(occurrence)
        name = ""
        for part in source_field.group.split(".") if source_field.group else ():
            name = f"{name}.{part}" if name else part
            yield f"{self.document.ask_names[name].tag}[{numbers.get(name, 1)}]"


#: A place without an item is named in at most this number of items; else the whole application is named.
_MAX_NAMED_ITEMS = 20


def list_place_pointers(
    places: Iterable[RequestPlace], form: RequestForm, *, position: int
) -> tuple[str, ...]:
    """Return where the places are in the submission, each pointer once, in the order of the places.

    `form` is the request that the agency was sent, `position` that of its application. A place that
    is no single field is the item that it names, else the application.
    """
    index: dict[tuple[str, str | None], list[str]] = {}
    for section in form.sections:
        for drawn in section.list_fields():
            index.setdefault((drawn.name, section.item), []).append(drawn.pointer)
    items = [section.item for section in form.sections]
    pointers: dict[str, None] = {}
    for request_place in places:
        exact = (
            list(_list_field_pointers(request_place, index, items)) if request_place.is_single_leaf else []
        )
        enclosing_pointer = f"APP[{position}]/{form.document}" + (
            f"/ITEM[{request_place.item}]" if request_place.item else ""
        )
        pointers |= dict.fromkeys(exact if 0 < len(exact) <= _MAX_NAMED_ITEMS else [enclosing_pointer])
    return tuple(pointers)


def _list_field_pointers(
    request_place: RequestPlace, index: dict[tuple[str, str | None], list[str]], items: list[str | None]
) -> Iterator[str]:
    """Yield from `index` the pointers of the fields whose values are written at `request_place`.

    `index` is keyed by field and item; for a place outside the items all `items` are searched.
    """
    wanted_items = items if request_place.item is None else [None, request_place.item]
    for content in request_place.target.converted_sources:
        for source in content.source.list_forwarded_sources():
            yield from (pointer for item in wanted_items for pointer in index.get((source.key, item), ()))
