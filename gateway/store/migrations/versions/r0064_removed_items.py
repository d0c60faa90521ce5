"""Adds what an amendment has removed of a request, and since when decisions about it do not count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0064"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, empty: no item was removed."""
    op.add_column("agency_requests", sa.Column("removed", Json(), nullable=True))
    op.add_column("decisions", sa.Column("outdated_at", Instant(), nullable=True))
