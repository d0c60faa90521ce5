"""The form of an answer to an agency: the fields that it points at, of one application that was filed.

The values are those of the last submission about the application. The answer is a supplement: the same
reference, the same application with the same items, and the declaration, with the values that were
changed and the files that were added.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, NO_OPEN_CASE, GatewayError
from gateway.harmonize.forms.field_places import FieldPlaces, index_field_places
from gateway.harmonize.forms.filing_form import FilingForm, FormField
from gateway.harmonize.forms.form_values import FormAttachment, FormValues
from gateway.harmonize.forms.submission_composer import ComposedSubmission, compose_submission
from gateway.harmonize.forms.submission_reader import read_form_values
from gateway.harmonize.language import MappingBundle
from gateway.harmonize.split import DEC
from gateway.wire import DS, SUB

_SUPPLEMENT: Final = "35"
_ORIGINAL: Final = "9"
_APPLICATION: Final = re.compile(r"APP\[[0-9]{1,3}\]/")
_FUNCTION: Final = f".//{{{DEC}}}Declaration/{{{DEC}}}FunctionCode"
#: The most fields shown of a part of the declaration that an agency points at as a whole.
_MAX_FIELDS: Final = 40


@dataclass(frozen=True, slots=True)
class AnswerField:
    """One field of the form: its key, its field in the filing form, its value and its unit now.

    `pointed` is false for a field that the agency did not point at.
    """

    key: str
    field: FormField
    value: str
    unit: str
    pointed: bool

    @property
    def unit_key(self) -> str | None:
        """Return the key of the unit or currency; None for a field without one."""
        return f"{self.key}@" if self.field.attribute else None

    @property
    def is_file(self) -> bool:
        """Return whether the value is a file."""
        return self.field.kind == "attachment"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of an answer, with the values that it begins from.

    `unplaced` are pointers at which there is no single field. `lost` are the pointers of content that the
    form cannot hold: an answer by form would leave this content out.
    """

    filing_form: FilingForm
    values: FormValues
    fields: tuple[AnswerField, ...]
    unplaced: tuple[str, ...]
    lost: tuple[str, ...]
    places: FieldPlaces

    def find_key(self, pointer: str) -> str:
        """Return the key of the field that a finding about the answer is about; empty for no field here."""
        key = (self.places.find_field(pointer) or "").removesuffix("@")
        return key if any(field.key == key for field in self.fields) else ""


def make_answer_form(
    bundle: MappingBundle,
    submission: etree._Element,
    application: str,
    pointers: Sequence[str],
    *,
    every_field: bool = False,
) -> AnswerForm:
    """Return the form for an answer about one application of a submission.

    With `every_field` it has all fields that only this application asks, too. Raises GW402 for
    another document, GW407 where the submission has no such application.
    """
    root = _strip_submission(submission)
    reading = read_form_values(bundle, root)
    values = _select_application(reading.values, application)
    composed = compose_submission(reading.form, values)
    places = index_field_places(reading.form, values, composed)
    document = values.applications[0].document
    keys: dict[str, bool] = {}
    unplaced = []
    for pointer in pointers:
        field_keys = _find_keys(places, _move_pointer(pointer, document))
        keys |= dict.fromkeys(field_keys, True)
        if not field_keys:
            unplaced.append(pointer)
    if every_field:
        own_keys = (key for key in _list_keys(places) if key.startswith(("a#1/", "s/")))
        keys = dict.fromkeys(own_keys, False) | keys
    fields = tuple(_list_fields(reading.form, values, keys))
    return AnswerForm(reading.form, values, fields, tuple(unplaced), reading.lost, places)


def _strip_submission(submission: etree._Element) -> etree._Element:
    """Return a copy without signature; its functions agree, as the form reads them."""
    root = copy.deepcopy(submission)
    for signature in root.findall(f"{{{DS}}}Signature"):
        root.remove(signature)
    function, inner = root.find(f"{{{SUB}}}Function"), root.find(_FUNCTION)
    if function is None:
        raise GatewayError(DOCUMENT_INVALID, "the submission has no Function", "/Submission/Function")
    if inner is not None:
        function.text = inner.text
    return root


def _select_application(values: FormValues, application: str) -> FormValues:
    """Return the values with this application alone, as the first one, as a supplement.

    Keys that begin with ``a#N/`` belong to the application at position N; all others are common.
    Raise GatewayError if the submission has no such application.
    """
    numbers = [number for number, filed in enumerate(values.applications, 1) if filed.id == application]
    if not numbers:
        raise GatewayError(NO_OPEN_CASE, f"there is no application {application[:40]!r}", "/Submission")
    (number, *_) = numbers
    selected = {}
    for key, text in values.values.items():
        if not key.startswith("a#"):
            selected[key] = text
        elif key.startswith(f"a#{number}/"):
            selected[f"a#1/{key.partition('/')[2]}"] = text
    return replace(
        values,
        applications=(values.applications[number - 1],),
        values=selected,
        attachments=tuple(
            replace(attachment, application=1)
            for attachment in values.attachments
            if attachment.application == number
        ),
        function=_SUPPLEMENT,
        disclaimers=(),
    )


def _move_pointer(pointer: str, document: str) -> str:
    """Return the pointer into the answer, where the application is the first one."""
    match = _APPLICATION.match(pointer)
    if match is None or pointer[match.end() :].partition("/")[0] != document:
        return pointer
    return f"APP[1]/{pointer[match.end() :]}"


def _find_keys(places: FieldPlaces, pointer: str) -> list[str]:
    """Return the keys of the fields at a pointer, or of those below it."""
    plain = _shorten(pointer.partition("/@")[0])
    keys_by_pointer = [(_shorten(field_pointer), key) for field_pointer, key in places.by_pointer.items()]
    keys_by_pointer += [
        (_shorten(field_pointer), missing_fields[0][0])
        for field_pointer, missing_fields in places.missing.items()
    ]
    exact = [key for field_pointer, key in keys_by_pointer if field_pointer == plain]
    if exact:
        return exact[:1]
    below = (
        key.removesuffix("@")
        for field_pointer, key in keys_by_pointer
        if field_pointer.startswith(f"{plain}/")
    )
    return list(dict.fromkeys(below))[:_MAX_FIELDS]


def _shorten(pointer: str) -> str:
    """Return a pointer without ``[1]``: only some pointers number a first occurrence."""
    return pointer.replace("[1]", "")


def _list_keys(places: FieldPlaces) -> Iterator[str]:
    yield from (key.removesuffix("@") for key in places.by_pointer.values())
    yield from (missing_fields[0][0] for missing_fields in places.missing.values())


def _list_fields(form: FilingForm, values: FormValues, keys: Mapping[str, bool]) -> Iterator[AnswerField]:
    for key, pointed in keys.items():
        field = _find_field(form, values, key)
        if field is not None and not field.is_group:
            unit = values.values.get(f"{key}@", "")
            yield AnswerField(key, field, values.values.get(key, ""), unit, pointed)


def _find_field(form: FilingForm, values: FormValues, key: str) -> FormField | None:
    """Return the field that a key names."""
    section_key, *names = key.split("/")
    fields: Iterable[FormField]
    of_item = bool(names) and re.fullmatch(r"i#[0-9]+", names[0]) is not None
    if of_item:
        names = names[1:]
    if section_key.startswith("a#"):
        section = form.sections[values.applications[0].document]
        fields = section.item if of_item else section.application
    elif section_key == "s":
        fields = form.shared_item if of_item else form.shared_header
    else:
        fields = form.header if section_key == "h" else form.item
    field: FormField | None = None
    for name in names:
        plain = re.sub(r"#[0-9]+$", "", name)
        field = next((candidate for candidate in fields if candidate.name in (name, plain)), None)
        if field is None:
            return None
        fields = field.fields
    return field


def compose_answer(
    answer: AnswerForm, changes: Mapping[str, str], files: Sequence[FormAttachment] = ()
) -> ComposedSubmission:
    """Return the supplement with these values, by their keys, and with these files beside the others.

    A key that the form does not have changes nothing. Raises GW402 for a character that XML does
    not permit.
    """
    field_keys = {field.key for field in answer.fields} | {
        field.unit_key for field in answer.fields if field.unit_key
    }
    accepted = {key: text for key, text in changes.items() if key in field_keys}
    values = {**answer.values.values, **accepted}
    used = set(values.values())
    before = {answer.values.values.get(field.key, "") for field in answer.fields if field.is_file}
    attachments = [
        attachment
        for attachment in answer.values.attachments
        if attachment.cid in used or attachment.cid not in before
    ]
    changed = replace(answer.values, values=values, attachments=(*attachments, *files))
    composed = compose_submission(answer.filing_form, changed)
    inner = composed.root.find(_FUNCTION)
    if inner is not None:
        # The supplement repeats the declaration as it is.
        inner.text = _ORIGINAL
    return composed
