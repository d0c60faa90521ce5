"""Stores the octets of a message in its own row; messages stored before stay where they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; for rows without it the octets are read from `payloads` by their digest."""
    op.add_column("messages", sa.Column("parcel", sa.LargeBinary(), nullable=True))
