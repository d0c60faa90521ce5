"""Creates the tables of access tokens of the API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    op.create_table(
        "api_tokens",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("certificate_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["party_id"], ["parties.id"], name=op.f("fk_api_tokens_party_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_api_tokens")),
    )
    op.create_index("ix_api_tokens_party_id", "api_tokens", ["party_id", "expires_at"])
    op.create_index("ix_api_tokens_expires_at", "api_tokens", ["expires_at"])
    op.create_table(
        "api_assertions",
        sa.Column("jti_sha256", sa.Text(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("jti_sha256", name=op.f("pk_api_assertions")),
    )
    op.create_index("ix_api_assertions_expires_at", "api_assertions", ["expires_at"])
