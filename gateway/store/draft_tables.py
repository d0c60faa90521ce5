"""The tables of drafts: submissions that a trader prepares in the console, with their files."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["draft_files", "submission_drafts"]

# A draft belongs to a party. `content` are the values of its form as JSON. A draft that was handed in has
# the row id of its message, and is not changed any more.
submission_drafts = Table(
    "submission_drafts",
    metadata,
    make_identity_column(),
    make_required_column("party"),
    make_required_column("reference"),
    make_required_column("documents"),
    make_required_column("content"),
    make_required_column("version", Integer),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    make_required_column("changed_at", Instant),
    make_required_column("changed_by"),
    Column("message", BigInteger, ForeignKey("messages.id")),
    Column("handed_in_at", Instant),
    Index("ix_submission_drafts_party", "party", "id"),
)

# A file of a draft; the submission names it by its content id.
draft_files = Table(
    "draft_files",
    metadata,
    make_identity_column(),
    make_required_column("draft_id", BigInteger, ForeignKey("submission_drafts.id")),
    make_required_column("cid"),
    make_required_column("name"),
    make_required_column("media_type"),
    make_required_column("sha256"),
    make_required_column("size", BigInteger),
    make_required_column("content", LargeBinary),
    make_required_column("added_at", Instant),
    Column("added_by", Text),
    UniqueConstraint("draft_id", "cid"),
)
