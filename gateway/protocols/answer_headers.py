"""The common parts of answers: headers of signals, descriptions of problems, the Fault of a refusal."""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Party
from gateway.protocols.core import Parcel, ProtocolContext, RejectionResponse
from gateway.wire import SoapFault, write_fault_envelope


class AnsweredHeader(Protocol):
    """The values that an answer takes from the answered message: a unit, or a header that was read alone."""

    @property
    def conversation_id(self) -> str:
        """Return the conversation."""

    @property
    def sender(self) -> Party:
        """Return the party that sent the message."""

    @property
    def receiver(self) -> Party:
        """Return the party to which it was sent."""

    @property
    def agreement(self) -> str:
        """Return the agreement that it names."""


def make_answer_header(answered_header: AnsweredHeader, context: ProtocolContext) -> dict[str, Any]:
    """Return the header of an answer: parties exchanged, same agreement and conversation.

    Of these values, the envelope of an AS4 signal has only the message id and the time.
    """
    return {
        "message_id": context.make_message_id(),
        "conversation_id": answered_header.conversation_id,
        "sender": answered_header.receiver,
        "receiver": answered_header.sender,
        "agreement": answered_header.agreement,
        "timestamp": context.now,
    }


_MAX_CHARACTERS: Final = 500


def describe_problem(problem: GatewayError) -> tuple[str, str]:
    """Return the location and the description of a problem for another party.

    Details of our own faults are not disclosed to other parties.
    """
    description = problem.problem.title if problem.problem.ours else problem.detail
    return _replace_unprintable(problem.location), f"{problem.problem.id} {_replace_unprintable(description)}"


def make_fault_answer(
    problem: GatewayError, soap_version: Literal["1.1", "1.2"], content_type: str
) -> RejectionResponse:
    """Return the Fault of a problem in a version of SOAP, with its HTTP status."""
    problem_kind = problem.problem
    description = problem_kind.title if problem_kind.ours else problem.detail
    soap_code = problem_kind.codes.soap
    fault_code = (
        soap_code if soap_code in ("Client", "Server", "MustUnderstand", "VersionMismatch") else "Client"
    )
    fault_octets = write_fault_envelope(
        SoapFault(fault_code, f"{problem_kind.id} {description}"), soap_version
    )
    return RejectionResponse(
        problem_kind.codes.http or 500, Parcel({"Content-Type": content_type}, MemoryBody(fault_octets))
    )


def make_empty_refusal(problem: GatewayError) -> RejectionResponse:
    """Return the answer to a refused signal about which no error may be sent: a status alone.

    That is 503 for a fault of ours that may pass, so that the signal is sent again, and 204 for any other.
    """
    return RejectionResponse(503 if problem.problem.ours and problem.problem.retry else 204)


def _replace_unprintable(text: str) -> str:
    return "".join(
        character if character.isprintable() else " " for character in text[:_MAX_CHARACTERS]
    ).strip()
