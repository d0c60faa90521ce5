"""Creates the table of the certificates by which people sign in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "account_certificates",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("not_after", Instant(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_account_certificates_account_id")
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_account_certificates")),
        sa.UniqueConstraint("account_id", name=op.f("uq_account_certificates_account_id")),
    )
