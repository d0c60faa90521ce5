"""Gives received messages to the application in the order of their numbers (ebMS 2.0 chapter 9).

A message is stored and acknowledged when it arrives. The task that admits it is queued when all
messages with earlier numbers of its conversation have been given to the application. Each task
follows the one before it, so that a worker cannot begin it before that one has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import HEADER_INCONSISTENT, ORDER_GIVEN_UP, GatewayError
from gateway.message_model import SequenceNumber
from gateway.protocols import find_sequence_position
from gateway.store import (
    HeldMessage,
    NewDelivery,
    SequenceKey,
    SequenceState,
    deliveries,
    lanes,
    message_sequences,
)

__all__ = [
    "OrderedArrival",
    "enqueue_admission",
    "free_next_admission",
    "place_message",
    "release_held_messages",
]

_PLACE = "/soap:Envelope/soap:Header/eb:MessageOrder/eb:SequenceNumber"


@dataclass(frozen=True, slots=True)
class OrderedArrival:
    """A stored message with its number; `expires_at` ends its wait, `most_held` bounds those that wait."""

    message: int
    sequence: SequenceNumber
    expires_at: datetime
    for_case: bool
    most_held: int


def place_message(conn: Connection, key: SequenceKey, arrival: OrderedArrival, at: datetime) -> None:
    """Release a new message with all that waited for it, or hold it until those before it are released.

    Raises GW304 for a number that was used before and for a Reset while messages are held, GW315 when
    too many messages are held.
    """
    state = message_sequences.lock_sequence(conn, key, at)
    released = state.next_ordinal - state.base
    position = find_sequence_position(arrival.sequence, released)
    if position == 0 and released:
        _check_nothing_held(conn, state)
        state = replace(state, base=state.next_ordinal)
    held = HeldMessage(arrival.message, state.base + position, arrival.for_case, arrival.expires_at)
    if held.ordinal == state.next_ordinal:
        message_sequences.insert_ordered_message(conn, state.id, held, "RELEASED", at)
        state = _release_messages(conn, state, (held,), at)
        message_sequences.update_sequence(conn, release_held_messages(conn, state, at), at)
        return
    _check_free_number(conn, state, held, arrival)
    message_sequences.insert_ordered_message(conn, state.id, held, "HELD", at)


def _check_nothing_held(conn: Connection, state: SequenceState) -> None:
    waiting = message_sequences.list_held(conn, state.id, 1)
    if waiting:
        detail = (
            f"a Reset comes when all messages before it are confirmed: number "
            f"{state.next_ordinal - state.base} is missing, and later ones wait for it"
        )
        raise GatewayError(HEADER_INCONSISTENT, detail, _PLACE)


def _check_free_number(
    conn: Connection, state: SequenceState, held: HeldMessage, arrival: OrderedArrival
) -> None:
    """Raise for a number at which another message waits, and when as many wait as may."""
    if message_sequences.find_at_ordinal(conn, state.id, held.ordinal) is not None:
        detail = f"number {arrival.sequence.number} has come before, under another MessageId"
        raise GatewayError(HEADER_INCONSISTENT, detail, _PLACE)
    if message_sequences.count_held(conn, state.id, arrival.most_held) >= arrival.most_held:
        detail = f"too many out-of-sequence messages: {arrival.most_held} wait in this conversation"
        raise GatewayError(ORDER_GIVEN_UP, detail, _PLACE)


def release_held_messages(conn: Connection, state: SequenceState, at: datetime) -> SequenceState:
    """Release the held messages that follow without a gap; return the sequence, which is locked, after it.

    A message whose time is over is not released, and no message after it.
    """
    ready: list[HeldMessage] = []
    for held in message_sequences.list_held(conn, state.id):
        if held.ordinal != state.next_ordinal + len(ready) or held.expires_at <= at:
            break
        ready.append(held)
    if not ready:
        return state
    message_sequences.change_held_state(conn, [held.message for held in ready], "RELEASED")
    return _release_messages(conn, state, ready, at)


def _release_messages(
    conn: Connection, state: SequenceState, ready: Sequence[HeldMessage], at: datetime
) -> SequenceState:
    """Queue the tasks that admit consecutive messages, each after the one before it."""
    last = state.last_delivery
    for held in ready:
        if held.for_case:
            last = enqueue_admission(conn, held.message, last, at)
    return replace(state, next_ordinal=state.next_ordinal + len(ready), last_delivery=last)


def enqueue_admission(conn: Connection, message: int, after: int | None, at: datetime) -> int | None:
    """Queue the task that admits a stored message, once; it follows the task `after`. Return its delivery."""
    before = None if after is None else deliveries.find_by_id(conn, after)
    new = NewDelivery(
        agent="local",
        destination=lanes.LOCAL,
        subject_type="message",
        subject_id=str(message),
        dedupe_key=_make_admission_key(message),
        # The message before it was not admitted, and an operator has to look: this one goes on.
        follows=None if before is None or before.state == "FAILED" else before.id,
        parameters={"task": "admit"},
    )
    return deliveries.enqueue_delivery(conn, new, at)


def _make_admission_key(message: int) -> str:
    """Return the key under which the task that admits a message is queued once."""
    return f"admit:{message}"


def free_next_admission(conn: Connection, message: int, failed: int) -> None:
    """Let the next message of a conversation be admitted although the task of this one has failed."""
    state = message_sequences.lock_by_message(conn, message)
    place = None if state is None else message_sequences.find_held_message(conn, message)
    if state is None or place is None:
        return
    following = message_sequences.find_at_ordinal(conn, state.id, place.ordinal + 1)
    if following is not None:
        message_sequences.free_follower(conn, failed, _make_admission_key(following))
