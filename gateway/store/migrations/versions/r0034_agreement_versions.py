"""Creates the column of the later versions of an agreement."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the column, empty."""
    op.add_column("agreements", sa.Column("successors", Json(), nullable=True))
