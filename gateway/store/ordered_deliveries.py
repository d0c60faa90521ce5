"""Stores the positions of sent messages in the order of their conversations (ebMS 2.0 chapter 9).

Each delivery follows the one before it, so that one message of a conversation is under way at a time.
A message that was given up leaves no gap: the message after it becomes the first of a new sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Table,
    UniqueConstraint,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.store import message_sequences as sequences
from gateway.store.deliveries import deliveries
from gateway.store.message_sequences import SequenceKey, SequenceState, message_sequences
from gateway.store.table_types import make_required_column, metadata

# Messages sent under an order. `position` is that of the sealed octets: where it is not the ordinal less the
# base of the sequence, the message is sealed again before it is first sent.
ordered_deliveries = Table(
    "ordered_deliveries",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True, autoincrement=False),
    make_required_column("sequence", BigInteger, ForeignKey("message_sequences.id")),
    make_required_column("ordinal", BigInteger),
    make_required_column("position", BigInteger),
    UniqueConstraint("sequence", "ordinal"),
)


class OrderedDeliveryRow(Protocol):
    """A row of the table `ordered_deliveries`."""

    delivery: int
    sequence: int
    ordinal: int
    position: int


_o, _d = ordered_deliveries.c, deliveries.c
_GET_WITH_BASE: Final = (
    select(ordered_deliveries, message_sequences.c.base)
    .join(message_sequences, message_sequences.c.id == _o.sequence)
    .where(_o.delivery == bindparam("wanted"))
)
_AT: Final = (
    select(deliveries)
    .join(ordered_deliveries, _o.delivery == _d.id)
    .where(_o.sequence == bindparam("of"), _o.ordinal == bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class NextPosition:
    """The position of a new message, whose sequence is locked; it follows a delivery that has not ended."""

    sequence: SequenceState
    follows: int | None

    @property
    def position(self) -> int:
        """Return the position since the last Reset."""
        return self.sequence.next_ordinal - self.sequence.base


def find_sealed_position(conn: Connection, key: SequenceKey) -> int:
    """Return the position that the next message will probably have, to be sealed with it."""
    state = sequences.find_sequence(conn, key)
    return 0 if state is None else state.next_ordinal - state.base


def lock_next_position(conn: Connection, key: SequenceKey, at: datetime) -> NextPosition:
    """Lock the sequence of a conversation, and return the position of its next message."""
    state = sequences.lock_sequence(conn, key, at)
    return NextPosition(state, find_open_delivery(conn, state))


def find_open_delivery(conn: Connection, state: SequenceState) -> int | None:
    """Return the last delivery of a sequence that has not ended; those before it end earlier."""
    last = conn.execute(_AT, {"of": state.id, "at": state.next_ordinal - 1}).first()
    while last is not None and last.state == "CANCELLED" and last.follows is not None:
        # A cancelled message was perhaps never sent; then one before it may be under way.
        last = conn.execute(select(deliveries).where(_d.id == last.follows)).first()
    ended = last is None or last.state in ("DELIVERED", "CANCELLED", "FAILED")
    return None if last is None or ended else int(last.id)


def insert_ordered_delivery(
    conn: Connection, outgoing: NextPosition, delivery: int, sealed_position: int, at: datetime
) -> None:
    """Store a queued delivery in its sequence; its octets may be sealed with another position."""
    state = outgoing.sequence
    row = {
        "delivery": delivery,
        "sequence": state.id,
        "ordinal": state.next_ordinal,
        "position": sealed_position,
    }
    conn.execute(insert(ordered_deliveries), row)
    sequences.update_sequence(conn, replace(state, next_ordinal=state.next_ordinal + 1), at)


class SequencedDeliveryRow(OrderedDeliveryRow, Protocol):
    """A delivery in its sequence, with the base of the sequence."""

    base: int


def find_ordered_delivery(conn: Connection, delivery: int) -> SequencedDeliveryRow | None:
    """Return a delivery in its sequence, with the `base` of the sequence; None if it is not ordered."""
    return conn.execute(_GET_WITH_BASE, {"wanted": delivery}).first()


def set_sealed_position(conn: Connection, delivery: int, position: int) -> None:
    """Store with which position a message is sealed now."""
    conn.execute(update(ordered_deliveries).where(_o.delivery == delivery).values(position=position))


def give_up_position(conn: Connection, delivery: int, at: datetime) -> None:
    """Let the message after a failed or cancelled delivery begin a new sequence; nothing without an order."""
    ordered_delivery, state = _lock_ordered_delivery(conn, delivery)
    if ordered_delivery is None or state is None:
        return
    if state.base <= ordered_delivery.ordinal:
        sequences.update_sequence(conn, replace(state, base=ordered_delivery.ordinal + 1), at)
    before = conn.execute(select(_d.follows).where(_d.id == delivery)).scalar_one()
    _relink_follower(conn, ordered_delivery, before)


def restore_position(conn: Connection, delivery: int, at: datetime) -> None:
    """Give a failed delivery that is sent again its position back; nothing without an order.

    Raises GW705 when a later message of the conversation was sent since, or cancelled.
    """
    ordered_delivery, state = _lock_ordered_delivery(conn, delivery)
    if ordered_delivery is None or state is None or state.base <= ordered_delivery.ordinal:
        return
    later = (_o.sequence == ordered_delivery.sequence, _o.ordinal > ordered_delivery.ordinal)
    passed = select(_d.id).join(ordered_deliveries, _o.delivery == _d.id)
    passed = passed.where(*later, or_(_d.attempt > 0, _d.state.not_in(("QUEUED", "HELD")))).limit(1)
    if conn.execute(passed).first() is not None:
        detail = "a later message of its conversation has begun a new sequence, without this one"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery {delivery}")
    sequences.update_sequence(
        conn, replace(state, base=ordered_delivery.ordinal - ordered_delivery.position), at
    )
    if not _relink_follower(conn, ordered_delivery, delivery):
        detail = "a later message of its conversation is being sent"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery {delivery}")


def _lock_ordered_delivery(
    conn: Connection, delivery: int
) -> tuple[SequencedDeliveryRow | None, SequenceState | None]:
    """Return a delivery in its sequence, and this sequence, locked; both None if it is not ordered."""
    ordered_delivery = find_ordered_delivery(conn, delivery)
    return ordered_delivery, None if ordered_delivery is None else sequences.lock_by_id(
        conn, ordered_delivery.sequence
    )


def _relink_follower(conn: Connection, ordered_delivery: SequencedDeliveryRow, follows: int | None) -> bool:
    """Let the next delivery follow another one; return False when it is under way already."""
    next_delivery = conn.execute(
        _AT, {"of": ordered_delivery.sequence, "at": ordered_delivery.ordinal + 1}
    ).first()
    if next_delivery is None:
        return True
    waiting = (_d.id == next_delivery.id, _d.attempt == 0)
    return conn.execute(update(deliveries).where(*waiting).values(follows=follows)).rowcount == 1


class SentDeliveryRow(OrderedDeliveryRow, Protocol):
    """A delivery in its sequence, with its state."""

    state: str
    wire_id: str | None
    parameters: Any


def list_sent_deliveries(conn: Connection, sequence: int, limit: int) -> Sequence[SentDeliveryRow]:
    """Return the last deliveries of a sequence, the newest first."""
    query = (
        select(ordered_deliveries, _d.state, _d.wire_id, _d.parameters)
        .join(deliveries, _d.id == _o.delivery)
        .where(_o.sequence == sequence)
        .order_by(_o.ordinal.desc())
        .limit(limit)
    )
    return conn.execute(query).all()
