"""Reads an application as its agency has it: the form of the call that was sent to the agency.

The input is the stored call of this agency, and nothing else. The submission holds the fields of other
agencies; it is not read here, so no field of another agency can reach an officer.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import DeclaredQuantity
from gateway.errors import (
    CARRIED_WRONG,
    DOCUMENT_INVALID,
    NOTICE_KIND_UNKNOWN,
    GatewayError,
    raise_resource_problem,
)
from gateway.harmonize import (
    AgencyRequest,
    DocumentMapping,
    MappingBundle,
    RequestForm,
    UnitTable,
    draw_request,
    find_carried_document,
    get_carrier_format,
    read_carried,
    write_carried,
)
from gateway.state_machines import REQUEST
from gateway.store import (
    AgencyRequestRow,
    DecisionWithTextRow,
    NewSummary,
    NoticeRow,
    agency_requests,
    decisions,
    deliveries,
    notices,
    payloads,
    transitions,
    work_lists,
    write_transaction,
)
from gateway.wire import CARRIED, WireLimits, WrittenElement, parse_xml

if TYPE_CHECKING:
    from gateway.hub.hub import Hub


_log = logging.getLogger(__name__)
_TAG: Final = f"{{{CARRIED}}}Carried"


def make_request_element(bundle: MappingBundle, request: AgencyRequest) -> etree._Element | WrittenElement:
    """Return the element that carries a request in the call to its agency; raise GW718 if it cannot."""
    carrier_format = get_carrier_format(bundle, request.organisation)
    if carrier_format.syntax == "xml":
        return request.written_element
    octets = write_carried(request.xml, find_carried_document(bundle, request.document), carrier_format)
    nsmap: Any = {None: CARRIED}
    element = etree.Element(_TAG, nsmap=nsmap, form=carrier_format.syntax, document=request.document)
    element.text = base64.b64encode(octets).decode("ascii")
    return element


def open_carried_document(bundle: MappingBundle, agency: str, element: etree._Element) -> etree._Element:
    """Return the document that `element` carries in the form of `agency`; another element as it is.

    Raises GW716 for a form or a document that this agency does not have, GW718 for octets that are not
    in its form.
    """
    if element.tag != _TAG:
        return element
    carrier_format = get_carrier_format(bundle, agency)
    if element.get("form") != carrier_format.syntax or carrier_format.syntax == "xml" or len(element):
        detail = f"{agency} speaks {carrier_format.syntax}, and this is {element.get('form', 'nothing')[:20]}"
        raise GatewayError(NOTICE_KIND_UNKNOWN, detail, "/Carried/@form")
    name = element.get("document", "")
    if name not in bundle.documents and name not in bundle.notices.notices:
        raise GatewayError(NOTICE_KIND_UNKNOWN, f"no document {name[:60]!r} is known", "/Carried/@document")
    try:
        octets = base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise GatewayError(CARRIED_WRONG, "the content is no base64", "/Carried") from error
    return read_carried(octets, find_carried_document(bundle, name), carrier_format)


#: The fields of a call that name the applicant; the first one that is present counts.
_APPLICANT = ("common:importer.name", "common:exporter.name", "common:declarant.name")
_APPLICANT_ID = ("common:importer.id", "common:exporter.id", "common:declarant.id")
_MAX_TEXT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class SentAttachment:
    """A file that the agency was sent: its content id, stated media type, digest and octets."""

    content_id: str
    media_type: str
    sha256: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ApplicationForm:
    """An application of one agency: its row, its form, its files, the units of its mappings.

    `current` is false where the mappings that wrote it are not known any more; it is then drawn by those
    in force. `supplemented` says that an earlier call was compared.
    """

    request: AgencyRequestRow
    request_form: RequestForm
    attachments: tuple[SentAttachment, ...]
    supplemented: bool
    current: bool
    units: UnitTable

    def list_declared_quantities(self) -> Mapping[int, tuple[DeclaredQuantity, ...]]:
        """Return the declared quantities of each item, as far as the request to the agency has them."""
        return {
            item: tuple(
                DeclaredQuantity(quantity, measure.unit)
                for measure in goods.measures
                if (quantity := _read_decimal(measure.text)) is not None
            )
            for item, goods in self.request_form.list_goods().items()
        }


def _read_decimal(text: str) -> Decimal | None:
    """Return the number that a value of a call is; None for a text, which a carrier may have made of it."""
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def load_application_form(
    hub: Hub, conn: Connection, agency: str, number: str, *, marks_changes: bool = True
) -> ApplicationForm | None:
    """Return the application of this number; None when this agency was not sent one.

    With `marks_changes`, the changes by the last supplement are marked. Raises GW402 for a call that has no
    document of its mapping.
    """
    request = agency_requests.find_by_number(conn, number)
    if request is None or request.agency != agency:
        return None
    bundle, is_original_bundle = _find_bundle(hub, request)
    document_mapping = bundle.documents.get(request.document)
    if document_mapping is None:
        raise GatewayError(
            DOCUMENT_INVALID, f"no mapping is in force for {request.document}", request.document
        )
    envelope = _load_call(conn, request.document_sha256, hub.limits)
    earlier_digest = _find_earlier_call(conn, request) if marks_changes else None
    earlier_document = (
        None
        if earlier_digest is None
        else _find_document(document_mapping, bundle, _load_call(conn, earlier_digest, hub.limits))
    )
    current_document = _find_document(document_mapping, bundle, envelope)
    request_form = draw_request(
        document_mapping, bundle, current_document, position=request.sequence, earlier=earlier_document
    )
    attachments = tuple(_list_attachments(envelope, set(current_document.iter())))
    return ApplicationForm(
        request, request_form, attachments, earlier_document is not None, is_original_bundle, bundle.units
    )


def refresh_summaries(hub: Hub, conn: Connection, requests: Sequence[int]) -> int:
    """Read the calls of those of these requests whose summary is missing or old; return how many these were.

    A call that cannot be read has a summary without applicant and goods. One whose reading fails by a mistake
    of ours is logged and has none. Raises GW806 where the octets of calls are not reached; the summaries of
    those that were read before are stored.
    """
    summaries: list[NewSummary] = []
    try:
        for row in work_lists.list_unread_requests(conn, requests):
            summary = _try_to_summarize(hub, conn, row)
            if summary is not None:
                summaries.append(summary)
    finally:
        if summaries:
            with write_transaction(hub.engine, "console.summaries") as writing:
                work_lists.store_summaries(writing, summaries)
    return len(summaries)


def _try_to_summarize(hub: Hub, conn: Connection, request: AgencyRequestRow) -> NewSummary | None:
    """Return the summary of an application; log a mistake that concerns this one alone, and return None."""
    try:
        return _make_summary(hub, conn, request)
    except Exception as mistake:
        raise_resource_problem(mistake)
        _log.exception(
            "an application has no summary in the lists",
            extra={"partner": request.agency, "case_id": request.case_id},
        )
        return None


def _make_summary(hub: Hub, conn: Connection, request: AgencyRequestRow) -> NewSummary:
    """Return the summary of an application for the work list: applicant, goods, laws, number of items.

    If the call that was sent cannot be read, it has no applicant and goods. Raises GW806 where it is not
    reached: it may be read later.
    """
    laws = " ".join(dict.fromkeys(str(law) for _, law in request.required))
    items = len({item for item, _ in request.required})
    empty = NewSummary(request.id, request.agency, request.document_sha256, laws=laws, item_count=items)
    try:
        application_form = load_application_form(
            hub, conn, request.agency, request.number, marks_changes=False
        )
    except GatewayError as unreadable:
        raise_resource_problem(unreadable)
        return empty
    if application_form is None:
        return empty
    request_form = application_form.request_form
    return NewSummary(
        request_id=request.id,
        agency=request.agency,
        document_sha256=request.document_sha256,
        applicant=request_form.find_first_text(*_APPLICANT)[:_MAX_TEXT_LENGTH],
        applicant_id=request_form.find_first_text(*_APPLICANT_ID)[:_MAX_TEXT_LENGTH],
        goods=request_form.find_first_text("common:item.description")[:_MAX_TEXT_LENGTH],
        hs=request_form.find_first_text("common:item.hs")[:_MAX_TEXT_LENGTH],
        laws=laws,
        item_count=items,
    )


def _find_bundle(hub: Hub, request: AgencyRequestRow) -> tuple[MappingBundle, bool]:
    """Return the mappings that wrote a request, else those in force, and whether they are the former."""
    pinned = hub.register.find_pinned_rules(request.mapping_sha256)
    return (hub.rules.bundle, False) if pinned is None else (pinned.bundle, True)


def _load_call(conn: Connection, digest: str, limits: WireLimits) -> etree._Element:
    return parse_xml(payloads.get_payload_octets(conn, digest), limits, is_envelope=True)


def _find_earlier_call(conn: Connection, request: AgencyRequestRow) -> str | None:
    """Return the digest of the call before the last one with a document; None without a supplement."""
    sent = [
        str(row.payload_sha256)
        for row in deliveries.list_by_case(conn, request.case_id)
        if (row.subject_type, row.subject_id) == ("request", str(request.id)) and row.payload_sha256
    ]
    if request.document_sha256 not in sent:
        return None
    earlier_digests = sent[: sent.index(request.document_sha256)]
    return earlier_digests[-1] if earlier_digests else None


def _find_document(
    document_mapping: DocumentMapping, bundle: MappingBundle, envelope: etree._Element
) -> etree._Element:
    """Return the document of a call, read from the form in which it was sent to the agency."""
    carried = next(envelope.iter(f"{{{CARRIED}}}Carried"), None)
    if carried is not None:
        return open_carried_document(bundle, document_mapping.organisation, carried)
    element = next(envelope.iter(f"{{{document_mapping.namespace}}}{document_mapping.root.name}"), None)
    if element is None:
        raise GatewayError(
            DOCUMENT_INVALID, f"the call carries no document of {document_mapping.id}", document_mapping.id
        )
    return element


def _list_attachments(envelope: etree._Element, document: set[etree._Element]) -> Iterator[SentAttachment]:
    """Yield the files beside the document, each with the media type that the applicant states."""
    for element in envelope.iter(tag=etree.Element):
        content_id, media_type = element.get("cid"), element.get("mediaType")
        if element in document or content_id is None or media_type is None:
            continue
        try:
            content = base64.b64decode("".join((element.text or "").split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise GatewayError(DOCUMENT_INVALID, "a file is not base64", f"cid:{content_id[:80]}") from error
        yield SentAttachment(content_id, media_type, element.get("sha256", ""), content)


@dataclass(frozen=True, slots=True)
class ApplicationEvent:
    """One event: a change of the state (`event`, `state`), or a notice of the agency with its decisions."""

    at: datetime
    event: str = ""
    state: str = ""
    actor: str = ""
    notice: NoticeRow | None = None
    status: str = ""
    decisions: Sequence[DecisionWithTextRow] = ()


def list_application_history(hub: Hub, conn: Connection, request: AgencyRequestRow) -> list[ApplicationEvent]:
    """Return the events of an application, newest first. Events of other agencies are not among them."""
    # The agency's own acts are reported by its notices.
    history = [
        ApplicationEvent(row.at, row.event, row.to_state, row.actor)
        for row in transitions.list_transitions(conn, REQUEST, request.id)
        if row.actor != request.agency or row.event == "acknowledge"
    ]
    decided = decisions.list_by_request(conn, request.id)
    codes = hub.load_rules_of(conn, request).status_codes
    for notice in notices.list_by_request(conn, request.id):
        code = codes.get(notice.status_code)
        notice_decisions = tuple(row for row in decided if row.notice_no == notice.number)
        history.append(
            ApplicationEvent(
                notice.received_at,
                actor=request.agency,
                notice=notice,
                status="" if code is None else code.name,
                decisions=notice_decisions,
            )
        )
    # Of events with the same time, the later one comes first as well.
    return sorted(history, key=lambda event: event.at)[::-1]
