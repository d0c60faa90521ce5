"""Simulated customs: registers declarations, and receives pending and fulfilled requirements.

By its plan it answers with R24, or with R25 and reasons, and reports that a case is cleared when its
requirements are met. Without a plan it answers with a receipt number alone, and reports nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from lxml import etree

from gateway.client import (
    HttpReply,
    IncomingRequest,
    Journal,
    PartnerIdentity,
    get_current_time,
    read_file,
    read_journal,
)
from gateway.errors import MISUSE, OUR_MISTAKE, RULE_BROKEN, GatewayError
from gateway.wire import CUSTOMS, DECLARATION, SERVICE_CUSTOMS, format_instant, load_shipped_schemas
from gateway_conformance.partners.agency_callbacks import Callback, CallbackQueue
from gateway_conformance.partners.agency_documents import build_acknowledgment
from gateway_conformance.partners.misbehavior import Misbehavior, take_misbehavior
from gateway_conformance.partners.soap_endpoint import SimulatedService, VerifiedCall

_KEYS: Final = frozenset({"answer", "operations", "reasons", "clearance", "delay"})
_REASON_KEYS: Final = ("code", "pointer", "text")


@dataclass(frozen=True, slots=True)
class CustomsPlan:
    """How customs behaves.

    `answer` is R24 or R25, or empty for a receipt number alone; it is given to these `operations` (all
    without one). `reasons` (code, pointer, text) stand in it. `clearance` is the code that is reported
    `delay` seconds after the requirements of a case are met; empty: none.
    """

    answer: str = ""
    operations: tuple[str, ...] = ()
    reasons: tuple[dict[str, str], ...] = ()
    clearance: str = ""
    delay: float = 0.5

    def build_answer(self, call: VerifiedCall, receipt: str) -> etree._Element:
        """Return the answer to a call; a repeated call gets the same notice number."""
        if not self.answer or (self.operations and call.operation.name not in self.operations):
            return build_acknowledgment(call.operation.response, receipt)
        root = etree.Element(call.operation.response)
        notice = etree.SubElement(etree.SubElement(root, f"{{{CUSTOMS}}}Answer"), f"{{{CUSTOMS}}}Notice")
        values = {
            "NoticeNumber": f"N-{call.message_id[-60:]}",
            "IssuedAt": _format_now(),
            "ResultCode": self.answer,
        }
        _write_values(notice, CUSTOMS, values)
        for row in self.reasons:
            reason = etree.SubElement(notice, f"{{{CUSTOMS}}}Reason")
            _write_values(
                reason, CUSTOMS, {name.title(): row[name] for name in _REASON_KEYS if row.get(name)}
            )
        return root

    def plan_clearance(self, case_number: str, pending_code: str) -> Callback | None:
        """Return the report that a case is cleared, when its requirements are met; None otherwise."""
        if not self.clearance or pending_code != "19":
            return None
        root = etree.Element(f"{{{SERVICE_CUSTOMS}}}ReportClearance")
        number = str(uuid4())
        values = {
            "CaseNumber": case_number,
            "NoticeNumber": number,
            "IssuedAt": _format_now(),
            "ResultCode": self.clearance,
        }
        _write_values(root, SERVICE_CUSTOMS, values)
        content = etree.tostring(root, encoding="unicode")
        due = get_current_time() + timedelta(seconds=self.delay)
        return Callback(f"urn:uuid:{number}", "ReportClearance", content, due)


def read_customs_plan(path: Path | None) -> CustomsPlan:
    """Read a plan file (TOML); raises GW808 for a wrong one. Without one there are receipt numbers alone."""
    if path is None:
        return CustomsPlan()
    try:
        table: dict[str, Any] = tomllib.loads(read_file(path).decode("utf-8-sig"))
    except ValueError as error:
        raise GatewayError(MISUSE, f"the plan cannot be read: {str(error)[:200]}", str(path)) from None
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise GatewayError(MISUSE, f"a plan has no key {unknown[0][:40]!r}", unknown[0][:40])
    reasons = tuple(
        {str(name): str(value) for name, value in row.items()} for row in table.get("reasons", ())
    )
    wrong = sorted({name for row in reasons for name in row} - set(_REASON_KEYS))
    if wrong:
        raise GatewayError(MISUSE, f"a reason has no key {wrong[0][:40]!r}", "reasons")
    return CustomsPlan(
        str(table.get("answer", "")),
        tuple(str(operation) for operation in table.get("operations", ())),
        reasons,
        str(table.get("clearance", "")),
        float(table.get("delay", 0.5)),
    )


def _write_values(parent: etree._Element, namespace: str, values: dict[str, str]) -> None:
    for name, value in values.items():
        etree.SubElement(parent, f"{{{namespace}}}{name}").text = value


def _format_now() -> str:
    return format_instant(get_current_time())


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
        """Start the threads that report clearance; queue the reports that an earlier process left."""
        if self._calls is None:
            return
        self._calls.start()
        completed = {
            row["message_id"] for row in read_journal(self._folder / "callbacks.jsonl") if row["done"]
        }
        for row in read_journal(self._folder / "effects.jsonl"):
            callback_row = row.get("errand")
            if callback_row and callback_row["message_id"] not in completed:
                self._calls.add(Callback.from_row(callback_row))

    def close(self) -> None:
        """Report no more."""
        if self._calls is not None:
            self._calls.close()

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one call."""
        if take_misbehavior(self._mischief, "silent"):
            return HttpReply(closes_connection=True)
        reply, problem = self.endpoint.serve_request(request, self._handle_call)
        if problem is not None:
            self._refusals.write_refusal(problem)
            return reply
        return self._misbehave_late(reply, partial(take_misbehavior, self._mischief))

    def _index_effect(self, row: dict[str, Any]) -> None:
        self._recorded_answers[row["message_id"]] = (row["body_sha256"], row["receipt"])
        word = "withdrawn" if row["effect"] == _WITHDRAWAL else row["code"] or "registered"
        self._cases.setdefault(row["case"], set()).add(word)

    def _handle_call(self, call: VerifiedCall) -> etree._Element:
        if take_misbehavior(self._mischief, "fault-server"):
            raise GatewayError(OUR_MISTAKE, "customs' system is down")
        with self._lock:
            recorded = self._find_recorded_answer(call)
            receipt = self._execute_call(call) if recorded is None else recorded
        return self._plan.build_answer(call, receipt)

    def _execute_call(self, call: VerifiedCall) -> str:
        case_number = " ".join((call.content.findtext("{*}CaseNumber") or "").split())
        pending_code = (call.content.findtext("{*}PendingCode") or "").strip()
        if pending_code:
            self._check_pending_order(case_number, pending_code)
        elif call.operation.name == _WITHDRAWAL:
            self._check_registered(case_number)
        else:
            if call.operation.name == _AMENDMENT:
                self._check_registered(case_number)
            self._validate_declaration(call.content)
        row: dict[str, Any] = {
            "effect": call.operation.name,
            "message_id": call.message_id,
            "body_sha256": call.sha256,
            "case": case_number,
            "code": pending_code,
            "requirements": [
                _read_requirement(requirement) for requirement in call.content.iterfind("{*}Requirement")
            ],
            "receipt": f"CUSTOMS-{case_number}-{pending_code or call.operation.name[:1]}",
            "at": get_current_time().isoformat(timespec="milliseconds"),
        }
        callback = self._plan.plan_clearance(case_number, pending_code) if self._calls is not None else None
        row["errand"] = None if callback is None else callback.to_row()
        self._effects.write(row)
        self._index_effect(row)
        if callback is not None and self._calls is not None:
            self._calls.add(callback)
        return str(row["receipt"])

    def _check_pending_order(self, case_number: str, pending_code: str) -> None:
        """Raise for code 18 before the declaration is registered, and for 19 before 18."""
        needed = "registered" if pending_code == "18" else "18"
        if needed not in self._cases.get(case_number, ()):
            raise GatewayError(
                RULE_BROKEN,
                f"pending code {pending_code} before {needed} of case {case_number[:40]}",
                "PendingCode",
            )

    def _check_registered(self, case_number: str) -> None:
        """Raise for the amendment or withdrawal of a declaration that is not registered."""
        if "registered" not in self._cases.get(case_number, ()):
            raise GatewayError(RULE_BROKEN, f"case {case_number[:40]} is not registered", "CaseNumber")

    def _validate_declaration(self, content: etree._Element) -> None:
        document = next(content.iterfind("{*}Declaration/*"))
        self._schema.validate_document(document)


def _read_requirement(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: (child.text or "").strip() for child in element.iterchildren("*")}
