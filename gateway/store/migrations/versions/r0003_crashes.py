"""Adds the number of workers that died during a delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and the index of suspect deliveries."""
    op.add_column("deliveries", sa.Column("lost", sa.Integer(), server_default="0", nullable=False))
    suspect = sa.text("state = 'QUEUED' AND lost > 0")
    op.create_index(
        "ix_deliveries_suspect",
        "deliveries",
        ["due_at"],
        unique=False,
        sqlite_where=suspect,
        postgresql_where=suspect,
    )
