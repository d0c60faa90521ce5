"""How drafts begin: from chosen documents, or as the copy of an earlier submission."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flask import abort

from gateway.harmonize import (
    DocumentMapping,
    FormValues,
    MappingBundle,
    compose_form,
    find_reference,
    read_form_values,
)
from gateway.store import NewDraftFile, messages, read_transaction, submission_drafts, write_transaction
from gateway.web.console.filing.draft_service import (
    DraftLimitError,
    begin_draft,
    make_applications,
)
from gateway.web.console.page_translations import translate
from gateway.wire import parse_xml

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices
    from gateway.web.console.visitor_session import Visitor

__all__ = [
    "DocumentGroup",
    "begin_chosen_draft",
    "copy_message",
    "list_document_groups",
    "set_applications",
]

_MOST_DOCUMENTS = 20
_ISSUED = "Declaration/IssueDateTime"


@dataclass(frozen=True, slots=True)
class DocumentGroup:
    """The documents of one organisation, with its name."""

    code: str
    name: str
    documents: tuple[DocumentMapping, ...]


def list_document_groups(bundle: MappingBundle, language: str) -> tuple[DocumentGroup, ...]:
    """Return every document by its organisation."""
    found = []
    for code in dict.fromkeys(one.organisation for one in bundle.documents.values()):
        known = bundle.organisations.get(code)
        name = code if known is None else (known.ko if language == "ko" else known.en)
        own = tuple(one for one in bundle.documents.values() if one.organisation == code)
        found.append(DocumentGroup(code, name, own))
    return tuple(found)


def begin_chosen_draft(services: ConsoleServices, visitor: Visitor, chosen: tuple[str, ...]) -> int:
    """Store a draft for the chosen documents with one goods item; raises DraftLimitError with a sentence."""
    known = services.hub.rules.bundle.documents
    documents = tuple(one for one in chosen if one in known)
    if not documents:
        raise DraftLimitError(translate("Choose at least one document."))
    if len(documents) > _MOST_DOCUMENTS:
        raise DraftLimitError(translate("These are too many documents."))
    if len({known[one].direction for one in documents}) > 1:
        raise DraftLimitError(translate("Documents for import and for export need two submissions."))
    return begin_draft(services, visitor, _prefill(services, documents))


def _prefill(services: ConsoleServices, documents: tuple[str, ...]) -> FormValues:
    """Return the first values of a draft: one goods item, and today's date."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    now = services.clock().astimezone(zone).replace(second=0).isoformat(timespec="seconds")
    form = compose_form(services.hub.rules.bundle, documents)
    values = {f"h/{one.name}": now for one in form.header if getattr(one.source, "path", "") == _ISSUED}
    return FormValues(make_applications(documents, ("1",)), ("1",), values)


def set_applications(values: FormValues, concerned: set[str]) -> FormValues:
    """Return the values with these pairs ``APPLICATION|ITEM`` of which application concerns which item."""
    return replace(
        values,
        applications=tuple(
            replace(one, items=tuple(item for item in values.items if f"{number}|{item}" in concerned))
            for number, one in enumerate(values.applications, 1)
        ),
    )


def copy_message(services: ConsoleServices, visitor: Visitor, message: int) -> tuple[int, int]:
    """Store a draft with the content of an earlier submission of the organisation, with its files.

    Return its number, and how many values the form cannot hold.
    """
    with read_transaction(services.engine) as conn:
        row = messages.find_by_id(conn, message)
        own = row is not None and (row.direction, row.from_party) == ("in", visitor.organisation.code)
        payloads = messages.load_payloads(conn, message) if own else ()
    if not payloads:
        abort(HTTPStatus.NOT_FOUND)
    root = parse_xml(payloads[0].content, services.hub.limits)
    reading = read_form_values(services.hub.rules.bundle, root)
    key = find_reference(reading.form, reading.values.values)[0]
    kept = {name: text for name, text in reading.values.values.items() if name != key}
    number = begin_draft(services, visitor, replace(reading.values, values=kept, function="9"))
    with write_transaction(services.engine, "console.submission") as conn:
        for one in payloads[1:]:
            digest = hashlib.sha256(one.content).hexdigest()
            name = one.content_id.partition("@")[0][:100]
            file = NewDraftFile(one.content_id, name, one.media_type, digest, len(one.content), one.content)
            submission_drafts.add_file(conn, number, file, visitor.name, services.clock())
    return number, len(reading.lost)
