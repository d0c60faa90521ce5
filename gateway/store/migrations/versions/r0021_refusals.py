"""Creates the table that counts refused messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; refusals of the past are not known."""
    op.create_table(
        "refusals",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("last_sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sender", "problem", name=op.f("pk_refusals")),
    )
