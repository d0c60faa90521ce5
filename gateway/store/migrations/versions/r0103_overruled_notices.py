"""Keeps of each notice whether it states a day alone, and which notice counted when it came.

Notices from before this revision have neither: the hub read a day alone as its first instant, and told nobody
that a notice had no effect.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, and the index by which the notices without effect are found."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    text = sa.Text() if is_sqlite else sa.Text(collation="C")
    op.add_column("notices", sa.Column("day_begins_at", instant, nullable=True))
    op.add_column("notices", sa.Column("overruled_by", text, nullable=True))
    has_been_overruled = sa.text("overruled_by IS NOT NULL")
    op.create_index(
        "ix_notices_overruled",
        "notices",
        ["received_at"],
        sqlite_where=has_been_overruled,
        postgresql_where=has_been_overruled,
    )
