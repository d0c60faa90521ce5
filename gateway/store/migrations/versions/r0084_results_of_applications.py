"""Adds since when results under a number count for an application, and all that their notices said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0084"
down_revision = "0083"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; they are empty for what was stored before."""
    op.add_column("requirements", sa.Column("applied_since", Instant(), nullable=True))
    op.add_column("requirement_results", sa.Column("said", Json(), nullable=True))
