"""Creates the indexes by which old attempts to sign in and old sessions are found."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_sign_ins_age", "sign_ins", ["at", "good"])
    op.create_index("ix_sessions_created_at", "sessions", ["created_at"])
