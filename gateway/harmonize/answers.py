"""Reads the unique fields of an application and says what is wrong with them, each with its pointer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.errors import (
    ATTACHMENT_MISMATCH,
    DOCUMENT_INVALID,
    FIELD_MISSING,
    RULE_BROKEN,
    Problem,
)
from gateway.harmonize.asks import Ask
from gateway.harmonize.bundle import Bundle
from gateway.harmonize.documents import Document
from gateway.harmonize.facts import Facts, sequence_number, text_of
from gateway.harmonize.marks import Mark
from gateway.harmonize.scopes import Answers, Trace
from gateway.wire.namespaces import SUB, XSI
from gateway.wire.pointers import attribute_pointer, pointer_of

__all__ = ["declared_already", "read_answers"]

_SUB: Final = f"{{{SUB}}}"
_MIB: Final = 1024 * 1024
_SHOWN: Final = 70


@dataclass(slots=True)
class _Reader:
    """One reading of one application's fields."""

    facts: Facts
    document: Document
    bundle: Bundle
    trace: Trace
    application: etree._Element
    name: str
    answers: Answers
    attachments: Mapping[str, etree._Element]

    def trouble(self, problem: Problem, detail: str, pointer: str, rule: Mark) -> None:
        """Note that something is wrong with the fields."""
        self.trace.trouble(problem, detail, pointer, (self.name, rule))


def read_answers(
    facts: Facts, document: Document, bundle: Bundle, trace: Trace, application: etree._Element
) -> Answers:
    """Return the unique fields of `application`, by name; what is wrong is noted in `trace`."""
    found = {str(a.get("cid", "")): a for a in application.findall(f"{_SUB}Attachment")}
    name = str(application.get("id", ""))
    reader = _Reader(facts, document, bundle, trace, application, name, Answers(), found)
    branches = application.findall(f"{_SUB}Fields")
    for other in branches[1:]:
        reader.trouble(DOCUMENT_INVALID, "Fields stands once", pointer_of(other), document.asks_mark)
        _withhold(reader, other)
    top = {ask.tag: ask for ask in document.asks if ask.per == "application"}
    per_item = {ask.tag: ask for ask in document.asks if ask.per == "item"}
    children = list(branches[0].iterchildren(tag=etree.Element)) if branches else []
    item_tag = f"{{{document.namespace}}}Item"
    _read_branch(reader, [child for child in children if child.tag != item_tag], top, reader.answers.top)
    for child in children:
        if child.tag == item_tag:
            _read_item(reader, child, per_item)
    return reader.answers


def _read_item(reader: _Reader, element: etree._Element, asks: Mapping[str, Ask]) -> None:
    number = sequence_number(str(element.get("sequence", "")))
    key = (element, "sequence")
    if key in reader.facts.attributes:
        reader.trace.note((reader.facts.attributes[key],), "consumed", reader.document.asks_mark)
    _no_other_attributes(reader, element, ("sequence",), reader.document.asks_mark)
    if number is None or number in reader.answers.items:
        detail = (
            f"an Item names its goods item once by @sequence, not {str(element.get('sequence'))[:_SHOWN]!r}"
        )
        reader.trouble(RULE_BROKEN, detail, pointer_of(element), reader.document.asks_mark)
        _withhold(reader, element)
        return
    branch: dict[str, list[etree._Element]] = {}
    reader.answers.items[number] = branch
    _read_branch(reader, list(element.iterchildren(tag=etree.Element)), asks, branch)


def _read_branch(
    reader: _Reader,
    children: Iterable[etree._Element],
    asks: Mapping[str, Ask],
    branch: dict[str, list[etree._Element]],
    outer: str = "",
) -> None:
    for child in children:
        namespace, _, local = str(child.tag).rpartition("}")
        ask = asks.get(local) if namespace == f"{{{reader.document.namespace}" else None
        if ask is None:
            _refuse_unknown(reader, child, f"{outer}.{local}" if outer else local)
            continue
        branch.setdefault(ask.name, []).append(child)
        if ask.type == "group":
            _read_group(reader, child, ask)
        else:
            _read_value(reader, child, ask)


def _read_group(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    inner: dict[str, list[etree._Element]] = {}
    reader.answers.groups[element] = inner
    _no_other_attributes(reader, element, (), ask.mark)
    if text_of(element).strip():
        reader.trouble(DOCUMENT_INVALID, f"{ask.tag} holds fields, not text", pointer_of(element), ask.mark)
    _read_branch(
        reader, list(element.iterchildren(tag=etree.Element)), {f.tag: f for f in ask.fields}, inner, ask.tag
    )


def _read_value(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    _no_other_attributes(reader, element, (ask.attribute,) if ask.attribute else (), ask.mark)
    if next(element.iterchildren(tag=etree.Element), None) is not None:
        reader.trouble(
            DOCUMENT_INVALID, f"{ask.tag} holds a value, not fields", pointer_of(element), ask.mark
        )
        _withhold(reader, element)
        return
    text = text_of(element)
    if ask.type == "attachment":
        _read_attachment(reader, element, ask)
        return
    if not text.strip():
        reader.trace.note((reader.facts.texts[element],), "withheld", ask.mark)
    elif (refusal := ask.shape.refuse(text)) is not None:
        reader.trouble(refusal[0], f"{ask.tag}: {refusal[1]}", pointer_of(element), ask.mark)
    if ask.attribute is not None:
        _read_attribute(reader, element, ask, ask.attribute)


def _read_attribute(reader: _Reader, element: etree._Element, ask: Ask, name: str) -> None:
    value = element.get(name)
    if value is None:
        if ask.fixed_unit is None:
            reader.trouble(
                FIELD_MISSING, f"{ask.tag} lacks @{name}", attribute_pointer(element, name), ask.mark
            )
        return
    refusal = ask.attribute_shape.refuse(str(value))
    if refusal is not None:
        reader.trouble(
            refusal[0], f"{ask.tag}/@{name}: {refusal[1]}", attribute_pointer(element, name), ask.mark
        )
    # Where only one unit is possible the attribute was read to check it, and says nothing more.
    reader.trace.note((reader.facts.attributes[element, name],), "consumed", ask.mark)


def _read_attachment(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    cid = element.get("cid")
    pointer = pointer_of(element)
    if text_of(element).strip():
        reader.trouble(
            DOCUMENT_INVALID, f"{ask.tag} names an attachment by @cid and holds no text", pointer, ask.mark
        )
    attachment = reader.attachments.get(str(cid)) if cid else None
    if attachment is None:
        detail = f"{ask.tag} names no attachment of the application: {str(cid)[:_SHOWN]!r}"
        reader.trouble(FIELD_MISSING, detail, pointer, ask.mark)
        return
    media_type = str(attachment.get("mediaType", "")).partition(";")[0].strip().lower()
    size = str(attachment.get("size", ""))
    if ask.mime and media_type not in ask.mime:
        detail = f"{ask.tag} has media type {media_type[:_SHOWN]!r}, not one of {', '.join(ask.mime)}"
        reader.trouble(RULE_BROKEN, detail, pointer, ask.mark)
    if ask.max_mib is not None and size.isdigit() and (len(size) > 15 or int(size) > ask.max_mib * _MIB):
        detail = f"{ask.tag} is larger than {ask.max_mib} MiB"
        reader.trouble(ATTACHMENT_MISMATCH, detail, pointer, ask.mark)


def _no_other_attributes(
    reader: _Reader, element: etree._Element, allowed: tuple[str, ...], rule: Mark
) -> None:
    for name in map(str, element.attrib):
        if name in allowed:
            continue
        reader.trace.note((reader.facts.attributes[element, name],), "withheld", rule)
        if not name.startswith(f"{{{XSI}}}"):
            detail = f"attribute {name[:_SHOWN]!r} is not asked for"
            reader.trouble(DOCUMENT_INVALID, detail, attribute_pointer(element, name), rule)


def _refuse_unknown(reader: _Reader, element: etree._Element, field: str) -> None:
    """Refuse a field that is not asked; say so plainly when the declaration holds it already."""
    _withhold(reader, element)
    rule = reader.document.asks_mark
    declared = declared_already(reader.bundle, reader.document.id, field)
    if declared:
        detail = f"{field[:_SHOWN]} is not asked here, the declaration holds it: {declared}"
        reader.trouble(RULE_BROKEN, detail, pointer_of(element), rule)
    else:
        detail = f"{field[:_SHOWN]} is not a field of {reader.document.id} here"
        reader.trouble(DOCUMENT_INVALID, detail, pointer_of(element), rule)


def _withhold(reader: _Reader, element: etree._Element) -> None:
    reader.trace.note(reader.facts.below(element), "withheld", reader.document.asks_mark)


def declared_already(bundle: Bundle, document: str, field: str) -> str:
    """Return in words where the declaration holds a field that is not asked, empty when it does not.

    `field` is the element's name, dotted inside a group.  Decisions of reconciled.csv are
    looked up first; then ``ImporterName`` is taken for ``importer.name``.
    """
    decision = bundle.reconciled.get((document, field))
    if decision is not None:
        return decision
    wanted = field.replace(".", "").lower()
    for meaning in bundle.dictionary.meanings.values():
        names = (meaning.name.replace(".", "").replace("_", ""), "".join(meaning.relative[-2:]).lower())
        if wanted in names:
            return f"{meaning.name}, {meaning.path}"
    return ""
