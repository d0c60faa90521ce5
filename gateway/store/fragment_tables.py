"""The tables of large messages in fragments (ebMS 3.0 part 2 §4)."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import (
    PartialIndex,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)

__all__ = [
    "FRAGMENT_GROUP_STATES",
    "SENT_GROUP_STATES",
    "fragment_groups",
    "fragments",
    "sent_fragments",
    "sent_groups",
]

#: OPEN until every fragment has come, COMPLETE until they are joined.
FRAGMENT_GROUP_STATES = ("OPEN", "COMPLETE", "JOINED", "REFUSED")

#: SEALED until its fragments are queued, SENDING until its message has a receipt or is given up.
SENT_GROUP_STATES = ("SEALED", "SENDING", "RECEIPTED", "FAILED")


# The fragments of one source message. `tally` is what is known of them beside their octets, `problem` why
# they were refused, `code` and `detail` what of it the sender is told, `message` what they were joined to.
fragment_groups = Table(
    "fragment_groups",
    metadata,
    make_identity_column(),
    make_required_column("group_id"),
    make_required_column("from_party"),
    make_required_column("protocol"),
    make_required_column("agreement_id"),
    make_required_column("pmode_id"),
    make_required_column("state"),
    Column("tally", Json),
    make_required_column("opened_at", Instant),
    make_required_column("expires_at", Instant),
    Column("ended_at", Instant),
    Column("problem", Text),
    Column("code", Text),
    Column("detail", Text),
    Column("message", BigInteger, ForeignKey("messages.id")),
    UniqueConstraint("from_party", "group_id"),
    make_state_constraint(FRAGMENT_GROUP_STATES),
    PartialIndex("ix_fragment_groups_state", "state", "from_party", where="ended_at IS NULL"),
    PartialIndex("ix_fragment_groups_message", "message", where="message IS NOT NULL"),
)

# The messages that are fragments, each with its number.
fragments = Table(
    "fragments",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("group", BigInteger, ForeignKey("fragment_groups.id")),
    make_required_column("number", Integer),
    UniqueConstraint("group", "number"),
)

# The messages of ours that go in fragments, by the delivery of the whole, which sends nothing itself.
# `round` counts how often its fragments were queued.
sent_groups = Table(
    "sent_groups",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True, autoincrement=False),
    make_required_column("message", BigInteger, ForeignKey("messages.id")),
    make_required_column("count", Integer),
    make_required_column("round", Integer),
    make_required_column("state"),
    make_required_column("sealed_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("message"),
    make_state_constraint(SENT_GROUP_STATES),
)

# Their fragments, sealed once; `delivery` is the last one that sends it.
sent_fragments = Table(
    "sent_fragments",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("group", BigInteger, ForeignKey("sent_groups.delivery")),
    make_required_column("number", Integer),
    Column("delivery", BigInteger, ForeignKey("deliveries.id")),
    UniqueConstraint("group", "number"),
)
