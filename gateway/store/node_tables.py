"""The tables that nodes share: who they are, which calls they have seen, which code the schema serves."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_required_column, metadata

__all__ = ["nodes", "schema_floor", "seen_calls"]

# The machines that work on this database, as they tell it themselves, and which of them are drained.
nodes = Table(
    "nodes",
    metadata,
    Column("name", Text, primary_key=True),
    make_required_column("version"),
    make_required_column("schema_revision"),
    make_required_column("seen_at", Instant),
    Column("drained_at", Instant),
    Column("drained_by", Text),
    Column("drain_reason", Text),
)

# Signed calls of the last minutes, so that each is accepted once by all nodes together.
seen_calls = Table(
    "seen_calls",
    metadata,
    Column("signature", Text, primary_key=True),
    make_required_column("party"),
    make_required_column("message_id"),
    make_required_column("content"),
    make_required_column("seen_at", Instant),
    Index("ix_seen_calls_message_id", "message_id", "party"),
    Index("ix_seen_calls_seen_at", "seen_at"),
)

# One row: the schema version of the oldest code that works with this schema.
schema_floor = Table("schema_floor", metadata, Column("oldest_code", Text, primary_key=True))
