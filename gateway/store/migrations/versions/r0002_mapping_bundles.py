"""Creates the tables of the mapping bundles that operators activated, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "mapping_bundles",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("loaded_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_mapping_bundles")),
    )
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "mapping_uses",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"], ["mapping_bundles.digest"], name=op.f("fk_mapping_uses_digest_mapping_bundles")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mapping_uses")),
    )
