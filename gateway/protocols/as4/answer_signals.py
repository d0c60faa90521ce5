"""Makes the signals that answer a message of AS4, and compares answers with what we sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gateway.agreements import ForwardingRule, PMode
from gateway.errors import (
    EBMS3_ERRORS,
    NOT_SUPPORTED,
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    GatewayError,
)
from gateway.message_model import (
    ErrorEntry,
    ErrorSignal,
    Party,
    Ping,
    Pong,
    PullRequest,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.answer_headers import make_answer_header
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, SentUnit
from gateway.protocols.problem_words import describe_problem
from gateway.protocols.signed_references import repeats_digests, to_model_reference
from gateway.wire import WireLimits

__all__ = [
    "check_answer",
    "check_time_to_live",
    "has_synchronous_answer",
    "make_delivery_failure",
    "make_hop_receipt",
    "make_pong",
    "make_receipt",
    "make_related_error",
    "make_status_response",
    "make_unit_error",
    "name_answer_parties",
    "seal_hop_signal",
    "write_onward_parcel",
]

_SIGNAL: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:SignalMessage"
_SEVERITIES: Final = {"failure": "Error", "warning": "Warning"}
_DELIVERY_FAILURE: Final = "EBMS:0202"
_RELATED_FAILED: Final = "EBMS:0031"


def make_receipt(opened: OpenedMessage, context: ProtocolContext) -> Receipt:
    """Return the receipt of a message: every reference of its signature, or itself (AS4 §5.1.8)."""
    unit = opened.unit
    signed = opened.signed.references if opened.signed is not None else ()
    return Receipt(
        **make_answer_header(opened.unit, context),
        ref_to_message_id=opened.unit.message_id,
        received_at=context.now,
        references=tuple(map(to_model_reference, signed)),
        message=unit if isinstance(unit, UserMessage) and not signed else None,
    )


def make_unit_error(
    problem: GatewayError, unit: Unit | None, about: str | None, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the signal that reports a problem to the sender of a message (core §6).

    None when the problem has no error of ebMS 3.0, or the message is itself an error. Without `unit`
    nobody is named, and nobody signs.
    """
    code = problem.code
    if code is None or isinstance(unit, ErrorSignal):
        return None
    header = _make_error_header(unit, context)
    return ErrorSignal(**header, ref_to_message_id=about, errors=(_make_error_entry(code, problem),))


def make_related_error(
    problem: GatewayError, unit: UserMessage | PullRequest, context: ProtocolContext
) -> ErrorSignal:
    """Return the error about a message that is refused for what was bundled with it (part 2 §3.10.3)."""
    entry = _make_error_entry(_RELATED_FAILED, problem)
    header = make_answer_header(unit, context)
    return ErrorSignal(**header, ref_to_message_id=unit.message_id, errors=(entry,))


def _make_error_header(unit: Unit | None, context: ProtocolContext) -> dict[str, Any]:
    if unit is not None:
        return make_answer_header(unit, context)
    nobody = Party(())
    names = {"message_id": context.make_message_id(), "timestamp": context.now}
    return {**names, "conversation_id": "", "sender": nobody, "receiver": nobody, "agreement": ""}


def _make_error_entry(code: str, problem: GatewayError, severity: str | None = None) -> ErrorEntry:
    error = EBMS3_ERRORS[code]
    location, words = describe_problem(problem)
    return ErrorEntry(
        code=code,
        severity=severity or _SEVERITIES[error.severity],
        location=location,
        description=words,
        category=error.category,
        origin=error.origin,
        title=error.title,
    )


def make_delivery_failure(
    message: UserMessage,
    problem: GatewayError,
    context: ProtocolContext,
    *,
    certain: bool,
    reporter: Party | None = None,
) -> ErrorSignal:
    """Return the error DeliveryFailure about a message; a warning unless it is `certain`.

    `reporter` is who gave up where that is not the To party.
    """
    header = make_answer_header(message, context)
    entry = _make_error_entry(_DELIVERY_FAILURE, problem, "Error" if certain else "Warning")
    signal = ErrorSignal(**header, ref_to_message_id=message.message_id, errors=(entry,))
    return signal if reporter is None else replace(signal, sender=reporter)


def name_answer_parties(unit: Unit, sent: SentUnit) -> Unit:
    """Return a signal with the parties of the message that it answers, which it does not name itself."""
    asked = sent.unit
    return replace(
        unit,
        sender=asked.receiver,
        receiver=asked.sender,
        agreement=asked.agreement,
        conversation_id=asked.conversation_id,
    )


def check_answer(opened: OpenedMessage, sent: SentUnit) -> None:
    """Raise for an answer that does not belong to what we sent; a receipt must repeat every digest."""
    about = sent.unit.message_id
    named = (one for one in opened.units if getattr(one, "ref_to_message_id", None) == about)
    unit = next((one for one in named if isinstance(one, Receipt | ErrorSignal)), opened.unit)
    if isinstance(unit, ErrorSignal):
        if unit.ref_to_message_id not in (None, sent.unit.message_id):
            where = f"{_SIGNAL}/eb3:MessageInfo/eb3:RefToMessageId"
            raise GatewayError(REFERENCE_UNKNOWN, "this answers another message", where)
        return
    if not isinstance(unit, Receipt):
        raise GatewayError(NOT_SUPPORTED, "a message is answered by a receipt or an error", _SIGNAL)
    if unit.ref_to_message_id != sent.unit.message_id:
        where = f"{_SIGNAL}/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(RECEIPT_MISMATCH, "the receipt is for another message", where)
    if opened.signed is None:
        raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was agreed", _SIGNAL)
    if not repeats_digests(unit.references, sent.references):
        detail = "the receipt does not repeat the digests that were sent"
        raise GatewayError(RECEIPT_MISMATCH, detail, f"{_SIGNAL}/eb3:Receipt")


def has_synchronous_answer(_unit: Unit, pmode: PMode | None) -> bool:
    """Return whether signals about a message go into the HTTP answer, by its ReplyPattern (AS4 §2.1.1)."""
    return pmode is None or pmode.reply_pattern == "response"


def check_time_to_live(_unit: Unit, _now: datetime) -> None:
    """Accept every message: ebMS 3.0 has no time to live."""


def make_hop_receipt(_opened: OpenedMessage, _context: ProtocolContext) -> Receipt | None:
    """Return None: there is no receipt of the next handler."""
    return None


def _refuse_signal(words: str) -> GatewayError:
    return GatewayError(NOT_SUPPORTED, words, _SIGNAL)


def seal_hop_signal(_unit: Receipt | ErrorSignal, _context: ProtocolContext, *, signed: bool) -> Parcel:
    """Raise GW311: signals between intermediaries are not supported."""
    raise _refuse_signal(f"{'a signed' if signed else 'a'} signal between intermediaries of AS4")


def write_onward_parcel(_parcel: Parcel, _rule: ForwardingRule, _limits: WireLimits) -> Parcel:
    """Raise GW311: messages of AS4 are not forwarded."""
    raise _refuse_signal("messages of AS4 are not forwarded")


def make_pong(_ping: Ping, _context: ProtocolContext) -> Pong:
    """Raise GW311: ebMS 3.0 has no Ping."""
    raise _refuse_signal("AS4 has no Ping")


def make_status_response(
    _request: StatusRequest, _status: str, _received_at: datetime | None, _context: ProtocolContext
) -> StatusResponse:
    """Raise GW311: ebMS 3.0 has no StatusRequest."""
    raise _refuse_signal("AS4 has no StatusRequest")
