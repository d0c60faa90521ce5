"""Adds the index by which the P-Modes between two parties are found."""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_pmodes_parties", "pmodes", ["from_party", "to_party"])
