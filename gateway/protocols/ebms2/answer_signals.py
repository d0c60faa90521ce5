"""Makes the signals that answer a message, answers refused parcels, and compares answers with our messages.

A refused parcel is answered by an ErrorList, a SOAP Fault, or an empty response.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from gateway.agreements import PMode
from gateway.errors import (
    NOT_UNDERSTOOD,
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
    Party,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.answer_headers import (
    describe_problem,
    make_answer_header,
    make_empty_refusal,
    make_fault_answer,
)
from gateway.protocols.core import (
    OpenedMessage,
    Parcel,
    ProtocolContext,
    RefusedMessage,
    RejectionResponse,
    SentUnit,
)
from gateway.protocols.ebms2.header_blocks import MessageHeader
from gateway.protocols.ebms2.hop_messages import match_forwarding_rule
from gateway.protocols.ebms2.message_reading import ReplyAddress
from gateway.protocols.ebms2.message_sealing import seal
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.protocols.ebms2.packaging import CONTENT_TYPE, find_reply_header
from gateway.protocols.signed_values import repeats_digests, to_model_reference
from gateway.wire import WireLimits

# Actions that answer a message; no error signal is sent about them.
ANSWER_ACTIONS: Final = frozenset({"Acknowledgment", "MessageError", "Pong", "StatusResponse"})

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"


def make_receipt(opened: OpenedMessage, context: ProtocolContext) -> Receipt:
    """Return the Acknowledgment of a message, with its digests when requested (ebMS 2.0 §6.3.2)."""
    message = opened.unit
    ack_request = message.ack_requested if isinstance(message, UserMessage) else None
    is_signature_requested = ack_request is not None and ack_request.signed
    signed_references = opened.verified_signature.references if opened.verified_signature is not None else ()
    return Receipt(
        **make_answer_header(message, context),
        ref_to_message_id=message.message_id,
        received_at=context.now,
        references=tuple(to_model_reference(reference) for reference in signed_references)
        if is_signature_requested
        else (),
        signature_requested=is_signature_requested,
    )


def is_answerable(refused_message: Unit | MessageHeader) -> bool:
    """Return whether an error about `refused_message` may be sent (§4.2.4.3): never about an answer."""
    if isinstance(refused_message, MessageHeader):
        return not (refused_message.is_signal and refused_message.action in ANSWER_ACTIONS)
    return not isinstance(refused_message, Receipt | ErrorSignal | Pong | StatusResponse)


def _make_error_about(
    problem: GatewayError, refused_message: Unit | MessageHeader, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the signal about the problem for the sender of `refused_message`; None if none may be sent."""
    code = problem.problem.codes.ebms2
    if code is None or not is_answerable(refused_message):
        return None
    location, description = describe_problem(problem)
    entry = ErrorEntry(code=code, severity="Error", location=location, description=description)
    return ErrorSignal(
        **make_answer_header(refused_message, context),
        ref_to_message_id=refused_message.message_id,
        errors=(entry,),
    )


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
        queried_message_id=request.queried_message_id,
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


def check_answer(opened: OpenedMessage, sent_unit: SentUnit) -> None:
    """Raise for an answer that does not belong to what we sent; a receipt must repeat every digest."""
    for unit in opened.units:
        if isinstance(unit, Receipt):
            _check_receipt(unit, opened, sent_unit)
    first_unit = opened.unit
    if isinstance(first_unit, ErrorSignal | Pong | StatusResponse | UserMessage):
        if first_unit.ref_to_message_id not in (None, sent_unit.unit.message_id):
            location = f"{_HEADER}/eb:MessageData/eb:RefToMessageId"
            raise GatewayError(REFERENCE_UNKNOWN, "this answers another message", location)
        _check_parties(first_unit, sent_unit, REFERENCE_UNKNOWN)


def _check_parties(unit: Unit, sent_unit: SentUnit, problem: Problem) -> None:
    common_own_ids = set(unit.receiver.ids) & set(sent_unit.unit.sender.ids)
    common_partner_ids = set(unit.sender.ids) & set(sent_unit.unit.receiver.ids)
    if unit.agreement != sent_unit.unit.agreement or not common_own_ids or not common_partner_ids:
        raise GatewayError(problem, "the answer is not of the party that was addressed", f"{_HEADER}/eb:From")


def _check_receipt(unit: Receipt, opened: OpenedMessage, sent_unit: SentUnit) -> None:
    """Compare a receipt with what we sent: message, party, signature, every digest (ebMS 2.0 §6.3.2.5)."""
    location = "/soap:Envelope/soap:Header/eb:Acknowledgment"
    if unit.ref_to_message_id != sent_unit.unit.message_id:
        raise GatewayError(
            RECEIPT_MISMATCH, "the receipt is for another message", f"{location}/eb:RefToMessageId"
        )
    if unit.actor == NEXT_MSH:
        _check_hop_receipt(unit, opened, sent_unit)
        return
    _check_parties(unit, sent_unit, RECEIPT_MISMATCH)
    ack_request = sent_unit.unit.ack_requested if isinstance(sent_unit.unit, UserMessage) else None
    if ack_request is not None and ack_request.signed:
        if opened.verified_signature is None:
            raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was asked for", location)
        if not sent_unit.references:
            return
    elif not unit.references:
        return
    if not repeats_digests(unit.references, sent_unit.references):
        raise GatewayError(
            RECEIPT_MISMATCH, "the receipt does not repeat the digests that were sent", location
        )


def _check_hop_receipt(unit: Receipt, opened: OpenedMessage, sent_unit: SentUnit) -> None:
    """Compare an Acknowledgment of the next handler with what we sent.

    Its signature covers the header and not the Acknowledgment, so the header must name the message.
    Who the next handler is, the caller compares: no agreement says it.
    """
    location = "/soap:Envelope/soap:Header/eb:Acknowledgment"
    ack_request = sent_unit.unit.hop_ack_requested if isinstance(sent_unit.unit, UserMessage) else None
    if ack_request is None:
        raise GatewayError(RECEIPT_MISMATCH, "the next handler was asked for no receipt", location)
    if ack_request.signed and opened.verified_signature is None:
        raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was asked for", location)
    if unit.agreement != sent_unit.unit.agreement:
        raise GatewayError(RECEIPT_MISMATCH, "the receipt names another agreement", f"{_HEADER}/eb:CPAId")
    if unit.references and not repeats_digests(unit.references, sent_unit.references):
        raise GatewayError(
            RECEIPT_MISMATCH, "the receipt does not repeat the digests that were sent", location
        )


def has_synchronous_answer(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether signals about `unit` go into the HTTP answer (ebMS 2.0 §4.3), not into a new POST."""
    if pmode is not None and pmode.sync_reply_mode == "responseOnly" and isinstance(unit, UserMessage):
        # The answer has room for the response only; the receipt has a POST of its own.
        return False
    return bool(getattr(unit, "sync_reply", False)) or _has_signal_answers(pmode)


def _has_signal_answers(pmode: PMode | None) -> bool:
    """Return whether signals go into the HTTP answer by a P-Mode; without a P-Mode they do."""
    return pmode is None or pmode.has_signals_in_answer


def make_delivery_failure(
    message: UserMessage,
    problem: GatewayError,
    context: ProtocolContext,
    *,
    is_certain: bool,
    reporter: Party | None = None,
) -> ErrorSignal:
    """Return the MessageError that tells the sender that a message did not reach its destination.

    The severity is Error when it is `is_certain` that the message was not delivered, else Warning.
    `reporter` is the party that could not deliver it, such as an intermediary; None: the To party.
    """
    location, description = describe_problem(problem)
    entry = ErrorEntry("DeliveryFailure", "Error" if is_certain else "Warning", location, description)
    header = make_answer_header(message, context)
    signal = ErrorSignal(**header, ref_to_message_id=message.message_id, errors=(entry,))
    return signal if reporter is None else replace(signal, sender=reporter)


def make_error_signal(
    problem: GatewayError, refused_message: Unit | Parcel, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the MessageError that reports a problem to the sender of `refused_message` (ebMS 2.0 §4.2).

    None when there is none to send: the problem has no code, `refused_message` is itself an answer, or
    its header is too malformed to identify the sender.
    """
    if not isinstance(refused_message, Parcel):
        return _make_error_about(problem, refused_message, context)
    header = find_message_header(refused_message, context.limits)
    return None if header is None else _make_error_about(problem, header, context)


def find_message_header(parcel: Parcel, limits: WireLimits) -> MessageHeader | None:
    """Return the MessageHeader of a refused parcel if it can be read, else None."""
    return find_reply_header(parcel, limits)[0]


def find_refused_message(parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
    """Return the outline of a refused parcel, None where its header cannot be read."""
    header = find_message_header(parcel, limits)
    if header is None:
        return None
    return RefusedMessage(header.message_id, get_unit_kind(header), is_answerable(header))


def make_fault_response(problem: GatewayError) -> RejectionResponse:
    """Return the SOAP Fault of a problem, with its HTTP status."""
    return make_fault_answer(problem, "1.1", CONTENT_TYPE)


def reject_parcel(problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> RejectionResponse:
    """Return the answer to a refused parcel: an ErrorList, a SOAP Fault, or an empty response.

    A mandatory header that is not understood is answered with the Fault of SOAP 1.1 §4.4; so
    is any message without an identifiable sender.
    """
    header, sync_reply = _find_reply_address(problem, parcel, context.limits)
    answer = _make_rejection_response(problem, header, sync_reply, context)
    return answer if header is None else replace(answer, sender=header.sender)


def _make_rejection_response(
    problem: GatewayError, header: MessageHeader | None, asks_sync_reply: bool, context: ProtocolContext
) -> RejectionResponse:
    """Return the answer to a refused message: an ErrorList, else a SOAP Fault, else a status alone."""
    if header is not None and not is_answerable(header):
        return make_empty_refusal(problem)
    signal = None if header is None else _make_error_about(problem, header, context)
    if signal is not None and header is not None and match_forwarding_rule(header, context):
        # The To party has not seen the message: who refuses it is the handler on the way.
        signal = replace(signal, sender=context.own_party or signal.sender)
    if header is None or signal is None or problem.problem is NOT_UNDERSTOOD:
        return make_fault_response(problem)
    pmode = _find_reply_pmode(header, context)
    try:
        sealed_parcel = seal((signal,), pmode, context)
        return RejectionResponse(
            200, sealed_parcel, signal, pmode, asks_sync_reply or _has_signal_answers(pmode)
        )
    except GatewayError:
        # Without a key no ErrorList can be signed; the first problem is reported to the sender nevertheless.
        return make_fault_response(problem)


def _find_reply_address(
    problem: GatewayError, parcel: Parcel, limits: WireLimits
) -> tuple[MessageHeader | None, bool]:
    """Return the header for the answer to a refused parcel, and whether it asks for SyncReply."""
    if isinstance(problem.message_part, ReplyAddress):
        return problem.message_part.header, problem.message_part.sync_reply
    return find_reply_header(parcel, limits)


def _find_reply_pmode(header: MessageHeader, context: ProtocolContext) -> PMode | None:
    """Return a P-Mode between the parties of a refused message, if there is one."""
    try:
        return context.agreements.match_signal_pmode(header.route, context.now, is_answer=False)
    except GatewayError:
        return None
