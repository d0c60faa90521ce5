"""The fields that the templates draw: each with its label, its value, its hints and its errors.

The keys of the form are the names of the input elements. The ids of these elements are the keys without the
characters that have a meaning in URLs and style sheets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from gateway.harmonize import (
    FormField,
    FormValues,
    MappingBundle,
    count_occurrences,
    list_field_codes,
    write_sentence,
)
from gateway.store import DraftFileSummaryRow
from gateway.wire import convert_to_utc, convert_to_zone, parse_day, parse_iso_datetime

#: A list with more codes is offered while one types, and not as a drop-down list.
_MOST_CHOICES: Final = 60
_LONG_TEXT: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_LISTS: Final = {"unitCode": "rec20", "currencyID": "iso4217"}


@dataclass(frozen=True, slots=True)
class FieldNode:
    """One input: `kind` says which element it is; `unit` is the input of its unit beside it."""

    key: str
    id: str
    label: str
    kind: str
    value: str
    required: bool = False
    hints: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: str = ""
    longest: int | None = None
    unit: FieldNode | None = None
    file: DraftFileSummaryRow | None = None
    accept: str = ""

    @property
    def described_by(self) -> str:
        """Return the ids of the hints and errors of the input."""
        names = [f"{self.id}-hint"] if self.hints else []
        return " ".join([*names, *([f"{self.id}-error"] if self.errors else [])])


@dataclass(frozen=True, slots=True)
class OccurrenceNode:
    """One occurrence of a group, or of a repeated field."""

    number: int
    nodes: tuple[FieldNode | GroupNode, ...]


@dataclass(frozen=True, slots=True)
class GroupNode:
    """Fields that stand together; where they may be repeated, with a button for one more."""

    key: str
    name: str
    id: str
    label: str
    occurrences: tuple[OccurrenceNode, ...]
    repeated: bool
    can_add: bool = False
    errors: tuple[str, ...] = ()
    kind: str = "group"


@dataclass(frozen=True, slots=True)
class SectionView:
    """Fields under one heading: those that are needed, and those that may apply."""

    title: str
    needed: tuple[FieldNode | GroupNode, ...]
    optional: tuple[FieldNode | GroupNode, ...] = ()

    @property
    def opens(self) -> bool:
        """Return whether the fields that may apply are shown at once: some have a value or an error."""
        return any(_has_content(node) for node in self.optional)


def _has_content(node: FieldNode | GroupNode) -> bool:
    """Return whether an input, or a group or one of its inputs, has a value, an error or a file."""
    if isinstance(node, FieldNode):
        return bool(node.value or node.errors or node.file)
    return (
        bool(node.errors)
        or bool(node.occurrences and node.repeated)
        or any(_has_content(inner) for occurrence in node.occurrences for inner in occurrence.nodes)
    )


@dataclass(frozen=True, slots=True)
class _InputElement:
    """The HTML element of a field: its kind, its choices, and the id of its list of suggestions."""

    kind: str
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: str = ""


@dataclass(slots=True)
class FormPainter:
    """Makes the nodes of a page: for a language, with the values, the files and the errors by key."""

    bundle: MappingBundle
    language: str
    values: FormValues
    zone: ZoneInfo
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, DraftFileSummaryRow] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def draw_section(
        self, title: str, parent_key: str, fields: Iterable[FormField], documents: Sequence[str]
    ) -> SectionView:
        """Return the section of these fields at a place; `documents` are those that concern it."""
        needed: list[FieldNode | GroupNode] = []
        optional: list[FieldNode | GroupNode] = []
        for form_field in fields:
            node = self._draw_field(parent_key, form_field, documents)
            is_needed = self._is_needed(form_field, documents)
            (needed if is_needed else optional).append(node)
        return SectionView(title, tuple(needed), tuple(optional))

    def _is_needed(self, form_field: FormField, documents: Sequence[str]) -> bool:
        """Return whether a field is in the needed part of its section: needed always, or on a condition."""
        concerned_documents = set(documents)
        conditional = any(
            use.when is not None and use.document in concerned_documents for use in form_field.uses
        )
        return (
            form_field.is_needed(documents)
            or conditional
            or any(
                member.source is not None and self._is_needed(member, documents)
                for member in form_field.fields
            )
        )

    def _draw_field(
        self, parent_key: str, form_field: FormField, documents: Sequence[str]
    ) -> FieldNode | GroupNode:
        """Return the node of a field: one input, or a group of inputs if it is repeated or has members."""
        if form_field.pinned is not None:
            return self._draw_pinned(parent_key, form_field, documents)
        if form_field.is_group:
            return self._draw_group(parent_key, form_field, documents)
        if form_field.is_repeated:
            return self._draw_repeated(parent_key, form_field, documents)
        return self.draw_input(f"{parent_key}/{form_field.name}", form_field, documents)

    def _draw_pinned(self, parent_key: str, form_field: FormField, documents: Sequence[str]) -> GroupNode:
        """Return the group of a field whose one occurrence the common meaning `form_field.pinned` selects."""
        group_key = f"{parent_key}/{form_field.name}"
        nodes = tuple(self._draw_field(group_key, member, documents) for member in form_field.fields)
        label = self._choose_label(form_field)
        return GroupNode(
            parent_key, form_field.name, make_element_id(group_key), label, (OccurrenceNode(0, nodes),), False
        )

    def _draw_group(self, parent_key: str, form_field: FormField, documents: Sequence[str]) -> GroupNode:
        """Return the group with an occurrence for each stored one; at least one if the group is mandatory."""
        count = max(
            count_occurrences(self.values.values, parent_key, form_field.name), form_field.repeat.low and 1
        )
        count = max(count, 1) if form_field.repeat.low == form_field.repeat.high == 1 else count
        occurrences = []
        for number in range(1, count + 1):
            occurrence_key = f"{parent_key}/{form_field.name}#{number}"
            nodes = tuple(self._draw_field(occurrence_key, member, documents) for member in form_field.fields)
            occurrences.append(OccurrenceNode(number, nodes))
        return self._make_repeated_node(parent_key, form_field, tuple(occurrences))

    def _draw_repeated(self, parent_key: str, form_field: FormField, documents: Sequence[str]) -> GroupNode:
        """Return the group of one input for each value of the field; at least one if a document needs it."""
        count = max(
            count_occurrences(self.values.values, parent_key, form_field.name),
            int(form_field.is_needed(documents)),  # bounded: a truth value
        )
        occurrences = tuple(
            OccurrenceNode(
                number, (self.draw_input(f"{parent_key}/{form_field.name}#{number}", form_field, documents),)
            )
            for number in range(1, count + 1)
        )
        return self._make_repeated_node(parent_key, form_field, occurrences)

    def _make_repeated_node(
        self, parent_key: str, form_field: FormField, occurrences: tuple[OccurrenceNode, ...]
    ) -> GroupNode:
        """Return the group of the occurrences; it shows the errors of the field if it has no occurrence."""
        key = f"{parent_key}/{form_field.name}"
        first_key = f"{key}#1"
        errors = (
            () if occurrences else tuple(self.errors.get(key, ())) + tuple(self.errors.get(first_key, ()))
        )
        return GroupNode(
            parent_key,
            form_field.name,
            make_element_id(key),
            self._choose_label(form_field),
            occurrences,
            form_field.is_repeated,
            (len(occurrences) < form_field.repeat.high and form_field.is_repeated) or not occurrences,
            errors,
        )

    def draw_input(self, key: str, form_field: FormField, documents: Sequence[str] = ()) -> FieldNode:
        """Return the input of a field that is no group."""
        value = self.values.values.get(key, "")
        element = self._choose_element(form_field, value)
        kind = element.kind
        if kind == "datetime-local":
            value = to_local_moment(value, self.zone)
        return FieldNode(
            key,
            make_element_id(key),
            self._choose_label(form_field),
            kind,
            value,
            form_field.is_needed(documents),
            tuple(self._list_hints(form_field, documents)),
            tuple(dict.fromkeys(self.errors.get(key, ()))),
            element.choices,
            element.suggestions,
            form_field.shape.get_max_length() if kind in ("text", "textarea") else None,
            self._draw_unit(key, form_field),
            self.files.get(value) if kind == "file" else None,
            ",".join(getattr(form_field.source, "mime", ())) if kind == "file" else "",
        )

    def _draw_unit(self, key: str, form_field: FormField) -> FieldNode | None:
        """Return the input for the unit or currency of the field at `key`; None if the field has neither."""
        if form_field.attribute is None:
            return None
        unit_key, value = f"{key}@", self.values.values.get(f"{key}@", "")
        label = self.texts["currency" if form_field.attribute == "currencyID" else "unit"]
        kind, suggestions = "text", ""
        choices: tuple[tuple[str, str], ...] = ()
        if form_field.units and len(form_field.units) <= _MOST_CHOICES:
            kind, choices = "select", self._label_codes(form_field.units, _LISTS[form_field.attribute], value)
        else:
            suggestions = self._add_suggestions(_LISTS[form_field.attribute])
        errors = tuple(dict.fromkeys(self.errors.get(unit_key, ())))
        return FieldNode(
            unit_key, make_element_id(unit_key), label, kind, value, errors=errors, choices=choices,
            suggestions=suggestions, longest=3,
        )  # fmt: skip

    def _label_codes(self, codes: Iterable[str], list_name: str, value: str) -> tuple[tuple[str, str], ...]:
        """Return the choices of codes with labels; a `value` that is not among them is added as the first."""
        listed = self.bundle.lists.get(list_name)
        labels = {} if listed is None else listed.labels
        choices = [(code, self._join_code(code, *labels.get(code, ("", "")))) for code in codes]
        # A value that is no longer a code is shown unchanged, with its error.
        return tuple(choices if not value or value in dict(choices) else [(value, value), *choices])

    def _join_code(self, code: str, korean: str, english: str) -> str:
        label = korean if self.language == "ko" else english
        return f"{code} – {label}" if label else code

    def _add_suggestions(self, list_name: str) -> str:
        """Return the id of the page's list of codes, which is drawn once."""
        listed = self.bundle.lists.get(list_name)
        if listed is None or not listed.codes:
            return ""
        if list_name not in self.lists:
            self.lists[list_name] = tuple(
                (code, self._join_code(code, *listed.labels.get(code, ("", "")))) for code in listed.codes
            )
        return f"list-{_UNSAFE.sub('-', list_name)}"

    def _choose_element(self, form_field: FormField, value: str) -> _InputElement:
        """Return the HTML element for a field; a value that the element could not show gets a text field."""
        if form_field.kind == "attachment":
            return _InputElement("file")
        if form_field.kind == "boolean":
            answers: tuple[tuple[str, str], ...] = (
                ("true", self.texts["yes"]),
                ("false", self.texts["no"]),
            )
            if value not in ("", *dict(answers)):
                answers = ((value, value), *answers)
            return _InputElement("select", answers)
        codes = list_field_codes(form_field, self.bundle)
        if codes and form_field.shape.codes is not None and len(codes) <= _MOST_CHOICES:
            choices = [(code, self._join_code(code, *labels)) for code, labels in codes.items()]
            if value and value not in codes:
                choices.insert(0, (value, value))
            return _InputElement("select", tuple(choices))
        if codes:
            return _InputElement("text", suggestions=self._add_suggestions(form_field.shape.list_name))
        if form_field.kind == "datetime":
            is_shown = not value or to_local_moment(value, self.zone)
            return _InputElement("datetime-local" if is_shown else "text")
        if form_field.kind == "date" and (not value or parse_day(value) is not None):
            return _InputElement("date")
        if form_field.kind in ("integer", "amount", "measure", "quantity", "decimal"):
            return _InputElement("number")
        max_length = form_field.shape.get_max_length()
        # A browser removes line ends from a field of one line.
        is_long = (max_length is not None and max_length >= _LONG_TEXT) or "\n" in value
        return _InputElement("textarea" if is_long else "text")

    def _list_hints(self, form_field: FormField, documents: Sequence[str]) -> Iterator[str]:
        """Yield the conditions under which documents need or exclude the field, and who needs it."""
        concerned_documents = set(documents)
        for use in form_field.uses:
            if use.when is not None and use.document in concerned_documents:
                word_key = "only" if use.forbidden else "when"
                yield self.texts[word_key].format(condition=write_sentence(use.when, self.language))
        needing = [
            use.document for use in form_field.uses if use.mandatory and use.document in concerned_documents
        ]
        if needing and len(needing) < len(concerned_documents):
            yield self.texts["for"].format(documents=", ".join(needing))

    def _choose_label(self, form_field: FormField) -> str:
        return form_field.ko if self.language == "ko" else form_field.en


def list_inputs(nodes: Iterable[FieldNode | GroupNode]) -> Iterator[FieldNode]:
    """Yield every input of some nodes, units after their values."""
    for node in nodes:
        if isinstance(node, FieldNode):
            yield node
            if node.unit is not None:
                yield node.unit
            continue
        for occurrence in node.occurrences:
            yield from list_inputs(occurrence.nodes)


def make_element_id(key: str) -> str:
    """Return the id of the input of a key."""
    return "f-" + _UNSAFE.sub(lambda match: f"_{ord(match[0]):x}_", key)


def to_local_moment(text: str, zone: ZoneInfo) -> str:
    """Return a time as a browser's input needs it, in the zone of the hub; empty if `text` is no time."""
    try:
        moment = parse_iso_datetime(text)
    except ValueError:
        return ""
    local = convert_to_zone(moment, zone) if moment.tzinfo else moment
    # An input has no zone but that of the hub, in which the ends of the calendar may have no time.
    if local.tzinfo not in (None, zone) or len(text) < len("2026-11-20T09:00"):
        return ""
    return local.replace(tzinfo=None).isoformat(timespec="seconds" if local.second else "minutes")


def to_stated_moment(text: str, zone: ZoneInfo) -> str:
    """Return the text of an input as a time with its zone; other text unchanged."""
    try:
        moment = parse_iso_datetime(text)
        stated_zone = moment.tzinfo or zone
        moment = convert_to_zone(convert_to_utc(moment.replace(tzinfo=stated_zone)), stated_zone)
    except ValueError:
        return text
    return text if len(text) < len("2026-11-20T09:00") else moment.isoformat(timespec="seconds")
