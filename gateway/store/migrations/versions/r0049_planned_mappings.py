"""Adds the date from which a bundle of mappings is in force, and the plans that were taken back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; every use so far was at once."""
    op.add_column("mapping_uses", sa.Column("starts", Instant(), nullable=True))
    op.add_column("mapping_uses", sa.Column("cancels", sa.BigInteger(), nullable=True))
