"""Reads an application as its agency has it: the form of the call that the agency was sent.

The input is the stored call of this agency, and nothing else. The submission holds what other agencies
ask for; it is not read here, so nothing of it can reach an officer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize import DocumentMapping, MappingBundle, RequestForm, draw_request
from gateway.hub.carried_documents import open_carried_document
from gateway.store import (
    NewSummary,
    agency_requests,
    application_summaries,
    deliveries,
    payloads,
    write_transaction,
)
from gateway.wire import CARRIED, WireLimits, parse_xml

if TYPE_CHECKING:
    from gateway.hub.hub import Hub

__all__ = ["ApplicationForm", "SentAttachment", "load_application_form", "refresh_summaries"]

#: Where a call says who applies and what the goods are, the first that is there.
_APPLICANT = ("common:importer.name", "common:exporter.name", "common:declarant.name")
_APPLICANT_ID = ("common:importer.id", "common:exporter.id", "common:declarant.id")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class SentAttachment:
    """A file that the agency was sent: its content id, stated media type, digest and octets."""

    content_id: str
    media_type: str
    sha256: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ApplicationForm:
    """An application of one agency: its row, its form, its files.

    `current` is false where the mappings that wrote it are not known any more; it is then drawn by those
    in force. `supplemented` says that an earlier call was compared.
    """

    request: Row[Any]
    form: RequestForm
    attachments: tuple[SentAttachment, ...]
    supplemented: bool
    current: bool


def load_application_form(
    hub: Hub, conn: Connection, agency: str, number: str, *, compare: bool = True
) -> ApplicationForm | None:
    """Return the application of this number; None when this agency was not sent one.

    With `compare`, what the last supplement changed is marked. Raises GW402 for a call that has no
    document of its mapping.
    """
    request = agency_requests.find_by_number(conn, number)
    if request is None or request.agency != agency:
        return None
    bundle, current = _find_bundle(hub, request)
    document = bundle.documents.get(request.document)
    if document is None:
        raise GatewayError(
            DOCUMENT_INVALID, f"no mapping is in force for {request.document}", request.document
        )
    envelope = _load_call(conn, request.document_sha256, hub.limits)
    before = _find_earlier_call(conn, request) if compare else None
    earlier = (
        None if before is None else _find_document(document, bundle, _load_call(conn, before, hub.limits))
    )
    content = _find_document(document, bundle, envelope)
    form = draw_request(document, bundle, content, position=request.sequence, earlier=earlier)
    attachments = tuple(_list_attachments(envelope, set(content.iter())))
    return ApplicationForm(request, form, attachments, earlier is not None, current)


def refresh_summaries(hub: Hub, conn: Connection, requests: Sequence[int]) -> int:
    """Read the calls of those of these requests whose summary is missing or old; return how many these were.

    A call that cannot be read has a summary without applicant and goods.
    """
    unread = application_summaries.list_unread_requests(conn, requests)
    made = [_make_summary(hub, conn, row) for row in unread]
    if made:
        with write_transaction(hub.engine, "console.summaries") as writing:
            application_summaries.store_summaries(writing, made)
    return len(made)


def _make_summary(hub: Hub, conn: Connection, request: Row[Any]) -> NewSummary:
    laws = " ".join(dict.fromkeys(str(law) for _, law in request.required))
    items = len({item for item, _ in request.required})
    empty = NewSummary(request.id, request.agency, request.document_sha256, laws=laws, item_count=items)
    try:
        found = load_application_form(hub, conn, request.agency, request.number, compare=False)
    except GatewayError:
        return empty
    if found is None:
        return empty
    form = found.form
    return NewSummary(
        request_id=request.id,
        agency=request.agency,
        document_sha256=request.document_sha256,
        applicant=form.find_first_text(*_APPLICANT)[:_LONGEST],
        applicant_id=form.find_first_text(*_APPLICANT_ID)[:_LONGEST],
        goods=form.find_first_text("common:item.description")[:_LONGEST],
        hs=form.find_first_text("common:item.hs")[:_LONGEST],
        laws=laws,
        item_count=items,
    )


def _find_bundle(hub: Hub, request: Row[Any]) -> tuple[MappingBundle, bool]:
    """Return the mappings that wrote a request, else those in force, and whether they are the former."""
    pinned = hub.find_pinned_rules(request.mapping_sha256)
    return (hub.rules.bundle, False) if pinned is None else (pinned.bundle, True)


def _load_call(conn: Connection, digest: str, limits: WireLimits) -> etree._Element:
    return parse_xml(payloads.get_payload_octets(conn, digest), limits, envelope=True)


def _find_earlier_call(conn: Connection, request: Row[Any]) -> str | None:
    """Return the digest of the call before the last one with a document; None without a supplement."""
    sent = [
        str(row.payload_sha256)
        for row in deliveries.list_by_case(conn, request.case_id)
        if (row.subject_type, row.subject_id) == ("request", str(request.id)) and row.payload_sha256
    ]
    if request.document_sha256 not in sent:
        return None
    before = sent[: sent.index(request.document_sha256)]
    return before[-1] if before else None


def _find_document(
    document: DocumentMapping, bundle: MappingBundle, envelope: etree._Element
) -> etree._Element:
    """Return the document of a call, read out of the form in which the agency was sent it."""
    carried = next(envelope.iter(f"{{{CARRIED}}}Carried"), None)
    if carried is not None:
        return open_carried_document(bundle, document.organisation, carried)
    found = next(envelope.iter(f"{{{document.namespace}}}{document.root.name}"), None)
    if found is None:
        raise GatewayError(DOCUMENT_INVALID, f"the call carries no document of {document.id}", document.id)
    return found


def _list_attachments(envelope: etree._Element, document: set[etree._Element]) -> Iterator[SentAttachment]:
    """Yield the files beside the document; their media type is what the applicant states."""
    for element in envelope.iter(tag=etree.Element):
        content_id, media_type = element.get("cid"), element.get("mediaType")
        if element in document or content_id is None or media_type is None:
            continue
        try:
            content = base64.b64decode("".join((element.text or "").split()), validate=True)
        except binascii.Error as error:
            raise GatewayError(DOCUMENT_INVALID, "a file is not base64", f"cid:{content_id[:80]}") from error
        yield SentAttachment(content_id, media_type, element.get("sha256", ""), content)
