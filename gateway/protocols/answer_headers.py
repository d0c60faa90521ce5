"""Makes the header of a signal that answers a message, for every protocol."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.message_model import Party
from gateway.protocols.core import ProtocolContext

__all__ = ["AnsweredHeader", "make_answer_header"]


class AnsweredHeader(Protocol):
    """What an answer takes from the message that it answers: a unit, or a header that was read alone."""

    @property
    def conversation_id(self) -> str:
        """Return the conversation."""

    @property
    def sender(self) -> Party:
        """Return who sent the message."""

    @property
    def receiver(self) -> Party:
        """Return to whom it was sent."""

    @property
    def agreement(self) -> str:
        """Return the agreement that it names."""


def make_answer_header(asked: AnsweredHeader, context: ProtocolContext) -> dict[str, Any]:
    """Return the header of an answer: parties exchanged, same agreement and conversation.

    A signal of AS4 writes the message id and the time of it alone.
    """
    return {
        "message_id": context.make_message_id(),
        "conversation_id": asked.conversation_id,
        "sender": asked.receiver,
        "receiver": asked.sender,
        "agreement": asked.agreement,
        "timestamp": context.now,
    }
