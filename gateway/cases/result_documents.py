"""Makes the documents for the applicant: `Result` when a case has ended, `Notice` before that.

A `Result` also has a Response of the WCO Data Model beside the hub's own elements, with a function code, the
problems and their pointers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.cases.agency_notices import Decision, Notice
from gateway.cases.case_outcome import CaseOutcome, RankedDecision
from gateway.cases.customs_notices import CustomsNotice
from gateway.cases.declaration_validation import ReportedProblem
from gateway.cases.fees import Money, NamedFee
from gateway.wire import RECEIPT, RES, WCO_RES, format_instant

_RES: Final = f"{{{RES}}}"
_WCO: Final = f"{{{WCO_RES}}}"
_MOMENT: Final = "{urn:wco:datamodel:WCO:Response_DS:DMS:2}"
#: UNTDID 1225 as WCO responses use it: the function code of each outcome.
_FUNCTION: Final = {
    CaseOutcome.APPROVED: "01",
    CaseOutcome.PARTIAL: "05",
    CaseOutcome.REJECTED: "03",
    CaseOutcome.REFUSED: "03",
    CaseOutcome.WITHDRAWN: "10",
}
_STEP: Final = re.compile(r"([0-9A-Z]{2,3})(?:\[([0-9]{1,5})\])?")
_LONGEST_REFERENCE: Final = 35
_LONGEST_TEXT: Final = 4000
_LONGEST_POINTER: Final = 512
_LONGEST_DESCRIPTION: Final = 512


@dataclass(frozen=True, slots=True)
class CaseHeader:
    """The case that a document is about; `reference` is empty where none could be read."""

    number: str
    reference: str
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """The document and organisation that the decisions of one request belong to."""

    request: str
    document: str
    organisation: str


@dataclass(frozen=True, slots=True)
class RequestState:
    """The current state of one request, for a Notice."""

    application: str
    document: str
    organisation: str
    state: str
    receipt_number: str = ""


@dataclass(frozen=True, slots=True)
class MissingDocument:
    """A document that the goods of a held case need: any one of `documents` answers the need."""

    text: str
    pointer: str
    item: int | None = None
    law: str = ""
    documents: tuple[str, ...] = ()
    organisations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldCase:
    """A case that is held until a moment for the documents that are missing."""

    until: datetime
    issued_at: datetime
    missing: tuple[MissingDocument, ...]


def make_result_document(
    header: CaseHeader,
    outcome: CaseOutcome,
    decisions: tuple[tuple[DecidedRequest, RankedDecision], ...] = (),
    problems: tuple[ReportedProblem, ...] = (),
    warnings: tuple[ReportedProblem, ...] = (),
) -> etree._Element:
    """Return the unsigned `Result` of a case: the current decisions as given, then problems and warnings."""
    root = _make_document_root("Result", header)
    _add_element(root, "Outcome", outcome.value)
    for request, ranked in decisions:
        _write_standing_decision(root, request, ranked)
    for name, reported in (("Problem", problems), ("Warning", warnings)):
        for problem in reported:
            _write_finding(root, name, problem)
    root.append(_make_wco_response(header, outcome, problems))
    return root


def _write_finding(root: etree._Element, name: str, problem: ReportedProblem) -> None:
    element = _add_element(root, name, _replace_unprintable(problem.text, _LONGEST_TEXT))
    element.set("id", problem.id)
    if problem.pointer:
        element.set("pointer", _replace_unprintable(problem.pointer, _LONGEST_POINTER))


def make_hold_document(header: CaseHeader, held: HeldCase) -> etree._Element:
    """Return the unsigned `Notice` that a case is held: the end of the hold, and the missing documents."""
    root = _make_document_root("Notice", header)
    element = etree.SubElement(root, f"{_RES}Held")
    element.set("until", format_instant(held.until))
    _add_element(element, "IssuedAt", format_instant(held.issued_at))
    for requirement in held.missing:
        missing = _add_element(element, "Missing", _replace_unprintable(requirement.text, _LONGEST_TEXT))
        attributes = {
            "item": "" if requirement.item is None else str(requirement.item),
            "law": requirement.law,
            "documents": " ".join(requirement.documents),
            "organisations": " ".join(requirement.organisations),
            "pointer": _replace_unprintable(requirement.pointer, _LONGEST_POINTER),
        }
        for name, value in attributes.items():
            if value:
                missing.set(name, value)
    return root


def make_notice_document(
    header: CaseHeader, request: RequestState, notice: Notice | None, address: str = ""
) -> etree._Element:
    """Return the unsigned `Notice` of one request's new state, with the notice of the agency.

    Values that a decision has beside its notice (number, time of issue, words) are written to the Notice
    itself. `address` is where the fee of the notice is paid.
    """
    root = _make_document_root("Notice", header)
    element = etree.SubElement(root, f"{_RES}Request")
    element.set("application", request.application)
    element.set("document", request.document)
    element.set("organisation", request.organisation)
    _add_element(element, "State", request.state)
    if notice is not None:
        _add_element(element, "StatusCode", notice.status_code)
    if request.receipt_number:
        _add_element(element, "ReceiptNumber", _replace_unprintable(request.receipt_number, 128))
    if notice is not None:
        _write_notice_details(element, notice)
        if notice.fee is not None and notice.fee.money is not None:
            _write_fee(element, notice.fee, notice.fee.money, address)
        for decision in notice.decisions:
            _write_decision(element, request, decision)
    return root


def make_customs_document(
    header: CaseHeader, state: str, status: str, notice: CustomsNotice, problem: str
) -> etree._Element:
    """Return the unsigned `Notice` of a report of customs: the state of clearance, and customs' notice.

    `status` is the requirement status of the notice, or empty; `problem` the id of its reasons.
    """
    root = _make_document_root("Notice", header)
    element = etree.SubElement(root, f"{_RES}Customs")
    _add_element(element, "State", state)
    _add_element(element, "ResultCode", notice.code)
    if status:
        _add_element(element, "StatusCode", status)
    _add_element(element, "NoticeNumber", notice.number)
    _add_element(element, "IssuedAt", format_instant(notice.issued_at))
    if notice.text:
        _add_element(element, "Text", _replace_unprintable(notice.text, _LONGEST_TEXT))
    for reason in notice.reasons:
        reported = _add_element(element, "Problem", _replace_unprintable(reason.text, _LONGEST_TEXT))
        reported.set("id", problem)
        if reason.pointer:
            reported.set("pointer", _replace_unprintable(reason.pointer, _LONGEST_POINTER))
    for item in notice.items:
        etree.SubElement(element, f"{_RES}Item", {"item": str(item.item), "code": item.code})
    return root


def make_reminder_document(
    header: CaseHeader, request: RequestState, text: str, due_at: datetime
) -> etree._Element:
    """Return the unsigned `Notice` of the hub that a deadline is near: without status code and number."""
    root = make_notice_document(header, request, None)
    element = root[-1]
    _add_element(element, "IssuedAt", format_instant(header.issued_at))
    _add_element(element, "Text", _replace_unprintable(text, _LONGEST_TEXT))
    _add_element(element, "Deadline", format_instant(due_at))
    return root


def _write_fee(request: etree._Element, fee: NamedFee, money: Money, address: str) -> None:
    element = _add_element(request, "Fee", money.digits)
    element.set("currencyID", money.currency)
    attributes = {"paymentNotice": fee.payment_notice, "dueDate": fee.due.isoformat() if fee.due else ""}
    for name, value in (attributes | {"address": address}).items():
        if value:
            element.set(name, value)


def _write_notice_details(element: etree._Element, notice: Notice) -> None:
    _add_element(element, "NoticeNumber", notice.number)
    _add_element(element, "IssuedAt", format_instant(notice.issued_at))
    if notice.text:
        _add_element(element, "Text", _replace_unprintable(notice.text, _LONGEST_TEXT))
    for pointer in notice.pointers:
        _add_element(element, "Pointer", _replace_unprintable(pointer, _LONGEST_POINTER))
    if notice.deadline is not None:
        _add_element(element, "Deadline", format_instant(notice.deadline))


def _make_document_root(name: str, header: CaseHeader) -> etree._Element:
    root = etree.Element(f"{_RES}{name}", nsmap=_make_nsmap(RES))
    root.set("version", "1")
    _add_element(root, "CaseNumber", header.number)
    if header.reference:
        _add_element(root, "Reference", header.reference[:_LONGEST_REFERENCE])
    return root


def _write_standing_decision(root: etree._Element, request: DecidedRequest, ranked: RankedDecision) -> None:
    element = _write_decision(root, request, ranked.decision)
    _add_element(element, "NoticeNumber", ranked.notice_number)
    _add_element(element, "IssuedAt", format_instant(ranked.issued_at))
    if ranked.text:
        _add_element(element, "Text", _replace_unprintable(ranked.text, _LONGEST_TEXT))


def _write_decision(
    parent: etree._Element, request: DecidedRequest | RequestState, decision: Decision
) -> etree._Element:
    element = etree.SubElement(parent, f"{_RES}Decision")
    element.set("item", str(decision.item))
    element.set("law", decision.law)
    element.set("document", request.document)
    element.set("organisation", request.organisation)
    element.set("decision", decision.decision.value)
    if decision.number:
        _add_element(element, "Number", decision.number)
    if decision.date is not None:
        _add_element(element, "Date", decision.date.isoformat())
    if decision.quantity is not None:
        quantity = _add_element(element, "Quantity", f"{decision.quantity:f}")
        if decision.unit:
            quantity.set("unitCode", decision.unit)
    for condition in decision.conditions:
        _add_element(element, "Condition", _replace_unprintable(condition, _LONGEST_TEXT))
    return element


def _make_wco_response(
    header: CaseHeader, outcome: CaseOutcome, problems: tuple[ReportedProblem, ...]
) -> etree._Element:
    response = etree.Element(f"{_WCO}Response", nsmap=_make_nsmap(WCO_RES))
    _add_wco_element(response, "FunctionCode", _FUNCTION[outcome])
    _add_wco_element(response, "FunctionalReferenceID", header.number)
    moment = etree.SubElement(etree.SubElement(response, f"{_WCO}IssueDateTime"), f"{_MOMENT}DateTimeString")
    moment.set("formatCode", "304")
    moment.text = header.issued_at.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
    for problem in problems:
        error = etree.SubElement(response, f"{_WCO}Error")
        _add_wco_element(error, "Description", _replace_unprintable(problem.text, _LONGEST_DESCRIPTION))
        _add_wco_element(error, "ValidationCode", problem.id)
        _write_wco_pointer(error, problem.pointer)
    declaration = etree.SubElement(response, f"{_WCO}Declaration")
    if header.reference:
        _add_wco_element(declaration, "FunctionalReferenceID", header.reference[:_LONGEST_REFERENCE])
    return response


def _write_wco_pointer(error: etree._Element, pointer: str) -> None:
    """Write a pointer of WCO ids as a chain of Pointer elements; other pointers write nothing."""
    steps = pointer.split("/@", 1)[0].split("/")
    matches = [_STEP.fullmatch(step) for step in steps[:-1]]
    if not pointer.startswith("42A") or not all(matches) or not steps:
        return
    for match in matches:
        if match is not None:
            _write_pointer_step(error, match[1], match[2])
    last = steps[-1].split("[", 1)[0]
    if error.findall(f"{_WCO}Pointer") and len(last) <= 4 and last.isascii() and last.isalnum():
        etree.SubElement(error[-1], f"{_WCO}TagID").text = last


def _write_pointer_step(error: etree._Element, section: str, number: str | None) -> None:
    pointer = etree.SubElement(error, f"{_WCO}Pointer")
    if number is not None:
        _add_wco_element(pointer, "SequenceNumeric", number)
    _add_wco_element(pointer, "DocumentSectionCode", section)


def _make_nsmap(namespace: str) -> Any:
    # The lxml stubs do not allow a default namespace.
    return {None: namespace}


def _add_element(parent: etree._Element, name: str, text: str) -> etree._Element:
    element = etree.SubElement(parent, f"{_RES}{name}")
    element.text = text
    return element


def _add_wco_element(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{_WCO}{name}").text = text


def _replace_unprintable(text: str, longest: int) -> str:
    """Return the text without unprintable characters, cut to `longest` characters as the schema allows."""
    if text.isprintable():
        return text[:longest]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text[:longest])


_RECEIPT: Final = f"{{{RECEIPT}}}"
# The lxml stubs do not allow a default namespace.
_NSMAP: Final[Any] = {None: RECEIPT}


@dataclass(frozen=True, slots=True)
class FilingFacts:
    """The facts of a filing: its id, sender, channel and time of receipt, and its digests.

    `sha256` is that of the submission; `attachments` has digest and octets by content id.
    """

    message_id: str
    party: str
    channel: str
    received_at: datetime
    sha256: str
    attachments: Mapping[str, tuple[str, int]]


def make_receipt_document(facts: FilingFacts) -> etree._Element:
    """Return the unsigned `Receipt` of a submission."""
    root = etree.Element(f"{_RECEIPT}Receipt", nsmap=_NSMAP)
    root.set("version", "1")
    moment = format_instant(facts.received_at)
    for name, value in (
        ("MessageId", facts.message_id),
        ("Party", facts.party),
        ("Channel", facts.channel),
        ("ReceivedAt", moment),
    ):
        etree.SubElement(root, f"{_RECEIPT}{name}").text = value
    etree.SubElement(root, f"{_RECEIPT}Submission").set("sha256", facts.sha256)
    for content_id, (digest, size) in facts.attachments.items():
        element = etree.SubElement(root, f"{_RECEIPT}Attachment")
        element.set("cid", content_id)
        element.set("sha256", digest)
        element.set("size", str(size))
    return root
