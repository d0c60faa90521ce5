"""Creates the table of trusted lists: which signers the authorities of others admit, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "trust_lists",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("territory", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("issued", Instant(), nullable=False),
        sa.Column("next_update", Instant(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("named_by", sa.Text(), nullable=True),
        sa.Column("taken_at", Instant(), nullable=False),
        sa.Column("taken_by", sa.Text(), nullable=False),
        sa.CheckConstraint("form IN ('own', 'etsi')", name=op.f("ck_trust_lists_form")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trust_lists")),
    )
