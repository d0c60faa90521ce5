"""Adds where the octets of a payload are: in the database, or in the object store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0074"
down_revision = "0064"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty: all octets are in the database."""
    op.add_column("payloads", sa.Column("stored_in", sa.Text(), nullable=True))
    op.create_index(
        "ix_payloads_objects",
        "payloads",
        ["sha256"],
        sqlite_where=sa.text("stored_in IS NOT NULL"),
        postgresql_where=sa.text("stored_in IS NOT NULL"),
    )
