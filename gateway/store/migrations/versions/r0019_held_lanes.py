"""Adds to a lane since when, by whom and why an operator holds it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no lane is held."""
    op.add_column("lanes", sa.Column("held_at", Instant(), nullable=True))
    op.add_column("lanes", sa.Column("held_by", sa.Text(), nullable=True))
    op.add_column("lanes", sa.Column("hold_reason", sa.Text(), nullable=True))
