"""The sections of a draft: which fields each page has, in which order, and which page a field is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import g

from gateway.harmonize import FormField
from gateway.store import read_row_number
from gateway.web.console.filing.draft_service import Draft
from gateway.web.console.filing.form_view import (
    FieldNode,
    FormPainter,
    GroupNode,
    SectionView,
    list_leaf_keys,
    make_element_id,
)
from gateway.web.console.page_translations import translate

__all__ = [
    "SectionLink",
    "draw_page",
    "find_field_page",
    "find_field_title",
    "list_page_inputs",
    "list_sections",
    "translate_words",
]


@dataclass(frozen=True, slots=True)
class SectionLink:
    """A page of a draft: the end of its path, and its title."""

    path: str
    title: str


def translate_words() -> dict[str, str]:
    """Return the words that stand at inputs, in the language of the request."""
    return {
        "unit": translate("Unit"),
        "currency": translate("Currency"),
        "yes": translate("Yes"),
        "no": translate("No"),
        "only": translate("Only when: {condition}"),
        "when": translate("Required when: {condition}"),
        "for": translate("Required by {documents}"),
    }


def list_sections(draft: Draft) -> tuple[SectionLink, ...]:
    """Return the pages of a draft: the declaration, each document, each goods item."""
    found = [SectionLink("declaration", translate("Declaration"))]
    for number, one in enumerate(draft.values.applications, 1):
        section = draft.form.sections[one.document]
        label = section.document.ko if g.language == "ko" else section.document.en
        found.append(SectionLink(f"documents/{number}", f"{one.document}: {label}"))
    for item in draft.values.items:
        found.append(SectionLink(f"items/{item}", translate("Goods item {number}").format(number=item)))
    return tuple(found)


def draw_page(painter: FormPainter, draft: Draft, path: str) -> tuple[SectionView, ...]:
    """Return the sections of one page of a draft; none for a page that it does not have."""
    kind, _, number = path.partition("/")
    if kind == "declaration":
        return tuple(_draw_declaration(painter, draft))
    place = read_row_number(number) if kind == "documents" else None
    if place is not None and 1 <= place <= len(draft.values.applications):
        return tuple(_draw_document(painter, draft, place))
    if kind == "items" and number in draft.values.items:
        return tuple(_draw_item(painter, draft, number))
    return ()


def _draw_declaration(painter: FormPainter, draft: Draft) -> Iterator[SectionView]:
    documents = draft.form.documents
    title = translate("Asked once for all documents")
    yield painter.draw_section(title, "h", draft.form.header, documents)
    if draft.form.shared_header:
        title = translate("Asked by several documents, answered once")
        yield painter.draw_section(title, "s", draft.form.shared_header, documents)


def _draw_document(painter: FormPainter, draft: Draft, number: int) -> Iterator[SectionView]:
    one = draft.values.applications[number - 1]
    section = draft.form.sections[one.document]
    if section.application:
        title = translate("Asked for the application")
        yield painter.draw_section(title, f"a#{number}", section.application, (one.document,))


def _draw_item(painter: FormPainter, draft: Draft, item: str) -> Iterator[SectionView]:
    documents = draft.values.list_documents_of(item)
    title = translate("Asked once for all documents")
    yield painter.draw_section(title, f"i#{item}", draft.form.item, documents)
    shared = [one for one in draft.form.shared_item if {use.document for use in one.uses} & set(documents)]
    if shared:
        title = translate("Asked by several documents, answered once")
        yield painter.draw_section(title, f"s/i#{item}", shared, documents)
    for number, one in enumerate(draft.values.applications, 1):
        section = draft.form.sections[one.document]
        if item in one.items and section.item:
            label = section.document.ko if painter.language == "ko" else section.document.en
            title = f"{one.document}: {label}"
            yield painter.draw_section(title, f"a#{number}/i#{item}", section.item, (one.document,))


def list_page_inputs(views: tuple[SectionView, ...]) -> dict[str, FieldNode]:
    """Return every input of a page by its key."""
    nodes: list[FieldNode | GroupNode] = [one for view in views for one in (*view.needed, *view.further)]
    return {node.key: node for node in list_leaf_keys(nodes)}


def find_field_page(key: str) -> str:
    """Return the end of the path at which a field is edited, with the id of its input."""
    place, _, rest = key.partition("/")
    fragment = f"?check=1#{make_element_id(key)}"
    if place == "h":
        return f"declaration{fragment}"
    if place.startswith("i#"):
        return f"items/{place[2:]}{fragment}"
    inner = rest.partition("/")[0]
    if inner.startswith("i#"):
        return f"items/{inner[2:]}{fragment}"
    if place == "s":
        return f"declaration{fragment}"
    return "items" if rest == "items" else f"documents/{place[2:]}{fragment}"


def find_field_title(draft: Draft, language: str) -> Callable[[str], str]:
    """Return a function that gives the title of a field: its page, then its label."""
    sections = {one.path: one.title for one in list_sections(draft)}
    labels = {one.name: (one.ko if language == "ko" else one.en) for one in _walk_form(draft)}

    def describe(key: str) -> str:
        page = sections.get(find_field_page(key).partition("?")[0], "")
        names = [part.partition("#")[0].removesuffix("@") for part in key.split("/")[1:]]
        label = next((labels[name] for name in reversed(names) if name in labels), "")
        return f"{page}: {label}" if page and label else label or page

    return describe


def _walk_form(draft: Draft) -> Iterator[FormField]:
    form = draft.form
    pending = [*form.header, *form.item, *form.shared_header, *form.shared_item]
    for section in form.sections.values():
        pending += [*section.application, *section.item]
    while pending:
        one = pending.pop()
        yield one
        pending += one.fields
