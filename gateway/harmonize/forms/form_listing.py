"""Describes a form as plain data: order, labels, kinds, bounds, codes, repetition and rules of need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.harmonize.forms.filing_form import FieldUse, FilingForm, FormField
from gateway.harmonize.generator import to_data, write_sentence
from gateway.harmonize.language import MappingBundle
from gateway.harmonize.types import CommonMeaning, UniqueField, ValueShape

__all__ = ["describe_filing_form", "list_field_codes"]

#: A list with more codes is named, and not included.
_MOST_CODES: Final = 100


def describe_filing_form(form: FilingForm, bundle: MappingBundle) -> dict[str, Any]:
    """Return a form as data; the places of its sections are the beginnings of the keys of its values."""
    return {
        "documents": [
            {
                "document": one.document.id,
                "organisation": one.document.organisation,
                "label": {"ko": one.document.ko, "en": one.document.en},
                "direction": one.document.direction,
                "status": one.document.status,
                "fee": one.document.fee.due,
            }
            for one in form.sections.values()
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
    for number, one in enumerate(form.sections.values(), 1):
        told = {"document": one.document.id}
        fields = _describe_fields(one.application, bundle)
        yield told | {"place": f"a#{number}", "per": "application", "fields": fields}
        fields = _describe_fields(one.item, bundle)
        yield told | {"place": f"a#{number}/i#<item>", "per": "item", "fields": fields}


def _describe_fields(fields: Iterable[FormField], bundle: MappingBundle) -> list[dict[str, Any]]:
    return [_describe_field(one, bundle) for one in fields]


def _describe_field(one: FormField, bundle: MappingBundle) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": one.name,
        "label": {"ko": one.ko, "en": one.en},
        "type": one.kind,
        "uses": [_describe_use(use) for use in one.uses],
    }
    told |= {"repeat": list(one.repeat)} if one.is_repeated or one.repeat[0] else {}
    if one.is_group:
        return told | {"fields": _describe_fields(one.fields, bundle)}
    told |= {"wco": one.source.wco, "path": one.source.path} if isinstance(one.source, CommonMeaning) else {}
    told |= _describe_shape(one.shape)
    told |= {"unit": one.attribute, "units": list(one.units)} if one.attribute else {}
    codes = list_field_codes(one, bundle)
    if 0 < len(codes) <= _MOST_CODES:
        told["codes"] = [{"code": code, "ko": ko, "en": en} for code, (ko, en) in codes.items()]
    if isinstance(one.source, UniqueField) and one.source.type == "attachment":
        told |= {"media_types": list(one.source.mime), "most_mib": one.source.max_mib}
    return told


def _describe_use(use: FieldUse) -> dict[str, Any]:
    told: dict[str, Any] = {"document": use.document}
    if use.when is None:
        return told | {"required": "always" if use.mandatory else "never"}
    told |= {"required": "when", "when": to_data(use.when)}
    told |= {"when_ko": write_sentence(use.when, "ko"), "when_en": write_sentence(use.when, "en")}
    return told | ({"otherwise": "forbidden"} if use.forbidden else {})


def _describe_shape(shape: ValueShape) -> dict[str, Any]:
    bounds = {
        "longest": shape.longest,
        "digits": shape.total,
        "decimals": shape.fraction,
        "from": shape.low,
        "to": shape.high,
        "pattern": shape.pattern,
        "list": shape.list_name or None,
    }
    return {name: value for name, value in bounds.items() if value is not None}


def list_field_codes(one: FormField, bundle: MappingBundle) -> Mapping[str, tuple[str, str]]:
    """Return the known codes of a field with their Korean and English labels; empty where it has no list."""
    shape = one.shape
    listed = bundle.lists.get(shape.list_name)
    codes = shape.codes or (listed.codes if listed is not None else ())
    labels = dict(listed.labels) if listed is not None else {}
    if isinstance(one.source, UniqueField):
        labels |= one.source.labels
    return {code: labels.get(code, ("", "")) for code in codes}
