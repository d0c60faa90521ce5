"""Keeps since when the attempts of a lane fail, and which refused messages their sender had signed.

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
    """Add the columns. A node that does not know them leaves them as they are."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    for name in ("failing_since", "partner_failing_since", "last_failed_at"):
        op.add_column("lanes", sa.Column(name, instant, nullable=True))
    op.add_column("refusals", sa.Column("signed_at", instant, nullable=True))
