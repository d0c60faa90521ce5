"""Evaluates an answer: its content, whether it was expected, and whether it proves acceptance.

A status 200 does not prove acceptance: a proxy, or a gateway that verifies nothing, sends it too. A
message is accepted if the gateway's signed Acknowledgment names it and repeats its digests.
A call is accepted if the gateway's signed answer relates to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from gateway.errors import RECEIPT_MISMATCH, GatewayError
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import PROTOCOLS, Parcel, SentUnit
from gateway.wire import (
    DEFAULT_LIMITS,
    EB,
    EB3,
    parse_xml,
    read_addressing,
    read_envelope,
    read_fault,
    read_multipart_related,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.exchange import Answer, Expectation, HttpRequest, Step
from gateway_conformance.partners import read_hub_answer

_PROBLEM: Final = re.compile(r"\bGW\d{3}\b")
_TRACE: Final = (b"Traceback (most recent call last)", b"\n\tat java.", b".java:")
_MAX_TEXT_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """The summary of an answer.

    `error_codes` are errorCodes of an ErrorList, `fault_code` the local name of a SOAP fault code,
    `problem_ids` ids of our catalogue where the gateway names one, `is_soap_message` whether there is
    a SOAP envelope at all.
    """

    status: int | None
    is_soap_message: bool = False
    error_codes: tuple[str, ...] = ()
    fault_code: str = ""
    problem_ids: tuple[str, ...] = ()
    text: str = ""

    @property
    def is_refusal(self) -> bool:
        """Return whether the answer is an ErrorList or a fault."""
        return bool(self.error_codes or self.fault_code)

    @property
    def is_acceptance(self) -> bool:
        """Return whether the answer accepts the step."""
        return self.status is not None and 200 <= self.status < 300 and not self.is_refusal

    def __str__(self) -> str:
        if self.status is None:
            return "closed without an answer"
        outcome = f"ErrorList {', '.join(self.error_codes)}" if self.error_codes else ""
        outcome = outcome or (f"Fault {self.fault_code}" if self.fault_code else "")
        parts = [outcome or ("a message" if self.is_soap_message else "no message"), self.text]
        return f"HTTP {self.status}: {' '.join(word for word in parts if word)}"


def summarize_answer(answer: Answer) -> AnswerSummary:
    """Return the summary of an answer; for an answer that is not a SOAP message only the status is set."""
    try:
        root = read_multipart_related(answer.headers.get("content-type", ""), answer.body).root.content
        envelope = read_envelope(parse_xml(root))
        fault = read_fault(envelope)
    except GatewayError:
        return AnswerSummary(answer.status)
    errors = _map_errors_by_code(envelope.root)
    elements = (
        [*errors.values(), *envelope.body_elements] if errors else envelope.body_elements if fault else []
    )
    text = " ".join(" ".join(str(part) for part in element.itertext()) for element in elements)
    return AnswerSummary(
        answer.status,
        is_soap_message=True,
        error_codes=tuple(errors),
        fault_code=_get_local_name(fault.code) if fault else "",
        problem_ids=tuple(dict.fromkeys(_PROBLEM.findall(text))),
        text=" ".join(text.split())[:_MAX_TEXT_CHARACTERS] if elements else "",
    )


def _map_errors_by_code(root: etree._Element) -> dict[str, etree._Element]:
    """Return the Error elements of ebMS 2.0 and AS4 by their errorCode; warnings are left out."""
    errors = {
        error.get(f"{{{EB}}}errorCode", ""): error
        for error in root.iter(f"{{{EB}}}Error")
        if error.get(f"{{{EB}}}severity") != "Warning"
    }
    return errors | {
        error.get("errorCode", ""): error
        for error in root.iter(f"{{{EB3}}}Error")
        if error.get("severity", "").lower() != "warning"
    }


def _get_local_name(code: str) -> str:
    return etree.QName(code).localname if code.startswith("{") else code.rpartition(":")[2]


def explain_mismatch(answer: Answer, expected: Expectation) -> str:
    """Return why an answer differs from the expectation; an empty text when it does not."""
    if answer.timed_out:
        return "no answer in time"
    if answer.connect_problem:
        return answer.connect_problem
    summary = summarize_answer(answer)
    if any(trace in answer.body for trace in _TRACE):
        return f"a traceback reached the sender ({summary})"
    if expected.is_acceptance:
        return (
            ""
            if summary.is_acceptance or _allows_refusal(answer, summary, expected)
            else f"not accepted: {summary}"
        )
    if answer.status is None:
        is_allowed = expected.silent and not answer.body
        return "" if is_allowed else "the connection ended without an answer"
    if summary.is_refusal:
        return _explain_wrong_refusal(summary, expected)
    if answer.status in expected.http and not summary.is_soap_message:
        return ""
    return f"accepted: {summary}" if summary.is_acceptance else f"no refusal as expected: {summary}"


def _allows_refusal(answer: Answer, summary: AnswerSummary, expected: Expectation) -> bool:
    """Return whether the expectation allows this refusal as well as an acceptance."""
    if answer.status is None:
        return expected.silent and not answer.body
    return answer.status in expected.http or bool(set(summary.error_codes) & set(expected.ebms))


def _explain_wrong_refusal(summary: AnswerSummary, expected: Expectation) -> str:
    """Return why a refusal is not one of those expected; an empty text when it is one."""
    matching = (
        set(summary.error_codes) & set(expected.ebms)
        if summary.error_codes
        else {summary.fault_code} & set(expected.faults)
    )
    if not matching:
        return f"refused by another code: {summary}"
    if summary.problem_ids and expected.problems and not set(summary.problem_ids) & set(expected.problems):
        return f"refused for another reason: {summary}"
    return ""


def describe_expectation(expected: Expectation) -> str:
    """Return the expectation in words."""
    if expected.is_acceptance:
        return "accepted"
    refusal_codes = (
        ("ErrorList", expected.ebms),
        ("Fault", expected.faults),
        ("HTTP", tuple(str(status) for status in expected.http)),
    )
    refusals = [f"{name} {'/'.join(names)}" for name, names in refusal_codes if names]
    refusals += ["closed"] if expected.silent else []
    reasons = f" ({'/'.join(expected.problems)})" if expected.problems else ""
    return f"refused: {' or '.join(refusals)}{reasons}"


def explain_missing_proof(kit: AttackerKit, step: Step, answer: Answer) -> str:
    """Return why an answer does not prove acceptance of the step; an empty text when it does.

    A signal, a message without AckRequested, and octets that are not a message need no proof.
    """
    if not isinstance(step, HttpRequest):
        return ""
    try:
        if step.face in ("soap", "customs"):
            _verify_call_answer(kit, step, answer)
        else:
            _verify_receipt(kit, step, answer)
    except GatewayError as wrong:
        return f"answered without proof: {str(wrong)[:200]}"
    return ""


def _verify_receipt(kit: AttackerKit, step: HttpRequest, answer: Answer) -> None:
    """Raise GatewayError unless the answer has a valid Acknowledgment of the message, if it requests one."""
    sent = _read_sent_message(step)
    if sent is None:
        return
    members = kit.as4_members if step.face == "as4" else kit.members
    member = next(
        (name for name, party in members.items() if sent.unit.sender.ids[0] in party.own_identifiers), ""
    )
    if not member:
        return
    opened = PROTOCOLS[step.face].open_units(
        _make_parcel(answer.headers, answer.body), replace(kit, members=members).build_context(member), sent
    )
    if not any(isinstance(unit, Receipt) for unit in opened.units):
        raise GatewayError(RECEIPT_MISMATCH, "no Acknowledgment", "/soap:Envelope/soap:Header")


def _read_sent_message(step: HttpRequest) -> SentUnit | None:
    """Return the message of a step if it requests an Acknowledgment, otherwise None."""
    try:
        sent = PROTOCOLS[step.face].read_sent_unit(_make_parcel(step.headers, step.body), DEFAULT_LIMITS)
    except GatewayError:
        return None
    requests_receipt = isinstance(sent.unit, UserMessage) and (
        step.face == "as4" or sent.unit.ack_requested is not None
    )
    return sent if requests_receipt else None


def _make_parcel(headers: Mapping[str, str], body: bytes) -> Parcel:
    return Parcel(headers, MemoryBody(body))


def _verify_call_answer(kit: AttackerKit, step: HttpRequest, answer: Answer) -> None:
    """Raise GatewayError unless the answer to a call is signed by the gateway and relates to that call."""
    try:
        header = read_envelope(parse_xml(step.body)).header
        message_id = read_addressing(header).message_id if header is not None else ""
    except GatewayError:
        return
    read_hub_answer(answer.body, message_id, kit.members["a"].identity, kit.get_current_time())
