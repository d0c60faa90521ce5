"""Makes the signals that answer a message of AS4, and compares answers with the messages that we sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NoReturn

from gateway.agreements import PMode
from gateway.errors import (
    EBMS3_ERRORS,
    NOT_SOAP,
    NOT_SUPPORTED,
    NOT_UNDERSTOOD,
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    GatewayError,
)
from gateway.message_model import (
    ErrorEntry,
    ErrorSignal,
    Party,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.protocols.answer_headers import (
    describe_problem,
    make_answer_header,
    make_empty_refusal,
    make_fault_answer,
)
from gateway.protocols.as4.header_reader import read_message_id
from gateway.protocols.as4.header_values import RefusedBundle, make_eb3_name
from gateway.protocols.as4.message_reading import read_message
from gateway.protocols.as4.message_sealing import seal
from gateway.protocols.as4.packaging import SOAP_TYPE, open_as4_package
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, RejectionResponse, SentUnit
from gateway.protocols.signed_values import repeats_digests, to_model_reference
from gateway.wire import WireLimits

_SIGNAL: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:SignalMessage"
_SEVERITIES: Final = {"failure": "Error", "warning": "Warning"}
_DELIVERY_FAILURE: Final = "EBMS:0202"
_RELATED_FAILED: Final = "EBMS:0031"


def make_receipt(opened: OpenedMessage, context: ProtocolContext) -> Receipt:
    """Return the receipt of a message: every reference of its signature, or itself (AS4 §5.1.8)."""
    unit = opened.unit
    signed_references = opened.verified_signature.references if opened.verified_signature is not None else ()
    return Receipt(
        **make_answer_header(opened.unit, context),
        ref_to_message_id=opened.unit.message_id,
        received_at=context.now,
        references=tuple(map(to_model_reference, signed_references)),
        message=unit if isinstance(unit, UserMessage) and not signed_references else None,
    )


def make_unit_error(
    problem: GatewayError, unit: Unit | None, ref_to_message_id: str | None, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the signal that reports a problem to the sender of a message (core §6).

    None when the problem has no error code of ebMS 3.0, or the message is itself an Error. Without `unit`
    the signal names no party and is not signed.
    """
    code = problem.code
    if code is None or isinstance(unit, ErrorSignal):
        return None
    header = _make_error_header(unit, context)
    return ErrorSignal(
        **header, ref_to_message_id=ref_to_message_id, errors=(_make_error_entry(code, problem),)
    )


def make_related_error(
    problem: GatewayError, unit: UserMessage | PullRequest, context: ProtocolContext
) -> ErrorSignal:
    """Return the error about a message that is refused because of a bundled signal (part 2 §3.10.3)."""
    entry = _make_error_entry(_RELATED_FAILED, problem)
    header = make_answer_header(unit, context)
    return ErrorSignal(**header, ref_to_message_id=unit.message_id, errors=(entry,))


def _make_error_header(unit: Unit | None, context: ProtocolContext) -> dict[str, Any]:
    """Return the header fields of an error about `unit`; without one, parties and agreement are empty."""
    if unit is not None:
        return make_answer_header(unit, context)
    unnamed_party = Party(())
    header_values = {"message_id": context.make_message_id(), "timestamp": context.now}
    return {
        **header_values,
        "conversation_id": "",
        "sender": unnamed_party,
        "receiver": unnamed_party,
        "agreement": "",
    }


def _make_error_entry(code: str, problem: GatewayError, severity: str | None = None) -> ErrorEntry:
    error = EBMS3_ERRORS[code]
    location, description = describe_problem(problem)
    return ErrorEntry(
        code=code,
        severity=severity or _SEVERITIES[error.severity],
        location=location,
        description=description,
        category=error.category,
        origin=error.origin,
        title=error.title,
    )


def make_delivery_failure(
    message: UserMessage,
    problem: GatewayError,
    context: ProtocolContext,
    *,
    is_certain: bool,
    reporter: Party | None = None,
) -> ErrorSignal:
    """Return the error DeliveryFailure about a message; a warning unless it is `is_certain`.

    `reporter` is the party that could not deliver it; None: the To party.
    """
    header = make_answer_header(message, context)
    entry = _make_error_entry(_DELIVERY_FAILURE, problem, "Error" if is_certain else "Warning")
    signal = ErrorSignal(**header, ref_to_message_id=message.message_id, errors=(entry,))
    return signal if reporter is None else replace(signal, sender=reporter)


def add_answer_parties(unit: Unit, sent_unit: SentUnit) -> Unit:
    """Return a signal with the parties of the message that it answers, which it does not name itself."""
    answered_unit = sent_unit.unit
    return replace(
        unit,
        sender=answered_unit.receiver,
        receiver=answered_unit.sender,
        agreement=answered_unit.agreement,
        conversation_id=answered_unit.conversation_id,
    )


def check_answer(opened: OpenedMessage, sent_unit: SentUnit) -> None:
    """Raise for an answer that does not belong to our message; a receipt must repeat every digest."""
    message_id = sent_unit.unit.message_id
    answers = (answer for answer in opened.units if getattr(answer, "ref_to_message_id", None) == message_id)
    unit = next((answer for answer in answers if isinstance(answer, Receipt | ErrorSignal)), opened.unit)
    if isinstance(unit, ErrorSignal):
        if unit.ref_to_message_id not in (None, sent_unit.unit.message_id):
            location = f"{_SIGNAL}/eb3:MessageInfo/eb3:RefToMessageId"
            raise GatewayError(REFERENCE_UNKNOWN, "this answers another message", location)
        return
    if not isinstance(unit, Receipt):
        raise GatewayError(NOT_SUPPORTED, "a message must be answered by a receipt or an error", _SIGNAL)
    if unit.ref_to_message_id != sent_unit.unit.message_id:
        location = f"{_SIGNAL}/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(RECEIPT_MISMATCH, "the receipt is for another message", location)
    if opened.verified_signature is None:
        raise GatewayError(RECEIPT_MISMATCH, "a signed receipt was agreed", _SIGNAL)
    if not repeats_digests(unit.references, sent_unit.references):
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


def reject_unsupported_signal(*_arguments: object, **_named: object) -> NoReturn:
    """Raise GW311: AS4 has no signals between intermediaries, no Ping and no StatusRequest."""
    detail = "AS4 has no intermediaries here, no Ping and no StatusRequest"
    raise GatewayError(NOT_SUPPORTED, detail, _SIGNAL)


_ERROR: Final = make_eb3_name("Error")


def make_error_signal(
    problem: GatewayError, refused_message: Unit | Parcel, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the Error about a problem for the sender of `refused_message` (core 6); None without one."""
    if not isinstance(refused_message, Parcel):
        return make_unit_error(problem, refused_message, refused_message.message_id, context)
    unit = _find_unit(problem, refused_message, context.limits)
    return None if unit is None else make_unit_error(problem, unit, unit.message_id or None, context)


def reject_parcel(problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> RejectionResponse:
    """Return the answer to a refused parcel, on its connection.

    A parcel that is not AS4, or that requires a header we do not understand, gets a Fault of SOAP 1.2. So
    does any parcel that a fault of ours has stopped which may pass: for the software of many senders an Error
    is final, and a Fault under status 503 is not. An Error gets an empty response. Any other parcel gets an
    Error, which we sign when the message names one of our parties, even if the rest of its header is wrong.
    Where the P-Mode of a business message has signals posted back, the Error is posted too.
    """
    is_passing = problem.problem.ours and problem.problem.codes.http == 503
    if isinstance(problem.message_part, RefusedBundle) and not is_passing:
        return _reject_bundle(problem, problem.message_part, context)
    unit = _find_unit(problem, parcel, context.limits)
    message_id, is_error = (
        (unit.message_id or None, False) if unit else _find_message_id(parcel, context.limits)
    )
    if is_error or isinstance(unit, ErrorSignal):
        return make_empty_refusal(problem)
    signal = None
    if problem.problem not in (NOT_SOAP, NOT_UNDERSTOOD) and not is_passing:
        signal = make_unit_error(problem, unit, message_id, context)
    sender = unit.sender if unit is not None and unit.sender.ids else None
    if signal is None:
        return replace(_make_fault_response(problem), sender=sender)
    callback_pmode = _find_callback_pmode(unit, context)
    return RejectionResponse(
        200,
        _seal_signals((signal,), context),
        signal,
        pmode=callback_pmode,
        is_synchronous=callback_pmode is None,
        sender=sender,
    )


def _reject_bundle(
    problem: GatewayError, refused_bundle: RefusedBundle, context: ProtocolContext
) -> RejectionResponse:
    """Return an error about a receipt, and one about the unit bundled with it (part 2 §3.5, §3.10.3)."""
    signal = make_unit_error(problem, refused_bundle.receipt, refused_bundle.receipt.message_id, context)
    if signal is None:
        return _make_fault_response(problem)
    callback_pmode = _find_callback_pmode(refused_bundle.main_unit, context)
    return RejectionResponse(
        200,
        _seal_signals((signal, make_related_error(problem, refused_bundle.main_unit, context)), context),
        signal,
        pmode=callback_pmode,
        is_synchronous=callback_pmode is None,
        sender=refused_bundle.main_unit.sender,
    )


def _find_callback_pmode(unit: Unit | None, context: ProtocolContext) -> PMode | None:
    """Return the P-Mode of a refused business message whose signals are posted back; None for any other."""
    if not isinstance(unit, UserMessage):
        return None
    try:
        pmode, agreed_unit = match_agreed_pmode(unit, "as4", context)
    except GatewayError:
        return None
    return None if has_synchronous_answer(agreed_unit, pmode) else pmode


def _find_unit(problem: GatewayError, parcel: Parcel, limits: WireLimits) -> Unit | None:
    """Return the unit of a refused parcel, None where not even its parties can be read."""
    if isinstance(problem.message_part, RefusedBundle):
        return problem.message_part.main_unit
    if isinstance(problem.message_part, UserMessage | Receipt | ErrorSignal | PullRequest):
        return problem.message_part
    try:
        return read_message(parcel, limits).header.unit
    except GatewayError as refused:
        return refused.message_part if isinstance(refused.message_part, UserMessage) else None


def _seal_signals(signals: tuple[ErrorSignal, ...], context: ProtocolContext) -> Parcel:
    """Return the parcel of Errors; it is unsigned where their sender is not one of our parties with a key."""
    sender = signals[0].sender
    try:
        if sender.ids and context.get_party_name(sender) in context.signers:
            return seal(signals, None, context)
    except GatewayError:
        pass  # Without a key the problem is reported nevertheless.
    return seal(tuple(replace(signal, sender=Party(())) for signal in signals), None, context)


def _find_message_id(parcel: Parcel, limits: WireLimits) -> tuple[str | None, bool]:
    """Return the id of a message whose header cannot be read, and whether it is an Error."""
    try:
        header = open_as4_package(parcel, limits).envelope.header
    except GatewayError:
        return None, False
    if header is None:
        return None, False
    element = next(header.iter(make_eb3_name("MessageId")), None)
    return read_message_id(element), next(header.iter(_ERROR), None) is not None


def _make_fault_response(problem: GatewayError) -> RejectionResponse:
    return make_fault_answer(problem, "1.2", f"{SOAP_TYPE}; charset=UTF-8")
