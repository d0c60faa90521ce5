"""Adds the sentences of attempts: what we saw, and what the partner said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; older attempts have no sentence."""
    op.add_column("delivery_attempts", sa.Column("sentence", sa.Text(), nullable=True))
    op.add_column("delivery_attempts", sa.Column("theirs", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("last_sentence", sa.Text(), nullable=True))
