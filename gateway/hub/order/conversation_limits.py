"""Enforces how many conversations an agreement allows (CPPA 2.0, ConversationConstraints).

A conversation begins with its first message. It is open while one of its submissions waits to be
admitted or one of its cases is not closed. A later message opens it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import ConversationLimits
from gateway.errors import CONVERSATION_LIMIT, GatewayError
from gateway.store import limited_conversations as conversations

__all__ = ["ConversationMessage", "check_conversation_limits"]

_PLACE = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:ConversationId"


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    """A stored business message of a conversation; `for_case`: its case keeps the conversation open."""

    agreement_id: str
    conversation_id: str
    message: int
    for_case: bool


def check_conversation_limits(
    conn: Connection, limits: ConversationLimits, came: ConversationMessage, at: datetime
) -> None:
    """Count the conversation of a new message; raises GW316 when it is one more than the agreement allows."""
    if limits.invocations is None and limits.concurrent is None:
        return
    agreement = came.agreement_id
    begun = conversations.lock_count(conn, agreement)
    known = conversations.find_conversation(conn, agreement, came.conversation_id)
    if known is None:
        _check_begun(limits, begun)
        _check_open(conn, limits, agreement, at)
        found = conversations.begin_conversation(conn, agreement, came.conversation_id, at)
    else:
        found = known.id
        if known.ended_at is not None:
            _check_open(conn, limits, agreement, at)
            conversations.reopen_conversation(conn, found)
    if came.for_case:
        conversations.keep_open(conn, found, came.message)


def _check_begun(limits: ConversationLimits, begun: int) -> None:
    if limits.invocations is not None and begun >= limits.invocations:
        detail = f"{begun} conversations have begun, and the agreement allows {limits.invocations}"
        raise GatewayError(CONVERSATION_LIMIT, detail, _PLACE)


def _check_open(conn: Connection, limits: ConversationLimits, agreement: str, at: datetime) -> None:
    if limits.concurrent is None:
        return
    if conversations.count_open(conn, agreement) < limits.concurrent:
        return
    conversations.end_closed_conversations(conn, agreement, at)
    still_open = conversations.count_open(conn, agreement)
    if still_open >= limits.concurrent:
        detail = f"{still_open} conversations are open, and the agreement allows {limits.concurrent}"
        raise GatewayError(CONVERSATION_LIMIT, detail, _PLACE)
