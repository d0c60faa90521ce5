"""What a simulated agency says, as elements: answers to our calls, and calls of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.conformance.partners.agency_applications import ReceivedApplication
from gateway.conformance.partners.agency_plan import AgencyPlan
from gateway.wire.namespaces import AGENCY, SERVICE_AGENCY

__all__ = [
    "DecidingNotice",
    "ItemDecision",
    "build_acknowledgment",
    "build_decision_call",
    "build_information_call",
    "build_notice_answer",
    "build_status_call",
    "decide_application",
]

_APPROVING: Final = frozenset({"APPROVED", "APPROVED_WITH_CONDITIONS", "NOT_CONCERNED"})


@dataclass(frozen=True, slots=True)
class ItemDecision:
    """One decision: item, law, what, the number of the permit, conditions."""

    item: int
    law: str
    decision: str
    number: str | None
    date: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecidingNotice:
    """A deciding notice: its number, its moment, its status code, its decisions."""

    number: str
    issued_at: datetime
    status: str
    decisions: tuple[ItemDecision, ...]


def decide_application(
    application: ReceivedApplication, plan: AgencyPlan, laws: tuple[str, ...], notice: tuple[str, datetime]
) -> DecidingNotice:
    """Decide every item of an application under every law of the plan; `notice` is number and moment."""
    number, at = notice
    decided = tuple(
        _decide_item(application, item.number, law, (plan.find_rule(item.number, item.hs), at))
        for item in application.items
        for law in plan.laws or laws[:1]
    )
    return DecidingNotice(number, at, plan.status or _derive_status_code(decided), decided)


def _decide_item(
    application: ReceivedApplication, item: int, law: str, how: tuple[Any, datetime]
) -> ItemDecision:
    rule, at = how
    approved = rule.decision in ("APPROVED", "APPROVED_WITH_CONDITIONS")
    permit = f"{application.number}-{law}-{item:03d}" if approved else None
    return ItemDecision(item, law, rule.decision, permit, at.date().isoformat(), rule.conditions)


def _derive_status_code(decided: tuple[ItemDecision, ...]) -> str:
    """Return the status code that agrees with the decisions: R01 passed, R04 failed, F02 failed in part."""
    good = [one.decision in _APPROVING for one in decided]
    return "R01" if all(good) else "F02" if any(good) else "R04"


def build_acknowledgment(response: str, receipt: str) -> etree._Element:
    """Return the response element (Clark notation) that says: we have it."""
    root, answer = _start_response(response)
    _add_text(etree.SubElement(answer, _qualify_name(root, "Acknowledged")), "ReceiptNumber", receipt)
    return root


def build_notice_answer(response: str, said: DecidingNotice) -> etree._Element:
    """Return the response element that decides at once."""
    root, answer = _start_response(response)
    notice = etree.SubElement(answer, _qualify_name(root, "Notice"))
    _write_notice(notice, said.number, said.issued_at, said.status)
    _write_decisions(notice, said.decisions)
    return root


def build_decision_call(application: str, said: DecidingNotice) -> etree._Element:
    """Return the SubmitDecision that decides an application."""
    root = _start_call("SubmitDecision", application)
    _write_notice(root, said.number, said.issued_at, said.status)
    _write_decisions(root, said.decisions)
    return root


def build_status_call(application: str, number: str, issued_at: datetime, status: str) -> etree._Element:
    """Return the SubmitDecision that tells a state and decides nothing."""
    root = _start_call("SubmitDecision", application)
    _write_notice(root, number, issued_at, status)
    return root


def build_information_call(
    application: str, number: str, issued_at: datetime, plan: AgencyPlan
) -> etree._Element:
    """Return the RequestInformation that the plan words."""
    root = _start_call("RequestInformation", application)
    _write_notice(root, number, issued_at, None)
    for pointer in plan.pointers:
        _add_text(root, "Pointer", pointer)
    _add_text(root, "Text", plan.text)
    _add_text(root, "Deadline", _format_instant(issued_at + timedelta(seconds=plan.deadline)))
    return root


def _start_response(name: str) -> tuple[etree._Element, etree._Element]:
    # The stubs of lxml do not know the default namespace.
    nsmap: Any = {None: etree.QName(name).namespace or AGENCY}
    root = etree.Element(name, nsmap=nsmap)
    return root, etree.SubElement(root, _qualify_name(root, "Answer"))


def _start_call(operation: str, application: str) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{operation}", nsmap=nsmap)
    _add_text(root, "ApplicationNumber", application)
    return root


def _write_notice(parent: etree._Element, number: str, issued_at: datetime, status: str | None) -> None:
    _add_text(parent, "NoticeNumber", number)
    _add_text(parent, "IssuedAt", _format_instant(issued_at))
    if status is not None:
        _add_text(parent, "StatusCode", status)


def _write_decisions(parent: etree._Element, decisions: Iterable[ItemDecision]) -> None:
    for one in decisions:
        element = etree.SubElement(parent, _qualify_name(parent, "Decision"))
        _add_text(element, "item", str(one.item))
        _add_text(element, "law", one.law)
        _add_text(element, "decision", one.decision)
        if one.number is not None:
            _add_text(element, "number", one.number)
        _add_text(element, "date", one.date)
        for condition in one.conditions:
            _add_text(element, "condition", condition)


def _qualify_name(parent: etree._Element, name: str) -> str:
    return f"{{{etree.QName(parent).namespace}}}{name}"


def _add_text(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, _qualify_name(parent, name)).text = text


def _format_instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
