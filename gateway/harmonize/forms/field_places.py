"""Finds the field of a form that a finding about its submission is about, by the pointer of the finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lxml import etree

from gateway.harmonize.forms.filing_form import FilingForm, FormField
from gateway.harmonize.forms.form_values import FormValues, count_occurrences
from gateway.harmonize.forms.submission_composer import ComposedSubmission, find_reference
from gateway.harmonize.submission import make_missing_pointer
from gateway.harmonize.types import CommonMeaning, UniqueField, make_pointer_segment
from gateway.wire import PointerIndex

__all__ = ["FieldPlaces", "index_field_places"]


@dataclass(slots=True)
class FieldPlaces:
    """The fields of a form by the pointers of their values, and by those that missing values would have."""

    given: dict[str, str] = field(default_factory=dict)
    missing: dict[str, list[tuple[str, FormField]]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def find_field(self, pointer: str, detail: str = "") -> str | None:
        """Return the key of the field that a finding is about, None where it is about no single field.

        `detail` begins with the label of the field that is missing, where several could be missing there.
        """
        for key, one in self.missing.get(pointer, ()):
            if detail.startswith(f"{one.en} ("):
                return key
        plain = pointer.partition("/@")[0]
        known = self.given.get(pointer) or self.given.get(plain)
        if known is not None:
            return known
        for place in (pointer, plain):
            if place in self.missing:
                return self.missing[place][0][0]
        return self._find_related_field(plain)

    def _find_related_field(self, pointer: str) -> str | None:
        """Return the first field below a pointer, or the one whose path ends with it."""
        if not pointer:
            return None
        below = [key for place, key in self.given.items() if place.startswith(f"{pointer}/")]
        below += [found[0][0] for place, found in self.missing.items() if place.startswith(f"{pointer}/")]
        ending = [key for path, key in self.paths.items() if path.endswith(f"/{pointer.lstrip('/')}")]
        return next(iter([*below, *ending]), None)


def index_field_places(form: FilingForm, values: FormValues, composed: ComposedSubmission) -> FieldPlaces:
    """Return the places of the fields of a form that was composed from these values."""
    found, index = FieldPlaces(), PointerIndex()
    for key, place in composed.places.items():
        pointer = index.get_pointer(place.element, place.attribute)
        found.given.setdefault(pointer, key)
    found.given["/Submission/Reference"] = find_reference(form, values.values)[0]
    for one in values.attachments:
        cid = next((key for key, text in values.values.items() if text == one.cid), None)
        found.given[f"cid:{one.cid}"] = cid or f"a#{one.application}/items"
    _Indexer(form, values, composed, found, index).index_missing_fields()
    return found


@dataclass(slots=True)
class _Indexer:
    form: FilingForm
    values: FormValues
    composed: ComposedSubmission
    found: FieldPlaces
    index: PointerIndex

    def index_missing_fields(self) -> None:
        """Add the pointers of every field without a value."""
        self._index_common("h", self.form.header, None)
        for item in self.values.items:
            self._index_common(f"i#{item}", self.form.item, item)
        for number, one in enumerate(self.values.applications, 1):
            section = self.form.sections[one.document]
            pointer = f"APP[{number}]/{one.document}"
            self._index_answers(f"a#{number}", section.application, pointer)
            self._index_answers("s", self.form.shared_header, pointer)
            for item in one.items:
                inner = f"{pointer}/ITEM[{item}]"
                self._index_answers(f"a#{number}/i#{item}", section.item, inner)
                self._index_answers(f"s/i#{item}", self.form.shared_item, inner)

    def _add(self, pointer: str, key: str, one: FormField) -> None:
        if not self.values.values.get(key, "").strip():
            self.found.missing.setdefault(pointer, []).append((key, one))

    def _index_common(self, place: str, fields: Iterable[FormField], item: str | None) -> None:
        for one in fields:
            meaning, key = one.source, f"{place}/{one.name}"
            if one.pinned is not None:
                first = one.fields[0]
                self._add(make_missing_pointer(one.pinned, item), f"{key}/{first.name}", first)
            elif one.is_group:
                self._index_occurrences(place, one, item)
            elif isinstance(meaning, CommonMeaning):
                if item is None:
                    self.found.paths[meaning.path] = key
                self._add(make_missing_pointer(meaning, item), f"{key}#1" if one.is_repeated else key, one)

    def _index_occurrences(self, place: str, one: FormField, item: str | None) -> None:
        """Add the members that occurrences of a group lack; a group without an occurrence lacks nothing."""
        for number in range(1, count_occurrences(self.values.values, place, one.name) + 1):
            inner = f"{place}/{one.name}#{number}"
            element = self._find_group_element(inner, one)
            for member in one.fields if element is not None else ():
                meaning = member.source
                if isinstance(meaning, CommonMeaning) and element is not None:
                    ending = make_missing_pointer(meaning, item).split("/")[-len(meaning.relative) :]
                    pointer = "/".join([self.index.get_pointer(element), *ending])
                    self._add(pointer, f"{inner}/{member.name}", member)
                elif member.is_group:
                    self._index_occurrences(inner, member, item)

    def _find_group_element(self, inner: str, one: FormField) -> etree._Element | None:
        """Return the element of an occurrence: an ancestor of the value of one of its members."""
        for member in one.fields:
            found = self.composed.places.get(f"{inner}/{member.name}")
            if found is not None and isinstance(member.source, CommonMeaning):
                element: etree._Element | None = found.element
                for _ in member.source.relative:
                    element = None if element is None else element.getparent()
                return element
        return None

    def _index_answers(self, place: str, fields: Iterable[FormField], pointer: str) -> None:
        for one in fields:
            for key, where in self._list_answer_places(place, one, pointer):
                self._add(where, key, one)

    def _list_answer_places(self, place: str, one: FormField, pointer: str) -> Iterator[tuple[str, str]]:
        ask, key = one.source, f"{place}/{one.name}"
        assert isinstance(ask, UniqueField)
        yield f"{key}#1" if one.is_repeated or one.is_group else key, f"{pointer}/{make_pointer_segment(ask)}"
        if one.is_group:
            count = count_occurrences(self.values.values, place, one.name)
            for number in range(1, count + 1):
                self._index_answers(f"{key}#{number}", one.fields, f"{pointer}/{ask.tag}[{number}]")
