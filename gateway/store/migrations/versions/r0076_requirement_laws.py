"""Adds the laws of a registered requirement, and which agency an awaited number is of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json

revision = "0076"
down_revision = "0074"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, empty: no law was stated, and a number may be of any agency."""
    op.add_column("requirements", sa.Column("laws", Json(), nullable=True))
    op.add_column("awaited_requirements", sa.Column("agency", sa.Text(), nullable=True))
