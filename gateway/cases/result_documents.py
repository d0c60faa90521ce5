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
_MOMENT_NAMESPACE: Final = "{urn:wco:datamodel:WCO:Response_DS:DMS:2}"
#: UNTDID 1225 as WCO responses use it: the function code of each outcome.
_FUNCTION_CODES: Final = {
    CaseOutcome.APPROVED: "01",
    CaseOutcome.PARTIAL: "05",
    CaseOutcome.REJECTED: "03",
    CaseOutcome.REFUSED: "03",
    CaseOutcome.WITHDRAWN: "10",
}
_POINTER_STEP: Final = re.compile(r"([0-9A-Z]{2,3})(?:\[([0-9]{1,5})\])?")
_MAX_REFERENCE_LENGTH: Final = 35
_MAX_TEXT_LENGTH: Final = 4000
_MAX_POINTER_LENGTH: Final = 512
_MAX_DESCRIPTION_LENGTH: Final = 512


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

    hold_end: datetime
    issued_at: datetime
    missing_documents: tuple[MissingDocument, ...]


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
    for request, ranked_decision in decisions:
        _write_standing_decision(root, request, ranked_decision)
    for element_name, reported_problems in (("Problem", problems), ("Warning", warnings)):
        for problem in reported_problems:
            _write_finding(root, element_name, problem)
    root.append(_make_wco_response(header, outcome, problems))
    return root


def _write_finding(root: etree._Element, element_name: str, problem: ReportedProblem) -> None:
    element = _add_element(root, element_name, _replace_unprintable(problem.text, _MAX_TEXT_LENGTH))
    element.set("id", problem.id)
    if problem.pointer:
        element.set("pointer", _replace_unprintable(problem.pointer, _MAX_POINTER_LENGTH))


def make_hold_document(header: CaseHeader, held_case: HeldCase) -> etree._Element:
    """Return the unsigned `Notice` that a case is held: the end of the hold, and the missing documents."""
    root = _make_document_root("Notice", header)
    element = etree.SubElement(root, f"{_RES}Held")
    element.set("until", format_instant(held_case.hold_end))
    _add_element(element, "IssuedAt", format_instant(held_case.issued_at))
    for missing_document in held_case.missing_documents:
        missing_element = _add_element(
            element, "Missing", _replace_unprintable(missing_document.text, _MAX_TEXT_LENGTH)
        )
        attributes = {
            "item": "" if missing_document.item is None else str(missing_document.item),
            "law": missing_document.law,
            "documents": " ".join(missing_document.documents),
            "organisations": " ".join(missing_document.organisations),
            "pointer": _replace_unprintable(missing_document.pointer, _MAX_POINTER_LENGTH),
        }
        for name, value in attributes.items():
            if value:
                missing_element.set(name, value)
    return root


def make_notice_document(
    header: CaseHeader, request: RequestState, notice: Notice | None, payment_address: str = ""
) -> etree._Element:
    """Return the unsigned `Notice` of one request's new state, with the notice of the agency.

    Values that a decision has beside its notice (number, time of issue, words) are written to the Notice
    itself. `payment_address` is where the fee of the notice is paid.
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
            _write_fee(element, notice.fee, notice.fee.money, payment_address)
        for decision in notice.decisions:
            _write_decision(element, request, decision)
    return root


def make_customs_document(
    header: CaseHeader, clearance_state: str, status_code: str, notice: CustomsNotice, problem_id: str
) -> etree._Element:
    """Return the unsigned `Notice` of a report of customs: the state of clearance, and customs' notice.

    `status_code` is the requirement status of the notice, or empty; `problem_id` the id of its reasons.
    """
    root = _make_document_root("Notice", header)
    element = etree.SubElement(root, f"{_RES}Customs")
    _add_element(element, "State", clearance_state)
    _add_element(element, "ResultCode", notice.code)
    if status_code:
        _add_element(element, "StatusCode", status_code)
    _add_element(element, "NoticeNumber", notice.number)
    _add_element(element, "IssuedAt", format_instant(notice.issued_at))
    if notice.text:
        _add_element(element, "Text", _replace_unprintable(notice.text, _MAX_TEXT_LENGTH))
    for reason in notice.reasons:
        problem_element = _add_element(
            element, "Problem", _replace_unprintable(reason.text, _MAX_TEXT_LENGTH)
        )
        problem_element.set("id", problem_id)
        if reason.pointer:
            problem_element.set("pointer", _replace_unprintable(reason.pointer, _MAX_POINTER_LENGTH))
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
    _add_element(element, "Text", _replace_unprintable(text, _MAX_TEXT_LENGTH))
    _add_element(element, "Deadline", format_instant(due_at))
    return root


def _write_fee(request: etree._Element, fee: NamedFee, money: Money, payment_address: str) -> None:
    """Add a Fee element; an unknown payment notice, due date or payment address is left out."""
    element = _add_element(request, "Fee", money.digits)
    element.set("currencyID", money.currency)
    attributes = {"paymentNotice": fee.payment_notice, "dueDate": fee.due.isoformat() if fee.due else ""}
    for name, value in (attributes | {"address": payment_address}).items():
        if value:
            element.set(name, value)


def _write_notice_details(element: etree._Element, notice: Notice) -> None:
    """Add number, time, text, pointers and deadline of `notice` to `element`."""
    _add_element(element, "NoticeNumber", notice.number)
    _add_element(element, "IssuedAt", format_instant(notice.issued_at))
    if notice.text:
        _add_element(element, "Text", _replace_unprintable(notice.text, _MAX_TEXT_LENGTH))
    for pointer in notice.pointers:
        _add_element(element, "Pointer", _replace_unprintable(pointer, _MAX_POINTER_LENGTH))
    if notice.deadline is not None:
        _add_element(element, "Deadline", format_instant(notice.deadline))


def _make_document_root(root_name: str, header: CaseHeader) -> etree._Element:
    """Return the root element of a result or notice document, with the case number and the reference."""
    root = etree.Element(f"{_RES}{root_name}", nsmap=_make_nsmap(RES))
    root.set("version", "1")
    _add_element(root, "CaseNumber", header.number)
    if header.reference:
        _add_element(root, "Reference", header.reference[:_MAX_REFERENCE_LENGTH])
    return root


def _write_standing_decision(
    root: etree._Element, request: DecidedRequest, ranked_decision: RankedDecision
) -> None:
    """Add a decision that is in force to `root`, with number, time and text of its notice."""
    element = _write_decision(root, request, ranked_decision.decision)
    _add_element(element, "NoticeNumber", ranked_decision.notice_number)
    _add_element(element, "IssuedAt", format_instant(ranked_decision.issued_at))
    if ranked_decision.text:
        _add_element(element, "Text", _replace_unprintable(ranked_decision.text, _MAX_TEXT_LENGTH))


def _write_decision(
    parent: etree._Element, request: DecidedRequest | RequestState, decision: Decision
) -> etree._Element:
    """Add a Decision element for an item and a law to `parent`, and return it."""
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
        _add_element(element, "Condition", _replace_unprintable(condition, _MAX_TEXT_LENGTH))
    return element


def _make_wco_response(
    header: CaseHeader, outcome: CaseOutcome, problems: tuple[ReportedProblem, ...]
) -> etree._Element:
    """Return a WCO Response with the outcome as function code and an Error element for each problem."""
    response = etree.Element(f"{_WCO}Response", nsmap=_make_nsmap(WCO_RES))
    _add_wco_element(response, "FunctionCode", _FUNCTION_CODES[outcome])
    _add_wco_element(response, "FunctionalReferenceID", header.number)
    moment_element = etree.SubElement(
        etree.SubElement(response, f"{_WCO}IssueDateTime"), f"{_MOMENT_NAMESPACE}DateTimeString"
    )
    moment_element.set("formatCode", "304")
    moment_element.text = header.issued_at.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
    for problem in problems:
        error = etree.SubElement(response, f"{_WCO}Error")
        _add_wco_element(error, "Description", _replace_unprintable(problem.text, _MAX_DESCRIPTION_LENGTH))
        _add_wco_element(error, "ValidationCode", problem.id)
        _write_wco_pointer(error, problem.pointer)
    declaration = etree.SubElement(response, f"{_WCO}Declaration")
    if header.reference:
        _add_wco_element(declaration, "FunctionalReferenceID", header.reference[:_MAX_REFERENCE_LENGTH])
    return response


def _write_wco_pointer(error: etree._Element, pointer: str) -> None:
    """Write a pointer of WCO ids as a chain of Pointer elements; other pointers write nothing."""
    steps = pointer.split("/@", 1)[0].split("/")
    matches = [_POINTER_STEP.fullmatch(step) for step in steps[:-1]]
    if not pointer.startswith("42A") or not all(matches) or not steps:
        return
    for match in matches:
        if match is not None:
            _write_pointer_step(error, match[1], match[2])
    last_step = steps[-1].split("[", 1)[0]
    if (
        error.findall(f"{_WCO}Pointer")
        and len(last_step) <= 4
        and last_step.isascii()
        and last_step.isalnum()
    ):
        etree.SubElement(error[-1], f"{_WCO}TagID").text = last_step


def _write_pointer_step(error: etree._Element, section_code: str, sequence_number: str | None) -> None:
    pointer = etree.SubElement(error, f"{_WCO}Pointer")
    if sequence_number is not None:
        _add_wco_element(pointer, "SequenceNumeric", sequence_number)
    _add_wco_element(pointer, "DocumentSectionCode", section_code)


def _make_nsmap(namespace: str) -> Any:
    # The lxml stubs do not allow a default namespace.
    return {None: namespace}


def _add_element(parent: etree._Element, element_name: str, text: str) -> etree._Element:
    element = etree.SubElement(parent, f"{_RES}{element_name}")
    element.text = text
    return element


def _add_wco_element(parent: etree._Element, element_name: str, text: str) -> None:
    etree.SubElement(parent, f"{_WCO}{element_name}").text = text


def _replace_unprintable(text: str, max_length: int) -> str:
    """Return the text without unprintable characters, cut to `max_length` characters as the schema allows."""
    if text.isprintable():
        return text[:max_length]
    return "".join(
        character if character.isprintable() or character in "\n\t" else " "
        for character in text[:max_length]
    )


_RECEIPT: Final = f"{{{RECEIPT}}}"
# The lxml stubs do not allow a default namespace.
_NSMAP: Final[Any] = {None: RECEIPT}


@dataclass(frozen=True, slots=True)
class ReceivedFiling:
    """The facts of a filing: its id, sender, channel and time of receipt, and its digests.

    `sha256` is that of the submission; `attachments` has digest and octets by content id.
    """

    message_id: str
    party: str
    channel: str
    received_at: datetime
    sha256: str
    attachments: Mapping[str, tuple[str, int]]


def make_receipt_document(filing: ReceivedFiling) -> etree._Element:
    """Return the unsigned `Receipt` of a submission."""
    root = etree.Element(f"{_RECEIPT}Receipt", nsmap=_NSMAP)
    root.set("version", "1")
    received_at = format_instant(filing.received_at)
    for name, value in (
        ("MessageId", filing.message_id),
        ("Party", filing.party),
        ("Channel", filing.channel),
        ("ReceivedAt", received_at),
    ):
        etree.SubElement(root, f"{_RECEIPT}{name}").text = value
    etree.SubElement(root, f"{_RECEIPT}Submission").set("sha256", filing.sha256)
    for content_id, (digest, size) in filing.attachments.items():
        element = etree.SubElement(root, f"{_RECEIPT}Attachment")
        element.set("cid", content_id)
        element.set("sha256", digest)
        element.set("size", str(size))
    return root
