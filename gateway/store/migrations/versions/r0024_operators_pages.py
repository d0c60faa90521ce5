"""Creates what the pages of operators need: two tables, the reason of an act, and indexes of searches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Json
from gateway.store.tables import Instant

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty, the column, and the indexes."""
    op.add_column("audit", sa.Column("reason", sa.Text(), nullable=True))
    _operator_acts()
    _status_notices()
    _create_partial_index("ix_cases_ucr", "cases", ["ucr"], "ucr IS NOT NULL")
    _create_partial_index("ix_messages_problem", "messages", ["problem", "id"], "problem IS NOT NULL")
    done = ["lane", "finished_at"]
    _create_partial_index("ix_deliveries_done", "deliveries", done, "state = 'DELIVERED'")
    failed = ["problem", "delivery"]
    _create_partial_index("ix_delivery_attempts_problem", "delivery_attempts", failed, "problem IS NOT NULL")


def _operator_acts() -> None:
    op.create_table(
        "operator_acts",
        _identity(),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("content_name", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.BigInteger(), nullable=False),
        sa.Column("proposed_at", Instant(), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", Instant(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'PENDING', 'DONE', 'REJECTED', 'WITHDRAWN')",
            name=op.f("ck_operator_acts_state"),
        ),
        sa.CheckConstraint(
            "state <> 'DONE' OR decided_by IS NOT NULL", name=op.f("ck_operator_acts_decided")
        ),
        sa.ForeignKeyConstraint(["proposed_by"], ["accounts.id"], name=op.f("fk_operator_acts_proposed_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_operator_acts_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_acts")),
    )
    op.create_index("ix_operator_acts_state", "operator_acts", ["state", "id"])


def _status_notices() -> None:
    op.create_table(
        "status_notices",
        _identity(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("title_ko", sa.Text(), nullable=False),
        sa.Column("text_en", sa.Text(), nullable=False),
        sa.Column("text_ko", sa.Text(), nullable=False),
        sa.Column("starts_at", Instant(), nullable=False),
        sa.Column("ends_at", Instant(), nullable=True),
        sa.Column("published_at", Instant(), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.CheckConstraint("kind IN ('incident', 'planned')", name=op.f("ck_status_notices_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_notices")),
    )
    op.create_index("ix_status_notices_ends_at", "status_notices", ["ends_at"])


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    of = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=of, postgresql_where=of)


def _identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
