"""Keeps of each notice whose time was ahead of the hub's clock which time it states.

Such a notice counts from its receipt. Notices from before this revision count from the time that they state,
up to a day ahead.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0105"
down_revision = "0104"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and the index by which these notices are found."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    op.add_column("notices", sa.Column("stated_at", instant, nullable=True))
    was_ahead = sa.text("stated_at IS NOT NULL")
    op.create_index(
        "ix_notices_ahead", "notices", ["received_at"], sqlite_where=was_ahead, postgresql_where=was_ahead
    )
