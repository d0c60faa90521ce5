"""Adds the periods in which a deadline did not run, and that its time does not have yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0087"
down_revision = "0086"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a deadline from before says since when it is held, and not for what."""
    op.add_column("deadlines", sa.Column("held", Json(), nullable=True))
