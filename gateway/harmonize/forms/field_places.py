"""Finds the field of a form that a finding about its submission is about, by the pointer of the finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lxml import etree

from gateway.harmonize.forms.filing_form import FilingForm, FormField
from gateway.harmonize.forms.form_values import FormValues, count_occurrences
from gateway.harmonize.forms.submission_composer import ComposedSubmission, find_reference
from gateway.harmonize.language import CommonMeaning, UniqueField, make_pointer_segment
from gateway.harmonize.split import make_missing_pointer
from gateway.wire import PointerIndex


@dataclass(slots=True)
class FieldPlaces:
    """The fields of a form by the pointers of their values, and by those that missing values would have."""

    by_pointer: dict[str, str] = field(default_factory=dict)
    missing: dict[str, list[tuple[str, FormField]]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def find_field(self, pointer: str, detail: str = "") -> str | None:
        """Return the key of the field that a finding is about, None where it is about no single field.

        `detail` begins with the label of the field that is missing, where several could be missing there.
        """
        for key, form_field in self.missing.get(pointer, ()):
            if detail.startswith(f"{form_field.en} ("):
                return key
        plain = pointer.partition("/@")[0]
        field_key = self.by_pointer.get(pointer) or self.by_pointer.get(plain)
        if field_key is not None:
            return field_key
        for candidate in (pointer, plain):
            if candidate in self.missing:
                return self.missing[candidate][0][0]
        return self._find_related_field(plain)

    def _find_related_field(self, pointer: str) -> str | None:
        """Return the first field below a pointer, or the one whose path ends with it."""
        if not pointer:
            return None
        below = [
            key for field_pointer, key in self.by_pointer.items() if field_pointer.startswith(f"{pointer}/")
        ]
        below += [
            missing_fields[0][0]
            for field_pointer, missing_fields in self.missing.items()
            if field_pointer.startswith(f"{pointer}/")
        ]
        ending = [key for path, key in self.paths.items() if path.endswith(f"/{pointer.lstrip('/')}")]
        return next(iter([*below, *ending]), None)


def index_field_places(form: FilingForm, values: FormValues, composed: ComposedSubmission) -> FieldPlaces:
    """Return the places of the fields of a form that was composed from these values."""
    field_places, index = FieldPlaces(), PointerIndex()
    for key, value_place in composed.places.items():
        pointer = index.get_pointer(value_place.element, value_place.attribute)
        field_places.by_pointer.setdefault(pointer, key)
    field_places.by_pointer["/Submission/Reference"] = find_reference(form, values.values)[0]
    for attachment in values.attachments:
        cid = next((key for key, text in values.values.items() if text == attachment.cid), None)
        field_places.by_pointer[f"cid:{attachment.cid}"] = cid or f"a#{attachment.application}/items"
    _Indexer(form, values, composed, field_places, index).index_missing_fields()
    return field_places


@dataclass(slots=True)
class _Indexer:
    form: FilingForm
    values: FormValues
    composed: ComposedSubmission
    field_places: FieldPlaces
    index: PointerIndex

    def index_missing_fields(self) -> None:
        """Add the pointers of every field without a value."""
        self._index_common("h", self.form.header, None)
        for item in self.values.items:
            self._index_common(f"i#{item}", self.form.item, item)
        for number, application in enumerate(self.values.applications, 1):
            section = self.form.sections[application.document]
            pointer = f"APP[{number}]/{application.document}"
            self._index_answers(f"a#{number}", section.application, pointer)
            self._index_answers("s", self.form.shared_header, pointer)
            for item in application.items:
                inner = f"{pointer}/ITEM[{item}]"
                self._index_answers(f"a#{number}/i#{item}", section.item, inner)
                self._index_answers(f"s/i#{item}", self.form.shared_item, inner)

    def _add(self, pointer: str, key: str, form_field: FormField) -> None:
        if not self.values.values.get(key, "").strip():
            self.field_places.missing.setdefault(pointer, []).append((key, form_field))

    def _index_common(self, base_key: str, fields: Iterable[FormField], item: str | None) -> None:
        """Add the pointers that missing values of the fields of the declaration would have.

        `base_key` is the beginning of their keys; `item` is the goods item, None outside the items.
        """
        for form_field in fields:
            meaning, key = form_field.source, f"{base_key}/{form_field.name}"
            if form_field.pinned is not None:
                first = form_field.fields[0]
                self._add(make_missing_pointer(form_field.pinned, item), f"{key}/{first.name}", first)
            elif form_field.is_group:
                self._index_occurrences(base_key, form_field, item)
            elif isinstance(meaning, CommonMeaning):
                if item is None:
                    self.field_places.paths[meaning.path] = key
                self._add(
                    make_missing_pointer(meaning, item),
                    f"{key}#1" if form_field.is_repeated else key,
                    form_field,
                )

    def _index_occurrences(self, base_key: str, form_field: FormField, item: str | None) -> None:
        """Add the members that occurrences of a group lack; a group without an occurrence lacks nothing."""
        for number in range(1, count_occurrences(self.values.values, base_key, form_field.name) + 1):
            inner = f"{base_key}/{form_field.name}#{number}"
            element = self._find_group_element(inner, form_field)
            for member in form_field.fields if element is not None else ():
                meaning = member.source
                if isinstance(meaning, CommonMeaning) and element is not None:
                    ending = make_missing_pointer(meaning, item).split("/")[-len(meaning.relative) :]
                    pointer = "/".join([self.index.get_pointer(element), *ending])
                    self._add(pointer, f"{inner}/{member.name}", member)
                elif member.is_group:
                    self._index_occurrences(inner, member, item)

    def _find_group_element(self, inner: str, form_field: FormField) -> etree._Element | None:
        """Return the element of an occurrence: an ancestor of the value of one of its members."""
        for member in form_field.fields:
            value_place = self.composed.places.get(f"{inner}/{member.name}")
            if value_place is not None and isinstance(member.source, CommonMeaning):
                element: etree._Element | None = value_place.element
                for _ in member.source.relative:
                    element = None if element is None else element.getparent()
                return element
        return None

    def _index_answers(self, base_key: str, fields: Iterable[FormField], pointer: str) -> None:
        for form_field in fields:
            for key, field_pointer in self._list_answer_places(base_key, form_field, pointer):
                self._add(field_pointer, key, form_field)

    def _list_answer_places(
        self, base_key: str, form_field: FormField, pointer: str
    ) -> Iterator[tuple[str, str]]:
        """Yield key and pointer of a unique field below `pointer`, then those of the members of a group."""
        ask, key = form_field.source, f"{base_key}/{form_field.name}"
        assert isinstance(ask, UniqueField)
        yield (
            f"{key}#1" if form_field.is_repeated or form_field.is_group else key,
            f"{pointer}/{make_pointer_segment(ask)}",
        )
        if form_field.is_group:
            count = count_occurrences(self.values.values, base_key, form_field.name)
            for number in range(1, count + 1):
                self._index_answers(f"{key}#{number}", form_field.fields, f"{pointer}/{ask.tag}[{number}]")
