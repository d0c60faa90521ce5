"""Creates the column in which the overrides of an agreement are kept beside its document."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the column, empty."""
    op.add_column("agreements", sa.Column("overrides", Json(), nullable=True))
