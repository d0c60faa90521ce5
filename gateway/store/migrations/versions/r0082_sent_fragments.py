"""Adds the messages of ours that go in fragments, and their fragments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0082"
down_revision = "0081"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the empty tables."""
    op.create_table(
        "sent_groups",
        sa.Column("delivery", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sealed_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "state IN ('SEALED', 'SENDING', 'RECEIPTED', 'FAILED')", name=op.f("ck_sent_groups_state")
        ),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name=op.f("fk_sent_groups_delivery")),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_sent_groups_message")),
        sa.PrimaryKeyConstraint("delivery", name=op.f("pk_sent_groups")),
        sa.UniqueConstraint("message", name=op.f("uq_sent_groups_message")),
    )
    op.create_table(
        "sent_fragments",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name=op.f("fk_sent_fragments_delivery")),
        sa.ForeignKeyConstraint(["group"], ["sent_groups.delivery"], name=op.f("fk_sent_fragments_group")),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_sent_fragments_message")),
        sa.PrimaryKeyConstraint("message", name=op.f("pk_sent_fragments")),
        sa.UniqueConstraint("group", "number", name=op.f("uq_sent_fragments_group")),
    )
