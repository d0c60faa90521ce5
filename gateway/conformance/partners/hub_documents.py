"""Verifies and reads documents of the hub: answers to calls, results and notices."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.conformance.partners.partner_identity import (
    SIGNATURE_TERMS,
    PartnerIdentity,
    get_current_time,
)
from gateway.errors import ANSWER_NOT_UNDERSTOOD, TOO_LARGE, GatewayError
from gateway.message_model import UserMessage, count_octets
from gateway.pki import Certificate
from gateway.protocols import SOAP_ANSWERS, EnvelopeMemory, open_known_soap, remember_soap
from gateway.wire import (
    DEFAULT_LIMITS,
    RESULT,
    SOAP11,
    SoapFault,
    load_shipped_schemas,
    parse_xml,
    read_addressing,
    read_envelope,
    read_fault,
)
from gateway.xmlsec import STRICT, verify_document, verify_soap_envelope

_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security"  # noqa: S105
_FAULT: Final = f"{{{SOAP11}}}Fault"


def read_hub_answer(
    octets: bytes,
    message_id: str,
    identity: PartnerIdentity,
    at: datetime,
    memory: EnvelopeMemory[Any] | None = None,
) -> SoapFault | None:
    """Return the fault with which the hub refuses the call `message_id`, None when it accepted the call.

    Raises GatewayError when the answer is not signed by the hub that `identity` knows, or
    relates to another call. An answer like one in `memory` is opened in less time; others are
    remembered there.
    """
    known = None if memory is None else open_known_soap(SOAP_ANSWERS, octets, SIGNATURE_TERMS, at, memory)
    if known is not None and known.addressing.relates_to == message_id and _holds_no_fault(known.content):
        identity.verify_hub_certificate(known.certificate, at, _TOKEN)
        return None
    fault, signer = _read_whole_answer(octets, message_id, identity, at)
    if fault is None and memory is not None:
        remember_soap(SOAP_ANSWERS, octets, signer, SIGNATURE_TERMS, memory)
    return fault


def _holds_no_fault(content: list[etree._Element]) -> bool:
    return not any(one.tag == _FAULT for one in content)


def _read_whole_answer(
    octets: bytes, message_id: str, identity: PartnerIdentity, at: datetime
) -> tuple[SoapFault | None, Certificate]:
    """Return the fault in the hub's answer, or None, and the certificate that signed it."""
    root = parse_xml(octets)
    envelope = read_envelope(root)
    fault = read_fault(envelope)
    signed = verify_soap_envelope(root, STRICT, now=at)
    identity.verify_hub_certificate(signed.certificate, at, _TOKEN)
    related = read_addressing(envelope.header).relates_to if envelope.header is not None else None
    if related != message_id:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer relates to another call", "wsa:RelatesTo")
    return fault, signed.certificate


_SIGNATURE = "/res:*/ds:Signature"


def read_hub_document(message: UserMessage, identity: PartnerIdentity) -> dict[str, Any]:
    """Return the fields of a message of the hub; `verified`: schema, signature and signer are valid."""
    if not message.payloads:
        return {"verified": False, "problem": "the message carries no document"}
    try:
        if count_octets(message.payloads[0].octets) > DEFAULT_LIMITS.body:
            raise GatewayError(TOO_LARGE, "the document is larger than one that is read", "cid:")
        root = parse_xml(message.payloads[0].content)
        load_shipped_schemas(RESULT).validate_document(root)
        signed = verify_document(root)
        identity.verify_hub_certificate(signed.certificate, get_current_time(), _SIGNATURE)
    except GatewayError as problem:
        return {"verified": False, "problem": str(problem)[:500]}
    return {"verified": True, "problem": None, **_read_fields(root)}


def _read_fields(root: etree._Element) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": etree.QName(root).localname,
        "case_number": _read_text(root, "CaseNumber"),
        "reference": _read_text(root, "Reference"),
    }
    request, held = root.find("{*}Request"), root.find("{*}Held")
    if held is not None:
        return said | _read_hold_fields(held)
    customs = root.find("{*}Customs")
    if customs is not None:
        return said | _read_customs_fields(customs)
    return said | (_read_result_fields(root) if request is None else _read_notice_fields(request))


def _read_result_fields(root: etree._Element) -> dict[str, Any]:
    return {
        "outcome": _read_text(root, "Outcome"),
        "decisions": [_read_decision(one) for one in root.iterfind("{*}Decision")],
        "problems": _read_findings(root, "Problem"),
        "warnings": _read_findings(root, "Warning"),
    }


def _read_findings(root: etree._Element, name: str) -> list[dict[str, Any]]:
    return [
        {"id": one.get("id"), "pointer": one.get("pointer"), "text": one.text or ""}
        for one in root.iterfind(f"{{*}}{name}")
    ]


def _read_hold_fields(held: etree._Element) -> dict[str, Any]:
    """Return what a Notice says of a case that is held: until when, and what is missing."""
    return {
        "state": "HELD",
        "until": held.get("until"),
        "issued_at": _read_text(held, "IssuedAt"),
        "missing": [
            {
                "item": int(one.get("item", "0")) or None,
                "law": one.get("law"),
                "documents": one.get("documents", "").split(),
                "organisations": one.get("organisations", "").split(),
                "pointer": one.get("pointer"),
                "text": one.text or "",
            }
            for one in held.iterfind("{*}Missing")
        ],
    }


def _read_decision(element: etree._Element) -> dict[str, Any]:
    return {
        "organisation": element.get("organisation"),
        "document": element.get("document"),
        "item": int(element.get("item", "0")),
        "law": element.get("law"),
        "decision": element.get("decision"),
        "number": _read_text(element, "Number"),
        "date": _read_text(element, "Date"),
        "conditions": [one.text or "" for one in element.iterfind("{*}Condition")],
        "notice_number": _read_text(element, "NoticeNumber"),
        "issued_at": _read_text(element, "IssuedAt"),
    }


def _read_notice_fields(request: etree._Element) -> dict[str, Any]:
    fee = request.find("{*}Fee")
    return {
        "fee": None if fee is None else f"{fee.text} {fee.get('currencyID')}",
        "fee_address": None if fee is None else fee.get("address"),
        "application": request.get("application"),
        "document": request.get("document"),
        "organisation": request.get("organisation"),
        "state": _read_text(request, "State"),
        "status_code": _read_text(request, "StatusCode"),
        "notice_number": _read_text(request, "NoticeNumber"),
        "text": _read_text(request, "Text"),
        "pointers": [one.text or "" for one in request.iterfind("{*}Pointer")],
        "deadline": _read_text(request, "Deadline"),
        "issued_at": _read_text(request, "IssuedAt"),
    }


def _read_customs_fields(customs: etree._Element) -> dict[str, Any]:
    return {
        "organisation": "customs",
        "state": _read_text(customs, "State"),
        "result_code": _read_text(customs, "ResultCode"),
        "status_code": _read_text(customs, "StatusCode"),
        "notice_number": _read_text(customs, "NoticeNumber"),
        "text": _read_text(customs, "Text"),
        "problems": [
            {"id": one.get("id"), "pointer": one.get("pointer"), "text": one.text or ""}
            for one in customs.iterfind("{*}Problem")
        ],
        "issued_at": _read_text(customs, "IssuedAt"),
    }


def _read_text(parent: etree._Element, name: str) -> str | None:
    found = parent.find(f"{{*}}{name}")
    return None if found is None else (found.text or "").strip()
