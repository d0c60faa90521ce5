"""Gives received messages to the application in the order of their numbers (ebMS 2.0 chapter 9).

A message is stored and acknowledged when it arrives. The task that admits it is queued when all messages
with earlier numbers of its conversation have been given to the application. Each task follows the one
before it, so that a worker cannot begin it before that one has ended. An agreement may limit how many
conversations are open (CPPA 2.0, ConversationConstraints).

Operators act on the order of a conversation, with evidence; messages that are held too long are given up.
Their functions have the parameters of the store functions: connection, sequence, time, actor.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import ConversationLimits
from gateway.errors import (
    CONVERSATION_LIMIT,
    HEADER_INCONSISTENT,
    ORDER_GIVEN_UP,
    TRANSITION_REFUSED,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox.delivery_failures import queue_delivery_failure
from gateway.message_model import SequenceNumber
from gateway.protocols import find_sequence_position, make_sequence_number
from gateway.store import (
    DuePlace,
    ExpiredMessageRow,
    HeldMessage,
    NewDelivery,
    SequenceKey,
    SequenceState,
    StateEvent,
    deliveries,
    message_sequences,
    messages,
    ordered_deliveries,
    read_transaction,
    write_transaction,
)
from gateway.store import limited_conversations as conversations

_NUMBER_PATH = "/soap:Envelope/soap:Header/eb:MessageOrder/eb:SequenceNumber"


@dataclass(frozen=True, slots=True)
class OrderedArrival:
    """A stored message with its number; `expires_at` ends its wait, `max_held` bounds those that wait."""

    message_row_id: int
    sequence_number: SequenceNumber
    expires_at: datetime
    is_for_case: bool
    max_held: int


def release_or_hold_message(
    conn: Connection, key: SequenceKey, arrival: OrderedArrival, at: datetime
) -> None:
    """Release a new message with all that waited for it, or hold it until those before it are released.

    Raises GW304 for a number that was used before and for a Reset while messages are held, GW315 when
    too many messages are held.
    """
    sequence_state = message_sequences.lock_sequence(conn, key, at)
    released_count = sequence_state.next_ordinal - sequence_state.base
    position = find_sequence_position(arrival.sequence_number, released_count)
    if position == 0 and released_count:
        _check_nothing_held(conn, sequence_state)
        sequence_state = replace(sequence_state, base=sequence_state.next_ordinal)
    ordered_message = HeldMessage(
        arrival.message_row_id, sequence_state.base + position, arrival.is_for_case, arrival.expires_at
    )
    if ordered_message.ordinal == sequence_state.next_ordinal:
        message_sequences.insert_ordered_message(conn, sequence_state.id, ordered_message, "RELEASED", at)
        sequence_state = _release_messages(conn, sequence_state, (ordered_message,), at)
        message_sequences.update_sequence(conn, release_held_messages(conn, sequence_state, at), at)
        return
    _check_free_number(conn, sequence_state, ordered_message, arrival)
    message_sequences.insert_ordered_message(conn, sequence_state.id, ordered_message, "HELD", at)


def _check_nothing_held(conn: Connection, state: SequenceState) -> None:
    """Raise GW304 for a Reset if messages of its sequence are held, because one before them is missing."""
    waiting = message_sequences.list_held(conn, state.id, 1)
    if waiting:
        detail = (
            f"a Reset comes when all messages before it are confirmed: number "
            f"{state.next_ordinal - state.base} is missing, and later ones wait for it"
        )
        raise GatewayError(HEADER_INCONSISTENT, detail, _NUMBER_PATH)


def _check_free_number(
    conn: Connection, state: SequenceState, held: HeldMessage, arrival: OrderedArrival
) -> None:
    """Raise for a number at which another message waits, and when as many wait as may."""
    if message_sequences.find_at_ordinal(conn, state.id, held.ordinal) is not None:
        detail = f"number {arrival.sequence_number.number} has come before, under another MessageId"
        raise GatewayError(HEADER_INCONSISTENT, detail, _NUMBER_PATH)
    if message_sequences.count_held(conn, state.id, arrival.max_held) >= arrival.max_held:
        detail = f"too many out-of-sequence messages: {arrival.max_held} wait in this conversation"
        raise GatewayError(ORDER_GIVEN_UP, detail, _NUMBER_PATH)


def release_held_messages(conn: Connection, sequence_state: SequenceState, at: datetime) -> SequenceState:
    """Release the held messages that follow without a gap; return the sequence, which is locked, after it.

    A message whose time is over is not released, and no message after it.
    """
    ready_messages: list[HeldMessage] = []
    for held in message_sequences.list_held(conn, sequence_state.id):
        if held.ordinal != sequence_state.next_ordinal + len(ready_messages) or held.expires_at <= at:
            break
        ready_messages.append(held)
    if not ready_messages:
        return sequence_state
    message_sequences.change_held_state(conn, [held.message for held in ready_messages], "RELEASED")
    return _release_messages(conn, sequence_state, ready_messages, at)


def _release_messages(
    conn: Connection, sequence_state: SequenceState, ready_messages: Sequence[HeldMessage], at: datetime
) -> SequenceState:
    """Queue the tasks that admit consecutive messages, each after the one before it."""
    last_delivery_id = sequence_state.last_delivery
    for held in ready_messages:
        if held.for_case:
            last_delivery_id = enqueue_admission(conn, held.message, last_delivery_id, at)
    return replace(
        sequence_state,
        next_ordinal=sequence_state.next_ordinal + len(ready_messages),
        last_delivery=last_delivery_id,
    )


def admit_late_message(conn: Connection, message: int, at: datetime) -> int:
    """Queue the task that admits a message which was never given to the application; return its delivery.

    A message of an ordered conversation is queued behind those of the conversation that were admitted before.
    """
    state = message_sequences.lock_by_message(conn, message)
    delivery = enqueue_admission(conn, message, None if state is None else state.last_delivery, at)
    if delivery is None:
        raise GatewayError(TRANSITION_REFUSED, f"the task that admits message {message} was queued before")
    if state is not None:
        message_sequences.update_sequence(conn, replace(state, last_delivery=delivery), at)
    return delivery


def enqueue_admission(
    conn: Connection, message: int, previous_delivery_id: int | None, at: datetime
) -> int | None:
    """Queue the task that admits a stored message, once; return its delivery, None if it was queued before.

    The task follows the delivery `previous_delivery_id`, unless that one has failed.
    """
    before = None if previous_delivery_id is None else deliveries.find_by_id(conn, previous_delivery_id)
    new = NewDelivery(
        agent="local",
        destination=deliveries.LOCAL,
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
    """Let the next message of a conversation be admitted although the task of this one has failed.

    Its task follows the failed one. It need not be the message with the next number: that one may go to the
    mailbox, or may be admitted later by an operator.
    """
    if message_sequences.lock_by_message(conn, message) is not None:
        message_sequences.free_follower(conn, failed)


_CONVERSATION_PATH = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:ConversationId"


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    """A stored business message of a conversation; `is_for_case`: its case keeps the conversation open."""

    agreement_id: str
    conversation_id: str
    message_row_id: int
    is_for_case: bool


def check_conversation_limits(
    conn: Connection, limits: ConversationLimits, message: ConversationMessage, at: datetime
) -> None:
    """Begin or reopen the conversation of a new message; raise GW316 if the agreement allows no more of them.

    An open conversation goes on. A message for a case keeps its conversation open until the case is closed.
    Nothing is stored if the agreement has no limit.
    """
    if limits.invocations is None and limits.concurrent is None:
        return
    agreement = message.agreement_id
    begun_count = conversations.lock_begun_count(conn, agreement)
    conversation = conversations.find_conversation(conn, agreement, message.conversation_id)
    if conversation is None:
        _check_begun(limits, begun_count)
        _check_open(conn, limits, agreement, at)
        conversation_id = conversations.begin_conversation(conn, agreement, message.conversation_id, at)
    else:
        conversation_id = conversation.id
        if conversation.ended_at is not None:
            _check_open(conn, limits, agreement, at)
            conversations.reopen_conversation(conn, conversation_id)
    if message.is_for_case:
        conversations.keep_conversation_open(conn, conversation_id, message.message_row_id)


def _check_begun(limits: ConversationLimits, begun_count: int) -> None:
    if limits.invocations is not None and begun_count >= limits.invocations:
        detail = f"{begun_count} conversations have begun, and the agreement allows {limits.invocations}"
        raise GatewayError(CONVERSATION_LIMIT, detail, _CONVERSATION_PATH)


def _check_open(conn: Connection, limits: ConversationLimits, agreement: str, at: datetime) -> None:
    """Raise GW316 if an agreement has as many open conversations as `limits` allows.

    Conversations whose cases are closed are ended first.
    """
    if limits.concurrent is None:
        return
    if conversations.count_open(conn, agreement) < limits.concurrent:
        return
    conversations.end_closed_conversations(conn, agreement, at)
    still_open = conversations.count_open(conn, agreement)
    if still_open >= limits.concurrent:
        detail = f"{still_open} conversations are open, and the agreement allows {limits.concurrent}"
        raise GatewayError(CONVERSATION_LIMIT, detail, _CONVERSATION_PATH)


_log = logging.getLogger(__name__)
_ACTOR: Final = "order"


def give_up_expired_messages(hub: Hub) -> int:
    """Give up held messages whose TimeToLive, or else the agreed PersistDuration, is over, at most a hundred.

    Each has a transaction of its own; one that cannot be given up is logged, tried again, and delays no
    other: where a hundred cannot be given up, the next call goes on behind them. Return how many were tried.
    """
    now = hub.clock()

    def list_expired_messages(after: DuePlace | None, limit: int) -> Sequence[ExpiredMessageRow]:
        with read_transaction(hub.engine) as conn:
            return message_sequences.list_expired(conn, now, limit, after)

    return hub.expiry_passes.run_pass(
        list_expired_messages,
        lambda row: DuePlace(row.expires_at, row.message),
        lambda row: _try_to_give_up(hub, row, now),
    )


def _try_to_give_up(hub: Hub, row: ExpiredMessageRow, now: datetime) -> bool:
    """Give up a message; log an error of this message alone, and return False; raise GW806."""
    try:
        _give_up_expired(hub, row, now)
        return True
    except Exception as mistake:
        raise_resource_problem(mistake)
        _log.exception("a held message cannot be given up", extra={"message_id": row.message_id})
    return False


def _give_up_expired(hub: Hub, row: ExpiredMessageRow, now: datetime) -> None:
    """Give up a held message whose time is over, unless it is no longer held."""
    with write_transaction(hub.engine, "order.expired") as conn:
        state = message_sequences.lock_by_id(conn, row.sequence)
        if state is None:
            return
        missing = make_sequence_number(state.next_ordinal - state.base).number
        detail = f"its time ended while it waited for the message with the number {missing}"
        give_up_message(conn, row.message, detail, now)


def give_up_message(conn: Connection, message: int, detail: str, at: datetime, actor: str = _ACTOR) -> bool:
    """Give up a held message whose sequence is locked: it becomes FAILED, and its sender gets an error.

    Return False when it is no longer held.
    """
    if not message_sequences.change_held_state(conn, [message], "GIVEN_UP"):
        return False
    problem = GatewayError(ORDER_GIVEN_UP, detail, "eb:MessageOrder")
    messages.apply_event(conn, message, StateEvent("fail", at, actor, problem.problem.id), problem.problem.id)
    row = messages.find_by_id(conn, message)
    data = {"message_id": row.message_id if row else "", "problem": problem.problem.id, "detail": detail}
    record_evidence(conn, "given_up", "message", message, None, data, at)
    queue_delivery_failure(conn, message, problem, at)
    return True


@dataclass(frozen=True, slots=True)
class SequenceChange:
    """The result of an act: the next number before and after it, and the messages that it moved."""

    number_before: int
    number_after: int
    moved: tuple[int, ...]


def release_sequence(
    conn: Connection, sequence: int, at: datetime, actor: str, reason: str | None = None
) -> SequenceChange:
    """Release the held messages up to the next gap, although one before them is missing.

    Raises GW705 when nothing is held. The missing message is refused when it comes later.
    """
    state_before = _lock_incoming_sequence(conn, sequence)
    first_held = message_sequences.list_held(conn, sequence, 1)
    if not first_held:
        raise GatewayError(TRANSITION_REFUSED, "no message of this conversation is held", f"order {sequence}")
    held_message_ids = [row.message for row in message_sequences.list_held(conn, sequence)]
    state_after = release_held_messages(conn, replace(state_before, next_ordinal=first_held[0].ordinal), at)
    message_sequences.update_sequence(conn, state_after, at)
    still_held = {row.message for row in message_sequences.list_held(conn, sequence)}
    released = tuple(message for message in held_message_ids if message not in still_held)
    return _record_change(conn, "release", state_before, state_after, released, at, actor, reason)


def reset_sequence(
    conn: Connection, sequence: int, at: datetime, actor: str, reason: str | None = None
) -> SequenceChange:
    """Give up the held messages of a received conversation, or let the next message of a sent one say Reset.

    Raises GW705 when there is nothing to give up, or when a sent message of the hub is still under way.
    """
    row = message_sequences.find_by_id(conn, sequence)
    if row is not None and row.direction == "out":
        return _reset_outgoing(conn, sequence, at, actor, reason)
    state = _lock_incoming_sequence(conn, sequence)
    held = message_sequences.list_held(conn, sequence)
    if not held:
        raise GatewayError(TRANSITION_REFUSED, "no message of this conversation is held", f"order {sequence}")
    detail = "an operator gave it up, because a message before it is missing"
    given_up = tuple(
        held_row.message for held_row in held if give_up_message(conn, held_row.message, detail, at, actor)
    )
    return _record_change(conn, "reset", state, state, given_up, at, actor, reason)


def _lock_incoming_sequence(conn: Connection, sequence: int) -> SequenceState:
    """Lock and return the state of the sequence `sequence` (row id) of received messages.

    Raises GW705 unless it is one: only received messages are held until the messages before them have come.
    """
    row = message_sequences.find_by_id(conn, sequence)
    state = message_sequences.lock_by_id(conn, sequence)
    if row is None or state is None or row.direction != "in":
        detail = "only a conversation in which messages are received holds messages"
        raise GatewayError(TRANSITION_REFUSED, detail, f"order {sequence}")
    return state


def _reset_outgoing(
    conn: Connection, sequence: int, at: datetime, actor: str, reason: str | None
) -> SequenceChange:
    """Let the next message of a sequence (row id) of sent messages begin its numbers anew (Reset).

    Raises GW705 while a message of the sequence is still to be delivered.
    """
    state = message_sequences.lock_by_id(conn, sequence)
    if state is None or ordered_deliveries.find_open_delivery(conn, state) is not None:
        # ebMS 2.0 §9.1.1: a Reset waits until every message before it is accounted for.
        detail = "a message of this conversation is still to be delivered"
        raise GatewayError(TRANSITION_REFUSED, detail, f"order {sequence}")
    after = replace(state, base=state.next_ordinal)
    message_sequences.update_sequence(conn, after, at)
    return _record_change(conn, "reset", state, after, (), at, actor, reason)


def _record_change(
    conn: Connection,
    act: str,
    before: SequenceState,
    after: SequenceState,
    changed_messages: tuple[int, ...],
    at: datetime,
    actor: str,
    reason: str | None,
) -> SequenceChange:
    """Record an operator's change of a sequence as evidence, and return it.

    `act` is `release` or `reset`; `changed_messages` are the messages (row ids) released or given up.
    """
    data: dict[str, Any] = {"act": act, "actor": actor, "messages": list(changed_messages)}
    data |= {"reason": reason} if reason else {}
    record_evidence(conn, "operator", "sequence", before.id, None, data, at)
    return SequenceChange(_find_next_number(before), _find_next_number(after), changed_messages)


def _find_next_number(state: SequenceState) -> int:
    return make_sequence_number(state.next_ordinal - state.base).number
