"""Adds the nodes, the calls that they have seen, and the oldest code that works with the schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0078"
down_revision = "0077"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the empty tables; the migration itself writes the oldest code."""
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("schema_revision", sa.Text(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("drained_at", Instant(), nullable=True),
        sa.Column("drained_by", sa.Text(), nullable=True),
        sa.Column("drain_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_nodes")),
    )
    op.create_table(
        "seen_calls",
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("signature", name=op.f("pk_seen_calls")),
    )
    op.create_index("ix_seen_calls_message_id", "seen_calls", ["message_id", "party"])
    op.create_index("ix_seen_calls_seen_at", "seen_calls", ["seen_at"])
    op.create_table(
        "schema_floor",
        sa.Column("oldest_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("oldest_code", name=op.f("pk_schema_floor")),
    )
