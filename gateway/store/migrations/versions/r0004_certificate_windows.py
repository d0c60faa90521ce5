"""Adds the period in which a party may use a certificate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns; registered certificates stay without bounds of their own."""
    op.add_column("certificates", sa.Column("valid_from", Instant(), nullable=True))
    op.add_column("certificates", sa.Column("valid_until", Instant(), nullable=True))
