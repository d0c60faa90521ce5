"""Makes the ids of P-Modes unique within their agreement, and stores the agreement of each message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Json

revision = "0014"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = (
    *("id", "agreement_id", "protocol", "from_party", "from_role", "to_party", "to_role"),
    *("service", "action", "parameters"),
)


def upgrade() -> None:
    """Name the agreement of each message while ids still find one P-Mode; then change the key."""
    op.add_column("messages", sa.Column("agreement_id", sa.Text(), nullable=True))
    op.execute(
        "UPDATE messages SET agreement_id ="
        " (SELECT agreement_id FROM pmodes WHERE pmodes.id = messages.pmode_id) WHERE pmode_id IS NOT NULL"
    )
    # SQLite cannot change a key in place, so both databases copy the rows, which are few. The names of
    # constraints are free again only when the old table is gone.
    op.rename_table("pmodes", "pmodes_before")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_pmodes", "pmodes_before")
        op.drop_constraint("fk_pmodes_agreement_id", "pmodes_before")
    _pmodes()
    names = ", ".join(_COLUMNS)
    op.execute(f"INSERT INTO pmodes ({names}) SELECT {names} FROM pmodes_before")  # noqa: S608
    op.drop_table("pmodes_before")


def _pmodes() -> None:
    op.create_table(
        "pmodes",
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("from_party", sa.Text(), nullable=False),
        sa.Column("from_role", sa.Text(), nullable=True),
        sa.Column("to_party", sa.Text(), nullable=False),
        sa.Column("to_role", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.ForeignKeyConstraint(["agreement_id"], ["agreements.id"], name=op.f("fk_pmodes_agreement_id")),
        sa.PrimaryKeyConstraint("agreement_id", "id", name=op.f("pk_pmodes")),
    )
