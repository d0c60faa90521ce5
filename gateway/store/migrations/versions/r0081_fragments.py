"""Adds the groups of fragments of large messages, and the messages that are fragments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0081"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the empty tables."""
    op.create_table(
        "fragment_groups",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("group_id", "from_party", "protocol", "agreement_id", "pmode_id", "state")
        ),
        sa.Column("tally", Json(), nullable=True),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("message", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('OPEN', 'COMPLETE', 'JOINED', 'REFUSED')", name=op.f("ck_fragment_groups_state")
        ),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_fragment_groups_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fragment_groups")),
        sa.UniqueConstraint("from_party", "group_id", name=op.f("uq_fragment_groups_from_party")),
    )
    open_, joined = sa.text("ended_at IS NULL"), sa.text("message IS NOT NULL")
    op.create_index(
        "ix_fragment_groups_state", "fragment_groups", ["state", "from_party"],
        sqlite_where=open_, postgresql_where=open_,
    )  # fmt: skip
    op.create_index(
        "ix_fragment_groups_message", "fragment_groups", ["message"],
        sqlite_where=joined, postgresql_where=joined,
    )  # fmt: skip
    op.create_table(
        "fragments",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["group"], ["fragment_groups.id"], name=op.f("fk_fragments_group")),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_fragments_message")),
        sa.PrimaryKeyConstraint("message", name=op.f("pk_fragments")),
        sa.UniqueConstraint("group", "number", name=op.f("uq_fragments_group")),
    )
