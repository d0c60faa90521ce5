"""Applies a document of an agency's own form, delivered at ``/soap/agency``, as values about its application.

The input is the document of a verified call. The mappings in force find the number of its application;
the mappings of that application read it. The values that it means go the way of `gateway.hub.reply`:
nothing that follows depends on the form in which an agency speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.cases import AgencyCallback, SignedReply, check_hub_number, make_notice
from gateway.errors import NOTICE_FORM_UNKNOWN, OCTETS_PURGED, REPLY_UNMATCHED, GatewayError
from gateway.harmonize import (
    NoticeFacts,
    find_named_application,
    list_error_places,
    list_place_pointers,
    read_delivered_notice,
)
from gateway.hub.application_forms import load_application_form
from gateway.hub.carried_documents import open_carried_document
from gateway.hub.hub import Hub
from gateway.hub.reply import CallBackWitness, apply_call_back
from gateway.store import agency_requests, read_transaction

__all__ = ["AgencyDocument", "apply_agency_document", "read_agency_document"]


@dataclass(frozen=True, slots=True)
class AgencyDocument:
    """What an agency's own document says, and where: its XPath for the name of each argument of our call."""

    said: AgencyCallback
    places: Mapping[str, str]


def apply_agency_document(
    hub: Hub,
    agency: str,
    root: etree._Element,
    spoken: SignedReply,
    witness: CallBackWitness | None = None,
) -> str:
    """Apply the document `root` that `agency` delivered; return the case number.

    Raises GW716 or GW717 for a document that cannot be read, and what `apply_call_back` raises, each
    with its place in the document.
    """
    read = read_agency_document(hub, agency, root)
    try:
        return apply_call_back(hub, agency, read.said, spoken, witness)
    except GatewayError as error:
        place = read.places.get(error.location.partition("[")[0], error.location)
        raise GatewayError(error.problem, error.detail, place) from error


def read_agency_document(hub: Hub, agency: str, root: etree._Element) -> AgencyDocument:
    """Return what the document `root` says about an application of `agency`; nothing is stored.

    Raises GW701 when the agency was not sent the application, GW513 for a mistyped number.
    """
    root = open_carried_document(hub.rules.bundle, agency, root)
    number, path = find_named_application(root, hub.rules.bundle.notices)
    with read_transaction(hub.engine) as conn:
        request = _find_request(conn, agency, (number, path))
        pinned = hub.find_pinned_rules(request.mapping_sha256) or hub.rules
        document = pinned.bundle.documents.get(request.document)
        if document is None:
            detail = f"no mapping is known for {request.document}"
            raise GatewayError(NOTICE_FORM_UNKNOWN, detail, path)
        facts = read_delivered_notice(root, pinned.bundle, document)
        pointers = _list_pointers(hub, conn, request, facts)
    notice = make_notice(facts, pinned.bundle, request.required, pointers)
    return AgencyDocument(AgencyCallback(notice, application_number=number), _list_places(facts, path))


def _list_places(facts: NoticeFacts, number: str) -> dict[str, str]:
    """Return the XPath of what stands for each argument of our call, by the argument's name."""
    at: dict[str, str] = {}
    for fact in facts.facts:
        at.setdefault(fact.name, fact.xpath)
    named = at.get("notice_number") or at.get("requirement_number") or number
    deciding = at.get("item") or at["status"]
    return {
        "ApplicationNumber": number,
        "NoticeNumber": named,
        "StatusCode": at["status"],
        "Decision": deciding,
    }


def _find_request(conn: Connection, agency: str, named: tuple[str, str]) -> Row[Any]:
    number, path = named
    found = agency_requests.find_by_number(conn, number)
    if found is None:
        check_hub_number(number, path)
    if found is None or found.agency != agency:
        raise GatewayError(REPLY_UNMATCHED, f"{agency} was asked nothing under {number[:40]!r}", path)
    return found


def _list_pointers(hub: Hub, conn: Connection, request: Row[Any], facts: NoticeFacts) -> tuple[str, ...]:
    """Return the places of the errors in the applicant's message, by the call that the agency was sent."""
    places = [place for _, place in list_error_places(facts)]
    if not places:
        return ()
    try:
        found = load_application_form(hub, conn, request.agency, request.number, compare=False)
    except GatewayError as error:
        if error.problem is not OCTETS_PURGED:
            raise
        found = None
    if found is None:
        return (f"APP[{request.sequence}]/{request.document}",)
    return list_place_pointers(places, found.form, position=request.sequence)
