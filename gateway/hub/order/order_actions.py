"""The operator's actions on the order of a conversation; each records evidence.

The functions have the parameters of the store functions: connection, sequence, time, actor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.order.held_messages import give_up_message
from gateway.hub.order.incoming_order import release_held_messages
from gateway.protocols import make_sequence_number
from gateway.store import SequenceState, message_sequences, ordered_deliveries

__all__ = ["SequenceChange", "release_sequence", "reset_sequence"]


@dataclass(frozen=True, slots=True)
class SequenceChange:
    """What an act did: the number that was next before and after it, and the messages that it moved."""

    number_before: int
    number_after: int
    moved: tuple[int, ...]


def release_sequence(
    conn: Connection, sequence: int, at: datetime, actor: str, reason: str | None = None
) -> SequenceChange:
    """Release the held messages up to the next gap, although one before them is missing.

    Raises GW705 when nothing is held. The missing message is refused when it comes later.
    """
    before = _lock_incoming(conn, sequence)
    first = message_sequences.list_held(conn, sequence, 1)
    if not first:
        raise GatewayError(TRANSITION_REFUSED, "no message of this conversation is held", f"order {sequence}")
    held = [one.message for one in message_sequences.list_held(conn, sequence)]
    after = release_held_messages(conn, replace(before, next_ordinal=first[0].ordinal), at)
    message_sequences.update_sequence(conn, after, at)
    left = {one.message for one in message_sequences.list_held(conn, sequence)}
    moved = tuple(one for one in held if one not in left)
    return _record_change(conn, "release", (before, after, moved), (at, actor, reason))


def reset_sequence(
    conn: Connection, sequence: int, at: datetime, actor: str, reason: str | None = None
) -> SequenceChange:
    """Give up the held messages of a conversation; of a sent one, let the next message begin with Reset.

    Raises GW705 when there is nothing to give up, or when a message of ours is still under way.
    """
    row = message_sequences.find_by_id(conn, sequence)
    if row is not None and row.direction == "out":
        return _reset_outgoing(conn, sequence, (at, actor, reason))
    state = _lock_incoming(conn, sequence)
    held = message_sequences.list_held(conn, sequence)
    if not held:
        raise GatewayError(TRANSITION_REFUSED, "no message of this conversation is held", f"order {sequence}")
    words = "an operator gave it up, because a message before it is missing"
    moved = tuple(one.message for one in held if give_up_message(conn, one.message, words, at, actor))
    return _record_change(conn, "reset", (state, state, moved), (at, actor, reason))


def _lock_incoming(conn: Connection, sequence: int) -> SequenceState:
    row = message_sequences.find_by_id(conn, sequence)
    state = message_sequences.lock_by_id(conn, sequence)
    if row is None or state is None or row.direction != "in":
        detail = "only a conversation in which messages are received holds messages"
        raise GatewayError(TRANSITION_REFUSED, detail, f"order {sequence}")
    return state


def _reset_outgoing(conn: Connection, sequence: int, act: tuple[datetime, str, str | None]) -> SequenceChange:
    state = message_sequences.lock_by_id(conn, sequence)
    if state is None or ordered_deliveries.find_open_delivery(conn, state) is not None:
        # ebMS 2.0 §9.1.1: a Reset waits until every message before it is accounted for.
        detail = "a message of this conversation is still to be delivered"
        raise GatewayError(TRANSITION_REFUSED, detail, f"order {sequence}")
    after = replace(state, base=state.next_ordinal)
    message_sequences.update_sequence(conn, after, act[0])
    return _record_change(conn, "reset", (state, after, ()), act)


def _record_change(
    conn: Connection,
    act: str,
    changed: tuple[SequenceState, SequenceState, tuple[int, ...]],
    by: tuple[datetime, str, str | None],
) -> SequenceChange:
    before, after, moved = changed
    at, actor, reason = by
    data: dict[str, Any] = {"act": act, "actor": actor, "messages": list(moved)}
    data |= {"reason": reason} if reason else {}
    record_evidence(conn, "operator", "sequence", before.id, None, data, at)
    return SequenceChange(_find_next_number(before), _find_next_number(after), moved)


def _find_next_number(state: SequenceState) -> int:
    return make_sequence_number(state.next_ordinal - state.base).number
