"""Describes a form as plain data: order, labels, kinds, bounds, codes, repetition and rules of need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.harmonize.forms.filing_form import FieldUse, FilingForm, FormField
from gateway.harmonize.language import CommonMeaning, MappingBundle, UniqueField, ValueShape
from gateway.harmonize.schemas import to_data, write_sentence

#: A list with more codes is named, and not included.
_MAX_LISTED_CODES: Final = 100


def describe_filing_form(form: FilingForm, bundle: MappingBundle) -> dict[str, Any]:
    """Return a form as data; the places of its sections are the beginnings of the keys of its values."""
    return {
        "documents": [
            {
                "document": section.document.id,
                "organisation": section.document.organisation,
                "label": {"ko": section.document.ko, "en": section.document.en},
                "direction": section.document.direction,
                "laws": list(section.document.laws),
                "status": section.document.status,
                "fee": section.document.fee.due,
                "checks": [
                    {"id": check.id, "ko": check.ko, "en": check.en} for check in section.document.checks
                ],
            }
            for section in form.sections.values()
        ],
        "sections": [
            {"place": "h", "per": "declaration", "fields": _describe_fields(form.header, bundle)},
            {"place": "s", "per": "declaration", "fields": _describe_fields(form.shared_header, bundle)},
            {"place": "i#<item>", "per": "item", "fields": _describe_fields(form.item, bundle)},
            {"place": "s/i#<item>", "per": "item", "fields": _describe_fields(form.shared_item, bundle)},
            *_describe_sections(form, bundle),
        ],
    }


def _describe_sections(form: FilingForm, bundle: MappingBundle) -> Iterable[dict[str, Any]]:
    """Yield as plain data the fields of each document: those of its application, then those of an item.

    `place` is the beginning of the keys of their values.
    """
    for number, section in enumerate(form.sections.values(), 1):
        description = {"document": section.document.id}
        fields = _describe_fields(section.application, bundle)
        yield description | {"place": f"a#{number}", "per": "application", "fields": fields}
        fields = _describe_fields(section.item, bundle)
        yield description | {"place": f"a#{number}/i#<item>", "per": "item", "fields": fields}


def _describe_fields(fields: Iterable[FormField], bundle: MappingBundle) -> list[dict[str, Any]]:
    return [_describe_field(field, bundle) for field in fields]


def _describe_field(field: FormField, bundle: MappingBundle) -> dict[str, Any]:
    """Return a field as plain data: name, labels, type, uses, limits and units.

    Codes are listed if there are at most `_MAX_LISTED_CODES`.
    """
    description: dict[str, Any] = {
        "name": field.name,
        "label": {"ko": field.ko, "en": field.en},
        "type": field.kind,
        "uses": [_describe_use(use) for use in field.uses],
    }
    if field.is_repeated or field.repeat.low:
        description["repeat"] = [field.repeat.low, field.repeat.high]
    if field.is_group:
        return description | {"fields": _describe_fields(field.fields, bundle)}
    description |= (
        {"wco": field.source.wco, "path": field.source.path}
        if isinstance(field.source, CommonMeaning)
        else {}
    )
    description |= _describe_shape(field.shape)
    if field.attribute:
        description |= {"unit": field.attribute, "units": list(field.units)}
    elif field.units and field.kind != "amount":
        description["units"] = list(field.units)
    codes = list_field_codes(field, bundle)
    if 0 < len(codes) <= _MAX_LISTED_CODES:
        description["codes"] = [{"code": code, "ko": ko, "en": en} for code, (ko, en) in codes.items()]
    if isinstance(field.source, UniqueField) and field.source.type == "attachment":
        description |= {"media_types": list(field.source.mime), "most_mib": field.source.max_mib}
    return description


def _describe_use(use: FieldUse) -> dict[str, Any]:
    """Return as plain data whether a document requires a field: always, never, or when a condition holds."""
    description: dict[str, Any] = {"document": use.document}
    if use.when is None:
        return description | {"required": "always" if use.mandatory else "never"}
    description |= {"required": "when", "when": to_data(use.when)}
    description |= {"when_ko": write_sentence(use.when, "ko"), "when_en": write_sentence(use.when, "en")}
    return description | ({"otherwise": "forbidden"} if use.forbidden else {})


def _describe_shape(shape: ValueShape) -> dict[str, Any]:
    """Return as plain data the limits that `shape` sets for a value."""
    bounds = {
        "longest": shape.max_length,
        "octets": shape.octets,
        "digits": shape.total_digits,
        "decimals": shape.fraction_digits,
        "from": shape.min_value,
        "to": shape.max_value,
        "pattern": shape.pattern,
        "list": shape.list_name or None,
    }
    return {name: value for name, value in bounds.items() if value is not None}


def list_field_codes(field: FormField, bundle: MappingBundle) -> Mapping[str, tuple[str, str]]:
    """Return the known codes of a field with their Korean and English labels; empty where it has no list."""
    shape = field.shape
    listed = bundle.lists.get(shape.list_name)
    codes = shape.codes or (listed.codes if listed is not None else ())
    labels = dict(listed.labels) if listed is not None else {}
    if isinstance(field.source, UniqueField):
        labels |= field.source.labels
    return {code: labels.get(code, ("", "")) for code in codes}
