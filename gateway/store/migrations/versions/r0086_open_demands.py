"""Adds what an agency has asked for, which notice ended which fee, and an index of what may be cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0086"
down_revision = "0084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and index.

    Of a request from before its state says what was asked for last; so it does of one whose state is changed
    by code of the version before, which knows neither column. Which notice ended a fee is not known.
    """
    op.add_column("agency_requests", sa.Column("demands", Json(), nullable=True))
    op.add_column("agency_requests", sa.Column("demands_state", sa.Text(), nullable=True))
    op.add_column("notices", sa.Column("fee_notice", sa.Text(), nullable=True))
    op.add_column("fees", sa.Column("ended_by", sa.Text(), nullable=True))
    asked = sa.text("cancellation = 'ASKED'")
    op.create_index(
        "ix_agency_requests_asked",
        "agency_requests",
        ["agency", "id"],
        sqlite_where=asked,
        postgresql_where=asked,
    )
