"""Takes the input on a page of a draft: texts, files, and the buttons that add or remove."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from flask import g
from werkzeug.datastructures import FileStorage

from gateway.harmonize import FiledApplication, FormField, FormValues, count_occurrences, remove_occurrence
from gateway.store import DraftFileSummaryRow, NewDraftFile, read_row_number
from gateway.web.console.filing.draft_service import Draft, DraftRefusedError, make_draft_file
from gateway.web.console.filing.form_view import (
    FieldNode,
    FormPainter,
    GroupNode,
    SectionView,
    list_inputs,
    make_element_id,
    to_stated_moment,
)
from gateway.web.console.page_formats import choose_label, translate
from gateway.web.console.page_guards import services
from gateway.wire import replace_invalid_xml_characters

MOST_ITEMS: Final = 999
_LONGEST: Final = 20_000
_ROW: Final = re.compile(r"/[^/]*[^/ai]#[0-9]+|[^/]{2,}#[0-9]+(/|$)")


@dataclass(slots=True)
class TypedPage:
    """The values after a page was sent, and the files that came with it."""

    values: dict[str, str]
    files: list[NewDraftFile] = field(default_factory=list)


def read_typed_page(
    draft: Draft,
    inputs: Mapping[str, FieldNode],
    typed: Mapping[str, str],
    files: Mapping[str, FileStorage],
    zone: ZoneInfo,
) -> TypedPage:
    """Return the values of a draft with the texts and files from the inputs of one page.

    Only inputs of that page are read. Raises DraftRefusedError for a file or a text that is too large.
    """
    page = TypedPage(dict(draft.values.values))
    for key, node in inputs.items():
        if node.kind == "file":
            _apply_file_input(draft, page, node, typed, files)
        elif key in typed:
            text = _clean_text(typed[key])
            page.values[key] = to_stated_moment(text, zone) if node.kind == "datetime-local" else text
    # An empty value is stored only where the occurrence would not exist without it.
    page.values = {key: text for key, text in page.values.items() if text or _ROW.search(key)}
    return page


def _clean_text(text: str) -> str:
    """Return a typed text as it is stored: with plain line ends, without characters that XML excludes."""
    text = text.replace("\r\n", "\n").strip()
    if len(text) > _LONGEST:
        raise DraftRefusedError(translate("A text is longer than 20,000 characters. Nothing was saved."))
    return replace_invalid_xml_characters(text, "")


def _apply_file_input(
    draft: Draft,
    page: TypedPage,
    node: FieldNode,
    typed: Mapping[str, str],
    files: Mapping[str, FileStorage],
) -> None:
    """Add an uploaded file to the page in place of an earlier one; remove the file if that box is ticked."""
    if typed.get(f"remove:{node.key}"):
        page.values[node.key] = ""
    upload = files.get(node.key)
    if upload is None or not upload.filename:
        return
    draft_file = make_draft_file(draft, node.key, upload.filename, upload.stream.read())
    if draft.find_file(draft_file.cid) is None:
        page.files.append(draft_file)
    page.values[node.key] = draft_file.cid


def apply_button(values: Mapping[str, str], views: tuple[SectionView, ...], button: str) -> dict[str, str]:
    """Return the values after a button ``add|PLACE|NAME`` or ``remove|PLACE|NAME|NUMBER`` of the page.

    Buttons that the page does not have do nothing.
    """
    act, _, rest = button.partition("|")
    parent_key, _, name = rest.partition("|")
    if act == "add":
        node = _find_group(views, parent_key, name)
        if node is None or not node.can_add:
            return dict(values)
        return _add_occurrence(values, node)
    name, _, number = name.rpartition("|")
    node = _find_group(views, parent_key, name) if act == "remove" else None
    occurrence = read_row_number(number)
    if node is None or occurrence is None:
        return dict(values)
    return remove_occurrence(values, parent_key, name, occurrence)


def _add_occurrence(values: Mapping[str, str], node: GroupNode) -> dict[str, str]:
    """Return the values with one more occurrence of a group, empty, after those that the page shows.

    A shown occurrence without any value gets an empty value, too, so that it is stored.
    """
    highest = max((occurrence.number for occurrence in node.occurrences), default=0)
    count = max(count_occurrences(values, node.key, node.name), highest) + 1
    new_values = dict(values)
    for number in range(1, count + 1):
        occurrence_key = f"{node.key}/{node.name}#{number}"
        if not any(key == occurrence_key or key.startswith(f"{occurrence_key}/") for key in new_values):
            new_values[_make_first_key(node, occurrence_key)] = ""
    return new_values


def _make_first_key(node: GroupNode, occurrence_key: str) -> str:
    """Return the key whose empty value stands for an empty occurrence: its own key, or that of a member."""
    leaf = next((occurrence for occurrence in node.occurrences[:1]), None)
    first_node = leaf.nodes[0] if leaf is not None and leaf.nodes else None
    if isinstance(first_node, FieldNode) and first_node.key.startswith(f"{node.key}/{node.name}#"):
        rest = first_node.key[len(f"{node.key}/{node.name}#") :].partition("/")
        return f"{occurrence_key}/{rest[2]}" if rest[1] else occurrence_key
    return f"{occurrence_key}/-"


def _find_group(views: tuple[SectionView, ...], parent_key: str, name: str) -> GroupNode | None:
    """Return the repeated group `name` below `parent_key` in the views, at any depth, or None."""
    pending = [node for view in views for node in (*view.needed, *view.optional)]
    while pending:
        node = pending.pop()
        if isinstance(node, GroupNode):
            if (node.key, node.name) == (parent_key, name) and node.repeated:
                return node
            pending += [inner for occurrence in node.occurrences for inner in occurrence.nodes]
    return None


def add_item(values: FormValues) -> FormValues:
    """Return the values with one more goods item, which every application concerns."""
    if len(values.items) >= MOST_ITEMS:
        return values
    # bounded: the items of a draft, which the page made
    item = str(1 + max((int(number) for number in values.items), default=0))
    return replace(
        values,
        items=(*values.items, item),
        applications=tuple(
            replace(application, items=(*application.items, item)) for application in values.applications
        ),
    )


def remove_item(values: FormValues, item: str) -> FormValues:
    """Return the values without a goods item; those behind it get its number and the following ones."""
    remaining = [number for number in values.items if number != item]
    names = {old: str(number) for number, old in enumerate(remaining, 1)}
    return replace(
        values,
        items=tuple(names.values()),
        applications=tuple(_rename_items(application, names) for application in values.applications),
        values=_rename_keys(values.values, names),
        further=_rename_keys(values.further, names),
    )


def _rename_items(application: FiledApplication, names: Mapping[str, str]) -> FiledApplication:
    return replace(application, items=tuple(names[item] for item in application.items if item in names))


_ITEM: Final = re.compile(r"(^|/)i#([0-9]{1,5})(?=[/|]|$)")


def _rename_keys(values: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the values with new item numbers in their keys; those of other items are left out."""
    renamed = {}
    for key, text in values.items():
        match = _ITEM.search(key)
        if match is None:
            renamed[key] = text
        elif match[2] in names:
            renamed[f"{key[: match.start()]}{match[1]}i#{names[match[2]]}{key[match.end() :]}"] = text
    return renamed


@dataclass(frozen=True, slots=True)
class SectionLink:
    """A page of a draft: the end of its path, and its title."""

    path: str
    title: str


def make_painter(
    values: FormValues,
    errors: Mapping[str, Sequence[str]],
    files: Mapping[str, DraftFileSummaryRow] = MappingProxyType({}),
) -> FormPainter:
    """Return the painter of a form with these values, errors and files, in the language of the request."""
    input_words = {
        "unit": translate("Unit"),
        "currency": translate("Currency"),
        "yes": translate("Yes"),
        "no": translate("No"),
        "only": translate("Only when: {condition}"),
        "when": translate("Required when: {condition}"),
        "for": translate("Required by {documents}"),
    }
    zone = ZoneInfo(services.settings.hub.time_zone)
    return FormPainter(services.hub.rules.bundle, g.language, values, zone, errors, files, input_words)


def list_sections(draft: Draft) -> tuple[SectionLink, ...]:
    """Return the pages of a draft: the declaration, each document, each goods item."""
    links = [SectionLink("declaration", translate("Declaration"))]
    for number, application in enumerate(draft.values.applications, 1):
        section = draft.form.sections[application.document]
        title = f"{application.document}: {choose_label(section.document)}"
        links.append(SectionLink(f"documents/{number}", title))
    for item in draft.values.items:
        links.append(SectionLink(f"items/{item}", translate("Goods item {number}").format(number=item)))
    return tuple(links)


def draw_page(painter: FormPainter, draft: Draft, path: str) -> tuple[SectionView, ...]:
    """Return the sections of one page of a draft; none for a page that it does not have."""
    kind, _, number = path.partition("/")
    if kind == "declaration":
        return tuple(_draw_declaration(painter, draft))
    document_number = read_row_number(number) if kind == "documents" else None
    if document_number is not None and 1 <= document_number <= len(draft.values.applications):
        return tuple(_draw_document(painter, draft, document_number))
    if kind == "items" and number in draft.values.items:
        return tuple(_draw_item(painter, draft, number))
    return ()


def _draw_declaration(painter: FormPainter, draft: Draft) -> Iterator[SectionView]:
    """Yield the sections of the declaration: fields of all documents, then fields of several documents."""
    documents = draft.form.documents
    title = translate("Asked once for all documents")
    yield painter.draw_section(title, "h", draft.form.header, documents)
    if draft.form.shared_header:
        title = translate("Asked by several documents, answered once")
        yield painter.draw_section(title, "s", draft.form.shared_header, documents)


def _draw_document(painter: FormPainter, draft: Draft, number: int) -> Iterator[SectionView]:
    application = draft.values.applications[number - 1]
    section = draft.form.sections[application.document]
    if section.application:
        title = translate("Asked for the application")
        yield painter.draw_section(title, f"a#{number}", section.application, (application.document,))


def _draw_item(painter: FormPainter, draft: Draft, item: str) -> Iterator[SectionView]:
    """Yield the sections of an item: common fields, shared fields, then those of each application."""
    documents = draft.values.list_documents_of(item)
    title = translate("Asked once for all documents")
    yield painter.draw_section(title, f"i#{item}", draft.form.item, documents)
    shared = [
        form_field
        for form_field in draft.form.shared_item
        if {use.document for use in form_field.uses} & set(documents)
    ]
    if shared:
        title = translate("Asked by several documents, answered once")
        yield painter.draw_section(title, f"s/i#{item}", shared, documents)
    for number, application in enumerate(draft.values.applications, 1):
        section = draft.form.sections[application.document]
        if item in application.items and section.item:
            title = f"{application.document}: {choose_label(section.document)}"
            yield painter.draw_section(title, f"a#{number}/i#{item}", section.item, (application.document,))


def list_page_inputs(views: tuple[SectionView, ...]) -> dict[str, FieldNode]:
    """Return every input of a page by its key."""
    nodes: list[FieldNode | GroupNode] = [node for view in views for node in (*view.needed, *view.optional)]
    return {node.key: node for node in list_inputs(nodes)}


def find_field_page(key: str) -> str:
    """Return the end of the path at which a field is edited, with the id of its input."""
    prefix, _, rest = key.partition("/")
    fragment = f"?check=1#{make_element_id(key)}"
    if prefix == "h":
        return f"declaration{fragment}"
    if prefix.startswith("i#"):
        return f"items/{prefix[2:]}{fragment}"
    inner = rest.partition("/")[0]
    if inner.startswith("i#"):
        return f"items/{inner[2:]}{fragment}"
    if prefix == "s":
        return f"declaration{fragment}"
    return "items" if rest == "items" else f"documents/{prefix[2:]}{fragment}"


def make_title_finder(draft: Draft) -> Callable[[str], str]:
    """Return a function that gives the title of a field: its page, then its label."""
    sections = {section.path: section.title for section in list_sections(draft)}
    labels = {form_field.name: choose_label(form_field) for form_field in _walk_form(draft)}

    def describe(key: str) -> str:
        application, _, rest = key.partition("/")
        path = f"documents/{application[2:]}" if rest == "items" else find_field_page(key).partition("?")[0]
        page = sections.get(path, "")
        names = [part.partition("#")[0].removesuffix("@") for part in key.split("/")[1:]]
        label = next((labels[name] for name in reversed(names) if name in labels), "")
        return f"{page}: {label}" if page and label else label or page

    return describe


def _walk_form(draft: Draft) -> Iterator[FormField]:
    """Yield every field of the draft's form, including the fields of groups, in no particular order."""
    form = draft.form
    pending = [*form.header, *form.item, *form.shared_header, *form.shared_item]
    for section in form.sections.values():
        pending += [*section.application, *section.item]
    while pending:
        form_field = pending.pop()
        yield form_field
        pending += form_field.fields
