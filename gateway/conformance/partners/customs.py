"""Simulated customs: registers declarations, and receives pending and fulfilled requirements.

By its plan it answers with R24, or with R25 and reasons, and reports that a case is cleared when its
requirements are met. Without a plan it answers with a receipt number alone, and reports nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.conformance.partners.agency_callbacks import Callback, CallbackQueue
from gateway.conformance.partners.customs_plan import CustomsPlan
from gateway.conformance.partners.http_transport import HttpReply, IncomingRequest
from gateway.conformance.partners.journal import Journal, read_journal
from gateway.conformance.partners.misbehavior import Misbehavior, take_misbehavior
from gateway.conformance.partners.partner_identity import PartnerIdentity, get_current_time
from gateway.conformance.partners.simulated_service import SimulatedService
from gateway.conformance.partners.soap_endpoint import VerifiedCall
from gateway.errors import OUR_MISTAKE, RULE_BROKEN, GatewayError
from gateway.wire import DECLARATION, load_shipped_schemas

__all__ = ["CustomsSimulator"]


_WITHDRAWAL: Final = "WithdrawDeclaration"
_AMENDMENT: Final = "AmendDeclaration"


class CustomsSimulator(SimulatedService):
    """One customs system with one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(
        self,
        identity: PartnerIdentity,
        folder: Path,
        mischief: tuple[Misbehavior, ...] = (),
        plan: CustomsPlan | None = None,
        hub_url: str = "",
    ) -> None:
        super().__init__(identity, "customs.wsdl", folder)
        self._plan = plan or CustomsPlan()
        self._calls = (
            CallbackQueue(identity, hub_url, Journal(folder / "callbacks.jsonl")) if hub_url else None
        )
        self._folder = folder
        self._mischief = mischief
        self._schema = load_shipped_schemas(DECLARATION)
        self._cases: dict[str, set[str]] = {}
        for row in read_journal(folder / "effects.jsonl"):
            self._index_effect(row)

    def start(self) -> None:
        """Start the threads that report clearance, and report what an earlier process did not."""
        if self._calls is None:
            return
        self._calls.start()
        done = {row["message_id"] for row in read_journal(self._folder / "callbacks.jsonl") if row["done"]}
        for row in read_journal(self._folder / "effects.jsonl"):
            errand = row.get("errand")
            if errand and errand["message_id"] not in done:
                self._calls.add(Callback.from_row(errand))

    def close(self) -> None:
        """Report no more."""
        if self._calls is not None:
            self._calls.close()

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one call."""
        if take_misbehavior(self._mischief, "silent"):
            return HttpReply(closes=True)
        reply, problem = self.desk.serve_request(request, self._handle_call)
        if problem is not None:
            self._refusals.write_refusal(problem)
            return reply
        return self._misbehave_late(reply, partial(take_misbehavior, self._mischief))

    def _index_effect(self, row: dict[str, Any]) -> None:
        self._known[row["message_id"]] = (row["body_sha256"], row["receipt"])
        word = "withdrawn" if row["effect"] == _WITHDRAWAL else row["code"] or "registered"
        self._cases.setdefault(row["case"], set()).add(word)

    def _handle_call(self, call: VerifiedCall) -> etree._Element:
        if take_misbehavior(self._mischief, "fault-server"):
            raise GatewayError(OUR_MISTAKE, "customs' system is down")
        with self._lock:
            known = self._find_recorded_answer(call)
            receipt = self._execute_call(call) if known is None else known
        return self._plan.build_answer(call, receipt)

    def _execute_call(self, call: VerifiedCall) -> str:
        case = " ".join((call.content.findtext("{*}CaseNumber") or "").split())
        code = (call.content.findtext("{*}PendingCode") or "").strip()
        if code:
            self._check_pending_order(case, code)
        elif call.operation.name == _WITHDRAWAL:
            self._check_registered(case)
        else:
            if call.operation.name == _AMENDMENT:
                self._check_registered(case)
            self._validate_declaration(call.content)
        row: dict[str, Any] = {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "case": case,
            "code": code,
            "requirements": [_read_requirement(one) for one in call.content.iterfind("{*}Requirement")],
            "receipt": f"CUSTOMS-{case}-{code or call.operation.name[:1]}",
            "at": get_current_time().isoformat(timespec="milliseconds"),
        }
        errand = self._plan.plan_clearance(case, code) if self._calls is not None else None
        row["errand"] = None if errand is None else errand.to_row()
        self._effects.write(row)
        self._index_effect(row)
        if errand is not None and self._calls is not None:
            self._calls.add(errand)
        return str(row["receipt"])

    def _check_pending_order(self, case: str, code: str) -> None:
        """Raise for code 18 before the declaration is registered, and for 19 before 18."""
        needed = "registered" if code == "18" else "18"
        if needed not in self._cases.get(case, ()):
            raise GatewayError(
                RULE_BROKEN, f"pending code {code} before {needed} of case {case[:40]}", "PendingCode"
            )

    def _check_registered(self, case: str) -> None:
        """Raise for the amendment or withdrawal of a declaration that is not registered."""
        if "registered" not in self._cases.get(case, ()):
            raise GatewayError(RULE_BROKEN, f"case {case[:40]} is not registered", "CaseNumber")

    def _validate_declaration(self, content: etree._Element) -> None:
        document = next(content.iterfind("{*}Declaration/*"))
        self._schema.validate_document(document)


def _read_requirement(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: (child.text or "").strip() for child in element.iterchildren("*")}
