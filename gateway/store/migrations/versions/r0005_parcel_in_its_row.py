"""The octets of a message stand in its own row; what was stored before stays where it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; rows without it are read by their digest from `payloads`."""
    op.add_column("messages", sa.Column("parcel", sa.LargeBinary(), nullable=True))
