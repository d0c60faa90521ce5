"""Creates the tables of drafts: submissions that traders prepare in the console, and their files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    table = "submission_drafts"
    op.create_table(
        table,
        _identity(),
        *(_text(name) for name in ("party", "reference", "documents", "content")),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        _text("created_by"),
        sa.Column("changed_at", Instant(), nullable=False),
        _text("changed_by"),
        sa.Column("message", sa.BigInteger(), nullable=True),
        sa.Column("handed_in_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_submission_drafts_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission_drafts")),
    )
    op.create_index("ix_submission_drafts_party", table, ["party", "id"])
    op.create_table(
        "draft_files",
        _identity(),
        sa.Column("draft_id", sa.BigInteger(), nullable=False),
        *(_text(name) for name in ("cid", "name", "media_type", "sha256")),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", Instant(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["draft_id"], ["submission_drafts.id"], name=op.f("fk_draft_files_draft_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_files")),
        sa.UniqueConstraint("draft_id", "cid", name=op.f("uq_draft_files_draft_id")),
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
