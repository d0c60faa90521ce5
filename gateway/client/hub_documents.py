"""Verifies documents of the hub (answers, results and notices) and reads the facts of a case from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.client.partner_identity import PartnerIdentity, get_current_time
from gateway.errors import TOO_LARGE, GatewayError
from gateway.message_model import UserMessage, count_octets
from gateway.wire import (
    DEFAULT_LIMITS,
    RESULT,
    load_shipped_schemas,
    parse_xml,
)
from gateway.xmlsec import verify_document

_SIGNATURE_PATH = "/res:*/ds:Signature"


def read_hub_document(message: UserMessage, identity: PartnerIdentity) -> dict[str, Any]:
    """Return the fields of a message of the hub; ``verified``: schema, signature and signer are valid."""
    if not message.payloads:
        return {"verified": False, "problem": "the message carries no document"}
    try:
        if count_octets(message.payloads[0].octets) > DEFAULT_LIMITS.body:
            raise GatewayError(TOO_LARGE, "the document is larger than one that is read", "cid:")
        root = parse_xml(message.payloads[0].content)
        load_shipped_schemas(RESULT).validate_document(root)
        signed_document = verify_document(root)
        identity.verify_hub_certificate(signed_document.certificate, get_current_time(), _SIGNATURE_PATH)
    except GatewayError as problem:
        return {"verified": False, "problem": str(problem)[:500]}
    return {"verified": True, "problem": None, **_read_fields(root)}


def _read_fields(root: etree._Element) -> dict[str, Any]:
    """Return the fields of a document of the hub: held case, customs notice, result or agency notice."""
    fields: dict[str, Any] = {
        "kind": etree.QName(root).localname,
        "case_number": _read_text(root, "CaseNumber"),
        "reference": _read_text(root, "Reference"),
    }
    request_element, held_element = root.find("{*}Request"), root.find("{*}Held")
    if held_element is not None:
        return fields | _read_hold_fields(held_element)
    customs_element = root.find("{*}Customs")
    if customs_element is not None:
        return fields | _read_customs_fields(customs_element)
    return fields | (
        _read_result_fields(root) if request_element is None else _read_notice_fields(request_element)
    )


def _read_result_fields(root: etree._Element) -> dict[str, Any]:
    return {
        "outcome": _read_text(root, "Outcome"),
        "decisions": [_read_decision(element) for element in root.iterfind("{*}Decision")],
        "problems": _read_findings(root, "Problem"),
        "warnings": _read_findings(root, "Warning"),
    }


def _read_findings(root: etree._Element, element_name: str) -> list[dict[str, Any]]:
    return [
        {"id": element.get("id"), "pointer": element.get("pointer"), "text": element.text or ""}
        for element in root.iterfind(f"{{*}}{element_name}")
    ]


def _read_hold_fields(held_element: etree._Element) -> dict[str, Any]:
    """Return the fields of a Notice about a held case: until when it is held, and the missing documents."""
    return {
        "state": "HELD",
        "until": held_element.get("until"),
        "issued_at": _read_text(held_element, "IssuedAt"),
        "missing": [
            {
                "item": int(element.get("item", "0")) or None,
                "law": element.get("law"),
                "documents": element.get("documents", "").split(),
                "organisations": element.get("organisations", "").split(),
                "pointer": element.get("pointer"),
                "text": element.text or "",
            }
            for element in held_element.iterfind("{*}Missing")
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
        "conditions": [condition.text or "" for condition in element.iterfind("{*}Condition")],
        "notice_number": _read_text(element, "NoticeNumber"),
        "issued_at": _read_text(element, "IssuedAt"),
    }


def _read_notice_fields(request: etree._Element) -> dict[str, Any]:
    """Return the fields of a notice on one application; `request` is its Request element."""
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
        "pointers": [pointer.text or "" for pointer in request.iterfind("{*}Pointer")],
        "deadline": _read_text(request, "Deadline"),
        "issued_at": _read_text(request, "IssuedAt"),
        "decisions": [_read_decision(element) for element in request.iterfind("{*}Decision")],
    }


def _read_customs_fields(customs: etree._Element) -> dict[str, Any]:
    """Return the fields of a notice from customs."""
    return {
        "organisation": "customs",
        "state": _read_text(customs, "State"),
        "result_code": _read_text(customs, "ResultCode"),
        "status_code": _read_text(customs, "StatusCode"),
        "notice_number": _read_text(customs, "NoticeNumber"),
        "text": _read_text(customs, "Text"),
        "problems": [
            {"id": element.get("id"), "pointer": element.get("pointer"), "text": element.text or ""}
            for element in customs.iterfind("{*}Problem")
        ],
        "issued_at": _read_text(customs, "IssuedAt"),
    }


def _read_text(parent: etree._Element, child_name: str) -> str | None:
    child = parent.find(f"{{*}}{child_name}")
    return None if child is None else (child.text or "").strip()


#: The states of a request in which the agency waits for the applicant.
_QUESTION_STATES: Final = frozenset({"INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE"})
_NOTICE_KEYS: Final = ("application", "document", "organisation", "state", "status_code", "text")


def summarize_notices(notices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return case number, state, applications and open questions by the fields of verified notices.

    The last notice of an application counts, by its IssuedAt, then by arrival. The state is None if no notice
    has come: then only the receipt is known. ``held`` is in the result only for a held case: the end of the
    hold, and the missing documents.
    """
    notices = tuple(notices)
    last_notices: dict[str, Mapping[str, Any]] = {}
    for notice in (notice for notice in notices if "application" in notice):
        current = last_notices.get(notice["application"])
        if current is None or _read_issue_time(notice) >= _read_issue_time(current):
            last_notices[notice["application"]] = notice
    applications = [{name: notice[name] for name in _NOTICE_KEYS} for notice in last_notices.values()]
    questions = [
        {name: notice[name] for name in (*_NOTICE_KEYS, "pointers", "deadline")}
        for notice in last_notices.values()
        if notice["state"] in _QUESTION_STATES
    ]
    case_number = next((notice["case_number"] for notice in notices), None)
    holds = sorted((notice for notice in notices if "missing" in notice), key=_read_issue_time)
    # A case is sent to agencies only after its hold has ended: their notices show that it has.
    hold_fields = (
        {name: holds[-1][name] for name in ("until", "missing")} if holds and not last_notices else None
    )
    case_state = "IN_PROGRESS" if last_notices else "HELD" if hold_fields else None
    summary = {
        "case_number": case_number,
        "state": case_state,
        "applications": applications,
        "questions": questions,
    }
    return summary | ({"held": hold_fields} if hold_fields else {})


def _read_issue_time(notice: Mapping[str, Any]) -> datetime:
    """Return IssuedAt; the beginning of time where there is none, so that the order of arrival decides."""
    earliest = datetime.min.replace(tzinfo=UTC)
    try:
        issued_at = datetime.fromisoformat(notice["issued_at"] or "")
    except ValueError:
        return earliest
    return issued_at if issued_at.tzinfo else issued_at.replace(tzinfo=UTC)
