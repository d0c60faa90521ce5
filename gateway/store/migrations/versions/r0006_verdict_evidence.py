"""Creates the table of certificate verdicts and their evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "verdicts",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("leaf_sha256", sa.Text(), nullable=False),
        sa.Column("use", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("tolerated", sa.Boolean(), nullable=False),
        sa.Column("judged_at", Instant(), nullable=False),
        sa.Column("valid_until", Instant(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('valid', 'invalid', 'indeterminate')", name=op.f("ck_verdicts_status")
        ),
        sa.ForeignKeyConstraint(["digest"], ["payloads.sha256"], name=op.f("fk_verdicts_digest_payloads")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("digest", name=op.f("uq_verdicts_digest")),
    )
    op.create_index("ix_verdicts_leaf_sha256", "verdicts", ["leaf_sha256", "use", "judged_at"], unique=False)
