"""Creates the table of forwarding rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0038"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "forwarding_rules",
        sa.Column("id", identity, sa.Identity(), nullable=False),
        sa.Column("to_value", sa.Text(), nullable=False),
        sa.Column("to_type", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("next_party", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("senders", Json(), nullable=False),
        sa.Column("acknowledgment", sa.Text(), nullable=False),
        sa.Column("sync_reply", sa.Text(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("retry_interval", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["next_party"], ["parties.id"], name=op.f("fk_forwarding_rules_next_party")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forwarding_rules")),
        sa.UniqueConstraint(
            "to_value", "to_type", "service", "action", name=op.f("uq_forwarding_rules_to_value")
        ),
    )
