"""Judges what a gateway answers to a message of the suite: a receipt, an error, a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.conformance.as4.as4_assertion import Assertion
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Receipt
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, as4
from gateway.wire import DEFAULT_LIMITS

__all__ = ["AnswerCase", "find_answer_fault"]

_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True)
class AnswerCase:
    """A message of the suite with the answer to it."""

    sent: Parcel
    message_id: str
    answer: SeenMessage
    context: ProtocolContext

    def open_receipt(self) -> OpenedMessage:
        """Return the receipt after all checks: signer, signature and digests; raises GatewayError."""
        sent = as4.read_sent_unit(self.sent, DEFAULT_LIMITS)
        return self.answer.open(self.context, sent)


def find_answer_fault(row: Assertion, case: AnswerCase) -> str:
    """Return what is wrong with an answer, an empty text when it is as the row wants it."""
    if wrong := _EXPECTATIONS[row.expect](row, case):
        return wrong
    for name in row.also:
        if name not in _FURTHER:
            raise GatewayError(OUR_MISTAKE, f"there is no check {name!r}", row.id)
        if wrong := _FURTHER[name](case):
            return wrong
    return ""


def _find_receipt_fault(_: Assertion, case: AnswerCase) -> str:
    answer = case.answer
    if answer.status not in _SUCCESS:
        return f"no receipt: {answer.describe()}"
    try:
        opened = case.open_receipt()
    except GatewayError as wrong:
        return f"no good receipt: {answer.describe()}: {wrong.problem.id} {wrong.detail}"
    return "" if isinstance(opened.unit, Receipt) else f"no receipt: {answer.describe()}"


def _find_error_fault(row: Assertion, case: AnswerCase) -> str:
    codes = case.answer.codes
    if case.answer.select("//eb3:SignalMessage/eb3:Receipt"):
        return "it got a receipt"
    if not codes:
        return f"no error of ebMS: {case.answer.describe()}"
    if row.codes and not set(codes) & set(row.codes):
        return f"the error is {', '.join(codes)[:80]}, not {' or '.join(row.codes)}"
    return ""


def _find_refusal_fault(_: Assertion, case: AnswerCase) -> str:
    answer = case.answer
    if answer.select("//eb3:SignalMessage/eb3:Receipt"):
        return "it got a receipt"
    # A refusal may be an error (FeatureNotSupported is a warning), a SOAP Fault, or the status of HTTP alone.
    told = answer.select("//eb3:SignalMessage/eb3:Error") or answer.fault
    refused = told or (answer.status is not None and answer.status not in _SUCCESS)
    return "" if refused else f"it was not refused: {answer.describe()}"


_EXPECTATIONS: Final[Mapping[str, Callable[[Assertion, AnswerCase], str]]] = {
    "receipt": _find_receipt_fault,
    "error": _find_error_fault,
    "refused": _find_refusal_fault,
}


def _check_body_signed(case: AnswerCase) -> str:
    name = case.answer.find_text("/soap12:Envelope/soap12:Body/@wsu:Id")
    covered = {str(one) for one in case.answer.select("//ds:SignedInfo/ds:Reference/@URI")}
    return "" if name and f"#{name}" in covered else "the Body of the receipt is not signed"


def _check_digests(case: AnswerCase) -> str:
    opened = case.open_receipt()
    told = {one.uri for one in opened.unit.references} if isinstance(opened.unit, Receipt) else set()
    sent = SeenMessage(dict(case.sent.headers), case.sent.read_octets())
    wanted = {str(one) for one in sent.select("//ds:SignedInfo/ds:Reference/@URI")}
    return (
        "" if wanted <= told else f"the receipt lacks the digest of {', '.join(sorted(wanted - told))[:200]}"
    )


def _check_own_id(case: AnswerCase) -> str:
    told = case.answer.find_text("//eb3:MessageInfo/eb3:RefToMessageId")
    if told != case.message_id:
        return f"the receipt refers to {told[:80]!r}"
    own = case.answer.message_id
    return "" if own and own != case.message_id else "the receipt has no MessageId of its own"


def _check_error_attributes(case: AnswerCase) -> str:
    for name in ("errorCode", "severity"):
        if not case.answer.find_text(f"//eb3:Error/@{name}"):
            return f"the error has no {name}"
    if case.answer.find_text("//eb3:Error/@severity").lower() != "failure":
        return "its severity is not failure"
    about = {
        case.answer.find_text("//eb3:Error/@refToMessageInError"),
        case.answer.find_text("//eb3:MessageInfo/eb3:RefToMessageId"),
    }
    return "" if case.message_id in about else "the error does not name the message that it is about"


_FURTHER: Final[Mapping[str, Callable[[AnswerCase], str]]] = {
    "body-signed": _check_body_signed,
    "digests": _check_digests,
    "own-id": _check_own_id,
    "error-attributes": _check_error_attributes,
}
