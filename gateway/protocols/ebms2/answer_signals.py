"""Makes the signals that answer a message, and checks whether an answer belongs to our message."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway.agreements import PMode
from gateway.errors import (
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    TIME_TO_LIVE_EXPIRED,
    GatewayError,
    Problem,
)
from gateway.message_model import (
    NEXT_MSH,
    ErrorEntry,
    ErrorSignal,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.answer_headers import make_answer_header
from gateway.protocols.core import OpenedMessage, ProtocolContext, SentUnit
from gateway.protocols.ebms2.header_blocks import MessageHeader
from gateway.protocols.problem_words import describe_problem
from gateway.protocols.signed_references import repeats_digests, to_model_reference

__all__ = [
    "ANSWERS",
    "check_answer",
    "check_time_to_live",
    "has_signal_answers",
    "has_synchronous_answer",
    "is_answerable",
    "make_error_signal",
    "make_pong",
    "make_receipt",
    "make_status_response",
]

# Actions that answer a message; no error signal is sent about them.
ANSWERS: Final = frozenset({"Acknowledgment", "MessageError", "Pong", "StatusResponse"})

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"


def make_receipt(opened: OpenedMessage, context: ProtocolContext) -> Receipt:
    """Return the Acknowledgment of a message, with its digests when requested (ebMS 2.0 §6.3.2)."""
    message = opened.unit
    wanted = message.ack_requested if isinstance(message, UserMessage) else None
    asked = wanted is not None and wanted.signed
    signed = opened.signed.references if opened.signed is not None else ()
    return Receipt(
        **make_answer_header(message, context),
        ref_to_message_id=message.message_id,
        received_at=context.now,
        references=tuple(to_model_reference(one) for one in signed) if asked else (),
        signature_asked=asked,
    )


def is_answerable(ref: Unit | MessageHeader) -> bool:
    """Return whether an error about `ref` may be sent (ebMS 2.0 §4.2.4.3): never about an answer."""
    if isinstance(ref, MessageHeader):
        return not (ref.is_signal and ref.action in ANSWERS)
    return not isinstance(ref, Receipt | ErrorSignal | Pong | StatusResponse)


def make_error_signal(
    problem: GatewayError, ref: Unit | MessageHeader, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the signal that reports the problem to the sender of `ref`; None if there is none to send."""
    code = problem.problem.ebms2
    if code is None or not is_answerable(ref):
        return None
    location, words = describe_problem(problem)
    entry = ErrorEntry(code=code, severity="Error", location=location, description=words)
    return ErrorSignal(**make_answer_header(ref, context), ref_to_message_id=ref.message_id, errors=(entry,))


def make_pong(ping: Ping, context: ProtocolContext) -> Pong:
    """Return the answer to a Ping (ebMS 2.0 §8.2)."""
    return Pong(**make_answer_header(ping, context), ref_to_message_id=ping.message_id)


def make_status_response(
    request: StatusRequest, status: str, received_at: datetime | None, context: ProtocolContext
) -> StatusResponse:
    """Return the answer to a StatusRequest (ebMS 2.0 §7.1.2)."""
    return StatusResponse(
        **make_answer_header(request, context),
        ref_to_message_id=request.message_id,
        about=request.about,
        status=status,
        received_at=received_at,
    )


def check_time_to_live(unit: Unit, now: datetime) -> None:
    """Raise GW306 for a message that arrived after its time to live (ebMS 2.0 §3.1.6.4).

    This check is not part of opening: a late repeat of a known message is answered by its
    receipt, so the caller checks for duplicates first.
    """
    if isinstance(unit, UserMessage) and unit.expires_at is not None and unit.expires_at <= now:
        detail = f"the message was good until {unit.expires_at.isoformat()}"
        raise GatewayError(TIME_TO_LIVE_EXPIRED, detail, f"{_HEADER}/eb:MessageData/eb:TimeToLive")


def check_answer(opened: OpenedMessage, sent: SentUnit) -> None:
    """Raise for an answer that does not belong to what we sent; a receipt must repeat every digest."""
    for unit in opened.units:
        if isinstance(unit, Receipt):
            _check_receipt(unit, opened, sent)
    first = opened.unit
    if isinstance(first, ErrorSignal | Pong | StatusResponse | UserMessage):
        if first.ref_to_message_id not in (None, sent.unit.message_id):
            where = f"{_HEADER}/eb:MessageData/eb:RefToMessageId"
            raise GatewayError(REFERENCE_UNKNOWN, "this answers another message", where)
        _check_parties(first, sent, REFERENCE_UNKNOWN)


def _check_parties(unit: Unit, sent: SentUnit, problem: Problem) -> None:
    asked = sent.unit
    ours = set(unit.receiver.ids) & set(asked.sender.ids)
    theirs = set(unit.sender.ids) & set(asked.receiver.ids)
    if unit.agreement != asked.agreement or not ours or not theirs:
        raise GatewayError(problem, "the answer is not of the party that was addressed", f"{_HEADER}/eb:From")


def _check_receipt(unit: Receipt, opened: OpenedMessage, sent: SentUnit) -> None:
    """Compare a receipt with what we sent: message, party, signature, every digest (ebMS 2.0 §6.3.2.5)."""
    where = "/soap:Envelope/soap:Header/eb:Acknowledgment"
    if unit.ref_to_message_id != sent.unit.message_id:
        raise GatewayError(
            RECEIPT_MISMATCH, "the receipt is for another message", f"{where}/eb:RefToMessageId"
        )
    if unit.actor == NEXT_MSH:
        _check_hop_receipt(unit, opened, sent)
        return
    _check_parties(unit, sent, RECEIPT_MISMATCH)
    asked = sent.unit.ack_requested if isinstance(sent.unit, UserMessage) else None
    if asked is not None and asked.signed:
        if opened.signed is None:
            raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was asked for", where)
        if not sent.references:
            return
    elif not unit.references:
        return
    if not repeats_digests(unit.references, sent.references):
        raise GatewayError(RECEIPT_MISMATCH, "the receipt does not repeat the digests that were sent", where)


def _check_hop_receipt(unit: Receipt, opened: OpenedMessage, sent: SentUnit) -> None:
    """Compare an Acknowledgment of the next handler with what we sent.

    Its signature covers the header and not the Acknowledgment, so the header must name the message.
    Who the next handler is, the caller compares: no agreement says it.
    """
    where = "/soap:Envelope/soap:Header/eb:Acknowledgment"
    asked = sent.unit.hop_ack_requested if isinstance(sent.unit, UserMessage) else None
    if asked is None:
        raise GatewayError(RECEIPT_MISMATCH, "the next handler was asked for no receipt", where)
    if asked.signed and opened.signed is None:
        raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was asked for", where)
    if unit.agreement != sent.unit.agreement:
        raise GatewayError(RECEIPT_MISMATCH, "the receipt names another agreement", f"{_HEADER}/eb:CPAId")
    if unit.references and not repeats_digests(unit.references, sent.references):
        raise GatewayError(RECEIPT_MISMATCH, "the receipt does not repeat the digests that were sent", where)


def has_synchronous_answer(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether signals about `unit` go into the HTTP answer (ebMS 2.0 §4.3), not into a new POST."""
    if pmode is not None and pmode.sync_reply_mode == "responseOnly" and isinstance(unit, UserMessage):
        # The answer has room for the response only; the receipt has a POST of its own.
        return False
    return bool(getattr(unit, "sync_reply", False)) or has_signal_answers(pmode)


def has_signal_answers(pmode: PMode | None) -> bool:
    """Return whether signals go into the HTTP answer by a P-Mode; without a P-Mode they do."""
    return pmode is None or pmode.has_signals_in_answer
