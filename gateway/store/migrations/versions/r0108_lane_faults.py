"""Finds failed deliveries by lane, and keeps which refused messages their sender had signed.

So the state of a lane follows from its own attempts, and no agency is shown as disturbed because of a message
that only names it as the sender.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0108"
down_revision = "0107"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index and the column. A node that does not know the column leaves it as it is."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    op.add_column("refusals", sa.Column("signed_at", instant, nullable=True))
    failed = sa.text("state = 'FAILED'")
    op.create_index(
        "ix_deliveries_failed",
        "deliveries",
        ["lane", "finished_at"],
        sqlite_where=failed,
        postgresql_where=failed,
    )
