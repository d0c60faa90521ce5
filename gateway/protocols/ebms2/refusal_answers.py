"""Answers parcels that are refused: by an ErrorList, a SOAP Fault, or an empty response."""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements import PMode
from gateway.errors import NOT_UNDERSTOOD, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Unit
from gateway.protocols.core import Parcel, ProtocolContext, RefusedMessage, RejectionResponse
from gateway.protocols.ebms2.answer_signals import has_signal_answers, is_answerable
from gateway.protocols.ebms2.answer_signals import make_error_signal as make_signal_of_error
from gateway.protocols.ebms2.header_blocks import MessageHeader
from gateway.protocols.ebms2.hop_messages import find_onward_rule
from gateway.protocols.ebms2.message_sealing import seal
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.protocols.ebms2.packaging import CONTENT_TYPE
from gateway.protocols.ebms2.packaging import find_message_header as find_header_in_package
from gateway.protocols.ebms2.unverified_message import ReplyAddress
from gateway.wire import SoapFault, WireLimits, write_fault_envelope

__all__ = [
    "find_message_header",
    "find_refused_message",
    "make_error_signal",
    "make_fault_response",
    "reject_parcel",
]


def make_error_signal(
    problem: GatewayError, ref: Unit | Parcel, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the MessageError that reports a problem to the sender of `ref` (ebMS 2.0 §4.2).

    None when there is none to send: the problem has no code, `ref` is itself an answer, or
    its header is too malformed to identify the sender.
    """
    if not isinstance(ref, Parcel):
        return make_signal_of_error(problem, ref, context)
    header = find_message_header(ref, context.limits)
    return None if header is None else make_signal_of_error(problem, header, context)


def find_message_header(parcel: Parcel, limits: WireLimits) -> MessageHeader | None:
    """Return the MessageHeader of a refused parcel if it can be read, else None."""
    return find_header_in_package(parcel, limits)[0]


def find_refused_message(parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
    """Return what can be read of a refused parcel, None where its header cannot be read."""
    header = find_message_header(parcel, limits)
    if header is None:
        return None
    return RefusedMessage(header.message_id, get_unit_kind(header), is_answerable(header))


def make_fault_response(problem: GatewayError) -> RejectionResponse:
    """Return the SOAP Fault of a problem, with its HTTP status."""
    row = problem.problem
    words = row.title if row.ours else problem.detail
    code = row.soap if row.soap in ("Client", "Server", "MustUnderstand", "VersionMismatch") else "Client"
    octets = write_fault_envelope(SoapFault(code, f"{row.id} {words}"))
    return RejectionResponse(row.http or 500, Parcel({"Content-Type": CONTENT_TYPE}, MemoryBody(octets)))


def reject_parcel(problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> RejectionResponse:
    """Return the answer to a refused parcel: an ErrorList, a SOAP Fault, or an empty response.

    A mandatory header that is not understood is answered with the Fault of SOAP 1.1 §4.4; so
    is any message without an identifiable sender.
    """
    header, sync_reply = _find_reply_address(problem, parcel, context.limits)
    answer = _answer_refusal(problem, header, sync_reply, context)
    return answer if header is None else replace(answer, sender=header.sender)


def _answer_refusal(
    problem: GatewayError, header: MessageHeader | None, sync_reply: bool, context: ProtocolContext
) -> RejectionResponse:
    if header is not None and not is_answerable(header):
        return RejectionResponse(204)
    signal = None if header is None else make_signal_of_error(problem, header, context)
    if signal is not None and header is not None and find_onward_rule(header, context):
        # The To party has not seen the message: who refuses it is the handler on the way.
        signal = replace(signal, sender=context.own_party or signal.sender)
    if header is None or signal is None or problem.problem is NOT_UNDERSTOOD:
        return make_fault_response(problem)
    pmode = _find_reply_pmode(header, context)
    try:
        sealed = seal((signal,), pmode, context)
        return RejectionResponse(200, sealed, signal, pmode, sync_reply or has_signal_answers(pmode))
    except GatewayError:
        # Without a key no ErrorList can be signed; the first problem is reported to the sender nevertheless.
        return make_fault_response(problem)


def _find_reply_address(
    problem: GatewayError, parcel: Parcel, limits: WireLimits
) -> tuple[MessageHeader | None, bool]:
    """Return the header for the answer to a refused parcel, and whether it asks for SyncReply."""
    if isinstance(problem.heard, ReplyAddress):
        return problem.heard.header, problem.heard.sync_reply
    return find_header_in_package(parcel, limits)


def _find_reply_pmode(header: MessageHeader, context: ProtocolContext) -> PMode | None:
    """Return a P-Mode between the parties of a refused message, if there is one."""
    try:
        return context.agreements.match_signal_pmode(header.route, context.now, answers=False)
    except GatewayError:
        return None
