"""What a simulated agency says, as elements: answers to our calls, and calls of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lxml import etree

from gateway.conformance.applications import Application
from gateway.conformance.plan import Plan
from gateway.wire.namespaces import AGENCY, SERVICE_AGENCY

__all__ = [
    "Decided",
    "Deciding",
    "acknowledged",
    "answer_notice",
    "decide",
    "decision_call",
    "information_call",
    "step_call",
]

_APPROVING: Final = frozenset({"APPROVED", "APPROVED_WITH_CONDITIONS", "NOT_CONCERNED"})


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision: item, law, what, the number of the permit, conditions."""

    item: int
    law: str
    decision: str
    number: str | None
    date: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deciding:
    """A deciding notice: its number, its moment, its status code, its decisions."""

    number: str
    issued_at: datetime
    status: str
    decisions: tuple[Decided, ...]


def decide(
    application: Application, plan: Plan, laws: tuple[str, ...], notice: tuple[str, datetime]
) -> Deciding:
    """Decide every item of an application under every law of the plan; `notice` is number and moment."""
    number, at = notice
    decided = tuple(
        _decided(application, item.number, law, (plan.rule(item.number, item.hs), at))
        for item in application.items
        for law in plan.laws or laws[:1]
    )
    return Deciding(number, at, plan.status or _status(decided), decided)


def _decided(application: Application, item: int, law: str, how: tuple[Any, datetime]) -> Decided:
    rule, at = how
    approved = rule.decision in ("APPROVED", "APPROVED_WITH_CONDITIONS")
    permit = f"{application.number}-{law}-{item:03d}" if approved else None
    return Decided(item, law, rule.decision, permit, at.date().isoformat(), rule.conditions)


def _status(decided: tuple[Decided, ...]) -> str:
    """Return the status code that agrees with the decisions: R01 passed, R04 failed, F02 failed in part."""
    good = [one.decision in _APPROVING for one in decided]
    return "R01" if all(good) else "F02" if any(good) else "R04"


def acknowledged(response: str, receipt: str) -> etree._Element:
    """Return the response element (Clark notation) that says: we have it."""
    root, answer = _response(response)
    _add(etree.SubElement(answer, _in(root, "Acknowledged")), "ReceiptNumber", receipt)
    return root


def answer_notice(response: str, said: Deciding) -> etree._Element:
    """Return the response element that decides at once."""
    root, answer = _response(response)
    notice = etree.SubElement(answer, _in(root, "Notice"))
    _write_notice(notice, said.number, said.issued_at, said.status)
    _write_decisions(notice, said.decisions)
    return root


def decision_call(application: str, said: Deciding) -> etree._Element:
    """Return the SubmitDecision that decides an application."""
    root = _call("SubmitDecision", application)
    _write_notice(root, said.number, said.issued_at, said.status)
    _write_decisions(root, said.decisions)
    return root


def step_call(application: str, number: str, issued_at: datetime, status: str) -> etree._Element:
    """Return the SubmitDecision that tells a state and decides nothing."""
    root = _call("SubmitDecision", application)
    _write_notice(root, number, issued_at, status)
    return root


def information_call(application: str, number: str, issued_at: datetime, plan: Plan) -> etree._Element:
    """Return the RequestInformation that the plan words."""
    root = _call("RequestInformation", application)
    _write_notice(root, number, issued_at, None)
    for pointer in plan.pointers:
        _add(root, "Pointer", pointer)
    _add(root, "Text", plan.text)
    _add(root, "Deadline", _instant(issued_at + timedelta(seconds=plan.deadline)))
    return root


def _response(name: str) -> tuple[etree._Element, etree._Element]:
    # The stubs of lxml do not know the default namespace.
    nsmap: Any = {None: etree.QName(name).namespace or AGENCY}
    root = etree.Element(name, nsmap=nsmap)
    return root, etree.SubElement(root, _in(root, "Answer"))


def _call(operation: str, application: str) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{operation}", nsmap=nsmap)
    _add(root, "ApplicationNumber", application)
    return root


def _write_notice(parent: etree._Element, number: str, issued_at: datetime, status: str | None) -> None:
    _add(parent, "NoticeNumber", number)
    _add(parent, "IssuedAt", _instant(issued_at))
    if status is not None:
        _add(parent, "StatusCode", status)


def _write_decisions(parent: etree._Element, decisions: Iterable[Decided]) -> None:
    for one in decisions:
        element = etree.SubElement(parent, _in(parent, "Decision"))
        _add(element, "item", str(one.item))
        _add(element, "law", one.law)
        _add(element, "decision", one.decision)
        if one.number is not None:
            _add(element, "number", one.number)
        _add(element, "date", one.date)
        for condition in one.conditions:
            _add(element, "condition", condition)


def _in(parent: etree._Element, name: str) -> str:
    return f"{{{etree.QName(parent).namespace}}}{name}"


def _add(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, _in(parent, name)).text = text


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
