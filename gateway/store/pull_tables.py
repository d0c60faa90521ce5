"""The table of pull requests: what asked for a message of ours, so that it asks once."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_required_column, metadata

__all__ = ["pull_requests"]

# A digest of the request, or of the login in it, for as long as its own time is accepted.
pull_requests = Table(
    "pull_requests",
    metadata,
    Column("digest", Text, primary_key=True),
    make_required_column("seen_at", Instant),
    Index("ix_pull_requests_seen_at", "seen_at"),
)
