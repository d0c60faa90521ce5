"""The tables of events for the software of parties, and of the webhooks that are called for them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant
from gateway.store.table_types import (
    ClusteredTable,
    make_identity_column,
    make_required_column,
    metadata,
)

__all__ = ["event_readers", "events", "webhooks"]

# What happened, written in the transaction of the change. Transactions commit in another order than
# their rows are numbered, so a reader that goes on after the last number would miss rows. The
# sequencer gives `sequence` to rows that are committed; readers follow it alone.
events = Table(
    "events",
    metadata,
    make_identity_column(),
    make_required_column("at", Instant),
    make_required_column("subject_type"),
    make_required_column("subject_id", BigInteger),
    make_required_column("state"),
    Column("sequence", BigInteger),
    CheckConstraint(
        "subject_type IN ('case', 'request', 'notice', 'message', 'requirement')", name="subject_type"
    ),
    # Rows without a place are found by this index, too.
    UniqueConstraint("sequence"),
)

# The parties that an event is for, and the case that it is about.
event_readers = ClusteredTable(
    "event_readers",
    metadata,
    Column("party", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    make_required_column("case_id", BigInteger),
)

# Where a party wants to be told. The secret is derived from a key in a file, so it is not here.
webhooks = Table(
    "webhooks",
    metadata,
    make_identity_column(),
    make_required_column("name"),
    make_required_column("party_id", Text, ForeignKey("parties.id")),
    make_required_column("url"),
    make_required_column("state"),
    make_required_column("created_at", Instant),
    Column("failing_since", Instant),
    Column("last_good_at", Instant),
    Column("reason", Text),
    UniqueConstraint("name"),
    CheckConstraint("state IN ('ACTIVE', 'OFF', 'DELETED')", name="state"),
    Index("ix_webhooks_party_id", "party_id"),
)
