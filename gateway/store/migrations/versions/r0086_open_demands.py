"""Adds what the agency of a request has asked for and nothing has settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0086"
down_revision = "0084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of a request from before its state says what was asked for last."""
    op.add_column("agency_requests", sa.Column("demands", Json(), nullable=True))
