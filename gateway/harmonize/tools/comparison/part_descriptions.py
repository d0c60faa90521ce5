"""Describes the parts of a bundle as words by aspect, so that two of one name can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.generator import write_sentence
from gateway.harmonize.language import (
    DeclarationRule,
    DocumentCheck,
    DocumentMapping,
    MappingBundle,
    MeaningNeed,
)
from gateway.harmonize.types import CodeList, CommonMeaning, Condition, UniqueField, ValueShape, walk_fields

__all__ = [
    "PartDescription",
    "describe_asks",
    "describe_checks",
    "describe_codes",
    "describe_head",
    "describe_list",
    "describe_meanings",
    "describe_needs",
    "describe_organisations",
    "describe_requirement",
    "describe_rules",
    "describe_shape",
]


@dataclass(frozen=True, slots=True)
class PartDescription:
    """One part of a bundle: its `label` in Korean and English, its words by aspect, file and line."""

    ko: str
    en: str
    aspects: Mapping[str, str]
    mark: str


Described = dict[str, PartDescription]
#: As many codes are told one by one.
_FEW: Final = 12


def describe_head(document: DocumentMapping) -> PartDescription:
    """Return what the head of a document says."""
    aspects = {
        "name": f"{document.en} ({document.ko})",
        "organisation": document.organisation,
        "direction": document.direction,
        "laws": ", ".join(document.laws),
        "status": document.status,
        "fee": " ".join(filter(None, (document.fee.due, document.fee.en))),
        "first element": document.root.name,
        "notices": ", ".join(sorted(name for name, _ in document.answers.notices)),
        "type codes": ", ".join(sorted(code for code, _ in document.answers.type_codes)),
        "certificate": document.answers.certificate[0] if document.answers.certificate is not None else "",
        "decisions": ", ".join(
            f"{name} by {one.correlate}, {one.item}, {one.status.name}"
            for name, one in document.readings.items()
        ),
        "exceptions": ", ".join(
            f"{one} for {told.instead_of.name}" for one, told in document.overrides.items()
        ),
    }
    return PartDescription(document.ko, document.en, aspects, str(document.mark))


def describe_asks(document: DocumentMapping) -> Described:
    """Return every asked field, groups before their members."""
    return {one.name: _describe_ask(one) for one in walk_fields(document.asks)}


def _describe_ask(ask: UniqueField) -> PartDescription:
    rule = ask.requirement
    aspects = {
        "required": describe_requirement(mandatory=rule.mandatory, when=rule.when),
        "otherwise": "forbidden" if rule.forbidden_otherwise else "",
        "type": ask.type,
        "for each": ask.home,
        "times": f"{ask.repeat[0]} to {ask.repeat[1]}",
        "units": ", ".join(ask.units),
        "files": ", ".join((*ask.mime, *([f"up to {ask.max_mib} MiB"] if ask.max_mib else []))),
        "shared": "yes" if ask.shared else "no",
        "meaning": ask.means,
        "label": f"{ask.en} ({ask.ko})",
        **describe_shape(ask.shape),
    }
    return PartDescription(ask.ko, ask.en, aspects, str(ask.mark))


def describe_requirement(*, mandatory: bool, when: Condition | None) -> str:
    """Return when something is required."""
    if mandatory:
        return "always"
    return "no" if when is None else f"where {write_sentence(when, 'en')}"


def describe_shape(shape: ValueShape) -> dict[str, str]:
    """Return the bounds of a value by name; codes by the name of their list, else one by one."""
    bounds = {
        "kind": shape.kind,
        "length": shape.longest,
        "exactly": "yes" if shape.exact else None,
        "octets": None if shape.octets is None else f"{shape.octets} in {shape.charset}",
        "digits": shape.total,
        "decimals": shape.fraction,
        "least": shape.low,
        "most": shape.high,
        "pattern": shape.pattern,
        "codes": None if shape.codes is None else _describe_codes(shape),
    }
    return {name: "" if value is None else str(value) for name, value in bounds.items()}


def _describe_codes(shape: ValueShape) -> str:
    codes = shape.codes or ()
    few = ", ".join(codes) if len(codes) <= _FEW else f"{len(codes)} codes"
    return f"{few} of {shape.list_name}" if shape.list_name else few


def describe_needs(document: DocumentMapping) -> Described:
    """Return every value of the declaration that a document uses."""
    return {one.meaning.name: _describe_need(one) for one in document.needs}


def _describe_need(need: MeaningNeed) -> PartDescription:
    required = describe_requirement(mandatory=need.mandatory, when=need.when)
    return PartDescription(need.meaning.ko, need.meaning.en, {"required": required}, str(need.mark))


def describe_checks(document: DocumentMapping) -> Described:
    """Return every check of a document."""
    return {one.id: _describe_check(one) for one in document.checks}


def _name_factors(check: DocumentCheck) -> Iterator[str]:
    for position, one in enumerate(check.factors):
        unit = check.counted_in[position] if check.counted_in else None
        yield one.name if unit is None else f"{one.name} in {unit}"


def _describe_check(check: DocumentCheck) -> PartDescription:
    bound = check.bound if check.bound is None or isinstance(check.bound, str) else check.bound.name
    aspects = {
        "kind": check.kind,
        "for each": check.per,
        "fields": ", ".join(_name_factors(check)),
        "comparison": " ".join(filter(None, (check.operator, bound or ""))),
        "tolerance": str(check.within),
        "days": str(check.days),
        "one unit": "yes" if check.same_unit else "no",
        "applies": describe_requirement(mandatory=check.when is None, when=check.when),
        "sentence": f"{check.en} ({check.ko})",
    }
    return PartDescription(check.ko, check.en, aspects, str(check.mark))


def describe_list(codes: CodeList) -> PartDescription:
    """Return what a code list says as a whole."""
    aspects = {
        "version": codes.version,
        "source": codes.source,
        "direction": codes.direction,
        "other codes": codes.pattern or "no",
    }
    return PartDescription(codes.name, codes.name, aspects, str(codes.mark))


def describe_codes(codes: CodeList) -> Described:
    """Return every code of a list with its words and its translation."""
    return dict(_list_codes(codes))


def _list_codes(codes: CodeList) -> Iterator[tuple[str, PartDescription]]:
    for code in codes.codes:
        ko, en = codes.labels.get(code, ("", ""))
        words = f"{en} ({ko})" if ko or en else ""
        yield (
            code,
            PartDescription(
                ko, en, {"words": words, "translation": _translate(codes, code)}, str(codes.mark)
            ),
        )


def _translate(codes: CodeList, code: str) -> str:
    if codes.pairs is not None:
        return ", ".join(f"{other}: {to}" for (one, other), to in sorted(codes.pairs.items()) if one == code)
    return (codes.to or {}).get(code, "")


def describe_meanings(bundle: MappingBundle) -> Described:
    """Return every common meaning of the dictionary."""
    return {name: _describe_meaning(one) for name, one in bundle.dictionary.meanings.items()}


def _describe_meaning(meaning: CommonMeaning) -> PartDescription:
    aspects = {
        "path": meaning.path,
        "WCO id": meaning.wco,
        "type": meaning.type,
        "for each": meaning.per,
        "dimension": meaning.dimension,
        "several": "yes" if meaning.many else "no",
        "place": "supplement" if meaning.supplement else "declaration",
        "label": f"{meaning.en} ({meaning.ko})",
        **describe_shape(meaning.shape),
    }
    return PartDescription(meaning.ko, meaning.en, aspects, str(meaning.mark))


def describe_organisations(bundle: MappingBundle) -> Described:
    """Return every organisation."""
    return {
        code: PartDescription(one.ko, one.en, _describe_organisation(bundle, code), "")
        for code, one in bundle.organisations.items()
    }


def _describe_organisation(bundle: MappingBundle, code: str) -> dict[str, str]:
    one = bundle.organisations[code]
    hears = "yes" if one.wants_clearance else "no"
    return {"name": f"{one.en} ({one.ko})", "kind": one.kind, "hears of clearance": hears}


def describe_rules(bundle: MappingBundle) -> Described:
    """Return every rule on the declaration itself."""
    return {one.id: _describe_rule(one) for one in bundle.rules}


def _describe_rule(rule: DeclarationRule) -> PartDescription:
    bound = (
        rule.bound.name if rule.bound is not None else rule.number or ("items" if rule.counts_items else "")
    )
    aspects = {
        "kind": rule.kind,
        "severity": rule.severity,
        "value": rule.meaning.name,
        "forms": ", ".join(rule.patterns),
        "list": "" if rule.codes is None else f"{rule.codes.name}, {rule.first} characters",
        "comparison": " ".join(filter(None, (rule.operator, bound, str(rule.days) if rule.days else ""))),
        "sentence": f"{rule.en} ({rule.ko})",
    }
    return PartDescription(rule.ko, rule.en, aspects, str(rule.mark))
