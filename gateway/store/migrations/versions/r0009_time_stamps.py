"""Creates the tables of tree heads over the evidence, and of their time stamps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant, Json

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Recreate the table of heads, which was never written to, and create that of time stamps."""
    op.drop_table("seals")
    _seals()
    _time_stamps()
    unsealed, none = sa.text("seq IS NULL"), sa.text("seq < 0")
    op.create_index("ix_evidence_unsealed", "evidence", ["id"], postgresql_where=unsealed, sqlite_where=none)


def _seals() -> None:
    op.create_table(
        "seals",
        _identity(),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("root_hash", sa.Text(), nullable=False),
        sa.Column("peaks", Json(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_at", Instant(), nullable=False),
        sa.CheckConstraint("last_seq >= first_seq", name=op.f("ck_seals_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seals")),
        sa.UniqueConstraint("first_seq", name=op.f("uq_seals_first_seq")),
    )


def _time_stamps() -> None:
    op.create_table(
        "time_stamps",
        _identity(),
        sa.Column("seal", sa.BigInteger(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("stored_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["seal"], ["seals.id"], name=op.f("fk_time_stamps_seal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_time_stamps")),
        sa.UniqueConstraint("seal", "authority", name=op.f("uq_time_stamps_seal")),
    )


def _identity() -> sa.Column[int]:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", key, sa.Identity(), nullable=False)
