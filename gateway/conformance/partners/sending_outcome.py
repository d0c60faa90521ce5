"""What is known about a message that has no valid receipt: whether it was sent, and whether it is stored."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from gateway.conformance.partners.http_transport import HttpReply, NotConnectedError
from gateway.errors import REFUSED_FOR_GOOD, UNREACHABLE, GatewayError

__all__ = ["NotTakenError", "SendingError", "SendingState", "conclude_sending", "raise_for_status"]


class SendingState(Enum):
    """The end of an attempt to send; the value is its name in JSON.

    `sentence` says what happened; `advice` says whether a repeat of the same octets is safe (ebMS 2.0
    §6.4: a receiver processes a repeated MessageId once).
    """

    NOT_SENT = "not sent"
    NOT_TAKEN = "not taken"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    UNPROVEN = "unproven"

    @property
    def sentence(self) -> str:
        """Return the sentence for a person."""
        return _WORDS[self][0]

    @property
    def advice(self) -> str:
        """Return what to do with the same octets."""
        return _WORDS[self][1]

    @property
    def repeatable(self) -> bool:
        """Return whether the same octets may be sent again with success."""
        return self is not SendingState.REFUSED


_SAFE = "the hub processes a repeated message once"
_WORDS = {
    SendingState.NOT_SENT: (
        "not sent: no connection to the hub",
        "nothing has left this machine: to send the same octets again is safe",
    ),
    SendingState.NOT_TAKEN: (
        "sent, not taken: the hub is busy and has stored nothing",
        f"to send the same octets again later is safe: {_SAFE}",
    ),
    SendingState.REFUSED: (
        "sent and refused: the hub has stored nothing",
        "the same octets would be refused again: correct the cause and submit anew",
    ),
    SendingState.UNANSWERED: (
        "sent, no receipt: it is not known whether the hub has stored the message",
        f"to send the same octets again is safe: {_SAFE}; a new message under this reference is not",
    ),
    SendingState.UNPROVEN: (
        "sent, and answered with no valid receipt: there is no proof that the hub has stored the message",
        f"to send the same octets again is safe: {_SAFE}; a new message under this reference is not",
    ),
}


class SendingError(GatewayError):
    """A message without a valid receipt, and what is known about it."""

    def __init__(self, cause: GatewayError, state: SendingState) -> None:
        super().__init__(cause.problem, cause.detail, cause.location)
        self.state = state


class NotTakenError(GatewayError):
    """GW601 by an answer that says that nothing was stored: HTTP 425, 429 or 503."""


def raise_for_status(answer: HttpReply, url: str) -> None:
    """Raise for an HTTP answer without a message: GW601 where a repeat may succeed, else GW602."""
    detail = f"HTTP status {answer.status}"
    if answer.status in (425, 429, 503):
        raise NotTakenError(UNREACHABLE, detail, url[:200])
    if answer.status >= 500 or answer.status == 408:
        raise GatewayError(UNREACHABLE, detail, url[:200])
    raise GatewayError(REFUSED_FOR_GOOD, detail, url[:200])


def conclude_sending(failures: Iterable[GatewayError]) -> SendingError:
    """Return the problem of a message from the failures of its attempts, in their order.

    An answer counts more than a connection that failed later: what was once sent without an
    answer may be stored.
    """
    found = tuple(failures)
    states = [_classify_failure(one) for one in found]
    if states[-1] in (SendingState.REFUSED, SendingState.UNPROVEN):
        return SendingError(found[-1], states[-1])
    for state in (SendingState.UNANSWERED, SendingState.NOT_TAKEN):
        if state in states:
            return SendingError(found[states.index(state)], state)
    return SendingError(found[-1], SendingState.NOT_SENT)


def _classify_failure(failure: GatewayError) -> SendingState:
    if isinstance(failure, NotConnectedError):
        return SendingState.NOT_SENT
    if isinstance(failure, NotTakenError):
        return SendingState.NOT_TAKEN
    if failure.problem is REFUSED_FOR_GOOD:
        return SendingState.REFUSED
    return SendingState.UNANSWERED if failure.problem.retry else SendingState.UNPROVEN
