"""Adds the index of the fees that are due, by their last day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    due = sa.text("state IN ('LEVIED', 'ORDERED')")
    op.create_index("ix_fees_due", "fees", ["due_on", "id"], sqlite_where=due, postgresql_where=due)
