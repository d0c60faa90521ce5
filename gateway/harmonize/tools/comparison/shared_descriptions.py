"""Describes what documents share beside the dictionary: carriers, notices, units, decisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.harmonize.language import (
    XML_FORM,
    CarrierForm,
    FactType,
    MappingBundle,
    NoticeElement,
    NoticeLine,
    NoticeMapping,
    TranslationStep,
)
from gateway.harmonize.tools.comparison.part_descriptions import (
    Described,
    PartDescription,
    describe_requirement,
    describe_shape,
)

__all__ = [
    "describe_carriers",
    "describe_decisions",
    "describe_facts",
    "describe_notice_lines",
    "describe_notices",
    "describe_units",
]

_FORMS: Final = {"json": "JSON", "fixed": "fixed records"}
_ENDS: Final = {b"": "none", b"\n": "lf", b"\r\n": "crlf"}


def describe_carriers(bundle: MappingBundle) -> Described:
    """Return the form of each organisation that speaks another one than XML."""
    return {
        code: PartDescription(
            bundle.organisations[code].ko,
            bundle.organisations[code].en,
            _describe_form(form),
            "carriers.yaml",
        )
        for code, form in bundle.carriers.items()
        if form.form != XML_FORM.form
    }


def _describe_form(form: CarrierForm) -> dict[str, str]:
    aspects = {"form": _FORMS.get(form.form, form.form), "numbers": form.numbers}
    if form.form == "fixed":
        aspects |= {"character set": form.charset, "longest text": f"{form.longest} octets"}
        aspects |= {"longer texts": form.overflow, "end of a record": _ENDS[form.end]}
    for path, own in form.fields.items():
        told = (("width", own.width), ("numbers", own.numbers), ("longer texts", own.overflow))
        aspects[f"field {path}"] = ", ".join(f"{name} {value}" for name, value in told if value is not None)
    return aspects


def describe_facts(bundle: MappingBundle) -> Described:
    """Return every fact that notices may state."""
    return {name: _describe_fact(kind) for name, kind in bundle.notices.kinds.items()}


def _describe_fact(kind: FactType) -> PartDescription:
    aspects = {
        "type": kind.type,
        "for each": kind.per,
        "derived from": kind.of,
        "by list": "" if kind.via is None else kind.via.name,
        "form of unknown codes": kind.pattern or "",
        "label": f"{kind.en} ({kind.ko})",
        **describe_shape(kind.shape),
    }
    return PartDescription(kind.ko, kind.en, aspects, str(kind.mark))


def describe_notices(bundle: MappingBundle) -> Described:
    """Return what the head of every notice says, and the zone of their times."""
    found = {name: _describe_notice(one) for name, one in bundle.notices.notices.items()}
    if found:
        found["zone"] = PartDescription("", "", {"zone": bundle.notices.zone}, "notices.yaml")
    return found


def _describe_notice(notice: NoticeMapping) -> PartDescription:
    aspects = {
        "name": f"{notice.en} ({notice.ko})",
        "role": notice.role,
        "status": notice.status,
        "from": notice.sender,
        "every document": "yes" if notice.shared else "no",
        "first element": notice.root.name,
        "means": ", ".join(f"{kind.name} {value}" for kind, value, _ in notice.means),
    }
    return PartDescription(notice.ko, notice.en, aspects, str(notice.mark))


def describe_notice_lines(notice: NoticeMapping) -> Described:
    """Return every element and attribute of a notice by its path, in their order."""
    return dict(_list_places(notice.root, notice.root.name))


def _list_places(slot: NoticeElement, path: str) -> Iterator[tuple[str, PartDescription]]:
    aspects = {} if slot.line is None else _describe_line(slot.line)
    if slot.each is not None:
        low, high = slot.each.bound
        aspects |= {"for each": slot.each.name, "times": f"{low} to {high}"}
        aspects["item is its key"] = "yes" if slot.each.keyed else "no"
    if aspects:
        yield path, PartDescription("", "", aspects, str(slot.mark))
    for one in slot.attributes:
        told = describe_shape(one.shape) | {"required": "always" if one.required else "no"}
        if one.line is not None:
            told |= _describe_line(one.line)
        yield f"{path}/@{one.name}", PartDescription("", "", told, str(one.mark))
    for child in slot.children:
        yield from _list_places(child, f"{path}/{child.path_label}")


def _describe_line(line: NoticeLine) -> dict[str, str]:
    rule = line.requirement
    steps = (f"via {one.codes.name}" if isinstance(one, TranslationStep) else one.name for one in line.steps)
    return {
        "source": line.kind.name if line.kind is not None else line.const or f"the request's {line.echoes}",
        "required": describe_requirement(mandatory=rule.mandatory, when=rule.when),
        "otherwise": "forbidden" if rule.forbidden_otherwise else "",
        "conversions": ", ".join(steps),
        "unit": line.unit,
        "times": f"{line.bound[0]} to {line.bound[1]}",
        **describe_shape(line.shape),
    }


def describe_units(bundle: MappingBundle) -> Described:
    """Return every unit that can be converted, and the table as a whole."""
    found = {
        code: PartDescription("", "", {"dimension": one.dimension, "factor": str(one.factor)}, "")
        for code, one in bundle.units.units.items()
    }
    whole = {"version": bundle.units.version, "source": bundle.units.source}
    return found | {"table": PartDescription("", "", whole, "")}


def describe_decisions(bundle: MappingBundle) -> Described:
    """Return every decision about a field of one document that may be one of another."""
    return {
        f"{document}/{field}": PartDescription("", "", {"decision": decision}, "reconciled.csv")
        for (document, field), decision in bundle.decisions.items()
    }
