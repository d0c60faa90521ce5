"""Reads a notice of an agency: every element becomes a fact, or the notice is rejected with an XPath.

Nothing is skipped and nothing is guessed.  An element that no line names, that is missing,
out of place or given twice is GW402; a code that its list does not have is GW403; two
answers about one item are GW404; a notice of an undeclared kind, or about another document,
is GW603.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lxml import etree

from gateway.errors import ANSWER_NOT_UNDERSTOOD
from gateway.harmonize.language import (
    ALL_ITEMS,
    DocumentMapping,
    MappingBundle,
    NoticeCatalog,
    NoticeMapping,
    find_type_code,
    list_type_codes,
)
from gateway.harmonize.notices.notice_reader import NoticeFact, NoticePlace, NoticeReader, make_notice_error


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """All facts of one notice, in the order of its lines; the derived facts come last."""

    notice: NoticeMapping
    document: DocumentMapping | None
    facts: tuple[NoticeFact, ...]

    def find_value(self, name: str) -> str | None:
        """Return the value of the fact `name` of the whole notice, None where it has none."""
        return next((fact.value for fact in self.facts if fact.name == name and not fact.occurrence), None)

    @property
    def item_number(self) -> str | None:
        """Return the one goods item that the whole notice is about, None for the whole application."""
        number = self.find_value("item")
        return None if number == ALL_ITEMS else number

    def list_occurrences(self, name: str) -> Iterator[Mapping[str, NoticeFact]]:
        """Yield, for each occurrence of the repetition `name`, the facts directly in it."""
        occurrences: dict[tuple[tuple[str, int], ...], dict[str, NoticeFact]] = {}
        for fact in self.facts:
            if fact.occurrence and fact.occurrence[-1][0] == name:
                occurrences.setdefault(fact.occurrence, {})[fact.request_path or fact.name] = fact
        yield from occurrences.values()


def find_notice_mapping(root: etree._Element, notices: NoticeCatalog) -> NoticeMapping:
    """Return the mapping of the notice `root`; raise GW603 for an undeclared kind."""
    name = etree.QName(root)
    for notice in notices.notices.values():
        if notice.namespace == name.namespace and notice.root.name == name.localname:
            return notice
    description = f"{name.localname[:40]} in {(name.namespace or 'no namespace')[:80]}"
    raise make_notice_error(
        f"/{name.localname}", f"{description} is no notice that the mappings know", ANSWER_NOT_UNDERSTOOD
    )


def find_document_mapping(code: str | None, documents: Iterable[DocumentMapping]) -> DocumentMapping | None:
    """Return the document with the type code `code`, None where none or several have it.

    The type code is the TypeCode of its requests, or its id where they have none.
    """
    matching = [document for document in documents if code is not None and code in list_names(document)]
    return matching[0] if len(matching) == 1 else None


def list_names(document: DocumentMapping) -> tuple[str, ...]:
    """Return the texts by which a notice may name a document: its type codes, or its id."""
    return list_type_codes(document) + (() if find_type_code(document) is not None else (document.id,))


def list_possible_documents(
    code: str, own_documents: Iterable[DocumentMapping], root: etree._Element, bundle: MappingBundle
) -> list[DocumentMapping]:
    """Return the documents that a notice `root` may be about whose type code no mapping knows.

    They are those of `own_documents` whose type codes are unknown and that this kind of notice answers; none
    where the code names a notice, or a document of any agency. Raise GW603 for an undeclared kind of notice.
    """
    document_codes = (
        name for document in bundle.documents.values() for name in (*list_names(document), document.id)
    )
    if not code or code in bundle.notices.notices or code in document_codes:
        return []
    notice = find_notice_mapping(root, bundle.notices)
    return [
        document
        for document in own_documents
        if not list_type_codes(document) and document.accepted_notices.allows_notice(notice)
    ]


def check_named_document(facts: NoticeFacts, bundle: MappingBundle) -> None:
    """Raise GW603 for a notice that names another document than that of its application.

    Of a document whose type code the mappings do not know, a notice may state the id, or a code that is
    none of another document and of no notice, in the form that the mappings declare, if any.
    """
    document = facts.document
    if document is None or list_type_codes(document):
        return
    for fact in facts.facts:
        kind = bundle.notices.fact_types.get(fact.name)
        if kind is None or kind.type != "document" or fact.value == document.id:
            continue
        others = [
            other_document.id
            for other_document in bundle.documents.values()
            if fact.value in list_names(other_document)
        ]
        others += [name for name in bundle.notices.notices if name == fact.value]
        if others:
            detail = f"{fact.value[:40]!r} is {others[0]}, and the application is one of {document.id}"
            raise make_notice_error(fact.xpath, detail, ANSWER_NOT_UNDERSTOOD)
        if kind.pattern is not None and not re.fullmatch(kind.pattern, fact.value, re.ASCII):
            detail = f"{fact.value[:40]!r} is no type code that a notice about {document.id} may state"
            raise make_notice_error(fact.xpath, detail, ANSWER_NOT_UNDERSTOOD)


def read_notice(
    root: etree._Element, notices: NoticeCatalog, document: DocumentMapping | None = None
) -> NoticeFacts:
    """Return the facts of the notice `root`, about an application for `document` where that is known.

    Raise GW402, GW403, GW404 or GW603, each with the XPath of the error.
    """
    notice = find_notice_mapping(root, notices)
    path = f"/{notice.root.name}"
    if document is not None and not document.accepted_notices.allows_notice(notice):
        raise make_notice_error(path, f"{document.id} is not answered by {notice.id}", ANSWER_NOT_UNDERSTOOD)
    reader = NoticeReader(notices.zone, notice, document)
    facts = [
        NoticeFact(kind.name, value, path, mark, ("const",)) for kind, value, mark in notice.implied_facts
    ]
    facts += reader.read_element(notice.root, root, NoticePlace(path))
    facts += derive_facts(facts, notices)
    reader.check_conditions(facts)
    return NoticeFacts(notice, document, tuple(facts))


def derive_facts(facts: Sequence[NoticeFact], notices: NoticeCatalog) -> list[NoticeFact]:
    """Return the facts derived from others by a list; a value without a translation gives none."""
    derived: list[NoticeFact] = []
    for kind in notices.list_derived_facts():
        assert kind.translation_list is not None
        step = f"via {kind.translation_list.name}@{kind.translation_list.version}"
        for fact in (*facts, *derived):
            value = kind.translation_list.translate_code(fact.value) if fact.name == kind.base_fact else None
            if value is not None:
                steps = (*fact.transforms, step)
                derived.append(replace(fact, name=kind.name, value=value, rule=kind.mark, transforms=steps))
    return derived
