"""Adds the system user to the audit: who ran a verb, beside the person that the verb was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; rows of earlier versions do not know it."""
    op.add_column("audit", sa.Column("account", sa.Text(), nullable=True))
