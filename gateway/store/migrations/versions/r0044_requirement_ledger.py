"""Creates the requirement ledger, with a requirement for each number that agencies have given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0044"
down_revision = "0040"
branch_labels = None
depends_on = None

# Of decisions from before the ledger it is not known who imported: anybody may use them.
_EARLIER = """
INSERT INTO requirements (number, agency, holder, used, added_at)
SELECT number, agency, '', '{}', MIN(received_at) FROM decisions
WHERE number IS NOT NULL AND number <> '' AND quantity IS NOT NULL
GROUP BY number, agency
"""


def upgrade() -> None:
    """Create the tables; no declaration has used anything yet."""
    _create_requirements()
    _create_uses()
    op.execute(_EARLIER)


def _create_requirements() -> None:
    op.create_table(
        "requirements",
        _make_identity(),
        *(_make_text(name) for name in ("number", "agency", "holder")),
        sa.Column("used", Json(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("registered_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.Column("added_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requirements")),
        sa.UniqueConstraint("number", "agency", name=op.f("uq_requirements_number")),
    )


def _create_uses() -> None:
    table = "requirement_uses"
    op.create_table(
        table,
        _make_identity(),
        sa.Column("requirement_id", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        *(_make_text(name) for name in ("pointer", "quantity", "unit")),
        sa.Column("used_at", Instant(), nullable=False),
        sa.Column("returned_at", Instant(), nullable=True),
        sa.Column("return_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["requirement_id"], ["requirements.id"], name=op.f(f"fk_{table}_requirement_id")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f(f"fk_{table}_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_requirement_id", table, ["requirement_id", "id"])
    op.create_index(f"ix_{table}_case_id", table, ["case_id", "id"])


def _make_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _make_identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
