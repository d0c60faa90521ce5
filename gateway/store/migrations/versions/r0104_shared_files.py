"""Keeps the marks of the files beside the database that all nodes share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0104"
down_revision = "0103"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of the marks; `gateway migrate` marks the store of large payloads after it."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    text = sa.Text() if is_sqlite else sa.Text(collation="C")
    op.create_table(
        "shared_files",
        sa.Column("name", text, nullable=False),
        sa.Column("mark", text, nullable=False),
        sa.Column("placed_at", sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_shared_files"),
    )
