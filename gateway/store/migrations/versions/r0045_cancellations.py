"""Adds what became of the question whether an agency cancels an application."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty: no agency was asked."""
    op.add_column("agency_requests", sa.Column("cancellation", sa.Text(), nullable=True))
