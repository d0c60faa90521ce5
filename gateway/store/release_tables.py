"""The table of partial releases: what child declarations take of the items of a decided case."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["item_releases"]

# One row for each measure of an item that a child has taken, or one without measure. The parent case is
# locked before a row is added. What a child gave back keeps its row.
item_releases = Table(
    "item_releases",
    metadata,
    make_identity_column(),
    make_required_column("parent_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("child_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("item", Integer),
    make_required_column("measure"),  # empty: the item has none
    make_required_column("quantity"),  # the digits as declared
    make_required_column("unit"),
    make_required_column("whole"),  # what the parent declared, in `whole_unit`
    make_required_column("whole_unit"),
    make_required_column("released_at", Instant),
    Column("returned_at", Instant),
    Column("return_reason", Text),
    Index("ix_item_releases_parent_id", "parent_id", "id"),
    Index("ix_item_releases_child_id", "child_id", "id"),
)
