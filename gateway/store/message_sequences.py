"""Stores the sequences of ordered messages: which number is next, and which messages wait for it.

Whoever changes a sequence locks its row first, so that the changes of one conversation follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, literal_column, select, update

from gateway.store.order_tables import message_sequences, ordered_messages
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.tables import Instant, deliveries, messages

__all__ = [
    "HeldMessage",
    "SequenceKey",
    "SequenceState",
    "change_held_state",
    "count_all_held",
    "count_held",
    "find_at_ordinal",
    "find_by_id",
    "find_held_message",
    "find_holding_sequences",
    "find_sequence",
    "free_follower",
    "insert_ordered_message",
    "list_expired",
    "list_held",
    "list_places",
    "list_sequences",
    "lock_by_id",
    "lock_by_message",
    "lock_sequence",
    "update_sequence",
]

_INSERT = InsertIfAbsent(message_sequences, ("party", "conversation_id", "agreement_id", "direction"), "id")
_s, _o = message_sequences.c, ordered_messages.c
_KEY: Final = ("direction", "party", "agreement_id", "conversation_id")
_BY_KEY: Final = select(message_sequences).where(*(_s[name] == bindparam(name) for name in _KEY))
_LOCK_BY_KEY: Final = _BY_KEY.with_for_update()
_BY_ID: Final = select(message_sequences).where(_s.id == bindparam("wanted"))
_HELD: Final = (
    select(ordered_messages)
    .where(_o.sequence == bindparam("of"), build_state_condition(ordered_messages, "HELD"))
    .order_by(_o.ordinal)
)
_EXPIRED: Final = (
    select(ordered_messages)
    .where(
        build_state_condition(ordered_messages, "HELD"), _o.expires_at <= bindparam("now", type_=Instant())
    )
    .order_by(_o.expires_at, _o.message)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """What a sequence belongs to: the partner, the agreement and the conversation, in one direction."""

    direction: str
    party: str
    agreement_id: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class SequenceState:
    """A sequence as it is: the ordinal of its next message, that of its number 0, and its last task."""

    id: int
    next_ordinal: int
    base: int
    last_delivery: int | None = None


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that came under an order, at its ordinal; `for_case`: it is admitted when it is released."""

    message: int
    ordinal: int
    for_case: bool
    expires_at: datetime


def lock_sequence(conn: Connection, key: SequenceKey, at: datetime) -> SequenceState:
    """Lock and return the sequence of a conversation until the transaction ends; it begins with the first."""
    values = {name: getattr(key, name) for name in _KEY}
    row = {**values, "next_ordinal": 0, "base": 0, "last_delivery": None, "changed_at": at}
    found = conn.execute(_LOCK_BY_KEY, values).first()
    if found is None:
        _INSERT.insert_one(conn, row)
        found = conn.execute(_LOCK_BY_KEY, values).one()
    return _make_state(found)


def find_sequence(conn: Connection, key: SequenceKey) -> SequenceState | None:
    """Return the sequence of a conversation as it is now, without a lock; None before its first message."""
    found = conn.execute(_BY_KEY, {name: getattr(key, name) for name in _KEY}).first()
    return None if found is None else _make_state(found)


def lock_by_id(conn: Connection, sequence: int) -> SequenceState | None:
    """Lock and return a sequence until the transaction ends; None when there is none of this number."""
    found = conn.execute(_BY_ID.with_for_update(), {"wanted": sequence}).first()
    return None if found is None else _make_state(found)


def lock_by_message(conn: Connection, message: int) -> SequenceState | None:
    """Lock and return the sequence of a received message; None where it came without an order."""
    found = conn.execute(select(_o.sequence).where(_o.message == message)).scalar_one_or_none()
    return None if found is None else lock_by_id(conn, found)


def _make_state(row: Row[Any]) -> SequenceState:
    return SequenceState(row.id, row.next_ordinal, row.base, row.last_delivery)


def update_sequence(conn: Connection, changed: SequenceState, at: datetime) -> None:
    """Store a sequence as it is now; its row is locked."""
    values = {
        "next_ordinal": changed.next_ordinal,
        "base": changed.base,
        "last_delivery": changed.last_delivery,
        "changed_at": at,
    }
    conn.execute(update(message_sequences).where(_s.id == changed.id).values(values))


def insert_ordered_message(
    conn: Connection, sequence: int, held: HeldMessage, state: str, at: datetime
) -> None:
    """Store a received message at its ordinal, HELD or RELEASED."""
    row = {
        "message": held.message,
        "sequence": sequence,
        "ordinal": held.ordinal,
        "state": state,
        "for_case": held.for_case,
        "received_at": at,
        "expires_at": held.expires_at,
    }
    conn.execute(insert(ordered_messages), row)


def find_at_ordinal(conn: Connection, sequence: int, ordinal: int) -> int | None:
    """Return the message that stands at an ordinal, unless it was given up."""
    # Literal text, as in the index.
    at = (_o.sequence == sequence, _o.ordinal == ordinal, _o.state != literal_column("'GIVEN_UP'"))
    return conn.execute(select(_o.message).where(*at)).scalar_one_or_none()


def find_held_message(conn: Connection, message: int) -> Row[Any] | None:
    """Return the place of a received message, with its state."""
    return conn.execute(select(ordered_messages).where(_o.message == message)).first()


def find_holding_sequences(conn: Connection, received: Sequence[int]) -> dict[int, int]:
    """Return the sequences that hold these messages, by message; those that are not held are left out."""
    if not received:
        return {}
    held = (_o.message.in_(received), build_state_condition(ordered_messages, "HELD"))
    found = conn.execute(select(_o.message, _o.sequence).where(*held))
    return {row.message: row.sequence for row in found}


def list_held(conn: Connection, sequence: int, most: int | None = None) -> tuple[HeldMessage, ...]:
    """Return what a sequence holds, by ordinal, at most so many."""
    found = _HELD if most is None else _HELD.limit(most)
    return tuple(
        HeldMessage(row.message, row.ordinal, row.for_case, row.expires_at)
        for row in conn.execute(found, {"of": sequence})
    )


def count_held(conn: Connection, sequence: int, most: int) -> int:
    """Return how many messages a sequence holds, counted up to `most`."""
    held = select(_o.ordinal).where(
        _o.sequence == bindparam("of"), build_state_condition(ordered_messages, "HELD")
    )
    counted = select(func.count()).select_from(held.limit(most).subquery())
    return conn.execute(counted, {"of": sequence}).scalar_one()


def count_all_held(conn: Connection) -> int:
    """Return how many messages of all conversations are held."""
    held = build_state_condition(ordered_messages, "HELD")
    return conn.execute(select(func.count()).select_from(ordered_messages).where(held)).scalar_one()


def change_held_state(conn: Connection, messages_held: Sequence[int], state: str) -> int:
    """Move held messages to another state; return how many of them were still held."""
    held = (_o.message.in_(messages_held), build_state_condition(ordered_messages, "HELD"))
    return conn.execute(update(ordered_messages).where(*held).values(state=state)).rowcount


def list_expired(conn: Connection, now: datetime, most: int) -> Sequence[Row[Any]]:
    """Return held messages whose time is over, the first one first."""
    return conn.execute(_EXPIRED, {"now": now, "most": most}).all()


def find_by_id(conn: Connection, sequence: int) -> Row[Any] | None:
    """Return a sequence with what it holds: `held`, `first_held`, `next_expiry`."""
    return conn.execute(_describe_sequences().where(_s.id == sequence)).first()


def list_sequences(
    conn: Connection, *, limit: int, after: int = 0, party: str | None = None, everything: bool = False
) -> Sequence[Row[Any]]:
    """Return sequences that hold messages, or every one, by their numbers from above `after`."""
    found = _describe_sequences().where(_s.id > after).order_by(_s.id).limit(limit)
    if not everything:
        holding = select(_o.sequence).where(build_state_condition(ordered_messages, "HELD"))
        found = found.where(_s.id.in_(holding))
    return conn.execute(found if party is None else found.where(_s.party == party)).all()


def _describe_sequences() -> Select[Any]:
    held = (_o.sequence == _s.id, build_state_condition(ordered_messages, "HELD"))
    facts = {
        "held": func.count(),
        "first_held": func.min(_o.ordinal),
        "next_expiry": func.min(_o.expires_at),
    }
    told = [
        select(fact).select_from(ordered_messages).where(*held).scalar_subquery().label(name)
        for name, fact in facts.items()
    ]
    return select(message_sequences, *told)


def list_places(conn: Connection, sequence: int, most: int) -> Sequence[Row[Any]]:
    """Return the held messages of a sequence with their MessageIds, by ordinal."""
    found = (
        select(ordered_messages, messages.c.message_id, messages.c.action)
        .join(messages, messages.c.id == _o.message)
        .where(_o.sequence == sequence, build_state_condition(ordered_messages, "HELD"))
    )
    return conn.execute(found.order_by(_o.ordinal).limit(most)).all()


def free_follower(conn: Connection, failed: int, key: str) -> None:
    """Let the task of a key begin although the one that it follows has failed."""
    follower = (deliveries.c.dedupe_key == key, deliveries.c.follows == failed)
    conn.execute(update(deliveries).where(*follower).values(follows=None))
