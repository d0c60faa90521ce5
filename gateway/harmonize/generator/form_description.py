"""Describes a document as a form: the asked fields and the declared meanings, with all labels.

The description is all that a program needs to display a form (a broker's program, a web page,
a training tool): order, kind and bounds of each field, its codes with their labels, and when
it must be given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.harmonize.generator.condition_sentences import to_data, write_sentence
from gateway.harmonize.language import DocumentMapping, MeaningNeed
from gateway.harmonize.types import Condition, UniqueField, ValueShape

__all__ = ["Labels", "describe_form", "list_labels"]

#: Korean and English label of each code, by the name of its list.
Labels = Mapping[str, Mapping[str, tuple[str, str]]]
#: A list with more codes is not included in the form and must be looked up.
_MOST_CODES = 100


def describe_form(document: DocumentMapping, codes: Labels) -> dict[str, Any]:
    """Return the form of a document, in the order in which fields are asked."""
    return {
        "document": document.id,
        "organisation": document.organisation,
        "namespace": document.namespace,
        "label": {"ko": document.ko, "en": document.en},
        "direction": document.direction,
        "laws": list(document.laws),
        "status": document.status,
        "fee": document.fee.due,
        "declared": [_describe_need(need) for need in document.needs],
        "asked": [_describe_field(ask, codes) for ask in document.asks],
        "checks": [{"id": one.id, "ko": one.ko, "en": one.en} for one in document.checks],
    }


def _describe_need(need: MeaningNeed) -> dict[str, Any]:
    meaning = need.meaning
    told: dict[str, Any] = {
        "means": meaning.name,
        "wco": meaning.wco,
        "path": meaning.path,
        "where": "supplement" if meaning.supplement else "declaration",
        "per": meaning.per,
        "label": {"ko": meaning.ko, "en": meaning.en},
        "required": "always" if need.mandatory else "never",
    }
    return told if need.when is None else told | _describe_condition(need.when)


def _describe_condition(condition: Condition, *, forbidden: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {
        "required": "when",
        "when": to_data(condition),
        "when_ko": write_sentence(condition, "ko"),
        "when_en": write_sentence(condition, "en"),
    }
    return told | {"otherwise": "forbidden"} if forbidden else told


def _describe_field(ask: UniqueField, codes: Labels) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": ask.name,
        "element": ask.tag,
        "means": ask.means,
        "per": ask.home,
        "type": ask.type,
        "label": {"ko": ask.ko, "en": ask.en},
        "required": "always" if ask.requirement.mandatory else "never",
    }
    if ask.requirement.when is not None:
        told |= _describe_condition(ask.requirement.when, forbidden=ask.requirement.forbidden_otherwise)
    if ask.repeat != (0, 1):
        told["repeat"] = list(ask.repeat)
    told |= _describe_bounds(ask.shape)
    told |= {"codes": listed} if (listed := _describe_codes(ask, codes)) else {}
    told |= {"units": list(ask.units)} if ask.units and ask.type != "amount" else {}
    told |= {"shared": True} if ask.shared else {}
    told |= {"media_types": list(ask.mime)} if ask.mime else {}
    told |= {"most_mib": ask.max_mib} if ask.max_mib else {}
    told |= {"fields": [_describe_field(field, codes) for field in ask.fields]} if ask.fields else {}
    return told


def _describe_bounds(shape: ValueShape) -> dict[str, Any]:
    bounds = {
        "longest": shape.longest,
        "octets": shape.octets,
        "digits": shape.total,
        "decimals": shape.fraction,
        "from": shape.low,
        "to": shape.high,
        "pattern": shape.pattern,
        "list": shape.list_name or None,
    }
    return {name: value for name, value in bounds.items() if value is not None}


def _describe_codes(ask: UniqueField, codes: Labels) -> list[dict[str, str]]:
    if ask.type != "code" or not ask.shape.codes or len(ask.shape.codes) > _MOST_CODES:
        return []
    labels = {**codes.get(ask.shape.list_name, {}), **ask.labels}
    return [
        {"code": code, "ko": labels.get(code, ("", ""))[0], "en": labels.get(code, ("", ""))[1]}
        for code in ask.shape.codes
    ]


def list_labels(document: DocumentMapping) -> Iterator[tuple[str, str, str, str]]:
    """Yield every label of a document: its kind, its name, the Korean and the English text."""
    yield "document", document.id, document.ko, document.en
    for need in document.needs:
        yield "declared", need.meaning.name, need.meaning.ko, need.meaning.en
    for ask in document.asks:
        yield from _list_field_labels(ask)
    for check in document.checks:
        yield "check", check.id, check.ko, check.en


def _list_field_labels(ask: UniqueField) -> Iterator[tuple[str, str, str, str]]:
    yield "asked", ask.name, ask.ko, ask.en
    for code, (ko, en) in ask.labels.items():
        yield "code", f"{ask.name}={code}", ko, en
    for field in ask.fields:
        yield from _list_field_labels(field)
