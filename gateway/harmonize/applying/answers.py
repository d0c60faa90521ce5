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
    SOURCES_DISAGREE,
    Problem,
)
from gateway.harmonize.given.facts import Facts, sequence_number, text_of
from gateway.harmonize.given.scopes import Answers, Branch, Scope, Trace
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.sharing import Offer, member_like, members_of, offers_of, unlike
from gateway.harmonize.terms.asks import Ask, dotted_tag
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark
from gateway.wire.namespaces import SUB, XSI

__all__ = ["declared_already", "read_answers"]

_SUB: Final = f"{{{SUB}}}"
_MIB: Final = 1024 * 1024
_SHOWN: Final = 70
_CURRENCIES: Final = "iso4217"


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
    """Return the unique fields of `application`, by name; what is wrong is noted in `trace`.

    A shared field that another application answers is answered here too (`Answers.borrowed`).
    """
    found = {str(a.get("cid", "")): a for a in application.findall(f"{_SUB}Attachment")}
    name = str(application.get("id", ""))
    money = bundle.lists.get(_CURRENCIES)
    currencies = money.known if money is not None else frozenset[str]()
    answers = Answers(listed=_listed(document, bundle.dictionary), currencies=currencies)
    reader = _Reader(facts, document, bundle, trace, application, name, answers, found)
    branches = application.findall(f"{_SUB}Fields")
    for other in branches[1:]:
        reader.trouble(
            DOCUMENT_INVALID, "Fields stands once", reader.facts.pointer(other), document.asks_mark
        )
        _withhold(reader, other)
    top = {ask.tag: ask for ask in document.asks if ask.per == "application"}
    per_item = {ask.tag: ask for ask in document.asks if ask.per == "item"}
    children = list(branches[0].iterchildren(tag=etree.Element)) if branches else []
    item_tag = f"{{{document.namespace}}}Item"
    _read_branch(reader, [child for child in children if child.tag != item_tag], top, reader.answers.top)
    for child in children:
        if child.tag == item_tag:
            _read_item(reader, child, per_item)
    shared = [ask for ask in document.asks if ask.shared]
    numbers = reader.facts.numbers(application) if shared else ()
    for ask in shared:
        for item in (None,) if ask.per == "application" else numbers:
            _share(reader, ask, item)
    for ask in shared:
        if ask.requirement.forbidden_otherwise:
            _leave(reader, ask, numbers)
    return reader.answers


def _listed(document: Document, dictionary: Dictionary) -> dict[str, list[Meaning]]:
    """Return the common meanings that a document lists, by the group of the dictionary that they stand in."""
    listed: dict[str, list[Meaning]] = {}
    for need in document.needs:
        chain = dictionary.chain(need.meaning.per)
        for group in chain:
            listed.setdefault(group, [])
        if chain:
            listed[chain[-1]].append(need.meaning)
    return listed


def _share(reader: _Reader, ask: Ask, item: str | None) -> None:
    """Take the answer to a shared field from another application where this one gives none.

    Where two applications give it they must agree.
    """
    offers = offers_of(reader.facts, reader.bundle.documents, (reader.document.direction, ask.means, item))
    own = next((offer for offer in offers if offer.application is reader.application), None)
    if not offers or offers[0] is own:
        return
    first = offers[0]
    if own is not None:
        _consume(reader, first, ask)
    for rival in (own,) if own is not None else offers[1:]:
        different = unlike(first, rival)
        if rival is not own:
            _consume(reader, rival, ask)
        if different is not None:
            detail = f"{ask.en} ({ask.ko}) is shared, and application {_name(first)} says otherwise"
            reader.trouble(SOURCES_DISAGREE, detail, reader.facts.pointer(different), ask.mark)
    if own is None:
        answers = reader.answers
        branch = answers.top if item is None else answers.items.setdefault(item, Branch())
        branch.elements[ask.name] = list(first.elements)
        for element in first.elements:
            _borrow(reader, element, (first.ask, ask))


def _name(offer: Offer) -> str:
    return repr(str(offer.application.get("id", ""))[:_SHOWN])


def _consume(reader: _Reader, offer: Offer, ours: Ask) -> None:
    """Note that an answer was compared with another one, as far as our own field has it."""
    pending = [(element, offer.ask, ours) for element in offer.elements]
    while pending:
        element, theirs, own = pending.pop()
        leaves = reader.facts.texts.get(element), reader.facts.attributes.get((element, own.attribute or ""))
        reader.trace.note(tuple(leaf for leaf in leaves if leaf is not None), "consumed", ours.mark)
        for child, answered in members_of(element, theirs):
            member = member_like(answered, own.fields)
            pending += [] if member is None else [(child, answered, member)]


def _leave(reader: _Reader, ask: Ask, numbers: tuple[str, ...]) -> None:
    """Leave an answer to another application alone where this document may not be given one."""
    answers, when = reader.answers, ask.requirement.when
    scope = Scope(reader.facts, reader.bundle.dictionary, answers, reader.trace, reader.name, numbers, hub={})
    for place in [scope] if ask.per == "application" else scope.into_items():
        branch = answers.top if place.item is None else answers.items.get(place.item, Branch())
        elements = branch.elements.get(ask.name, [])
        if elements and elements[0] in answers.borrowed and when is not None and not when.holds(place):
            branch.drop(ask.name)
            for element in elements:
                reader.trace.note(reader.facts.below(element), "withheld", ask.mark)


def _borrow(reader: _Reader, element: etree._Element, asks: tuple[Ask, Ask]) -> None:
    """Read an answer given to another document's field as one to our own, which judges it anew."""
    theirs, ours = asks
    reader.answers.borrowed.add(element)
    attribute = reader.facts.attributes.get((element, ours.attribute or ""))
    leaves = (reader.facts.texts.get(element), attribute)
    reader.trace.borrowed.update(leaf for leaf in leaves if leaf is not None)
    if ours.type != "group":
        _judge_value(reader, element, ours)
        return
    inner = reader.answers.groups[element] = Branch()
    for child, answered in members_of(element, theirs):
        member = member_like(answered, ours.fields)
        if member is not None:
            inner.elements.setdefault(member.name, []).append(child)
            _borrow(reader, child, (answered, member))


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
        reader.trouble(RULE_BROKEN, detail, reader.facts.pointer(element), reader.document.asks_mark)
        _withhold(reader, element)
        return
    branch = reader.answers.items[number] = Branch()
    _read_branch(reader, list(element.iterchildren(tag=etree.Element)), asks, branch)


def _read_branch(
    reader: _Reader,
    children: Iterable[etree._Element],
    asks: Mapping[str, Ask],
    branch: Branch,
    outer: str = "",
) -> None:
    namespace = f"{{{reader.document.namespace}}}"
    for child in children:
        space, _, local = str(child.tag).rpartition("}")
        ask = asks.get(local) if f"{space}}}" == namespace else None
        if ask is None:
            _refuse_unknown(reader, child, f"{outer}.{local}" if outer else local)
            continue
        branch.elements.setdefault(ask.name, []).append(child)
        if ask.type == "group":
            _read_group(reader, child, ask)
        else:
            _read_value(reader, child, ask)


def _read_group(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    inner = reader.answers.groups[element] = Branch()
    _no_other_attributes(reader, element, (), ask.mark)
    if text_of(element).strip():
        reader.trouble(
            DOCUMENT_INVALID, f"{ask.tag} holds fields, not text", reader.facts.pointer(element), ask.mark
        )
    members, outer = {member.tag: member for member in ask.fields}, dotted_tag(ask.name)
    _read_branch(reader, list(element.iterchildren(tag=etree.Element)), members, inner, outer)


def _read_value(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    _no_other_attributes(reader, element, (ask.attribute,) if ask.attribute else (), ask.mark)
    _judge_value(reader, element, ask)


def _judge_value(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    if len(element) > 0 and next(element.iterchildren(tag=etree.Element), None) is not None:
        reader.trouble(
            DOCUMENT_INVALID, f"{ask.tag} holds a value, not fields", reader.facts.pointer(element), ask.mark
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
        reader.trouble(refusal[0], f"{ask.tag}: {refusal[1]}", reader.facts.pointer(element), ask.mark)
    if ask.attribute is not None:
        _read_attribute(reader, element, ask, ask.attribute)


def _read_attribute(reader: _Reader, element: etree._Element, ask: Ask, name: str) -> None:
    value = element.get(name)
    if value is None:
        if ask.fixed_unit is None:
            reader.trouble(
                FIELD_MISSING, f"{ask.tag} lacks @{name}", reader.facts.pointer(element, name), ask.mark
            )
        return
    refusal = ask.attribute_shape.refuse(str(value)) if str(value) not in ask.units else None
    if refusal is not None:
        reader.trouble(
            refusal[0], f"{ask.tag}/@{name}: {refusal[1]}", reader.facts.pointer(element, name), ask.mark
        )
    # Where only one unit is possible the attribute was read to check it, and says nothing more.
    reader.trace.note((reader.facts.attributes[element, name],), "consumed", ask.mark)


def _read_attachment(reader: _Reader, element: etree._Element, ask: Ask) -> None:
    cid = element.get("cid")
    if text_of(element).strip():
        detail = f"{ask.tag} names an attachment by @cid and holds no text"
        reader.trouble(DOCUMENT_INVALID, detail, reader.facts.pointer(element), ask.mark)
    attachment = reader.attachments.get(str(cid)) if cid else None
    if attachment is None:
        detail = f"{ask.tag} names no attachment of the application: {str(cid)[:_SHOWN]!r}"
        reader.trouble(FIELD_MISSING, detail, reader.facts.pointer(element), ask.mark)
        return
    media_type = str(attachment.get("mediaType", "")).partition(";")[0].strip().lower()
    size = str(attachment.get("size", ""))
    if ask.mime and media_type not in ask.mime:
        detail = f"{ask.tag} has media type {media_type[:_SHOWN]!r}, not one of {', '.join(ask.mime)}"
        reader.trouble(RULE_BROKEN, detail, reader.facts.pointer(element), ask.mark)
    if ask.max_mib is not None and size.isdigit() and (len(size) > 15 or int(size) > ask.max_mib * _MIB):
        detail = f"{ask.tag} is larger than {ask.max_mib} MiB"
        reader.trouble(ATTACHMENT_MISMATCH, detail, reader.facts.pointer(element), ask.mark)


def _no_other_attributes(
    reader: _Reader, element: etree._Element, allowed: tuple[str, ...], rule: Mark
) -> None:
    for name in map(str, element.keys()):
        if name in allowed:
            continue
        reader.trace.note((reader.facts.attributes[element, name],), "withheld", rule)
        if not name.startswith(f"{{{XSI}}}"):
            detail = f"attribute {name[:_SHOWN]!r} is not asked for"
            reader.trouble(DOCUMENT_INVALID, detail, reader.facts.pointer(element, name), rule)


def _refuse_unknown(reader: _Reader, element: etree._Element, field: str) -> None:
    """Refuse a field that is not asked; say so plainly when the declaration holds it already."""
    _withhold(reader, element)
    rule = reader.document.asks_mark
    # To say it well costs a look through the dictionary, which is not made for what is not shown.
    declared = "" if reader.trace.full else declared_already(reader.bundle, reader.document.id, field)
    if declared:
        detail = f"{field[:_SHOWN]} is not asked here, the declaration holds it: {declared}"
        reader.trouble(RULE_BROKEN, detail, reader.facts.pointer(element), rule)
    else:
        detail = f"{field[:_SHOWN]} is not a field of {reader.document.id} here"
        reader.trouble(DOCUMENT_INVALID, detail, reader.facts.pointer(element), rule)


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
