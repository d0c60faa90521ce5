"""The outcome of a message that has no valid receipt: whether it was sent, and whether it is stored."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NoReturn

from gateway.client.http_transport import FetchedAnswer, HttpReply, NotConnectedError
from gateway.errors import REFUSED_FOR_GOOD, UNREACHABLE, GatewayError


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
        return _TEXTS_BY_STATE[self][0]

    @property
    def advice(self) -> str:
        """Return advice on whether to send the same octets again."""
        return _TEXTS_BY_STATE[self][1]

    @property
    def repeatable(self) -> bool:
        """Return whether the same octets may be sent again with success."""
        return self is not SendingState.REFUSED


#: Statuses that say that nothing was stored.
_BUSY_STATUSES: Final = (425, 429, 503)
#: The types in which a message handler answers.
_MESSAGE_TYPES: Final = frozenset({"text/xml", "application/soap+xml", "multipart/related"})
_SAFE_NOTE = "the hub processes a repeated message once"
_TEXTS_BY_STATE = {
    SendingState.NOT_SENT: (
        "not sent: no connection to the hub",
        "nothing has left this machine: to send the same octets again is safe",
    ),
    SendingState.NOT_TAKEN: (
        "sent, not taken: the hub has stored nothing",
        f"to send the same octets again later is safe: {_SAFE_NOTE}; after HTTP status 413 make it smaller",
    ),
    SendingState.REFUSED: (
        "sent and refused: the hub has stored nothing",
        "the same octets would be refused again: correct the cause and submit anew",
    ),
    SendingState.UNANSWERED: (
        "sent, no receipt: it is not known whether the hub has stored the message",
        f"to send the same octets again is safe: {_SAFE_NOTE}; a new message under this reference is not",
    ),
    SendingState.UNPROVEN: (
        "sent, and answered with no valid receipt: there is no proof that the hub has stored the message",
        f"to send the same octets again is safe: {_SAFE_NOTE}; a new message under this reference is not",
    ),
}


class SendingError(GatewayError):
    """A message has no valid receipt; the error says whether it was sent, and whether it is stored."""

    def __init__(self, cause: GatewayError, state: SendingState) -> None:
        super().__init__(cause.problem, cause.detail, cause.location)
        self.state = state


class NotTakenError(GatewayError):
    """GW601 by an answer after which nothing is stored: HTTP 425, 429, 503, or any to half a request."""


def may_hold_hub_message(answer: HttpReply) -> bool:
    """Return whether an answer may be of the hub itself: a success, or an error in a type of messages.

    A page of a proxy, a firewall or a login is never a refusal: the message has perhaps not arrived.
    """
    media_type = answer.content_type.partition(";")[0].strip().lower()
    is_error = answer.status >= 400 and answer.status not in _BUSY_STATUSES
    return 200 <= answer.status < 300 or (is_error and media_type in _MESSAGE_TYPES)


def raise_not_answered_error(
    answer: HttpReply | FetchedAnswer, url: str, detail: str = "without a message"
) -> NoReturn:
    """Raise GW601 for an HTTP answer without a message: a repeat may succeed."""
    error_class = NotTakenError if answer.status in _BUSY_STATUSES else GatewayError
    if isinstance(answer, HttpReply) and answer.is_early:
        error_class, detail = NotTakenError, "before it had the whole message"
    raise error_class(UNREACHABLE, f"HTTP status {answer.status} {detail}"[:500], url[:200])


def conclude_sending(failures: Iterable[GatewayError]) -> SendingError:
    """Return the problem of a message from the failures of its attempts, in their order.

    An answer counts more than a later failed connection: a message that was once sent without an answer may
    be stored.
    """
    problems = tuple(failures)
    states = [_classify_failure(problem) for problem in problems]
    if states[-1] in (SendingState.REFUSED, SendingState.UNPROVEN):
        return SendingError(problems[-1], states[-1])
    for state in (SendingState.UNANSWERED, SendingState.NOT_TAKEN):
        if state in states:
            return SendingError(problems[states.index(state)], state)
    return SendingError(problems[-1], SendingState.NOT_SENT)


def _classify_failure(failure: GatewayError) -> SendingState:
    """Return the state of a submission whose sending ended with `failure`."""
    if isinstance(failure, NotConnectedError):
        return SendingState.NOT_SENT
    if isinstance(failure, NotTakenError):
        return SendingState.NOT_TAKEN
    if failure.problem is REFUSED_FOR_GOOD:
        return SendingState.REFUSED
    return SendingState.UNANSWERED if failure.problem.retry else SendingState.UNPROVEN
