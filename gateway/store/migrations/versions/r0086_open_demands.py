"""Adds what the agency of a request has asked for, and an index of those that may be cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0086"
down_revision = "0084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add column and index; of a request from before its state says what was asked for last."""
    op.add_column("agency_requests", sa.Column("demands", Json(), nullable=True))
    asked = sa.text("cancellation = 'ASKED'")
    op.create_index(
        "ix_agency_requests_asked",
        "agency_requests",
        ["agency", "id"],
        sqlite_where=asked,
        postgresql_where=asked,
    )
