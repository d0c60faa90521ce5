"""The tables of ordered messages (ebMS 2.0 chapter 9), and of conversations that an agreement limits."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant
from gateway.store.table_types import PartialIndex, make_identity_column, make_required_column, metadata

__all__ = [
    "conversation_counts",
    "conversation_messages",
    "conversations",
    "message_sequences",
    "ordered_deliveries",
    "ordered_messages",
]


# The numbers of one sender in one conversation. Ordinals only rise; the message with the ordinal `base` has
# the sequence number 0, so that a Reset changes `base` alone.
message_sequences = Table(
    "message_sequences",
    metadata,
    make_identity_column(),
    make_required_column("direction"),
    make_required_column("party"),
    make_required_column("agreement_id"),
    make_required_column("conversation_id"),
    make_required_column("next_ordinal", BigInteger),
    make_required_column("base", BigInteger),
    # The task that admits the message before the next one, or nothing.
    Column("last_delivery", BigInteger, ForeignKey("deliveries.id")),
    make_required_column("changed_at", Instant),
    UniqueConstraint("party", "conversation_id", "agreement_id", "direction"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    CheckConstraint("base <= next_ordinal", name="base"),
)

_STANDING = "state <> 'GIVEN_UP'"
_HELD = "state = 'HELD'"

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
    PartialIndex("uq_ordered_messages_ordinal", "sequence", "ordinal", unique=True, where=_STANDING),
    PartialIndex("ix_ordered_messages_held", "sequence", "ordinal", where=_HELD),
    PartialIndex("ix_ordered_messages_expires_at", "expires_at", "message", where=_HELD),
)

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

# How many conversations have begun under an agreement that limits them; its row is locked by each message.
conversation_counts = Table(
    "conversation_counts",
    metadata,
    Column("agreement_id", Text, primary_key=True),
    make_required_column("begun", BigInteger),
)

conversations = Table(
    "conversations",
    metadata,
    make_identity_column(),
    make_required_column("agreement_id"),
    make_required_column("conversation_id"),
    make_required_column("begun_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("agreement_id", "conversation_id"),
    PartialIndex("ix_conversations_open", "agreement_id", "id", where="ended_at IS NULL"),
)

# The messages that keep a conversation open until their cases are closed.
conversation_messages = Table(
    "conversation_messages",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("conversation", BigInteger, ForeignKey("conversations.id")),
    Index("ix_conversation_messages_conversation", "conversation", "message"),
)
