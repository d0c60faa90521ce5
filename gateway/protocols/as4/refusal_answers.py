"""Answers parcels that are refused: by an Error, a SOAP Fault, or an empty response."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.agreements import PMode
from gateway.errors import NOT_SOAP, NOT_UNDERSTOOD, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Party, PullRequest, Receipt, Unit, UserMessage
from gateway.protocols.as4.answer_signals import (
    has_synchronous_answer,
    make_related_error,
    make_unit_error,
)
from gateway.protocols.as4.header_reader import read_message_id
from gateway.protocols.as4.header_values import RefusedBundle
from gateway.protocols.as4.message_reading import read_message
from gateway.protocols.as4.message_sealing import seal
from gateway.protocols.as4.packaging import SOAP_TYPE, open_as4_package
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.as4.signal_values import make_eb3_name
from gateway.protocols.core import Parcel, ProtocolContext, RejectionResponse
from gateway.wire import SoapFault, WireLimits, write_fault_envelope

__all__ = ["make_error_signal", "reject_parcel"]

_ERROR: Final = make_eb3_name("Error")


def make_error_signal(
    problem: GatewayError, ref: Unit | Parcel, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the Error that reports a problem to the sender of `ref` (core 6), None when there is none."""
    if not isinstance(ref, Parcel):
        return make_unit_error(problem, ref, ref.message_id, context)
    unit = _find_unit(problem, ref, context.limits)
    return None if unit is None else make_unit_error(problem, unit, unit.message_id or None, context)


def reject_parcel(problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> RejectionResponse:
    """Return the answer to a refused parcel, on its connection.

    What is no AS4 at all, or asks for a header that is not understood, gets a Fault of SOAP 1.2; an Error
    gets an empty response; all else gets an Error, which we sign when the message names one of our
    parties, whatever else of its header is wrong. Where the P-Mode of a business message has signals
    posted back, the Error is posted too.
    """
    if isinstance(problem.heard, RefusedBundle):
        return _reject_bundle(problem, problem.heard, context)
    unit = _find_unit(problem, parcel, context.limits)
    about, is_error = (unit.message_id or None, False) if unit else _find_message_id(parcel, context.limits)
    if is_error or isinstance(unit, ErrorSignal):
        return RejectionResponse(204)
    signal = None
    if problem.problem not in (NOT_SOAP, NOT_UNDERSTOOD):
        signal = make_unit_error(problem, unit, about, context)
    if signal is None:
        return _make_fault_response(problem)
    sender = unit.sender if unit is not None and unit.sender.ids else None
    called = _find_callback_pmode(unit, context)
    return RejectionResponse(
        200,
        _seal_signals((signal,), context),
        signal,
        pmode=called,
        is_synchronous=called is None,
        sender=sender,
    )


def _reject_bundle(
    problem: GatewayError, refused: RefusedBundle, context: ProtocolContext
) -> RejectionResponse:
    """Return an error about a receipt, and one about what it came beside (part 2 §3.5, §3.10.3)."""
    signal = make_unit_error(problem, refused.receipt, refused.receipt.message_id, context)
    if signal is None:
        return _make_fault_response(problem)
    called = _find_callback_pmode(refused.beside, context)
    return RejectionResponse(
        200,
        _seal_signals((signal, make_related_error(problem, refused.beside, context)), context),
        signal,
        pmode=called,
        is_synchronous=called is None,
        sender=refused.beside.sender,
    )


def _find_callback_pmode(unit: Unit | None, context: ProtocolContext) -> PMode | None:
    """Return the P-Mode of a refused business message whose signals are posted back; None for any other."""
    if not isinstance(unit, UserMessage):
        return None
    try:
        pmode, agreed = match_agreed_pmode(unit, "as4", context)
    except GatewayError:
        return None
    return None if has_synchronous_answer(agreed, pmode) else pmode


def _find_unit(problem: GatewayError, parcel: Parcel, limits: WireLimits) -> Unit | None:
    """Return the unit of a refused parcel, None where not even its parties can be read."""
    if isinstance(problem.heard, RefusedBundle):
        return problem.heard.beside
    if isinstance(problem.heard, UserMessage | Receipt | ErrorSignal | PullRequest):
        return problem.heard
    try:
        return read_message(parcel, limits).header.unit
    except GatewayError as refused:
        return refused.heard if isinstance(refused.heard, UserMessage) else None


def _seal_signals(signals: tuple[ErrorSignal, ...], context: ProtocolContext) -> Parcel:
    """Return Errors signed by our party, or unsigned where the message names none of ours."""
    sender = signals[0].sender
    try:
        if sender.ids and context.get_party_name(sender) in context.keys:
            return seal(signals, None, context)
    except GatewayError:
        pass  # Without a key the problem is reported nevertheless.
    return seal(tuple(replace(one, sender=Party(())) for one in signals), None, context)


def _find_message_id(parcel: Parcel, limits: WireLimits) -> tuple[str | None, bool]:
    """Return the id of a message whose header cannot be read, and whether it is an Error."""
    try:
        header = open_as4_package(parcel, limits).envelope.header
    except GatewayError:
        return None, False
    if header is None:
        return None, False
    found = next(header.iter(make_eb3_name("MessageId")), None)
    return read_message_id(found), next(header.iter(_ERROR), None) is not None


def _make_fault_response(problem: GatewayError) -> RejectionResponse:
    row = problem.problem
    words = row.title if row.ours else problem.detail
    code = row.soap if row.soap in ("Client", "Server", "MustUnderstand", "VersionMismatch") else "Client"
    octets = write_fault_envelope(SoapFault(code, f"{row.id} {words}"), "1.2")
    headers = {"Content-Type": f"{SOAP_TYPE}; charset=UTF-8"}
    return RejectionResponse(row.http or 500, Parcel(headers, MemoryBody(octets)))
