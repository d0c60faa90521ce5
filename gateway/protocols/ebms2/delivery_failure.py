"""Makes the DeliveryFailure that tells a From party what became of its message (ebMS 2.0 §6.5.7)."""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, Party, UserMessage
from gateway.protocols.answer_headers import make_answer_header
from gateway.protocols.core import ProtocolContext
from gateway.protocols.problem_words import describe_problem

__all__ = ["make_delivery_failure"]


def make_delivery_failure(
    message: UserMessage,
    problem: GatewayError,
    context: ProtocolContext,
    *,
    certain: bool,
    reporter: Party | None = None,
) -> ErrorSignal:
    """Return the MessageError that tells the sender that a message did not reach its destination.

    The severity is Error when it is `certain` that the message was not delivered, else Warning.
    `reporter` is who gave up where that is not the To party, as at an intermediary.
    """
    location, words = describe_problem(problem)
    entry = ErrorEntry("DeliveryFailure", "Error" if certain else "Warning", location, words)
    header = make_answer_header(message, context)
    signal = ErrorSignal(**header, ref_to_message_id=message.message_id, errors=(entry,))
    return signal if reporter is None else replace(signal, sender=reporter)
