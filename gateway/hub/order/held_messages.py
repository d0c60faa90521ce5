"""Gives up held messages: those whose time is over, and those that an operator gives up."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import ORDER_GIVEN_UP, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox import queue_delivery_failure
from gateway.protocols import make_sequence_number
from gateway.store import StateEvent, message_sequences, messages, read_transaction, write_transaction

__all__ = ["give_up_expired_messages", "give_up_message"]

_ACTOR: Final = "order"
#: How many messages are given up in one turn of the upkeep; the next turn takes the others.
_MOST: Final = 100


def give_up_expired_messages(hub: Hub) -> int:
    """Give up held messages whose TimeToLive, or else the agreed PersistDuration, is over.

    Each has a transaction of its own. Return how many were given up.
    """
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        over = message_sequences.list_expired(conn, now, _MOST)
    return sum(_give_up_expired(hub, row, now) for row in over)


def _give_up_expired(hub: Hub, row: Row[Any], now: datetime) -> bool:
    with write_transaction(hub.engine, "order.expired") as conn:
        state = message_sequences.lock_by_id(conn, row.sequence)
        if state is None:
            return False
        missing = make_sequence_number(state.next_ordinal - state.base).number
        words = f"its time ended while it waited for the message with the number {missing}"
        return give_up_message(conn, row.message, words, now)


def give_up_message(conn: Connection, message: int, words: str, at: datetime, actor: str = _ACTOR) -> bool:
    """Give up a held message, whose sequence is locked: it is FAILED, and its sender is told.

    Return False when it is no longer held.
    """
    if not message_sequences.change_held_state(conn, [message], "GIVEN_UP"):
        return False
    problem = GatewayError(ORDER_GIVEN_UP, words, "eb:MessageOrder")
    messages.apply_event(conn, message, StateEvent("fail", at, actor, problem.problem.id), problem.problem.id)
    row = messages.find_by_id(conn, message)
    data = {"message_id": row.message_id if row else "", "problem": problem.problem.id, "detail": words}
    record_evidence(conn, "given_up", "message", message, None, data, at)
    queue_delivery_failure(conn, message, problem, at)
    return True
