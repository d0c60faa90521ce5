"""Creates the table of what child declarations take of the items of a decided case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    table = "item_releases"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("child_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("measure", "quantity", "unit", "whole", "whole_unit")
        ),
        sa.Column("released_at", Instant(), nullable=False),
        sa.Column("returned_at", Instant(), nullable=True),
        sa.Column("return_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["cases.id"], name=op.f(f"fk_{table}_parent_id")),
        sa.ForeignKeyConstraint(["child_id"], ["cases.id"], name=op.f(f"fk_{table}_child_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_parent_id", table, ["parent_id", "id"])
    op.create_index(f"ix_{table}_child_id", table, ["child_id", "id"])
