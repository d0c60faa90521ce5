"""The tables of mapping bundles: their files, and which of them is in force when."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["mapping_bundles", "mapping_uses"]

# Mapping folders as loaded, each once by its digest; never changed, for the cases that were split by them.
mapping_bundles = Table(
    "mapping_bundles",
    metadata,
    Column("digest", Text, primary_key=True),
    make_required_column("content", LargeBinary),
    make_required_column("loaded_at", Instant),
)

# Append-only. A row puts a bundle into force (NULL: the shipped one), at once or from `starts` on. A row
# that `cancels` a plan takes it back; without `starts` it does nothing else.
mapping_uses = Table(
    "mapping_uses",
    metadata,
    make_identity_column(),
    Column("digest", Text, ForeignKey("mapping_bundles.digest")),
    make_required_column("at", Instant),
    make_required_column("actor"),
    Column("starts", Instant),
    Column("cancels", BigInteger),
)
