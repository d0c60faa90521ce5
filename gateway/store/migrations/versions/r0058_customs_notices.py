"""Creates the tables of the notices of customs, and of the state of clearance of each case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0058"
down_revision = "0056"
branch_labels = None
depends_on = None

_STATES = ("UNANSWERED", "ACCEPTED", "ERROR", "CLEARED", "NOT_CLEARED", "CANCELLED")


def upgrade() -> None:
    """Create the tables, empty: of older cases customs has said nothing that was kept as a notice."""
    known = ", ".join(f"'{state}'" for state in _STATES)
    op.create_table(
        "clearances",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint(f"state IN ({known})", name=op.f("ck_clearances_state")),
        sa.ForeignKeyConstraint(["id"], ["cases.id"], name=op.f("fk_clearances_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clearances")),
    )
    table = "customs_notices"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("number", "code", "kind")),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("content", Json(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("received_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f(f"fk_{table}_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("number", name=op.f(f"uq_{table}_number")),
    )
    op.create_index(f"ix_{table}_case_id", table, ["case_id", "id"])
