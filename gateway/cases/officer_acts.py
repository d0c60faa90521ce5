"""What an officer of an agency does at the console, as values, and the call that each act becomes.

An act becomes one of the calls that the system of an agency makes (``wsdl/hub-agency.wsdl``). The octets
that `encode_act` gives are what is decided: their SHA-256 is confirmed by the officer and kept as evidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from lxml import etree

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.cases.named_fees import FeeStep
from gateway.cases.status_codes import StatusCode
from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import SERVICE_AGENCY, parse_instant

__all__ = [
    "ACT_EVENTS",
    "CANCELLATION_ANSWERS",
    "DecisionAct",
    "DecisionPurpose",
    "FeeAct",
    "InformationAct",
    "InspectionAct",
    "OfficerAct",
    "ReceiveAct",
    "build_act_call",
    "compute_act_digest",
    "describe_act",
    "encode_act",
    "encode_batch",
    "get_act_kind",
    "list_unsent_words",
    "may_answer_cancellation",
    "may_end_fee",
    "may_refund_fee",
    "restore_act",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode

#: The requirement status codes of decisions: passed, failed, failed in part; corrected; approval cancelled.
_PASSED: Final = "R01"
_FAILED: Final = "R04"
_IN_PART: Final = "F02"
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

    The code has the event `acknowledge`, `cancel` or `refuse_cancel`.
    """

    status_code: str = "C04"


@dataclass(frozen=True, slots=True)
class InformationAct:
    """Information is asked, about the fields of `pointers`, until `deadline`."""

    text: str
    pointers: tuple[str, ...] = ()
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class InspectionAct:
    """An inspection is ordered, recorded or over; the code has the event `inspect` or `inspected`.

    The contract says the code alone. Kind, day, place and findings are kept as evidence.
    """

    status_code: str
    kind: str = ""
    on: date | None = None
    place: str = ""
    findings: str = ""


@dataclass(frozen=True, slots=True)
class FeeAct:
    """A fee is due; the code has the event `fee`.

    The contract says the code alone. Amount, last day and note are kept as evidence.
    """

    status_code: str
    amount: str = ""
    until: date | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class DecisionAct:
    """Decisions about items under laws; `reason` is kept as evidence.

    `valid_until` is the last day of the certificate whose number they state.
    """

    purpose: DecisionPurpose
    decisions: tuple[Decision, ...]
    reason: str = ""
    valid_until: date | None = None


OfficerAct = ReceiveAct | InformationAct | InspectionAct | FeeAct | DecisionAct

_KINDS: Final = {ReceiveAct: "receive", InformationAct: "ask", InspectionAct: "inspect", FeeAct: "fee"}
#: The events of the status codes that an act may send; acts that are not here choose no code.
ACT_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "receive": ("acknowledge", "cancel", "refuse_cancel"),
    "inspect": ("inspect", "inspected"),
    "fee": ("fee",),
}
#: The codes that answer whether the agency cancels, as its applicant has asked: it does, it does not.
CANCELLATION_ANSWERS: Final = ("G03", "G04")


def may_end_fee(code: StatusCode, *, owes_fee: bool) -> bool:
    """Return whether a status code ends a fee that is open: that is also said of a decided application."""
    return owes_fee and code.fee_step in (FeeStep.CANCEL, FeeStep.CONFIRM)


def may_refund_fee(code: StatusCode, *, was_paid: bool) -> bool:
    """Return whether a status code gives back a fee that was paid: that is also said after a decision."""
    return was_paid and code.fee_step == FeeStep.REFUND


def may_answer_cancellation(cancellation: str | None, code: str) -> bool:
    """Return whether a code of `CANCELLATION_ANSWERS` can be said, by what became of the last question.

    An agency that does not cancel may do so later.
    """
    return cancellation == "ASKED" or (cancellation == "REFUSED" and code == CANCELLATION_ANSWERS[0])


def get_act_kind(act: OfficerAct) -> str:
    """Return the kind of an act: receive, ask, inspect, fee, decide, correct or revoke."""
    return act.purpose.value if isinstance(act, DecisionAct) else _KINDS[type(act)]


def describe_act(act: OfficerAct) -> dict[str, Any]:
    """Return an act as plain values for JSON."""
    match act:
        case ReceiveAct():
            content: dict[str, Any] = {"status": act.status_code}
        case InformationAct():
            content = {"text": act.text, "pointers": list(act.pointers)}
            content["deadline"] = None if act.deadline is None else _format_instant(act.deadline)
        case InspectionAct():
            content = {"status": act.status_code, "kind": act.kind, "place": act.place}
            content |= {"findings": act.findings, "on": None if act.on is None else act.on.isoformat()}
        case FeeAct():
            content = {"status": act.status_code, "amount": act.amount, "note": act.note}
            content["until"] = None if act.until is None else act.until.isoformat()
        case DecisionAct():
            content = {"decisions": [_describe_decision(one) for one in act.decisions], "reason": act.reason}
            if act.valid_until is not None:
                # Only where it is stated: the digest of every other act stays what it was.
                content["valid_until"] = act.valid_until.isoformat()
    return {"act": get_act_kind(act), **content}


def _describe_decision(said: Decision) -> dict[str, Any]:
    return {
        "item": said.item,
        "law": said.law,
        "decision": said.decision.value,
        "number": said.number,
        "date": None if said.date is None else said.date.isoformat(),
        "quantity": None if said.quantity is None else f"{said.quantity:f}",
        "unit": said.unit,
        "conditions": list(said.conditions),
    }


def restore_act(described: Mapping[str, Any]) -> OfficerAct:
    """Return the act that `describe_act` described."""
    restore: Callable[[Mapping[str, Any]], OfficerAct] = {
        "receive": lambda one: ReceiveAct(one["status"]),
        "ask": _restore_information,
        "inspect": _restore_inspection,
        "fee": _restore_fee,
    }.get(described["act"], _restore_decisions)
    return restore(described)


def _restore_information(one: Mapping[str, Any]) -> OfficerAct:
    deadline = None if one["deadline"] is None else parse_instant(one["deadline"])
    return InformationAct(one["text"], tuple(one["pointers"]), deadline)


def _restore_inspection(one: Mapping[str, Any]) -> OfficerAct:
    on = None if one["on"] is None else date.fromisoformat(one["on"])
    return InspectionAct(one["status"], one["kind"], on, one["place"], one["findings"])


def _restore_fee(one: Mapping[str, Any]) -> OfficerAct:
    until = None if one["until"] is None else date.fromisoformat(one["until"])
    return FeeAct(one["status"], one["amount"], until, one["note"])


def _restore_decisions(one: Mapping[str, Any]) -> OfficerAct:
    said = tuple(
        Decision(
            item=row["item"],
            law=row["law"],
            decision=DecisionCode(row["decision"]),
            number=row["number"],
            date=None if row["date"] is None else date.fromisoformat(row["date"]),
            quantity=None if row["quantity"] is None else Decimal(row["quantity"]),
            unit=row["unit"],
            conditions=tuple(row["conditions"]),
        )
        for row in one["decisions"]
    )
    until = date.fromisoformat(one["valid_until"]) if "valid_until" in one else None
    return DecisionAct(DecisionPurpose(one["act"]), said, one["reason"], until)


def list_unsent_words(act: OfficerAct) -> tuple[str, ...]:
    """Return the names of the given values that the contract cannot say; they are kept as evidence only."""
    match act:
        case InspectionAct():
            given = {"kind": act.kind, "on": act.on, "place": act.place, "findings": act.findings}
        case FeeAct():
            given = {"amount": act.amount, "until": act.until, "note": act.note}
        case DecisionAct():
            given = {"reason": act.reason}
        case _:
            given = {}
    return tuple(name for name, value in given.items() if value)


def encode_act(application_number: str, shown: str, act: OfficerAct) -> bytes:
    """Return what is decided as octets: the application, what was shown of it (a digest), and the act."""
    return _encode({"application": application_number, "shown": shown, **describe_act(act)}).encode()


def compute_act_digest(application_number: str, shown: str, act: OfficerAct) -> str:
    """Return the SHA-256 of what is decided, in lower-case hexadecimal."""
    return hashlib.sha256(encode_act(application_number, shown, act)).hexdigest()


def encode_batch(digests: Sequence[str]) -> bytes:
    """Return what an officer confirms for several acts at once: their digests, a line each."""
    return "\n".join(digests).encode()


def build_act_call(
    act: OfficerAct, application_number: str, notice_number: str, issued_at: datetime
) -> etree._Element:
    """Return the request element of the call that an act becomes; raises GW404 for an act without content."""
    match act:
        case InformationAct():
            return _build_information_call(act, application_number, notice_number, issued_at)
        case DecisionAct():
            if not act.decisions:
                raise GatewayError(RULE_BROKEN, "nothing is decided", "Decision")
            status = _derive_status_code(act)
        case _:
            status = act.status_code
    root = _start_call("SubmitDecision", application_number, notice_number, issued_at)
    _add_text(root, "StatusCode", status)
    if isinstance(act, DecisionAct):
        for one in act.decisions:
            _add_decision(root, one)
        if act.valid_until is not None:
            _add_text(root, "ValidUntil", act.valid_until.isoformat())
    return root


def _build_information_call(
    act: InformationAct, application_number: str, notice_number: str, issued_at: datetime
) -> etree._Element:
    root = _start_call("RequestInformation", application_number, notice_number, issued_at)
    for pointer in act.pointers:
        _add_text(root, "Pointer", pointer)
    _add_text(root, "Text", act.text)
    if act.deadline is not None:
        _add_text(root, "Deadline", _format_instant(act.deadline))
    return root


def _derive_status_code(act: DecisionAct) -> str:
    if act.purpose is DecisionPurpose.REVOKE:
        return _REVOKED
    good = [one.decision in _APPROVING for one in act.decisions]
    if all(good):
        return _CORRECTED if act.purpose is DecisionPurpose.CORRECT else _PASSED
    return _IN_PART if any(good) else _FAILED


def _start_call(name: str, application_number: str, number: str, issued_at: datetime) -> etree._Element:
    # The stubs of lxml do not know the default namespace.
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{name}", nsmap=nsmap)
    _add_text(root, "ApplicationNumber", application_number)
    _add_text(root, "NoticeNumber", number)
    _add_text(root, "IssuedAt", _format_instant(issued_at))
    return root


def _add_decision(root: etree._Element, said: Decision) -> None:
    element = etree.SubElement(root, f"{{{SERVICE_AGENCY}}}Decision")
    described = _describe_decision(said)
    for name in ("item", "law", "decision", "number", "date", "quantity", "unit"):
        if described[name] is not None:
            _add_text(element, name, str(described[name]))
    for condition in said.conditions:
        _add_text(element, "condition", condition)


def _add_text(parent: etree._Element, name: str, text: str) -> None:
    try:
        etree.SubElement(parent, f"{{{SERVICE_AGENCY}}}{name}").text = text
    except ValueError:
        detail = f"{name} contains a character that XML does not have"
        raise GatewayError(RULE_BROKEN, detail, name) from None


def _format_instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
