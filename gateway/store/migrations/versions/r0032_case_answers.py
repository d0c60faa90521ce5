"""Creates the tables of answers to agencies that traders prepare in the console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "case_answers",
        sa.Column("id", identity, sa.Identity(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=True),
        sa.Column("handed_in_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["agency_requests.id"], name=op.f("fk_case_answers_request_id")
        ),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_case_answers_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_answers")),
    )
    op.create_index("ix_case_answers_request_id", "case_answers", ["request_id", "id"])
    op.create_table(
        "case_answer_files",
        sa.Column("answer", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["answer"], ["case_answers.id"], name=op.f("fk_case_answer_files_answer")),
        sa.PrimaryKeyConstraint("answer", "content_id", name=op.f("pk_case_answer_files")),
    )
