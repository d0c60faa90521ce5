"""Simulated customs: registers declarations, and is told which requirements are pending and which are met."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.conformance.partners.agency import load_service_description
from gateway.conformance.partners.agency_notices import build_acknowledgment
from gateway.conformance.partners.http_transport import HttpReply, IncomingRequest
from gateway.conformance.partners.journal import Journal, read_journal
from gateway.conformance.partners.misbehavior import Misbehavior, take_misbehavior
from gateway.conformance.partners.partner_identity import PartnerIdentity, get_current_time
from gateway.conformance.partners.soap_endpoint import SoapEndpoint, VerifiedCall
from gateway.errors import MESSAGE_ID_REUSED, OUR_MISTAKE, RULE_BROKEN, GatewayError
from gateway.wire.shipped_schemas import DECLARATION, load_shipped_schemas

__all__ = ["CustomsSimulator"]


class CustomsSimulator:
    """One customs system on one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(
        self, identity: PartnerIdentity, folder: Path, mischief: tuple[Misbehavior, ...] = ()
    ) -> None:
        self._mischief = mischief
        self.desk = SoapEndpoint(identity, load_service_description("customs.wsdl"))
        self._schema = load_shipped_schemas(DECLARATION)
        self._effects = Journal(folder / "effects.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        self._known: dict[str, tuple[str, str]] = {}
        self._cases: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        for row in read_journal(folder / "effects.jsonl"):
            self._index_effect(row)

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one call."""
        if take_misbehavior(self._mischief, "silent"):
            return HttpReply(closes=True)
        reply, problem = self.desk.serve_request(request, self._handle_call)
        if problem is not None:
            row = {
                "problem": problem.problem.id,
                "detail": problem.detail[:300],
                "location": problem.location[:200],
            }
            self._refusals.write(row | {"at": get_current_time().isoformat(timespec="milliseconds")})
            return reply
        return self._apply_late_misbehavior(reply)

    def _apply_late_misbehavior(self, reply: HttpReply) -> HttpReply:
        for name in ("slow", "late"):
            waiting = take_misbehavior(self._mischief, name)
            if waiting is not None:
                waiting.sleep_seconds()
        if take_misbehavior(self._mischief, "lost"):
            return HttpReply(closes=True)
        return (
            HttpReply(200, reply.content_type, b"\xff\xfe")
            if take_misbehavior(self._mischief, "garbage")
            else reply
        )

    def _index_effect(self, row: dict[str, Any]) -> None:
        self._known[row["message_id"]] = (row["body_sha256"], row["receipt"])
        self._cases.setdefault(row["case"], set()).add(row["code"] or "registered")

    def _handle_call(self, call: VerifiedCall) -> etree._Element:
        if take_misbehavior(self._mischief, "fault-server"):
            raise GatewayError(OUR_MISTAKE, "customs' system is down")
        with self._lock:
            known = self._known.get(call.message_id)
            if known is None:
                receipt = self._execute_call(call)
            elif known[0] == call.sha256:
                receipt = known[1]
            else:
                raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", "wsa:MessageID")
        return build_acknowledgment(call.operation.response, receipt)

    def _execute_call(self, call: VerifiedCall) -> str:
        case = " ".join((call.content.findtext("{*}CaseNumber") or "").split())
        code = (call.content.findtext("{*}PendingCode") or "").strip()
        if code:
            self._check_pending_order(case, code)
        else:
            self._validate_declaration(call.content)
        row = {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "case": case,
            "code": code,
            "requirements": [_read_requirement(one) for one in call.content.iterfind("{*}Requirement")],
            "receipt": f"CUSTOMS-{case}-{code or 'R'}",
            "at": get_current_time().isoformat(timespec="milliseconds"),
        }
        self._effects.write(row)
        self._index_effect(row)
        return str(row["receipt"])

    def _check_pending_order(self, case: str, code: str) -> None:
        """Refuse 18 before the declaration is registered, and 19 before 18."""
        needed = "registered" if code == "18" else "18"
        if needed not in self._cases.get(case, ()):
            raise GatewayError(
                RULE_BROKEN, f"pending code {code} before {needed} of case {case[:40]}", "PendingCode"
            )

    def _validate_declaration(self, content: etree._Element) -> None:
        document = next(content.iterfind("{*}Declaration/*"))
        self._schema.validate_document(document)


def _read_requirement(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: (child.text or "").strip() for child in element.iterchildren("*")}
