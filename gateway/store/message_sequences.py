"""Stores the sequences of ordered messages: which number is next, and which messages wait for it.

A transaction that changes a sequence locks its row first, so that changes of one conversation do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Row,
    Select,
    Table,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from gateway.store.deliveries import LOCAL, deliveries
from gateway.store.messages import messages
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    IndexedText,
    Instant,
    PartialIndex,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.work_passes import DuePlace

# The numbers of one sender in one conversation. Ordinals only rise; the message with the ordinal `base` has
# the sequence number 0, so that a Reset changes `base` alone.
message_sequences = Table(
    "message_sequences",
    metadata,
    make_identity_column(),
    make_required_column("direction", CODE_TEXT),
    make_required_column("party", NAME_TEXT),
    make_required_column("agreement_id", IndexedText(600)),
    make_required_column("conversation_id", ID_TEXT),
    make_required_column("next_ordinal", BigInteger),
    make_required_column("base", BigInteger),
    # The task that admits the message before the next one, or nothing.
    Column("last_delivery", BigInteger, ForeignKey("deliveries.id")),
    make_required_column("changed_at", Instant),
    UniqueConstraint("party", "conversation_id", "agreement_id", "direction"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    CheckConstraint("base <= next_ordinal", name="base"),
)


class MessageSequenceRow(Protocol):
    """A row of the table `message_sequences`."""

    id: int
    direction: str
    party: str
    agreement_id: str
    conversation_id: str
    next_ordinal: int
    base: int
    last_delivery: int | None
    changed_at: datetime


_IS_NOT_GIVEN_UP = "state <> 'GIVEN_UP'"

_IS_HELD = "state = 'HELD'"

# Messages received under an order: each is released to the application when all before it are.
ordered_messages = Table(
    "ordered_messages",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("sequence", BigInteger, ForeignKey("message_sequences.id")),
    make_required_column("ordinal", BigInteger),
    make_required_column("state"),
    make_required_column("for_case", Boolean),
    make_required_column("received_at", Instant),
    make_required_column("expires_at", Instant),
    CheckConstraint("state IN ('HELD', 'RELEASED', 'GIVEN_UP')", name="state"),
    PartialIndex("uq_ordered_messages_ordinal", "sequence", "ordinal", unique=True, where=_IS_NOT_GIVEN_UP),
    PartialIndex("ix_ordered_messages_held", "sequence", "ordinal", where=_IS_HELD),
    PartialIndex("ix_ordered_messages_expires_at", "expires_at", "message", where=_IS_HELD),
)


class OrderedMessageRow(Protocol):
    """A row of the table `ordered_messages`."""

    message: int
    sequence: int
    ordinal: int
    state: str
    for_case: bool
    received_at: datetime
    expires_at: datetime


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
    select(ordered_messages, messages.c.message_id)
    .join(messages, messages.c.id == _o.message)
    .where(
        build_state_condition(ordered_messages, "HELD"), _o.expires_at <= bindparam("now", type_=Instant())
    )
    .order_by(_o.expires_at, _o.message)
    .limit(bindparam("most"))
)
_EXPIRED_AFTER: Final = _EXPIRED.where(
    tuple_(_o.expires_at, _o.message)
    > tuple_(bindparam("after_at", type_=Instant()), bindparam("after_id", type_=_o.message.type))
)


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """The key of a sequence: the partner, the agreement and the conversation, in one direction."""

    direction: str
    party: str
    agreement_id: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class SequenceState:
    """The state of a sequence: the ordinal of its next message, that of its number 0, and its last task.

    `base` is the ordinal of the message with sequence number 0, `last_delivery` the row id of the task.
    """

    id: int
    next_ordinal: int
    base: int
    last_delivery: int | None = None


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that arrived with a sequence number; with `for_case` it is admitted when it is released."""

    message: int
    ordinal: int
    for_case: bool
    expires_at: datetime


def lock_sequence(conn: Connection, key: SequenceKey, at: datetime) -> SequenceState:
    """Lock the sequence of a conversation until the transaction ends, and return it; insert a missing one."""
    values = collect_values(key)
    row = {**values, "next_ordinal": 0, "base": 0, "last_delivery": None, "changed_at": at}
    sequence_row = conn.execute(_LOCK_BY_KEY, values).first()
    if sequence_row is None:
        _INSERT.insert_one(conn, row)
        sequence_row = conn.execute(_LOCK_BY_KEY, values).one()
    return _make_state(sequence_row)


def find_sequence(conn: Connection, key: SequenceKey) -> SequenceState | None:
    """Return the sequence of a conversation without a lock; None before its first message."""
    sequence_row = conn.execute(_BY_KEY, collect_values(key)).first()
    return None if sequence_row is None else _make_state(sequence_row)


def lock_by_id(conn: Connection, sequence: int) -> SequenceState | None:
    """Lock and return a sequence until the transaction ends; None when there is none of this number."""
    sequence_row = conn.execute(_BY_ID.with_for_update(), {"wanted": sequence}).first()
    return None if sequence_row is None else _make_state(sequence_row)


def lock_by_message(conn: Connection, message: int) -> SequenceState | None:
    """Lock and return the sequence of a received message; None if it arrived without a sequence number."""
    sequence = conn.execute(select(_o.sequence).where(_o.message == message)).scalar_one_or_none()
    return None if sequence is None else lock_by_id(conn, sequence)


def _make_state(row: Row[Any]) -> SequenceState:
    return SequenceState(row.id, row.next_ordinal, row.base, row.last_delivery)


def update_sequence(conn: Connection, changed: SequenceState, at: datetime) -> None:
    """Store the changed state of a sequence, whose row the caller has locked."""
    values = collect_values(changed) | {"changed_at": at}
    sequence_id = values.pop("id")
    conn.execute(update(message_sequences).where(_s.id == sequence_id).values(values))


def insert_ordered_message(
    conn: Connection, sequence: int, held: HeldMessage, state: str, at: datetime
) -> None:
    """Store a received message at its ordinal, HELD or RELEASED."""
    row = collect_values(held) | {"sequence": sequence, "state": state, "received_at": at}
    conn.execute(insert(ordered_messages), row)


def find_at_ordinal(conn: Connection, sequence: int, ordinal: int) -> int | None:
    """Return the row id of the message at an ordinal; None if there is none, or it was given up."""
    # Literal text, as in the index.
    is_at_ordinal = (_o.sequence == sequence, _o.ordinal == ordinal, _o.state != literal_column("'GIVEN_UP'"))
    return conn.execute(select(_o.message).where(*is_at_ordinal)).scalar_one_or_none()


def find_holding_sequences(conn: Connection, message_ids: Sequence[int]) -> dict[int, int]:
    """Return the sequences that hold these messages, by message; those that are not held are left out."""
    if not message_ids:
        return {}
    held = (_o.message.in_(message_ids), build_state_condition(ordered_messages, "HELD"))
    rows = conn.execute(select(_o.message, _o.sequence).where(*held))
    return {row.message: row.sequence for row in rows}


def list_held(conn: Connection, sequence: int, limit: int | None = None) -> tuple[HeldMessage, ...]:
    """Return the held messages of a sequence, ordered by ordinal, at most `limit` (None: all)."""
    query = _HELD if limit is None else _HELD.limit(limit)
    return tuple(
        HeldMessage(row.message, row.ordinal, row.for_case, row.expires_at)
        for row in conn.execute(query, {"of": sequence})
    )


def count_held(conn: Connection, sequence: int, limit: int) -> int:
    """Return how many messages a sequence holds, counted up to `limit`."""
    held = select(_o.ordinal).where(
        _o.sequence == bindparam("of"), build_state_condition(ordered_messages, "HELD")
    )
    counted = select(func.count()).select_from(held.limit(limit).subquery())
    return conn.execute(counted, {"of": sequence}).scalar_one()


def count_all_held(conn: Connection) -> int:
    """Return how many messages of all conversations are held."""
    held = build_state_condition(ordered_messages, "HELD")
    return conn.execute(select(func.count()).select_from(ordered_messages).where(held)).scalar_one()


def change_held_state(conn: Connection, messages_held: Sequence[int], state: str) -> int:
    """Move held messages to another state; return how many of them were still held."""
    held = (_o.message.in_(messages_held), build_state_condition(ordered_messages, "HELD"))
    return conn.execute(update(ordered_messages).where(*held).values(state=state)).rowcount


class ExpiredMessageRow(OrderedMessageRow, Protocol):
    """A held message that has expired, with its MessageId."""

    message_id: str


def list_expired(
    conn: Connection, now: datetime, limit: int, after: DuePlace | None = None
) -> Sequence[ExpiredMessageRow]:
    """Return at most `limit` held messages that have expired at `now`, by expiry, each with its MessageId.

    With `after`, only those behind this place.
    """
    if after is None:
        return conn.execute(_EXPIRED, {"now": now, "most": limit}).all()
    values = {"now": now, "most": limit, "after_at": after.at, "after_id": after.row_id}
    return conn.execute(_EXPIRED_AFTER, values).all()


class SequenceSummaryRow(MessageSequenceRow, Protocol):
    """A sequence, with the number of its held messages, the first of them, and their next expiry."""

    held: int
    first_held: int | None
    next_expiry: datetime | None


def find_by_id(conn: Connection, sequence: int) -> SequenceSummaryRow | None:
    """Return a sequence with the number of its held messages (`held`), `first_held` and `next_expiry`."""
    return conn.execute(_describe_sequences().where(_s.id == sequence)).first()


def list_sequences(
    conn: Connection, *, limit: int, after: int = 0, party: str | None = None, includes_empty: bool = False
) -> Sequence[SequenceSummaryRow]:
    """Return sequences that hold messages, with row ids above `after`, ordered by id.

    With `includes_empty`, return also those that hold none. With `party`, return only those of this party.
    """
    query = _describe_sequences().where(_s.id > after).order_by(_s.id).limit(limit)
    if not includes_empty:
        holding = select(_o.sequence).where(build_state_condition(ordered_messages, "HELD"))
        query = query.where(_s.id.in_(holding))
    return conn.execute(query if party is None else query.where(_s.party == party)).all()


def _describe_sequences() -> Select[Any]:
    """Return the query of sequences, each with `held` (a number), `first_held` and `next_expiry`."""
    held = (_o.sequence == _s.id, build_state_condition(ordered_messages, "HELD"))
    aggregates = {
        "held": func.count(),
        "first_held": func.min(_o.ordinal),
        "next_expiry": func.min(_o.expires_at),
    }
    columns = [
        select(fact).select_from(ordered_messages).where(*held).scalar_subquery().label(name)
        for name, fact in aggregates.items()
    ]
    return select(message_sequences, *columns)


class HeldMessageRow(ExpiredMessageRow, Protocol):
    """A held message, with its MessageId and its action."""

    action: str


def list_held_messages(conn: Connection, sequence: int, limit: int) -> Sequence[HeldMessageRow]:
    """Return the held messages of a sequence with their MessageIds, by ordinal."""
    query = (
        select(ordered_messages, messages.c.message_id, messages.c.action)
        .join(messages, messages.c.id == _o.message)
        .where(_o.sequence == sequence, build_state_condition(ordered_messages, "HELD"))
    )
    return conn.execute(query.order_by(_o.ordinal).limit(limit)).all()


def free_follower(conn: Connection, failed_delivery_id: int) -> None:
    """Let the task of the hub begin that follows the failed task `failed_delivery_id`.

    A QUEUED or HELD delivery that follows it no longer waits for it.
    """
    for state in ("QUEUED", "HELD"):
        waiting = (build_state_condition(deliveries, state), deliveries.c.lane == LOCAL)
        follower = (*waiting, deliveries.c.follows == failed_delivery_id)
        conn.execute(update(deliveries).where(*follower).values(follows=None))
