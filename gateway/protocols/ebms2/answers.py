"""What is answered to a message, and whether an answer to ours belongs to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway.errors import (
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    TIME_TO_LIVE_EXPIRED,
    GatewayError,
    Problem,
)
from gateway.model import (
    DigestReference,
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
from gateway.protocols.core import Context, Opened, Sent
from gateway.protocols.ebms2.header import MessageHeader
from gateway.protocols.ebms2.signature import neutral

__all__ = [
    "ANSWERS",
    "answerable",
    "check_answer",
    "check_time_to_live",
    "error",
    "pong",
    "receipt",
    "status_response",
]

# What answers a message, so that an answer to it would answer an answer.
ANSWERS: Final = frozenset({"Acknowledgment", "MessageError", "Pong", "StatusResponse"})

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_SHOWN: Final = 500


def _back(unit: Unit | MessageHeader, context: Context) -> dict[str, Any]:
    """Return the header of an answer: parties exchanged, same agreement and conversation."""
    return {
        "message_id": context.new_id(),
        "conversation_id": unit.conversation_id,
        "sender": unit.receiver,
        "receiver": unit.sender,
        "agreement": unit.agreement,
        "timestamp": context.now,
    }


def receipt(opened: Opened, context: Context) -> Receipt:
    """Return the Acknowledgment of a message, with its digests when that was asked (ebMS 2.0 §6.3.2)."""
    message = opened.unit
    wanted = message.ack_requested if isinstance(message, UserMessage) else None
    repeat = wanted is not None and wanted.signed and opened.signed is not None
    signed = opened.signed.references if opened.signed is not None else ()
    return Receipt(
        **_back(message, context),
        ref_to_message_id=message.message_id,
        received_at=context.now,
        references=tuple(neutral(one) for one in signed) if repeat else (),
    )


def answerable(ref: Unit | MessageHeader) -> bool:
    """Return whether an error about `ref` may be sent (ebMS 2.0 §4.2.4.3): never about an answer."""
    if isinstance(ref, MessageHeader):
        return not (ref.signal and ref.action in ANSWERS)
    return not isinstance(ref, Receipt | ErrorSignal | Pong | StatusResponse)


def error(problem: GatewayError, ref: Unit | MessageHeader, context: Context) -> ErrorSignal | None:
    """Return the signal that tells the sender of `ref` its problem; None where there is none to send."""
    code = problem.problem.ebms2
    if code is None or not answerable(ref):
        return None
    # What went wrong on our side is nobody's business outside.
    words = problem.problem.title if problem.problem.ours else problem.detail
    entry = ErrorEntry(
        code=code,
        severity="Error",
        location=_printable(problem.location),
        description=f"{problem.problem.id} {_printable(words)}",
    )
    return ErrorSignal(**_back(ref, context), ref_to_message_id=ref.message_id, errors=(entry,))


def _printable(words: str) -> str:
    return "".join(one if one.isprintable() else " " for one in words[:_SHOWN]).strip()


def pong(ping: Ping, context: Context) -> Pong:
    """Return the answer to a Ping (ebMS 2.0 §8.2)."""
    return Pong(**_back(ping, context), ref_to_message_id=ping.message_id)


def status_response(
    request: StatusRequest, status: str, received_at: datetime | None, context: Context
) -> StatusResponse:
    """Return the answer to a StatusRequest (ebMS 2.0 §7.1.2)."""
    return StatusResponse(
        **_back(request, context),
        ref_to_message_id=request.message_id,
        about=request.about,
        status=status,
        received_at=received_at,
    )


def check_time_to_live(unit: Unit, now: datetime) -> None:
    """Refuse a message that came too late (ebMS 2.0 §3.1.6.4).

    Not part of opening: a late repeat of a message known already is answered by its
    receipt, so who has looked for duplicates asks afterwards.
    """
    if isinstance(unit, UserMessage) and unit.expires_at is not None and unit.expires_at <= now:
        detail = f"the message was good until {unit.expires_at.isoformat()}"
        raise GatewayError(TIME_TO_LIVE_EXPIRED, detail, f"{_HEADER}/eb:MessageData/eb:TimeToLive")


def check_answer(opened: Opened, sent: Sent) -> None:
    """Refuse an answer that does not belong to what we sent; a receipt must repeat every digest."""
    for unit in opened.units:
        if isinstance(unit, Receipt):
            _check_receipt(unit, opened, sent)
    first = opened.unit
    if isinstance(first, ErrorSignal | Pong | StatusResponse):
        if first.ref_to_message_id not in (None, sent.unit.message_id):
            where = f"{_HEADER}/eb:MessageData/eb:RefToMessageId"
            raise GatewayError(REFERENCE_UNKNOWN, "this answers another message", where)
        _check_parties(first, sent, REFERENCE_UNKNOWN)


def _check_parties(unit: Unit, sent: Sent, problem: Problem) -> None:
    asked = sent.unit
    ours = set(unit.receiver.ids) & set(asked.sender.ids)
    theirs = set(unit.sender.ids) & set(asked.receiver.ids)
    if unit.agreement != asked.agreement or not ours or not theirs:
        raise GatewayError(problem, "the answer is not of the party that was addressed", f"{_HEADER}/eb:From")


def _check_receipt(unit: Receipt, opened: Opened, sent: Sent) -> None:
    """Hold a receipt against what we sent: message, party, signature, every digest (ebMS 2.0 §6.3.2.5)."""
    where = "/soap:Envelope/soap:Header/eb:Acknowledgment"
    if unit.ref_to_message_id != sent.unit.message_id:
        raise GatewayError(
            RECEIPT_MISMATCH, "the receipt is for another message", f"{where}/eb:RefToMessageId"
        )
    _check_parties(unit, sent, RECEIPT_MISMATCH)
    asked = sent.unit.ack_requested if isinstance(sent.unit, UserMessage) else None
    if asked is not None and asked.signed:
        if opened.signed is None:
            raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was asked for", where)
        if not sent.references:
            return
    elif not unit.references:
        return
    if _digests(unit.references) != _digests(sent.references):
        raise GatewayError(RECEIPT_MISMATCH, "the receipt does not repeat the digests that were sent", where)


def _digests(references: tuple[DigestReference, ...]) -> list[tuple[str, str, bytes]]:
    # Transforms are left out: some handlers write them in another spelling.
    return sorted((one.uri, one.digest_algorithm, one.digest) for one in references)
