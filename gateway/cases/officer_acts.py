"""The acts of an officer of an agency at the console, as values, and the call that each act becomes.

An act becomes one of the calls that the system of an agency makes (``wsdl/hub-agency.wsdl``). The decision is
the octets that `encode_act` returns: the officer confirms their SHA-256, and it is kept as evidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from lxml import etree

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.cases.fees import FeeStep
from gateway.cases.status_codes import StatusCode
from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import SERVICE_AGENCY, format_instant, parse_instant

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode

#: The requirement status codes of decisions: passed, failed, failed in part; corrected; approval cancelled.
_PASSED: Final = "R01"
_FAILED: Final = "R04"
_FAILED_IN_PART: Final = "F02"
_CORRECTED: Final = "R02"
_REVOKED: Final = "R03"
_APPROVING: Final = frozenset(
    {DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS, DecisionCode.NOT_CONCERNED}
)


class DecisionPurpose(StrEnum):
    """Why decisions are made: for the first time, to correct earlier ones, or to revoke an approval."""

    DECIDE = "decide"
    CORRECT = "correct"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class ReceiveAct:
    """The agency has taken the application in hand, or says something else that decides no item.

    The code has the event `acknowledge`, `cancel` or `refuse_cancel`; the applicant reads `text`.
    """

    status_code: str = "C04"
    text: str = ""


@dataclass(frozen=True, slots=True)
class InformationAct:
    """The officer asks for information on the fields of `pointers`, until `deadline`."""

    text: str
    pointers: tuple[str, ...] = ()
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class InspectionAct:
    """An inspection is ordered, recorded or over; the code has the event `inspect` or `inspected`.

    The applicant reads kind, day, place and `text`, and the deadline of the inspection (`deadline`). Findings
    are kept as evidence for the agency alone. Without `text` the act was recorded by a version that sent only
    the code to the applicant.
    """

    status_code: str
    kind: str = ""
    day: date | None = None
    venue: str = ""
    findings: str = ""
    text: str | None = ""
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class FeeAct:
    """A fee is due; the code has the event `fee`.

    The applicant reads amount, last day and `text`, and can pay. The note is kept as evidence for the agency
    alone. Without `text` the act was recorded by a version that sent only the code to the applicant.
    """

    status_code: str
    amount: str = ""
    last_day: date | None = None
    note: str = ""
    currency: str = ""
    text: str | None = ""


@dataclass(frozen=True, slots=True)
class DecisionAct:
    """Decisions about items under laws; the applicant reads `text`.

    `reason` is a remark for the file, which is kept as evidence for the agency alone. `valid_until` is the
    last day of the certificate whose number the decisions state.
    """

    purpose: DecisionPurpose
    decisions: tuple[Decision, ...]
    reason: str = ""
    valid_until: date | None = None
    text: str = ""


OfficerAct = ReceiveAct | InformationAct | InspectionAct | FeeAct | DecisionAct

_ACT_KINDS: Final = {ReceiveAct: "receive", InformationAct: "ask", InspectionAct: "inspect", FeeAct: "fee"}
#: The events of the status codes that an act may send; acts that are not here choose no code.
ACT_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "receive": ("acknowledge", "cancel", "refuse_cancel"),
    "inspect": ("inspect", "inspected"),
    "fee": ("fee",),
}
#: The labels for the facts of an inspection, as in agencies' own documents (`mappings/notices.yaml`).
_INSPECTION_KIND: Final = "Kind of inspection (검사종류)"
_INSPECTION_DAY: Final = "Day of inspection (검사(검역) 지정일자)"
_INSPECTION_VENUE: Final = "Place of inspection (검사장소)"
#: The codes that answer whether the agency cancels, as its applicant has asked: it does, it does not.
CANCELLATION_ANSWERS: Final = ("G03", "G04")


def may_end_fee(code: StatusCode, *, owes_fee: bool) -> bool:
    """Return whether a status code cancels or confirms an open fee; allowed after the decision, too."""
    return owes_fee and code.fee_step in (FeeStep.CANCEL, FeeStep.CONFIRM)


def may_refund_fee(code: StatusCode, *, was_paid: bool) -> bool:
    """Return whether a status code refunds a fee that was paid; allowed after the decision, too."""
    return was_paid and code.fee_step == FeeStep.REFUND


def may_answer_cancellation(cancellation_state: str | None, status_code: str) -> bool:
    """Return whether a code of `CANCELLATION_ANSWERS` is allowed after the last question about cancellation.

    `cancellation_state` is the state of that question. An agency that refused to cancel may cancel later.
    """
    return cancellation_state == "ASKED" or (
        cancellation_state == "REFUSED" and status_code == CANCELLATION_ANSWERS[0]
    )


def get_act_kind(act: OfficerAct) -> str:
    """Return the kind of an officer's act: receive, ask, inspect, fee, decide, correct or revoke."""
    return act.purpose.value if isinstance(act, DecisionAct) else _ACT_KINDS[type(act)]


def describe_act(act: OfficerAct) -> dict[str, Any]:
    """Return an officer's act as values for JSON, from which `restore_act` makes it again."""
    # A member that a newer version added is written only if it is stated: the digests of older acts stay
    # valid.
    match act:
        case ReceiveAct():
            content: dict[str, Any] = {"status": act.status_code}
            content |= {"text": act.text} if act.text else {}
        case InformationAct():
            content = {"text": act.text, "pointers": list(act.pointers)}
            content["deadline"] = _describe_instant(act.deadline)
        case InspectionAct():
            content = {"status": act.status_code, "kind": act.kind, "place": act.venue}
            content |= {"findings": act.findings, "on": None if act.day is None else act.day.isoformat()}
            if act.text is not None:
                content |= {"text": act.text, "deadline": _describe_instant(act.deadline)}
        case FeeAct():
            content = {"status": act.status_code, "amount": act.amount, "note": act.note}
            content["until"] = None if act.last_day is None else act.last_day.isoformat()
            content |= {} if act.text is None else {"text": act.text, "currency": act.currency}
        case DecisionAct():
            content = {
                "decisions": [_describe_decision(decision) for decision in act.decisions],
                "reason": act.reason,
            }
            content |= {} if act.valid_until is None else {"valid_until": act.valid_until.isoformat()}
            content |= {"text": act.text} if act.text else {}
    return {"act": get_act_kind(act), **content}


def _describe_instant(moment: datetime | None) -> str | None:
    return None if moment is None else format_instant(moment)


def _describe_decision(decision: Decision) -> dict[str, Any]:
    """Return a decision as values for JSON, from which `_restore_decisions` makes it again."""
    return {
        "item": decision.item,
        "law": decision.law,
        "decision": decision.decision.value,
        "number": decision.number,
        "date": None if decision.date is None else decision.date.isoformat(),
        "quantity": None if decision.quantity is None else f"{decision.quantity:f}",
        "unit": decision.unit,
        "conditions": list(decision.conditions),
    }


def restore_act(described_act: Mapping[str, Any]) -> OfficerAct:
    """Return the officer's act that `describe_act` made these JSON values of."""
    restore: Callable[[Mapping[str, Any]], OfficerAct] = {
        "receive": lambda receive_act: ReceiveAct(receive_act["status"], receive_act.get("text", "")),
        "ask": _restore_information,
        "inspect": _restore_inspection,
        "fee": _restore_fee,
    }.get(described_act["act"], _restore_decisions)
    return restore(described_act)


def _restore_information(described_act: Mapping[str, Any]) -> OfficerAct:
    return InformationAct(
        described_act["text"], tuple(described_act["pointers"]), _restore_instant(described_act["deadline"])
    )


def _restore_inspection(described_act: Mapping[str, Any]) -> OfficerAct:
    """Return the inspection in the JSON values that `describe_act` made."""
    return InspectionAct(
        described_act["status"],
        described_act["kind"],
        None if described_act["on"] is None else date.fromisoformat(described_act["on"]),
        described_act["place"],
        described_act["findings"],
        described_act.get("text"),
        _restore_instant(described_act.get("deadline")),
    )


def _restore_fee(described_act: Mapping[str, Any]) -> OfficerAct:
    """Return the fee in the JSON values that `describe_act` made."""
    last_day = None if described_act["until"] is None else date.fromisoformat(described_act["until"])
    return FeeAct(
        described_act["status"],
        described_act["amount"],
        last_day,
        described_act["note"],
        described_act.get("currency", ""),
        described_act.get("text"),
    )


def _restore_instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def _restore_decisions(described_act: Mapping[str, Any]) -> OfficerAct:
    """Return the decisions in the JSON values that `describe_act` made."""
    decisions = tuple(
        Decision(
            item=described_decision["item"],
            law=described_decision["law"],
            decision=DecisionCode(described_decision["decision"]),
            number=described_decision["number"],
            date=None
            if described_decision["date"] is None
            else date.fromisoformat(described_decision["date"]),
            quantity=None
            if described_decision["quantity"] is None
            else Decimal(described_decision["quantity"]),
            unit=described_decision["unit"],
            conditions=tuple(described_decision["conditions"]),
        )
        for described_decision in described_act["decisions"]
    )
    last_day = date.fromisoformat(described_act["valid_until"]) if "valid_until" in described_act else None
    return DecisionAct(
        DecisionPurpose(described_act["act"]),
        decisions,
        described_act["reason"],
        last_day,
        described_act.get("text", ""),
    )


def list_agency_only_values(act: OfficerAct) -> tuple[str, ...]:
    """Return the names of the values of an officer's act that only the agency sees and that are not empty."""
    match act:
        case InspectionAct(text=None):
            agency_texts = {"kind": act.kind, "on": act.day, "place": act.venue, "findings": act.findings}
        case InspectionAct():
            agency_texts = {"findings": act.findings}
        case FeeAct(text=None):
            agency_texts = {"amount": act.amount, "until": act.last_day, "note": act.note}
        case FeeAct():
            agency_texts = {"note": act.note}
        case DecisionAct():
            agency_texts = {"reason": act.reason}
        case _:
            agency_texts = {}
    return tuple(name for name, value in agency_texts.items() if value)


def compose_act_text(act: OfficerAct) -> str:
    """Return the text of an officer's act for the applicant; an empty text if there is none."""
    if not isinstance(act, InspectionAct) or act.text is None:
        return act.text or ""
    day = "" if act.day is None else act.day.isoformat()
    inspection_facts = ((_INSPECTION_KIND, act.kind), (_INSPECTION_DAY, day), (_INSPECTION_VENUE, act.venue))
    return "\n".join((*(f"{label}: {value}" for label, value in inspection_facts if value), act.text)).strip()


def encode_act(application_number: str, shown_digest: str, act: OfficerAct) -> bytes:
    """Return as octets the application, the digest of the page shown to the officer, and the act."""
    return _encode({"application": application_number, "shown": shown_digest, **describe_act(act)}).encode()


def compute_act_digest(application_number: str, shown_digest: str, act: OfficerAct) -> str:
    """Return the SHA-256 of the octets of `encode_act`, in lower-case hexadecimal."""
    return hashlib.sha256(encode_act(application_number, shown_digest, act)).hexdigest()


def encode_batch(digests: Sequence[str]) -> bytes:
    """Return the octets that an officer confirms for several acts at once: their digests, a line each."""
    return "\n".join(digests).encode()


def build_act_call(
    act: OfficerAct, application_number: str, notice_number: str, issued_at: datetime
) -> etree._Element:
    """Return the body of the SOAP call that reports an act to the hub; raise GW404 for an empty act."""
    match act:
        case InformationAct():
            return _build_information_call(act, application_number, notice_number, issued_at)
        case DecisionAct():
            if not act.decisions:
                raise GatewayError(RULE_BROKEN, "nothing is decided", "Decision")
            status_code = _derive_status_code(act)
        case _:
            status_code = act.status_code
    root = _start_call("SubmitDecision", application_number, notice_number, issued_at)
    _add_text(root, "StatusCode", status_code)
    for decision in act.decisions if isinstance(act, DecisionAct) else ():
        _add_decision(root, decision)
    _add_text(root, "Text", compose_act_text(act))
    match act:
        case InspectionAct(deadline=datetime() as deadline):
            _add_text(root, "Deadline", format_instant(deadline))
        case FeeAct(text=str()):
            _add_fee(root, act)
        case DecisionAct(valid_until=date() as last_day):
            _add_text(root, "ValidUntil", last_day.isoformat())
    return root


def _build_information_call(
    act: InformationAct, application_number: str, notice_number: str, issued_at: datetime
) -> etree._Element:
    """Return the body of the SOAP call RequestInformation, in which an agency asks the applicant for more."""
    root = _start_call("RequestInformation", application_number, notice_number, issued_at)
    for pointer in act.pointers:
        _add_text(root, "Pointer", pointer)
    _add_text(root, "Text", act.text)
    if act.deadline is not None:
        _add_text(root, "Deadline", format_instant(act.deadline))
    return root


def _derive_status_code(act: DecisionAct) -> str:
    """Return the status code for an act: revoked, corrected, passed, failed in part or failed."""
    if act.purpose is DecisionPurpose.REVOKE:
        return _REVOKED
    approvals = [decision.decision in _APPROVING for decision in act.decisions]
    if all(approvals):
        return _CORRECTED if act.purpose is DecisionPurpose.CORRECT else _PASSED
    return _FAILED_IN_PART if any(approvals) else _FAILED


def _start_call(
    call_name: str, application_number: str, notice_number: str, issued_at: datetime
) -> etree._Element:
    """Return the body of an agency's SOAP call, with the three children that every call begins with."""
    # The stubs of lxml do not know the default namespace.
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{call_name}", nsmap=nsmap)
    _add_text(root, "ApplicationNumber", application_number)
    _add_text(root, "NoticeNumber", notice_number)
    _add_text(root, "IssuedAt", format_instant(issued_at))
    return root


def _add_decision(root: etree._Element, decision: Decision) -> None:
    """Add a Decision element to `root`; values that are None are left out."""
    element = etree.SubElement(root, f"{{{SERVICE_AGENCY}}}Decision")
    described_decision = _describe_decision(decision)
    for name in ("item", "law", "decision", "number", "date", "quantity", "unit"):
        if described_decision[name] is not None:
            _add_text(element, name, str(described_decision[name]))
    for condition in decision.conditions:
        _add_text(element, "condition", condition)


def _add_fee(root: etree._Element, act: FeeAct) -> None:
    """Add the amount to be paid and its last day, as far as the act states them."""
    fee_texts = {"amount": act.amount, "currency": act.currency if act.amount else ""}
    fee_texts["dueDate"] = "" if act.last_day is None else act.last_day.isoformat()
    if any(fee_texts.values()):
        fee = etree.SubElement(root, f"{{{SERVICE_AGENCY}}}Fee")
        for name, value in fee_texts.items():
            _add_text(fee, name, value)


def _add_text(parent: etree._Element, element_name: str, text: str) -> None:
    """Add an element with a text; no element without one. Raises GW404 for a character that XML lacks."""
    if not text:
        return
    try:
        etree.SubElement(parent, f"{{{SERVICE_AGENCY}}}{element_name}").text = text
    except ValueError:
        detail = f"{element_name} contains a character that XML does not have"
        raise GatewayError(RULE_BROKEN, detail, element_name) from None
