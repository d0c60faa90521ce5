"""Adds lanes whose messages are pulled, and the pull requests that were seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0077"
down_revision = "0076"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, false: every message was posted; and the empty table."""
    op.add_column("lanes", sa.Column("pulled", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "pull_requests",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_pull_requests")),
    )
    op.create_index("ix_pull_requests_seen_at", "pull_requests", ["seen_at"])
