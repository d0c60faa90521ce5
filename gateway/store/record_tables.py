"""The tables of what is only ever added: each change of a state, and each record of evidence."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import (
    PartialIndex,
    make_identity_column,
    make_partial_index,
    make_required_column,
    metadata,
)

__all__ = ["evidence", "transitions"]

transitions = Table(
    "transitions",
    metadata,
    make_identity_column(),
    make_required_column("machine"),
    make_required_column("object_id", BigInteger),
    make_required_column("from_state"),
    make_required_column("event"),
    make_required_column("to_state"),
    make_required_column("at", Instant),
    make_required_column("actor"),
    Column("detail", Text),
    Index("ix_transitions_object", "machine", "object_id"),
)

# Append-only except `seq`, which the sequencer sets; `data` is exactly the text that was hashed.
evidence = Table(
    "evidence",
    metadata,
    make_identity_column(),
    make_required_column("at", Instant),
    make_required_column("kind"),
    make_required_column("subject_type"),
    make_required_column("subject_id"),
    Column("digest", Text),
    make_required_column("leaf_hash"),
    make_required_column("data"),
    Column("seq", BigInteger),
    make_partial_index("uq_evidence_seq", "seq", unique=True),
    # PostgreSQL commits rows in another order than it numbers them, so rows without `seq` must be
    # searched for. SQLite has one writer and keeps the order; its index contains no row.
    PartialIndex("ix_evidence_unsealed", "id", where="seq < 0", on_postgresql="seq IS NULL"),
    Index("ix_evidence_subject", "subject_type", "subject_id"),
)
