"""What the templates draw: each field with its label, its value, its hints and its errors.

The keys of the form name the input elements; their ids are the same without signs that have a meaning in
URLs and style sheets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Row

from gateway.harmonize import (
    FormField,
    FormValues,
    MappingBundle,
    count_occurrences,
    list_field_codes,
    write_sentence,
)

__all__ = [
    "FieldNode",
    "FormPainter",
    "GroupNode",
    "OccurrenceNode",
    "SectionView",
    "list_leaf_keys",
    "make_element_id",
    "to_local_moment",
    "to_stated_moment",
]

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
    file: Row[object] | None = None
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

    place: str
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
    further: tuple[FieldNode | GroupNode, ...] = ()

    @property
    def opens(self) -> bool:
        """Return whether the fields that may apply are shown at once: some have a value or an error."""
        return any(_says_something(one) for one in self.further)


def _says_something(node: FieldNode | GroupNode) -> bool:
    if isinstance(node, FieldNode):
        return bool(node.value or node.errors or node.file)
    return (
        bool(node.errors)
        or bool(node.occurrences and node.repeated)
        or any(_says_something(inner) for one in node.occurrences for inner in one.nodes)
    )


@dataclass(slots=True)
class FormPainter:
    """Makes the nodes of a page: for a language, with the values, the files and the errors by key."""

    bundle: MappingBundle
    language: str
    values: FormValues
    zone: ZoneInfo
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, Row[object]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def draw_section(
        self, title: str, place: str, fields: Iterable[FormField], documents: Sequence[str]
    ) -> SectionView:
        """Return the section of these fields at a place; `documents` are those that concern it."""
        needed: list[FieldNode | GroupNode] = []
        further: list[FieldNode | GroupNode] = []
        for one in fields:
            node = self._draw_field(place, one, documents)
            wanted = self._is_wanted(one, documents)
            (needed if wanted else further).append(node)
        return SectionView(title, tuple(needed), tuple(further))

    def _is_wanted(self, one: FormField, documents: Sequence[str]) -> bool:
        """Return whether a field stands among the needed ones: always needed, or on a condition."""
        wanted = set(documents)
        conditional = any(use.when is not None and use.document in wanted for use in one.uses)
        return (
            one.is_needed(documents)
            or conditional
            or any(member.source is not None and self._is_wanted(member, documents) for member in one.fields)
        )

    def _draw_field(self, place: str, one: FormField, documents: Sequence[str]) -> FieldNode | GroupNode:
        if one.pinned is not None:
            return self._draw_pinned(place, one, documents)
        if one.is_group:
            return self._draw_group(place, one, documents)
        if one.is_repeated:
            return self._draw_repeated(place, one, documents)
        return self._draw_input(f"{place}/{one.name}", one, documents)

    def _draw_pinned(self, place: str, one: FormField, documents: Sequence[str]) -> GroupNode:
        inner = f"{place}/{one.name}"
        nodes = tuple(self._draw_field(inner, member, documents) for member in one.fields)
        label = self._label(one)
        return GroupNode(place, one.name, make_element_id(inner), label, (OccurrenceNode(0, nodes),), False)

    def _draw_group(self, place: str, one: FormField, documents: Sequence[str]) -> GroupNode:
        count = max(count_occurrences(self.values.values, place, one.name), one.repeat[0] and 1)
        count = max(count, 1) if one.repeat == (1, 1) else count
        occurrences = []
        for number in range(1, count + 1):
            inner = f"{place}/{one.name}#{number}"
            nodes = tuple(self._draw_field(inner, member, documents) for member in one.fields)
            occurrences.append(OccurrenceNode(number, nodes))
        return self._make_repeated_node(place, one, tuple(occurrences))

    def _draw_repeated(self, place: str, one: FormField, documents: Sequence[str]) -> GroupNode:
        count = max(count_occurrences(self.values.values, place, one.name), int(one.is_needed(documents)))
        occurrences = tuple(
            OccurrenceNode(number, (self._draw_input(f"{place}/{one.name}#{number}", one, documents),))
            for number in range(1, count + 1)
        )
        return self._make_repeated_node(place, one, occurrences)

    def _make_repeated_node(
        self, place: str, one: FormField, occurrences: tuple[OccurrenceNode, ...]
    ) -> GroupNode:
        key = f"{place}/{one.name}"
        first = f"{key}#1"
        errors = () if occurrences else tuple(self.errors.get(key, ())) + tuple(self.errors.get(first, ()))
        return GroupNode(
            place,
            one.name,
            make_element_id(key),
            self._label(one),
            occurrences,
            one.is_repeated,
            (len(occurrences) < one.repeat[1] and one.is_repeated) or not occurrences,
            errors,
        )

    def _draw_input(self, key: str, one: FormField, documents: Sequence[str]) -> FieldNode:
        value = self.values.values.get(key, "")
        kind, choices, suggestions = self._choose_element(one, value)
        if kind == "datetime-local":
            value = to_local_moment(value, self.zone)
        return FieldNode(
            key,
            make_element_id(key),
            self._label(one),
            kind,
            value,
            one.is_needed(documents),
            tuple(self._list_hints(one, documents)),
            tuple(dict.fromkeys(self.errors.get(key, ()))),
            choices,
            suggestions,
            one.shape.get_max_length() if kind in ("text", "textarea") else None,
            self._draw_unit(key, one),
            self.files.get(value) if kind == "file" else None,
            ",".join(getattr(one.source, "mime", ())) if kind == "file" else "",
        )

    def _draw_unit(self, key: str, one: FormField) -> FieldNode | None:
        if one.attribute is None:
            return None
        name, value = f"{key}@", self.values.values.get(f"{key}@", "")
        label = self.words["currency" if one.attribute == "currencyID" else "unit"]
        kind, suggestions = "text", ""
        choices: tuple[tuple[str, str], ...] = ()
        if one.units and len(one.units) <= _MOST_CHOICES:
            kind, choices = "select", self._label_codes(one.units, _LISTS[one.attribute], value)
        else:
            suggestions = self._suggest(_LISTS[one.attribute])
        errors = tuple(dict.fromkeys(self.errors.get(name, ())))
        return FieldNode(
            name, make_element_id(name), label, kind, value, errors=errors, choices=choices,
            suggestions=suggestions, longest=3,
        )  # fmt: skip

    def _label_codes(self, codes: Iterable[str], name: str, value: str) -> tuple[tuple[str, str], ...]:
        listed = self.bundle.lists.get(name)
        labels = {} if listed is None else listed.labels
        found = [(code, self._join_code(code, labels.get(code, ("", "")))) for code in codes]
        # A value that is no code any more is shown as it is, and its error beside it.
        return tuple(found if not value or value in dict(found) else [(value, value), *found])

    def _join_code(self, code: str, labels: tuple[str, str]) -> str:
        label = labels[0] if self.language == "ko" else labels[1]
        return f"{code} – {label}" if label else code

    def _suggest(self, name: str) -> str:
        """Return the id of the page's list of codes, which is drawn once."""
        listed = self.bundle.lists.get(name)
        if listed is None or not listed.codes:
            return ""
        if name not in self.lists:
            self.lists[name] = tuple(
                (code, self._join_code(code, listed.labels.get(code, ("", "")))) for code in listed.codes
            )
        return f"list-{_UNSAFE.sub('-', name)}"

    def _choose_element(self, one: FormField, value: str) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """Return the kind of the input, its choices, and the list of its suggestions."""
        if one.kind == "attachment":
            return "file", (), ""
        if one.kind == "boolean":
            return "select", (("true", self.words["yes"]), ("false", self.words["no"])), ""
        codes = list_field_codes(one, self.bundle)
        if codes and one.shape.codes is not None and len(codes) <= _MOST_CHOICES:
            found = [(code, self._join_code(code, labels)) for code, labels in codes.items()]
            return "select", tuple(found if not value or value in codes else [(value, value), *found]), ""
        if codes:
            return "text", (), self._suggest(one.shape.list_name)
        if one.kind == "datetime":
            return ("datetime-local" if not value or to_local_moment(value, self.zone) else "text"), (), ""
        if one.kind == "date" and (not value or re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
            return "date", (), ""
        if one.kind in ("integer", "amount", "measure", "quantity", "decimal"):
            return "number", (), ""
        longest = one.shape.get_max_length()
        return ("textarea" if longest is not None and longest >= _LONG_TEXT else "text"), (), ""

    def _list_hints(self, one: FormField, documents: Sequence[str]) -> Iterator[str]:
        wanted = set(documents)
        for use in one.uses:
            if use.when is not None and use.document in wanted:
                words = "only" if use.forbidden else "when"
                yield self.words[words].format(condition=write_sentence(use.when, self.language))
        needing = [use.document for use in one.uses if use.mandatory and use.document in wanted]
        if needing and len(needing) < len(wanted):
            yield self.words["for"].format(documents=", ".join(needing))

    def _label(self, one: FormField) -> str:
        return one.ko if self.language == "ko" else one.en


def list_leaf_keys(nodes: Iterable[FieldNode | GroupNode]) -> Iterator[FieldNode]:
    """Yield every input of some nodes, units after their values."""
    for node in nodes:
        if isinstance(node, FieldNode):
            yield node
            if node.unit is not None:
                yield node.unit
            continue
        for one in node.occurrences:
            yield from list_leaf_keys(one.nodes)


def make_element_id(key: str) -> str:
    """Return the id of the input of a key."""
    return "f-" + _UNSAFE.sub(lambda found: f"_{ord(found[0]):x}_", key)


def to_local_moment(text: str, zone: ZoneInfo) -> str:
    """Return a stated time as a browser's input has it, in the zone of the hub; empty where it is none."""
    try:
        moment = datetime.fromisoformat(text)
        local = moment.astimezone(zone) if moment.tzinfo else moment
    except (ValueError, OverflowError):  # near the ends of the calendar there is no other zone
        return ""
    if len(text) < len("2026-11-20T09:00"):
        return ""
    return f"{local:%Y-%m-%dT%H:%M:%S}" if local.second else f"{local:%Y-%m-%dT%H:%M}"


def to_stated_moment(text: str, zone: ZoneInfo) -> str:
    """Return the text of an input as a time with its zone; other text unchanged."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if len(text) < len("2026-11-20T09:00"):
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat(timespec="seconds")
