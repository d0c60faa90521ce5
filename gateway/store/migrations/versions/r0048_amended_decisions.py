"""Adds up to which decision the decisions about a request were made on what has been amended since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty: nothing was amended."""
    op.add_column("agency_requests", sa.Column("outdated_decision", sa.BigInteger(), nullable=True))
