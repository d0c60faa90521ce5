"""Reads the notice in a file as if an agency had sent it: nothing is verified, and nothing is stored.

A file has a document of the agency's own form, or a call of the service for agencies (`SubmitDecision`,
`RequestInformation`, `DeliverNotice`), alone or in its SOAP envelope.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import AgencyCallback, Notice, check_hub_number, read_callback
from gateway.errors import DOCUMENT_INVALID, NOT_SUPPORTED, REPLY_UNMATCHED, GatewayError, describe_exception
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.hub.answers.replayed_notices import OfferedNotice
from gateway.hub.hub import Hub
from gateway.hub.requirements.requirement_results import complete_requirement_result
from gateway.share import get_data_folder
from gateway.store import RequestWithFeesRow, agency_requests, decisions
from gateway.wire import SERVICE_AGENCY, SOAP11, SOAP12, ServiceDescription, parse_xml, read_wsdl
from gateway.xmlsec import read_soap_message

_WSDL: Final = "hub-agency.wsdl"
_ENVELOPES: Final = frozenset({f"{{{SOAP11}}}Envelope", f"{{{SOAP12}}}Envelope"})


def read_offered_notice(
    conn: Connection, hub: Hub, requests: Iterable[RequestWithFeesRow], octets: bytes
) -> OfferedNotice:
    """Return the notice in the octets of a file about one of the `requests` of a case.

    The limits of the hub hold. Raises GW102 and GW104 to GW107 for other octets than XML or SOAP, GW402 for a
    call against the WSDL, GW311 for another call, and GW513, GW701, GW716, GW717 and GW718 as the hub does.
    """
    root = parse_xml(octets, hub.limits)
    if root.tag in _ENVELOPES:
        content = read_soap_message(octets, hub.limits).body_elements
        if len(content) != 1:
            raise _make_unsupported_error("the Body contains no call, or several", root)
        root = content[0]
    agencies = tuple(dict.fromkeys(request.agency for request in requests))
    if etree.QName(root).namespace != SERVICE_AGENCY:
        return _read_document(hub, agencies, root)
    name = _check_call(root)
    if name == "DeliverNotice":
        (wrapper,) = root.iterchildren(tag=etree.Element)
        (document,) = wrapper.iterchildren(tag=etree.Element)
        return _read_document(hub, agencies, document)
    return _read_call(conn, hub, agencies, root)


@cache
def _load_description() -> ServiceDescription:
    return read_wsdl(get_data_folder("wsdl").joinpath(_WSDL).read_bytes())


def _check_call(root: etree._Element) -> str:
    """Return the name of a call; raise GW311 for one that brings no notice, GW402 against the WSDL."""
    description = _load_description()
    operation = description.find_by_request(str(root.tag))
    if operation is None or operation.name == "Acknowledge":
        raise _make_unsupported_error(f"{etree.QName(root).localname[:60]} is no call with a notice", root)
    description.schema.validate_element(root)
    return operation.name


def _make_unsupported_error(detail: str, root: etree._Element) -> GatewayError:
    return GatewayError(NOT_SUPPORTED, detail, f"/{etree.QName(root).localname[:60]}")


def _read_call(conn: Connection, hub: Hub, agencies: tuple[str, ...], root: etree._Element) -> OfferedNotice:
    """Return the notice of SubmitDecision or RequestInformation, which one of the `agencies` may send."""
    try:
        callback = read_callback(root)
    except (ValueError, OverflowError, ArithmeticError) as error:
        raise GatewayError(DOCUMENT_INVALID, describe_exception(error), f"/{root.tag}") from error
    number = callback.requirement_number
    if number is None:
        application = callback.application_number or ""
        if agency_requests.find_agency_by_number(conn, application) is None:
            check_hub_number(application, "ApplicationNumber")
        return OfferedNotice(application, _get_notice(callback))
    for agency in agencies:
        request = decisions.find_by_requirement(conn, agency, number)
        if request is not None:
            completed = complete_requirement_result(hub, agency, callback)
            return OfferedNotice(request.number, _get_notice(completed))
    detail = f"no agency of this case has decided anything under {number[:40]!r}"
    raise GatewayError(REPLY_UNMATCHED, detail, "RequirementNumber")


def _get_notice(callback: AgencyCallback) -> Notice:
    assert isinstance(callback.answer, Notice), "a call with an acknowledgment was refused before"
    return callback.answer


def _read_document(hub: Hub, agencies: tuple[str, ...], root: etree._Element) -> OfferedNotice:
    """Return the notice of a document of an agency's own form, read as the one of `agencies` that it is of.

    The sender is known by the signature of its call; a file has none.
    """
    refusals: list[GatewayError] = []
    for agency in agencies:
        try:
            document = read_agency_document(hub, agency, root)
        except GatewayError as refusal:
            refusals.append(refusal)
            continue
        application = document.callback.application_number
        if application is not None:
            return OfferedNotice(application, _get_notice(document.callback), document.argument_xpaths)
    detail = "it is about no application of this case"
    unmatched = refusals[0] if refusals else GatewayError(REPLY_UNMATCHED, detail, "ApplicationNumber")
    # GW701 of the other agencies does not tell the fault of the document.
    raise next((refusal for refusal in refusals if refusal.problem is not REPLY_UNMATCHED), unmatched)
