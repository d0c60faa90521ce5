"""Results and notices of the hub as their reader takes them: verified, then read into plain values."""

from __future__ import annotations

from typing import Any

from lxml import etree

from gateway.conformance.identity import Identity, now
from gateway.errors import GatewayError
from gateway.model import UserMessage
from gateway.wire.shipped import RESULT, schemas
from gateway.wire.xml import parse_xml
from gateway.xmlsec.xades import verify_document

__all__ = ["read_document"]

_SIGNATURE = "/res:*/ds:Signature"


def read_document(message: UserMessage, identity: Identity) -> dict[str, Any]:
    """Return what a message of the hub says; `verified` only when schema, signature and signer are good."""
    if not message.payloads:
        return {"verified": False, "problem": "the message carries no document"}
    try:
        root = parse_xml(message.payloads[0].content)
        schemas(RESULT).check(root)
        signed = verify_document(root)
        identity.check_hub(signed.certificate, now(), _SIGNATURE)
    except GatewayError as problem:
        return {"verified": False, "problem": str(problem)[:500]}
    return {"verified": True, "problem": None, **_read(root)}


def _read(root: etree._Element) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": etree.QName(root).localname,
        "case_number": _text(root, "CaseNumber"),
        "reference": _text(root, "Reference"),
    }
    request = root.find("{*}Request")
    return said | (_result(root) if request is None else _notice(request))


def _result(root: etree._Element) -> dict[str, Any]:
    return {
        "outcome": _text(root, "Outcome"),
        "decisions": [_decision(one) for one in root.iterfind("{*}Decision")],
        "problems": [
            {"id": one.get("id"), "pointer": one.get("pointer"), "text": one.text or ""}
            for one in root.iterfind("{*}Problem")
        ],
    }


def _decision(element: etree._Element) -> dict[str, Any]:
    return {
        "organisation": element.get("organisation"),
        "document": element.get("document"),
        "item": int(element.get("item", "0")),
        "law": element.get("law"),
        "decision": element.get("decision"),
        "number": _text(element, "Number"),
        "date": _text(element, "Date"),
        "conditions": [one.text or "" for one in element.iterfind("{*}Condition")],
        "notice_number": _text(element, "NoticeNumber"),
        "issued_at": _text(element, "IssuedAt"),
    }


def _notice(request: etree._Element) -> dict[str, Any]:
    return {
        "application": request.get("application"),
        "document": request.get("document"),
        "organisation": request.get("organisation"),
        "state": _text(request, "State"),
        "status_code": _text(request, "StatusCode"),
        "notice_number": _text(request, "NoticeNumber"),
        "text": _text(request, "Text"),
        "pointers": [one.text or "" for one in request.iterfind("{*}Pointer")],
        "deadline": _text(request, "Deadline"),
    }


def _text(parent: etree._Element, name: str) -> str | None:
    found = parent.find(f"{{*}}{name}")
    return None if found is None else (found.text or "").strip()
